//! A log decided again from its first event: was each allowed in the state before it? (theorem T3, `mcpctl audit replay`)
use mcpctl_core::actor::ActorKind;
use mcpctl_core::command::{Before, Fault, SYSTEM_PARTS, SystemPart, redecide};
use mcpctl_core::erased::FoldError;
use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::log::LogError;
use mcpctl_core::object::title;
use mcpctl_core::record::Record;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use serde::{Deserialize, Serialize};

use crate::state::State;

/// How many findings are kept; the rest is counted.
pub const FINDINGS_MAX: usize = 100;

/// Which events are decided again. The others are folded only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range {
    /// Not before this event.
    pub from: Option<Seq>,
    /// Not after this event.
    pub to: Option<Seq>,
    /// Not before this moment.
    pub since: Option<Timestamp>,
    /// Not after this moment.
    pub until: Option<Timestamp>,
}

impl Range {
    /// Whether an event is asked for.
    #[must_use]
    pub fn holds(&self, seq: Seq, at: Timestamp) -> bool {
        self.from.is_none_or(|from| seq >= from)
            && self.to.is_none_or(|to| seq <= to)
            && self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at <= until)
    }
}

/// An event that was not allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Its position.
    pub seq: Seq,
    /// When it is said to have happened.
    pub at: Timestamp,
    /// What it is about, as `kind/name`.
    pub object: String,
    /// `kind.event`.
    pub event: String,
    /// Who is said to have done it.
    pub actor: String,
    /// Why it was not allowed.
    pub why: String,
}

/// What a replay came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Events read.
    pub events: u64,
    /// Events that were decided again.
    pub checked: u64,
    /// Events decided again that were not allowed.
    pub not_allowed: u64,
    /// The first of them, in the order of the log.
    pub findings: Vec<Finding>,
}

/// Why a log can't be replayed to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A record can't be read, or the chain does not hold.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An event does not follow from the state before it.
    #[error("the event at seq {seq}: {source}")]
    Fold {
        /// Its position.
        seq: Seq,
        /// Why.
        source: FoldError,
    },
}

/// A replay under way: records go in one after the other, from the first. A copy goes on by itself.
#[derive(Clone)]
pub struct Replay {
    state: State,
    parts: Vec<(&'static str, SystemPart)>,
    range: Range,
    begun: bool,
    /// The events of one command: those that name the same state.
    open: Vec<(Record, Digest)>,
    tally: Tally,
}

impl Replay {
    /// A replay of a log, of which the events in a range are decided again.
    #[must_use]
    pub fn of(range: Range) -> Self {
        let (state, tally) = (State::default(), Tally::default());
        Self { state, parts: SYSTEM_PARTS.to_vec(), range, begun: false, open: Vec::new(), tally }
    }

    /// Takes a further part of the control plane for one that may do anything: for logs of tests and benchmarks.
    #[must_use]
    pub fn trusting(mut self, part: &'static str) -> Self {
        self.parts.push((part, SystemPart::Anything));
        self
    }

    /// What it came to so far.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Takes the next record, as it is stored.
    ///
    /// # Errors
    /// When it can't be read, does not follow from the one before it, or does not fold.
    pub fn push(&mut self, seq: Seq, bytes: &[u8]) -> Result<(), ReplayError> {
        let record = Record::load(bytes).map_err(|source| LogError::Record { seq, source })?;
        let (head, prev) =
            self.open.last().map_or((self.state.seq(), self.state.head()), |(r, hash)| (r.header.seq, *hash));
        if seq != head.next() || record.header.seq != seq || record.header.prev != prev {
            return Err(LogError::Unchained { seq }.into());
        }
        let same_command = self.open.first().is_some_and(|(first, _)| first.header.authz.at == record.header.authz.at);
        if !same_command {
            self.close()?;
        }
        self.open.push((record, Digest::blake3(bytes)));
        Ok(())
    }

    /// The state at the end, and what the replay came to.
    ///
    /// # Errors
    /// When the last events do not fold.
    pub fn finish(mut self) -> Result<(State, Tally), ReplayError> {
        self.close()?;
        Ok((self.state, self.tally))
    }

    /// Decides the events of one command again, then folds them, allowed or not: they did happen.
    fn close(&mut self) -> Result<(), ReplayError> {
        let (records, hashes): (Vec<Record>, Vec<Digest>) = std::mem::take(&mut self.open).into_iter().unzip();
        let checked =
            records.iter().filter(|record| self.range.holds(record.header.seq, record.header.at)).count() as u64;
        if checked > 0 {
            self.tally.checked += checked;
            if let Err(fault) = self.decided(&records) {
                self.note(&records, fault);
            }
        }
        for (record, hash) in records.iter().zip(hashes) {
            let actor = &record.header.actor;
            self.begun |= actor.kind != ActorKind::System || actor.name != "bootstrap";
            let folded = self.state.fold(record, hash);
            folded.map_err(|source| ReplayError::Fold { seq: record.header.seq, source })?;
        }
        self.tally.events += records.len() as u64;
        Ok(())
    }

    fn decided(&self, records: &[Record]) -> Result<(), Fault> {
        let mut last = self.state.last_at();
        for record in records {
            if record.header.at < last {
                let why = format!("it happened before the event before it, which was at {last}");
                return Err((record.header.seq, mcpctl_core::command::NotAllowed::Unexplained(why)));
            }
            last = record.header.at;
        }
        redecide(&self.state, records, Before { parts: &self.parts, begun: self.begun })
    }

    fn note(&mut self, records: &[Record], (seq, why): Fault) {
        self.tally.not_allowed += 1;
        if self.tally.findings.len() == FINDINGS_MAX {
            return;
        }
        let Some(header) = records.iter().map(|record| &record.header).find(|header| header.seq == seq) else { return };
        let project = header.project.and_then(|uid| self.state.by_uid(uid)).map(|project| project.meta.name.clone());
        let actor = match &header.on_behalf_of {
            Some(other) => format!("{} for {other}", header.actor),
            None => header.actor.to_string(),
        };
        self.tally.findings.push(Finding {
            seq,
            at: header.at,
            object: title(header.kind, project.as_ref(), header.name.as_str()),
            event: format!("{}.{}", header.kind, header.event),
            actor,
            why: why.to_string(),
        });
    }
}
