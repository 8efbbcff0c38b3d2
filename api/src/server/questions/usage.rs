//! Which grants were used, by whom, and when last: read from the `via` of every audited call and of every event of the log.
//!
//! A use names the event that made the grants, and who used them; which line of a binding it was is not recorded. What was
//! read once is remembered, so that only the first look after a start reads everything.
use std::collections::{BTreeMap, HashMap};

use mcpctl_core::access::Grant;
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::log::{LogError, LogReader};
use mcpctl_core::object::Object;
use mcpctl_core::record::Record;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World;
use parking_lot::{Mutex, MutexGuard};

use crate::access_wire::UsageKnown;
use crate::server::audit::{self, AuditLog};

/// What is known of uses; it grows with every look.
#[derive(Default)]
pub(in crate::server) struct Usage(Mutex<Seen>);

/// All uses up to some place in both logs.
#[derive(Default)]
pub(in crate::server) struct Seen {
    events: Seq,
    entries: Seq,
    first_entry_at: Option<Timestamp>,
    /// By the event that made the grants, who used them and when last.
    used: HashMap<Seq, BTreeMap<Uid, Timestamp>>,
}

impl Usage {
    /// All uses there are by now. It reads what is new in both logs: call it where blocking is allowed.
    ///
    /// # Errors
    /// When one of the logs can't be read.
    pub(in crate::server) fn known(
        &self,
        log: &dyn LogReader,
        audit: &AuditLog,
    ) -> Result<MutexGuard<'_, Seen>, LogError> {
        let mut seen = self.0.lock();
        log.scan(seen.events.next(), &mut |seq, bytes| {
            seen.event(bytes);
            seen.events = seq;
            true
        })?;
        audit.reader().scan(seen.entries.next(), &mut |position, bytes| {
            seen.entry(bytes);
            seen.entries = position;
            true
        })?;
        Ok(seen)
    }
}

impl Seen {
    fn event(&mut self, bytes: &[u8]) {
        let Ok(Record { header, .. }) = Record::load(bytes) else { return };
        for via in &header.authz.via {
            for actor in [Some(&header.actor), header.on_behalf_of.as_ref()].into_iter().flatten() {
                self.note(*via, actor.uid, header.at);
            }
        }
    }

    fn entry(&mut self, bytes: &[u8]) {
        let Ok(entry) = audit::decode(bytes) else { return };
        self.first_entry_at.get_or_insert(entry.at);
        for via in &entry.via {
            for actor in [&entry.actor, &entry.owner].into_iter().flatten() {
                self.note(*via, actor.uid, entry.at);
            }
        }
    }

    fn note(&mut self, via: Seq, actor: Uid, at: Timestamp) {
        let last = self.used.entry(via).or_default().entry(actor).or_insert(at);
        *last = at.max(*last);
    }

    /// When a holder last used what an event gave it; a group's was used when one used it who does not hold it itself.
    pub(super) fn last(&self, world: &dyn World, holder: &Object, grant: &Grant) -> Option<Timestamp> {
        let used = self.used.get(&grant.seq)?;
        if holder.meta.kind != Kind::Group {
            return used.get(&holder.meta.uid).copied();
        }
        let itself = |uid: &Uid| world.grants(*uid).iter().any(|own| own.seq == grant.seq);
        used.iter().filter(|(uid, _)| !itself(uid)).map(|(_, at)| *at).max()
    }

    /// How far back all this reaches.
    pub(super) fn told(&self) -> UsageKnown {
        UsageKnown { audit_since: self.first_entry_at, audit_entries: self.entries.0, events: self.events }
    }
}
