//! Follows what happens to one caller's access to one project, and knows what may be served because of it.
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mcpctl_core::ids::Seq;
use parking_lot::Mutex;
use reqwest::Response;
use tokio_util::sync::CancellationToken;

use super::lease::{Boottime, Lease, STREAM_MS_MAX};
use super::{Pair, Shared};
use crate::client::gateway_wire::{AdmittedView, Happened, WatchLine};
use crate::plane::{Admission, Caller, CallerBearer, Denial, ProjectView};

/// Waits between attempts to open a stream.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// A stream that says nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(2);
/// How long opening a stream may take.
const OPEN_LIMIT: Duration = Duration::from_secs(2);
/// Most bytes of a line.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// One pair of caller and project.
pub(super) struct Follow {
    bearer: CallerBearer,
    project: String,
    known: Mutex<Known>,
    ended: CancellationToken,
}

struct Known {
    view: Option<View>,
    /// The project as it was last seen: for names only, never for a decision.
    seen: Option<Arc<ProjectView>>,
    lease: Option<Lease>,
    /// Answers from before this seq are void.
    since: Seq,
    cut: CancellationToken,
    last_used: Boottime,
}

struct View {
    caller: Arc<Caller>,
    project: Arc<ProjectView>,
    via: Arc<[Seq]>,
    seq: Seq,
}

impl Follow {
    pub(super) fn new(bearer: CallerBearer, project: String) -> Self {
        let (cut, last_used) = (CancellationToken::new(), Boottime::now());
        let known = Known { view: None, seen: None, lease: None, since: Seq(0), cut, last_used };
        Self { bearer, project, known: Mutex::new(known), ended: CancellationToken::new() }
    }

    pub(super) fn pair(&self) -> Pair {
        (self.bearer.digest(), self.project.clone())
    }

    pub(super) fn last_used(&self) -> Boottime {
        self.known.lock().last_used
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// What may be served now without asking: only what a living stream says still holds.
    pub(super) fn served(&self) -> Option<Admission> {
        let mut known = self.known.lock();
        let now = Boottime::now();
        known.last_used = now;
        let alive = known.lease.is_some_and(|lease| lease.is_alive(now));
        if alive && !self.has_ended() { known.admission() } else { None }
    }

    /// Takes an answer; `None` when something happened since that may have made it void.
    pub(super) fn install(&self, view: AdmittedView) -> Option<Admission> {
        let mut known = self.known.lock();
        if view.seq < known.since || self.has_ended() {
            return None;
        }
        let newer = known.view.as_ref().is_none_or(|old| old.seq <= view.seq);
        if newer {
            let project = Arc::new(view.project);
            known.seen = Some(project.clone());
            known.view = Some(View { caller: Arc::new(view.caller), project, via: view.via.into(), seq: view.seq });
        }
        known.admission()
    }

    /// The project as it was last seen. What is asked for by these names is decided anew by the control plane.
    pub(super) fn seen(&self) -> Option<Arc<ProjectView>> {
        self.known.lock().seen.clone()
    }

    pub(super) fn is_of(&self, bearer: &CallerBearer) -> bool {
        self.bearer.digest() == bearer.digest()
    }

    /// Ends it, and with it everything that was admitted.
    pub(super) fn end(&self) {
        self.ended.cancel();
        let mut known = self.known.lock();
        known.view = None;
        known.cut.cancel();
    }

    fn drop_view(&self, seq: Seq) {
        let mut known = self.known.lock();
        known.view = None;
        known.since = known.since.max(seq);
    }

    fn pinged(&self, lease: Lease, seq: Seq) {
        let mut known = self.known.lock();
        known.lease = Some(known.lease.map_or(lease, |old| lease.later(old)));
        if let Some(view) = &mut known.view {
            view.seq = view.seq.max(seq);
        }
    }

    /// From where a stream goes on: the seq up to which the view is known to hold.
    fn from(&self) -> Seq {
        let known = self.known.lock();
        known.view.as_ref().map_or(Seq(0), |view| view.seq)
    }
}

impl Known {
    fn admission(&self) -> Option<Admission> {
        let view = self.view.as_ref()?;
        Some(Admission {
            caller: view.caller.clone(),
            project: view.project.clone(),
            seq: view.seq,
            via: view.via.clone(),
            cut: self.cut.clone(),
        })
    }
}

/// Why a stream ended.
enum Over {
    /// The access has ended, or nobody needs it any more.
    ForGood,
    /// It broke off.
    Broke,
}

/// Follows until the access ends.
pub(super) async fn run(shared: Arc<Shared>, follow: Arc<Follow>) {
    let mut wait = RETRY.0;
    loop {
        let (stop, ended) = (shared.stop.clone(), follow.ended.clone());
        let began = Boottime::now();
        let over = tokio::select! {
            () = stop.cancelled() => Over::ForGood,
            () = ended.cancelled() => Over::ForGood,
            over = one_run(&shared, &follow) => over,
        };
        if matches!(over, Over::ForGood) {
            break;
        }
        wait = if Boottime::now().since(began) > RETRY.1 { RETRY.0 } else { (wait * 2).min(RETRY.1) };
        tokio::select! {
            () = shared.stop.cancelled() => break,
            () = follow.ended.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    follow.end();
    shared.ended(&follow);
}

/// Reads streams, each replaced by the next before it is too old, until one breaks off.
async fn one_run(shared: &Arc<Shared>, follow: &Arc<Follow>) -> Over {
    let mut lines = match open(shared, follow).await {
        Ok(lines) => lines,
        Err(over) => return over,
    };
    loop {
        let age = Boottime::now().since(lines.asked);
        let replace = Duration::from_millis(STREAM_MS_MAX).saturating_sub(age);
        tokio::select! {
            biased;
            line = tokio::time::timeout(SILENCE, lines.next()) => match line {
                Ok(Some(line)) => if let Some(over) = take(shared, follow, &lines, line).await { return over },
                Ok(None) | Err(_) => return Over::Broke,
            },
            () = tokio::time::sleep(replace) => match open(shared, follow).await {
                Ok(newer) => lines = newer,
                Err(over) => return over,
            },
        }
    }
}

async fn open(shared: &Arc<Shared>, follow: &Arc<Follow>) -> Result<Lines, Over> {
    let asked = Boottime::now();
    let watch = shared.ask.watch(&follow.bearer, &follow.project, follow.from());
    match tokio::time::timeout(OPEN_LIMIT, watch).await {
        Ok(Ok(response)) => Ok(Lines { response, asked, buffer: Vec::new(), whole: VecDeque::new() }),
        Ok(Err(Denial::Unavailable(_))) | Err(_) => Err(Over::Broke),
        Ok(Err(_denied)) => {
            follow.end();
            Err(Over::ForGood)
        }
    }
}

/// Acts on a line. Only a ping leaves what is served as it was.
async fn take(shared: &Arc<Shared>, follow: &Arc<Follow>, lines: &Lines, line: WatchLine) -> Option<Over> {
    shared.saw(line.seq);
    match line.what {
        Happened::Ping { open_ms } => {
            follow.pinged(Lease::of_ping(lines.asked, open_ms), line.seq);
            None
        }
        Happened::Cut { .. } => {
            shared.forget(&follow.pair());
            follow.end();
            Some(Over::ForGood)
        }
        Happened::Event | Happened::Resync | Happened::Unknown => {
            follow.drop_view(line.seq);
            match shared.ask_anew(&follow.bearer, &follow.project).await {
                // Whoever calls next asks again.
                Ok(_) | Err(Denial::Unavailable(_)) => None,
                Err(_denied) => Some(Over::ForGood),
            }
        }
    }
}

/// A stream, line by line. `next` may be dropped at any moment: nothing is lost by it.
struct Lines {
    response: Response,
    asked: Boottime,
    buffer: Vec<u8>,
    whole: VecDeque<WatchLine>,
}

impl Lines {
    /// The next line; `None` at the end, after an error, or after something that is no line.
    async fn next(&mut self) -> Option<WatchLine> {
        while self.whole.is_empty() {
            let chunk = self.response.chunk().await.ok()??;
            self.buffer.extend_from_slice(&chunk);
            while let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                self.whole.push_back(serde_json::from_slice(&line).ok()?);
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return None;
            }
        }
        self.whole.pop_front()
    }
}
