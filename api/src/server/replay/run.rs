//! A replay of both logs: every mutation, then every recorded decision.
use std::path::Path;
use std::time::Instant;

use mcpctl_core::at::At;
use mcpctl_core::ids::Seq;
use mcpctl_core::log::{LogError, LogReader, journal};
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::replay::{FINDINGS_MAX, Finding, Range, Replay, ReplayError, Tally};
use mcpctl_projections::{AsOf, State};

use super::again::{Again, again};
use crate::plane::AuditEntry;
use crate::replay_wire::{NotProved, ReplayLine, ReplayReport, ReplayRequest, Replayed};
use crate::server::audit::harmless;
use crate::server::audit::{self, AuditLog};
use crate::server::clock;

/// After so many entries somebody is told how far it is.
const TELL_EVERY: u64 = 10_000;

/// Why a replay can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ReplayFailed {
    /// A bound can't be read.
    #[error("{0}")]
    Bound(#[from] mcpctl_core::at::InvalidAt),
    /// A log can't be read, or does not hold together.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A record of the audit log can't be read.
    #[error("the audit log: {0}")]
    Audit(LogError),
    /// Nobody wants to know any more.
    #[error("it was called off")]
    CalledOff,
}

impl From<LogError> for ReplayFailed {
    fn from(error: LogError) -> Self {
        Self::Replay(error.into())
    }
}

/// Hears how far it is; answers whether it should go on.
pub type Tell<'a> = &'a mut dyn FnMut(ReplayLine) -> bool;
/// What is handed each record of the log, with its seq; `Ok(false)` ends the walk.
pub(super) type EachRecord<'a> = &'a mut dyn FnMut(Seq, &[u8]) -> Result<bool, ReplayFailed>;
/// What is handed each entry of the audit log; `false` ends the walk.
pub(super) type EachEntry<'a> = &'a mut dyn FnMut(Seq, Option<AuditEntry>) -> bool;

/// The two logs, wherever they lie.
pub(super) trait Logs {
    /// How many events and how many entries there are, about.
    fn counts(&self) -> (u64, u64);
    /// The last entry of this moment, where more are written: those name states that are not read yet.
    fn last_entry(&self) -> Option<Seq>;
    fn records(&self, each: EachRecord<'_>) -> Result<(), ReplayFailed>;
    fn entries(&self, each: EachEntry<'_>) -> Result<(), ReplayFailed>;
}

/// The logs of a running control plane.
pub(super) struct Running<'a> {
    pub(super) log: &'a dyn LogReader,
    pub(super) audit: &'a AuditLog,
}

impl Logs for Running<'_> {
    fn counts(&self) -> (u64, u64) {
        (self.log.head().0, self.audit.count())
    }
    fn last_entry(&self) -> Option<Seq> {
        Some(self.audit.figures().head)
    }
    fn records(&self, each: EachRecord<'_>) -> Result<(), ReplayFailed> {
        let mut ended = Ok(());
        self.log.scan(Seq(1), &mut |seq, bytes| match each(seq, bytes) {
            Ok(more) => more,
            Err(error) => {
                ended = Err(error);
                false
            }
        })?;
        ended
    }
    fn entries(&self, each: EachEntry<'_>) -> Result<(), ReplayFailed> {
        self.audit.each(each).map_err(ReplayFailed::Audit)
    }
}

/// The logs in a data folder, or a copy of one, that nobody writes to: read, not locked, not changed.
struct Folder<'a>(&'a Path);

impl Logs for Folder<'_> {
    fn counts(&self) -> (u64, u64) {
        (0, 0)
    }
    fn last_entry(&self) -> Option<Seq> {
        None
    }
    fn records(&self, each: EachRecord<'_>) -> Result<(), ReplayFailed> {
        let mut ended = Ok(true);
        journal::verify(&self.0.join("log"), &mut |entry| {
            if matches!(ended, Ok(true)) {
                ended = each(entry.seq, entry.record);
            }
            Ok(())
        })?;
        ended.map(drop)
    }
    fn entries(&self, each: EachEntry<'_>) -> Result<(), ReplayFailed> {
        let mut more = true;
        let read = journal::verify(&self.0.join("audit"), &mut |entry| {
            more = more && each(entry.seq, audit::decode(entry.record).ok());
            Ok(())
        });
        read.map(drop).map_err(ReplayFailed::Audit)
    }
}

/// Replays the logs in a data folder, or in a copy of one, offline: nothing there is locked or changed.
///
/// # Errors
/// See [`ReplayFailed`].
pub fn offline(folder: &Path, asked: &ReplayRequest, tell: Tell<'_>) -> Result<ReplayReport, ReplayFailed> {
    run(&Folder(folder), asked, tell)
}

/// Replays both logs. The state is folded once, forward; entries of the audit log are decided in views of it.
pub(super) fn run(logs: &dyn Logs, asked: &ReplayRequest, tell: Tell<'_>) -> Result<ReplayReport, ReplayFailed> {
    let bounds = Bounds::of(asked, clock::now())?;
    let ((events, entries), until) = (logs.counts(), logs.last_entry());
    let begun = Instant::now();
    let (state, tally) = mutations(logs, &bounds, events, tell)?;
    let mutations_ms = millis(begun);
    let begun = Instant::now();
    let decisions = decisions(logs, &state, &bounds, (entries, until), tell)?;
    Ok(ReplayReport { seq: state.seq(), mutations: told(tally), decisions, mutations_ms, decisions_ms: millis(begun) })
}

fn millis(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What is asked for, by seq or by moment.
struct Bounds {
    from: Option<At>,
    to: Option<At>,
    now: Timestamp,
}

impl Bounds {
    fn of(asked: &ReplayRequest, now: Timestamp) -> Result<Self, ReplayFailed> {
        let read = |text: &Option<String>| text.as_deref().map(str::parse).transpose();
        Ok(Self { from: read(&asked.from)?, to: read(&asked.to)?, now })
    }

    fn hold(&self, seq: Seq, at: Timestamp) -> bool {
        let is = |bound: Option<At>, by_seq: fn(Seq, Seq) -> bool, by_at: fn(Timestamp, Timestamp) -> bool| match bound
        {
            None => true,
            Some(At::Seq(bound)) => by_seq(seq, bound),
            Some(other) => other.moment(self.now).is_none_or(|moment| by_at(at, moment)),
        };
        is(self.from, |seq, bound| seq >= bound, |at, bound| at >= bound)
            && is(self.to, |seq, bound| seq <= bound, |at, bound| at <= bound)
    }
}

fn mutations(logs: &dyn Logs, bounds: &Bounds, of: u64, tell: Tell<'_>) -> Result<(State, Tally), ReplayFailed> {
    let seq = |bound: Option<At>| match bound {
        Some(At::Seq(seq)) => Some(seq),
        _ => None,
    };
    let moment = |bound: Option<At>| bound.and_then(|bound| bound.moment(bounds.now));
    let range =
        Range { from: seq(bounds.from), to: seq(bounds.to), since: moment(bounds.from), until: moment(bounds.to) };
    let mut replay = Replay::of(range);
    logs.records(&mut |seq, bytes| {
        replay.push(seq, bytes)?;
        let progress = || ReplayLine::Progress { phase: "mutations".to_owned(), done: seq.0, of };
        if seq.0 % TELL_EVERY == 0 && !tell(progress()) {
            return Err(ReplayFailed::CalledOff);
        }
        Ok(true)
    })?;
    Ok(replay.finish()?)
}

fn told(tally: Tally) -> Replayed {
    let finding = |finding: Finding| NotProved {
        position: finding.seq,
        seq: Seq(finding.seq.0.saturating_sub(1)),
        at: finding.at,
        actor: Some(finding.actor),
        what: format!("{} {}", finding.event, finding.object),
        why: finding.why,
    };
    Replayed {
        read: tally.events,
        checked: tally.checked,
        undecided: 0,
        not_proved: tally.not_allowed,
        findings: tally.findings.into_iter().map(finding).collect(),
    }
}

fn decisions(
    logs: &dyn Logs,
    state: &State,
    bounds: &Bounds,
    (of, until): (u64, Option<Seq>),
    tell: Tell<'_>,
) -> Result<Replayed, ReplayFailed> {
    let (mut replayed, mut view, mut called_off) = (Replayed::default(), None, false);
    logs.entries(&mut |position, entry| {
        if until.is_some_and(|until| position > until) {
            return false;
        }
        replayed.read += 1;
        if replayed.read % TELL_EVERY == 0 {
            called_off = !tell(ReplayLine::Progress { phase: "decisions".to_owned(), done: replayed.read, of });
        }
        let Some(entry) = entry else {
            replayed.undecided += 1;
            return !called_off;
        };
        if bounds.hold(entry.seq, entry.at) {
            let what = decided(state, &mut view, &entry);
            note(&mut replayed, position, &entry, what);
        }
        !called_off
    })?;
    if called_off { Err(ReplayFailed::CalledOff) } else { Ok(replayed) }
}

/// Entries come nearly in the order of their states, so the view of the last one is mostly the right one.
fn decided<'s>(state: &'s State, view: &mut Option<AsOf<'s>>, entry: &AuditEntry) -> Again {
    if entry.seq > state.seq() {
        return Again::Otherwise(format!("it names seq {}, and the log ends at {}", entry.seq, state.seq()));
    }
    let view = match view.take() {
        Some(known) if mcpctl_core::world::World::seq(&known) == entry.seq => view.insert(known),
        _ => view.insert(state.at(entry.seq)),
    };
    again(view, entry, state.time_of(entry.seq).unwrap_or_default())
}

fn note(replayed: &mut Replayed, position: Seq, entry: &AuditEntry, what: Again) {
    let why = match what {
        Again::Proved => {
            replayed.checked += 1;
            return;
        }
        Again::Undecided => {
            replayed.undecided += 1;
            return;
        }
        Again::Otherwise(why) => why,
    };
    replayed.checked += 1;
    replayed.not_proved += 1;
    if replayed.findings.len() < FINDINGS_MAX {
        replayed.findings.push(NotProved {
            position,
            seq: entry.seq,
            at: entry.at,
            actor: entry.actor.as_ref().map(|actor| harmless(&actor.to_string()).into_owned()),
            what: harmless(&said(entry)).into_owned(),
            why: harmless(&why).into_owned(),
        });
    }
}

/// What an entry is about, in a few words.
fn said(entry: &AuditEntry) -> String {
    let words = [Some(&entry.method), entry.project.as_ref(), entry.server.as_ref(), entry.tool.as_ref()];
    let words: Vec<&str> = words.into_iter().flatten().map(String::as_str).filter(|word| !word.is_empty()).collect();
    let allowed = if entry.allowed { "allowed" } else { "refused" };
    format!("{allowed} {} {}", entry.kind, words.join(" "))
}
