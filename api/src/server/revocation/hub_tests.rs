use std::time::{Duration, Instant};

use mcpctl_core::reach::Whose;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::plane::{CallerBearer, Plane as _};
use crate::server::testing::{ADMIN, Tried};

/// A control plane in memory whose hub is looked after, and streams that the test speaks for.
struct Room {
    tried: Tried,
    stop: CancellationToken,
}

/// What a gateway would hold: a handle, and the stream it is on.
struct Held {
    handle: Handle,
    rev: Seq,
}

impl Room {
    async fn new() -> Self {
        let (tried, stop) = (Tried::new().await, CancellationToken::new());
        tokio::spawn(tried.hub.clone().keep(stop.clone()));
        tokio::spawn(tried.plane.clone().follow(tried.hub.clone(), stop.clone()));
        Self { tried, stop }
    }

    fn hub(&self) -> &Hub {
        &self.tried.hub
    }

    async fn about(&self, bearer: &CallerBearer) -> (About, Seq) {
        let admission = self.tried.plane.admit(bearer, "web").await.unwrap();
        let whose: Whose = admission.whose();
        (About { whose, digest: bearer.digest(), project: "web".to_owned(), expires_at: None }, admission.seq)
    }

    /// What an introspection tells of a new token.
    async fn held(&self, name: &str) -> Held {
        let bearer = self.tried.token(ADMIN, name, "empty").await;
        let (about, rev) = self.about(&bearer).await;
        match self.hub().register(about, rev, None, None) {
            Registered::Told { handle, .. } => Held { handle, rev },
            Registered::Behind | Registered::Full => panic!("nothing was committed meanwhile"),
        }
    }

    fn open(&self, held: &[&Held]) -> OpenedStream {
        let holds: Vec<Holding> = held.iter().map(|held| Holding { handle: held.handle, rev: held.rev }).collect();
        self.hub().open("test".to_owned(), &holds, (None, None), "127.0.0.1:1".to_owned()).unwrap()
    }

    /// Revokes a token, and waits as whoever asked for it does.
    async fn revoked(&self, name: &str) -> Fenced {
        self.tried.revoke(name).await;
        let seq = self.tried.published.load().seq();
        self.hub().fence(seq).await.unwrap()
    }

    /// A figure, as `/metrics` shows it.
    fn figure(&self, name: &str) -> f64 {
        let mut registry = Registry::with_prefix("mcpctl");
        self.hub().figures.register(&mut registry);
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("mcpctl_revocation_{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not in\n{page}")).parse().unwrap()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn next(stream: &mut OpenedStream) -> Told {
    tokio::time::timeout(Duration::from_secs(5), stream.lines.recv()).await.expect("in time").expect("it is open")
}

/// The next line that takes something away, and how many it says have ended and are to be asked about.
async fn reduced(stream: &mut OpenedStream) -> (Told, usize, usize) {
    loop {
        let told = next(stream).await;
        if let News::Reduced { cut, void } = &told.what {
            let counts = (cut.len(), void.len());
            return (told, counts.0, counts.1);
        }
    }
}

async fn until(what: &str, limit: Duration, mut so: impl FnMut() -> bool) {
    let waiting = async {
        while !so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(limit, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn whoever_holds_it_is_told_and_the_answer_waits_for_them_and_for_nobody_else() {
    let room = Room::new().await;
    let (mine, other) = (room.held("mine").await, room.held("other").await);
    let (mut holder, mut stranger) = (room.open(&[&mine]), room.open(&[&other]));
    assert!(room.hub().ping(holder.stream, 1, 0) && room.hub().ping(stranger.stream, 1, 0));
    room.tried.revoke("mine").await;
    let seq = room.tried.published.load().seq();
    let (told, cut, void) = reduced(&mut holder).await;
    assert_eq!((cut, void), (1, 0));
    let fence = tokio::spawn({
        let hub = room.tried.hub.clone();
        async move { hub.fence(seq).await.unwrap() }
    });
    tokio::task::yield_now().await;
    assert!(!fence.is_finished(), "the holder has not said that it is done");
    room.hub().done(holder.stream, told.n, 2);
    let said = fence.await.unwrap();
    assert_eq!((said.gateways, said.acked, said.lease_expired, said.streams_closed), (1, 1, 0, 2), "{said:?}");
    while let Ok(told) = stranger.lines.try_recv() {
        assert!(!matches!(told.what, News::Reduced { .. }), "a stranger was told");
    }
    assert_eq!((room.figure("cut_streams_total"), room.figure("lease_misses_total")), (2.0, 0.0));
    until("it is counted", Duration::from_secs(2), || room.figure("seconds_count") >= 1.0).await;
}

#[tokio::test]
async fn a_line_names_the_seq_that_made_it_so_that_an_older_answer_which_it_overtakes_is_void() {
    let room = Room::new().await;
    let held = room.held("t").await;
    let mut stream = room.open(&[&held]);
    room.tried.revoke("t").await;
    let (told, ..) = reduced(&mut stream).await;
    assert_eq!(told.seq, room.tried.published.load().seq());
    assert!(told.seq > held.rev, "an answer decided at {} would be believed after it", held.rev);
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_cut_when_its_queue_is_full_and_others_do_not_wait_for_it() {
    let room = Room::new().await;
    let (slow, quick) = (room.held("slow").await, room.held("quick").await);
    let (stuck, mut other) = (room.open(&[&slow]), room.open(&[&quick]));
    let mut pings = 0_u64;
    while room.hub().ping(stuck.stream, pings, 0) {
        pings += 1;
        assert!(pings < 100_000, "nobody reads it, and it is never full");
    }
    let states: Vec<String> = room.hub().gateways().into_iter().map(|gateway| gateway.state).collect();
    assert!(states.contains(&"LOST".to_owned()) && states.contains(&"OPEN".to_owned()), "{states:?}");
    room.tried.revoke("quick").await;
    let seq = room.tried.published.load().seq();
    let (told, ..) = reduced(&mut other).await;
    room.hub().done(other.stream, told.n, 0);
    let said = room.hub().fence(seq).await.unwrap();
    assert_eq!((said.gateways, said.acked, said.lease_expired), (1, 1, 0), "{said:?}");
    until("it is counted", Duration::from_secs(2), || room.figure("slow_streams_total") == 1.0).await;
    let said = room.revoked("slow").await;
    assert_eq!((said.acked, said.lease_expired), (0, u32::from(said.gateways > 0)), "{said:?}");
    assert!(said.took_ms <= 900, "{said:?}");
}

#[tokio::test]
async fn a_stream_that_pings_and_does_nothing_of_what_it_is_told_is_waited_for_one_lease_and_then_cut() {
    let room = Room::new().await;
    let held = room.held("t").await;
    let mut stream = room.open(&[&held]);
    assert!(room.hub().ping(stream.stream, 1, 0));
    let said = room.revoked("t").await;
    assert_eq!((said.gateways, said.acked, said.lease_expired), (1, 0, 1), "{said:?}");
    assert!((700..1_500).contains(&said.took_ms), "its lease was waited for, not less and not much more: {said:?}");
    let mut ping = 1;
    until("it is cut", Duration::from_secs(6), || {
        while stream.lines.try_recv().is_ok() {}
        ping += 1;
        !room.hub().ping(stream.stream, ping, 0)
    })
    .await;
    assert_eq!((room.figure("slow_streams_total"), room.figure("lease_misses_total")), (1.0, 1.0));
}

#[tokio::test]
async fn a_stream_that_is_opened_anew_begins_with_what_it_missed() {
    let room = Room::new().await;
    let (kept, lost) = (room.held("kept").await, room.held("lost").await);
    let first = room.open(&[&kept, &lost]);
    room.hub().close(first.stream);
    room.tried.revoke("lost").await;
    let unknown = Held { handle: Handle([9; 16]), rev: Seq(1) };
    let mut again = room.open(&[&kept, &lost, &unknown]);
    let News::Opened { void, .. } = next(&mut again).await.what else { panic!("the first line says what is held") };
    assert_eq!(void, [lost.handle, unknown.handle], "what was taken away meanwhile, and what nobody knows");
    room.hub().resynced();
    assert_eq!(room.figure("resyncs_total"), 1.0);
    let nobody = room.hub().open(
        "test".to_owned(),
        &[Holding { handle: Handle([9; 16]), rev: Seq(1) }],
        (None, None),
        String::new(),
    );
    assert!(matches!(nobody, Err(NotOpened::NoHandle)), "a stream of nothing that is known is not opened");
}

#[tokio::test]
async fn an_introspection_that_a_commit_overtook_is_decided_anew() {
    let room = Room::new().await;
    let bearer = room.tried.token(ADMIN, "t", "empty").await;
    let (about, rev) = room.about(&bearer).await;
    room.tried.token(ADMIN, "another", "empty").await;
    assert!(matches!(room.hub().register(about, rev, None, None), Registered::Behind));
    let (about, rev) = room.about(&bearer).await;
    assert!(matches!(room.hub().register(about, rev, None, None), Registered::Told { .. }));
}

#[tokio::test]
async fn what_was_told_and_is_on_no_stream_is_waited_for_until_its_lease_has_run_out() {
    let room = Room::new().await;
    room.held("t").await;
    let began = Instant::now();
    let said = room.revoked("t").await;
    assert_eq!((said.gateways, said.lease_expired), (1, 1), "{said:?}");
    assert!(began.elapsed() > Duration::from_millis(700), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_a_gateway_let_go_of_is_neither_told_nor_waited_for_on_its_stream() {
    let room = Room::new().await;
    let (mine, rest) = (room.held("mine").await, room.held("rest").await);
    let mut stream = room.open(&[&mine, &rest]);
    room.hub().release(stream.stream, &[mine.handle]);
    room.tried.revoke("mine").await;
    assert!(room.hub().ping(stream.stream, 1, 0));
    loop {
        match next(&mut stream).await.what {
            News::Reduced { .. } => panic!("it was let go of"),
            News::Pong { .. } => break,
            _ => {}
        }
    }
}

#[tokio::test]
async fn after_a_start_on_a_log_nobody_is_answered_before_leases_that_were_forgotten_have_run_out() {
    let room = Room::new().await;
    let state = room.tried.published.load();
    let again = Hub::new(&state, RevocationFigures::default());
    let began = Instant::now();
    again.fence(state.seq()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(800), "{:?}", began.elapsed());
    let first = Hub::new(&State::default(), RevocationFigures::default());
    let began = Instant::now();
    first.fence(Seq(0)).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(500), "an empty log gave no leases: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_lapse_that_a_gateway_tells_of_is_counted() {
    let room = Room::new().await;
    let held = room.held("t").await;
    let stream = room.open(&[&held]);
    assert!(room.hub().ping(stream.stream, 1, 5));
    assert_eq!(room.figure("lapsed_streams_total"), 5.0);
    room.hub().close(stream.stream);
    assert!(!room.hub().ping(stream.stream, 2, 0), "a stream that is over is not answered");
}
