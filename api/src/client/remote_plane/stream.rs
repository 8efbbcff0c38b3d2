//! The one stream of this gateway: opened with what it holds, pinged, read line by line, and opened anew when it breaks.
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use reqwest::Response;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::Shared;
use super::ask::Opening;
use super::memory::OtherLog;
use crate::client::stream_wire::{Anchor, Handle, Holding, Lines, News, Said, Told, line};
use crate::cut::Cut;
use crate::lease::{Boottime, PING_MS};

/// Waits between attempts to open a stream.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// A stream that says nothing for so long is given up: it answers five pings a second.
const SILENCE: Duration = Duration::from_secs(1);
/// How long opening a stream may take.
const OPEN_LIMIT: Duration = Duration::from_secs(2);
/// Lines that may wait to be sent. When more are, nobody takes them.
const QUEUE: usize = 256;
/// How long those who were cut may take to stop. The control plane waits for no longer than a lease.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// Why a stream ended.
enum Over {
    /// The gateway stops.
    Stopped,
    /// It broke off.
    Broke,
    /// A line is missing.
    Missed,
}

/// Keeps a stream open as long as there is anything to hold.
pub(super) async fn keep(shared: Arc<Shared>) {
    let (mut wait, mut resync) = (RETRY.0, false);
    loop {
        if shared.views.lock().is_empty() {
            tokio::select! {
                () = shared.stop.cancelled() => return,
                () = shared.changed.notified() => {}
            }
            continue;
        }
        let began = Boottime::now();
        let over = tokio::select! {
            () = shared.stop.cancelled() => return,
            over = one(&shared, resync) => over,
        };
        shared.views.lock().lost();
        shared.memory.lost();
        shared.figures.lost();
        resync = matches!(over, Over::Missed);
        match over {
            Over::Stopped => return,
            Over::Missed => shared.figures.resyncs(),
            Over::Broke => {}
        }
        wait = if Boottime::now().since(began) > RETRY.1 { RETRY.0 } else { (wait * 2).min(RETRY.1) };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Ends what nobody's word holds any more, at the moment at which that is so.
pub(super) async fn watch_leases(shared: Arc<Shared>) {
    const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(1);
    loop {
        let now = Boottime::now();
        let (cuts, next) = shared.views.lock().lapsed(now);
        let inside: usize = cuts.iter().map(Cut::ended).sum();
        if !cuts.is_empty() {
            tracing::warn!(callers = cuts.len(), "the control plane was not heard in time: nobody is served");
            shared.figures.lapsed(cuts.len(), inside);
        }
        let wait = next.map_or(LOOK_AT_LEAST_EVERY, |next| next.since(now) + Duration::from_millis(1));
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.installed.notified() => {}
            () = tokio::time::sleep(wait.min(LOOK_AT_LEAST_EVERY)) => {}
        }
    }
}

/// One stream from its opening to its end.
async fn one(shared: &Arc<Shared>, resync: bool) -> Over {
    let (send, lines) = mpsc::channel::<Bytes>(QUEUE);
    let body = futures::stream::unfold(lines, |mut lines| async move {
        Some((Ok::<_, std::convert::Infallible>(lines.recv().await?), lines))
    });
    if let Some(other) = shared.memory.refused() {
        let _ = shared.distrust(&other);
        return Over::Broke;
    }
    let holds = shared.views.lock().holdings();
    let (saw, log_size) = (shared.memory.saw(), shared.memory.size());
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let open = Said::Open { version, holds: holds.clone(), saw, log_size, resync };
    if send.try_send(Bytes::from(line(&open))).is_err() {
        return Over::Broke;
    }
    let opening = shared.ask.stream(reqwest::Body::wrap_stream(body));
    let response = match tokio::time::timeout(OPEN_LIMIT, opening).await {
        Ok(Opening::Open(response)) => response,
        Ok(Opening::Unknown) => {
            // It was started anew, or has forgotten: whoever calls next asks anew.
            let void: Vec<Handle> = holds.iter().map(|holding| holding.handle).collect();
            shared.views.lock().held(&[], &void);
            return Over::Broke;
        }
        Ok(Opening::Failed) | Err(_) => return Over::Broke,
    };
    let conversation = Conversation {
        shared: shared.clone(),
        send,
        holds,
        saw,
        heard: 0,
        pings: VecDeque::new(),
        ping: 0,
        stopping: FuturesOrdered::new(),
    };
    conversation.go_on(Reading { response, lines: Lines::default() }).await
}

/// Those who were cut by a line are stopping.
type Stopping = std::pin::Pin<Box<dyn Future<Output = (u64, u64)> + Send>>;

struct Conversation {
    shared: Arc<Shared>,
    send: mpsc::Sender<Bytes>,
    holds: Vec<Holding>,
    saw: Option<Anchor>,
    /// Number of the last line.
    heard: u64,
    /// Pings that are not answered yet, and when they were sent: the lease counts from there.
    pings: VecDeque<(u64, Boottime)>,
    ping: u64,
    stopping: FuturesOrdered<Stopping>,
}

impl Conversation {
    async fn go_on(mut self, mut reading: Reading) -> Over {
        let mut ticks = tokio::time::interval(Duration::from_millis(PING_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Boottime::now();
        let shared = self.shared.clone();
        loop {
            let goes_on = tokio::select! {
                biased;
                () = shared.stop.cancelled() => return Over::Stopped,
                told = reading.next() => match told {
                    Some(told) => {
                        heard = Boottime::now();
                        match self.take(told) {
                            Ok(()) => true,
                            Err(over) => return over,
                        }
                    }
                    None => false,
                },
                Some((n, cut)) = self.stopping.next() => {
                    shared.figures.done();
                    self.say(&Said::Done { n, cut })
                }
                _ = ticks.tick() => Boottime::now().since(heard) < SILENCE && self.send_ping() && self.look(),
                () = shared.changed.notified(), if self.heard > 0 => self.say_changes(),
            };
            if !goes_on {
                return Over::Broke;
            }
        }
    }

    fn say(&self, said: &Said) -> bool {
        self.send.try_send(Bytes::from(line(said))).is_ok()
    }

    fn send_ping(&mut self) -> bool {
        self.ping += 1;
        // Noted before it is sent: the lease may be shorter than it could be, never longer.
        self.pings.push_back((self.ping, Boottime::now()));
        self.say(&Said::Ping { ping: self.ping, lapsed: self.shared.figures.take_lapsed() })
    }

    /// Now and then the log is looked at, when it has grown.
    fn look(&self) -> bool {
        let due = if self.heard > 0 { self.shared.memory.look_due() } else { None };
        due.is_none_or(|log_size| self.say(&Said::Look { log_size }))
    }

    fn say_changes(&self) -> bool {
        let (holds, handles) = self.shared.views.lock().take_unsaid();
        let held = holds.is_empty() || self.say(&Said::Hold { holds });
        held && (handles.is_empty() || self.say(&Said::Drop { handles }))
    }

    /// Acts on a line. After this nobody is admitted by what it takes away.
    fn take(&mut self, told: Told) -> Result<(), Over> {
        if told.n != self.heard + 1 {
            return Err(Over::Missed);
        }
        self.heard = told.n;
        self.shared.saw(told.seq);
        let cuts = match told.what {
            News::Opened { stream, void, log, shown } => {
                let memory = &self.shared.memory;
                let same = memory.check(self.saw, log).and_then(|()| memory.judge(shown.as_ref()));
                self.believe(same)?;
                let cuts = self.shared.views.lock().opened(stream, &self.holds, &void);
                self.shared.changed.notify_one();
                cuts
            }
            News::Pong { ping, log } => {
                self.ponged(ping, told.seq);
                self.believe(self.shared.memory.see(log))?;
                Vec::new()
            }
            News::Log { shown } => {
                self.believe(self.shared.memory.judge(shown.as_ref()))?;
                Vec::new()
            }
            News::Held { handles, void } => self.shared.views.lock().held(&handles, &void),
            News::Reduced { cut, void } => {
                let cuts = self.shared.views.lock().reduced(told.seq, &cut, &void);
                self.stop(told.n, cuts);
                return Ok(());
            }
            // It may take something away: everything is looked at anew.
            News::Unknown => return Err(Over::Missed),
        };
        drop(cuts);
        Ok(())
    }

    /// Goes on, unless the log is not the one that was seen.
    fn believe(&self, same: Result<(), OtherLog>) -> Result<(), Over> {
        same.map_err(|other| {
            let _ = self.shared.distrust(&other);
            Over::Broke
        })
    }

    fn ponged(&mut self, ping: u64, seq: mcpctl_core::ids::Seq) {
        while let Some((sent, at)) = self.pings.front().copied().filter(|(sent, _)| *sent <= ping) {
            self.pings.pop_front();
            if sent == ping {
                self.shared.figures.heard(at);
                self.shared.views.lock().ponged(at, seq);
            }
        }
    }

    /// Waits for those who were cut to stop, in the order of the lines.
    fn stop(&mut self, n: u64, cuts: Vec<Cut>) {
        let inside = cuts.iter().map(Cut::ended).sum::<usize>() as u64;
        self.shared.figures.cut(inside);
        self.shared.figures.told();
        self.stopping.push_back(Box::pin(async move {
            for cut in cuts {
                if !cut.emptied(STOPS_WITHIN).await {
                    tracing::error!(inside = cut.inside(), "calls that were cut do not stop: this is a bug in mcpctl");
                }
            }
            (n, inside)
        }));
    }
}

/// An answer, line by line. `next` may be dropped at any moment: nothing is lost by it.
struct Reading {
    response: Response,
    lines: Lines,
}

impl Reading {
    /// The next line; nothing at the end, after an error, or after something that is no line.
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(line) = self.lines.next() {
                return serde_json::from_slice(&line).ok();
            }
            let chunk = self.response.chunk().await.ok()??;
            self.lines.feed(&chunk).ok()?;
        }
    }
}
