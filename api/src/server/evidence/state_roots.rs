//! State roots: a log of its own, whose entry *n* says which facts about rights held after the event of seq *n + 1*.
//!
//! Its entries are derived from the config log and its projection, event by event, and never stored: the tiles are, and a
//! start that finds another root than the one that was signed raises the alarm. With the signed root of a moment, a grant
//! can be proved to have been in force then, and to have been not. See `docs/decisions/0020-state-roots.md`.
use std::sync::Arc;

use mcpctl_core::access::RoleBinding;
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::kinds::SubjectRef;
use mcpctl_core::log::{LogError, LogReader};
use mcpctl_core::record::Record;
use mcpctl_core::world::World as _;
use mcpctl_projections::{State, facts};
use mcpctl_tlog::facts::Facts;
use mcpctl_tlog::record_hash;
use mcpctl_tlog::state_root::{ProvedFact, StateRoot, write_facts};
use parking_lot::Mutex;

use super::EvidenceError;
use super::source::{EachLeaf, Leaf, Source};
use crate::server::published::Published;

/// The entries of the state log.
pub(super) struct StateRoots {
    log: Arc<dyn LogReader>,
    published: Published,
    /// The facts at the seq where the last walk ended: the next one mostly goes on from there.
    last: Mutex<Option<(u64, Facts)>>,
}

impl StateRoots {
    pub(super) fn new(log: Arc<dyn LogReader>, published: Published) -> Self {
        Self { log, published, last: Mutex::new(None) }
    }
}

/// The facts of a seq, from the state alone.
fn facts_at(state: &State, seq: u64) -> Facts {
    let mut tree = Facts::default();
    if seq > 0 {
        facts::all(&state.at(Seq(seq))).iter().for_each(|(fact, value)| tree.insert(fact, value));
    }
    tree
}

/// The state root after an event, whose facts are brought into the tree.
pub(super) fn step(state: &State, tree: &mut Facts, bytes: &[u8]) -> Result<StateRoot, LogError> {
    let record = Record::load(bytes).map_err(|source| LogError::Record { seq: state.seq(), source })?;
    let header = record.header;
    for (fact, value) in state.facts_changed(header.seq, header.object) {
        match value {
            Some(value) => tree.insert(&fact, &value),
            None => tree.remove(&fact),
        }
    }
    Ok(StateRoot { seq: header.seq.0, at: header.at.to_string(), event: record_hash(bytes), root: tree.root() })
}

impl Source for StateRoots {
    fn head(&self) -> u64 {
        self.published.load().seq().0
    }

    fn first(&self) -> u64 {
        1
    }

    fn scan(&self, from: u64, each: EachLeaf<'_>) -> Result<(), EvidenceError> {
        let state = self.published.load();
        let from = from.max(1);
        if from > state.seq().0 {
            return Ok(());
        }
        let known = self.last.lock().clone().filter(|(seq, _)| *seq == from - 1);
        let mut tree = known.map_or_else(|| facts_at(&state, from - 1), |(_, tree)| tree);
        let (mut reached, mut failed) = (from - 1, None);
        LogReader::scan(&*self.log, Seq(from), &mut |seq, bytes| {
            if seq > state.seq() {
                return false;
            }
            match step(&state, &mut tree, bytes) {
                Ok(root) => {
                    reached = seq.0;
                    each(seq.0, Leaf::Bytes(root.to_text().as_bytes()))
                }
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        })?;
        // A look at the past must not cost the next event the way from the beginning.
        let mut last = self.last.lock();
        if last.as_ref().is_none_or(|(seq, _)| *seq < reached) {
            *last = Some((reached, tree));
        }
        failed.map_or(Ok(()), |failed| Err(failed.into()))
    }
}

/// Whether a grant was in force at a seq: the facts that say so, or that there are none, with their proofs.
pub(in crate::server) fn grant_facts(state: &State, seq: Seq, subject: &SubjectRef, grant: &RoleBinding) -> String {
    let view = state.at(seq);
    let (all, tree) = (facts::all(&view), facts_at(state, seq.0));
    let proved = |fact: String| {
        let (value, proof) = (all.get(&fact).cloned(), tree.prove(&fact));
        ProvedFact { fact, value, proof }
    };
    let named = proved(facts::subject_fact(subject));
    let holder = named.value.as_deref().and_then(uid_in);
    let mut found = vec![named];
    if let Some(holder) = holder {
        found.push(proved(facts::grant_fact(holder, grant)));
        found.push(proved(facts::groups_fact(holder)));
        let groups = view.memberships(holder).iter().map(|member| facts::grant_fact(member.group, grant));
        found.extend(groups.map(proved));
    }
    write_facts(&found)
}

/// The uid in `uid:…,enabled:…`.
fn uid_in(value: &str) -> Option<Uid> {
    value.strip_prefix("uid:")?.split(',').next()?.parse().ok()
}
