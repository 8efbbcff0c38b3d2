//! Audit entries on their way to the control plane: at once, or from the spool when it can't be reached.
//!
//! Those of one access arrive in the order in which they were made, each at least once; an id tells the second arrival from
//! the first.
use std::sync::Arc;
use std::time::Duration;

use super::ask::NotWritten;
use super::spool::{Spool, Spooled};
use super::{Pair, Shared};
use crate::client::stream_wire::Handle;
use crate::plane::{AuditEntry, AuditFailed, CallerBearer};

/// How long the control plane may take to write an entry when there is no spool.
const RECORD_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take before the spool is used.
const BEFORE_SPOOL: Duration = Duration::from_secs(1);
/// How long it may take to write what was spooled.
const LATE_LIMIT: Duration = Duration::from_secs(10);
/// Entries of one delivery, after which it is noted what was delivered, and of one request of it. Where a control plane comes
/// and goes, more at once would be begun again and again.
const AT_ONCE: usize = 200;
const OF_REQUEST: usize = 100;
/// Waits between attempts to deliver.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Most tickets that are kept: as many as accesses are held.
const TICKETS_MAX: usize = 65_536;

impl Shared {
    /// Keeps what entries about an access are delivered with when its bearer opens nothing any more.
    pub(super) fn keep_ticket(&self, pair: Pair, ticket: &str) {
        let mut tickets = self.tickets.lock();
        if tickets.len() >= TICKETS_MAX
            && !tickets.contains_key(&pair)
            && let Some(any) = tickets.keys().next().cloned()
        {
            tickets.remove(&any);
        }
        if !ticket.is_empty() && tickets.get(&pair).is_none_or(|known| **known != *ticket) {
            tickets.insert(pair, ticket.into());
        }
    }

    /// Records an entry, or puts it where it survives until it can be.
    pub(super) async fn record(
        &self,
        bearer: &CallerBearer,
        project: String,
        entry: AuditEntry,
    ) -> Result<(), AuditFailed> {
        let entry = AuditEntry { id: Some(Handle(random()).to_string()), ..entry };
        let waiting = self.spool.as_ref().is_some_and(Spool::waits);
        let failed = if let Some(other) = self.memory.refused() {
            // It is told neither what was asked nor by whom: another log would have the entry, and not the one that it is for.
            other.to_string()
        } else if waiting {
            // Nothing overtakes what waits.
            "entries wait to be delivered".to_owned()
        } else {
            let limit = if self.spool.is_some() { BEFORE_SPOOL } else { RECORD_LIMIT };
            let recorded = tokio::time::timeout(limit, self.ask.record(bearer, &project, &entry)).await;
            match recorded.unwrap_or_else(|_| Err("the control plane did not answer in time".to_owned())) {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            }
        };
        let ticket = self.tickets.lock().get(&(bearer.digest(), project)).cloned();
        match (&self.spool, ticket) {
            (Some(spool), Some(ticket)) => {
                let spooled = Spooled { ticket: ticket.to_string(), entry };
                spool.put(&spooled).map_err(|not| AuditFailed(format!("{failed}; {not}")))
            }
            // Nobody was admitted by this bearer here: only the control plane could say whose it is.
            _ => Err(AuditFailed(failed)),
        }
    }
}

/// 128 bits that nobody else draws.
fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system's generator works");
    bytes
}

/// Delivers what waits in the spool, as long as the gateway lives.
pub(super) async fn deliver(shared: Arc<Shared>) {
    let Some(spool) = &shared.spool else { return };
    let mut wait = RETRY.0;
    loop {
        if !spool.waits() {
            tokio::select! {
                () = shared.stop.cancelled() => return,
                () = spool.filled.notified() => {}
            }
            continue;
        }
        let delivered = tokio::select! {
            () = shared.stop.cancelled() => return,
            delivered = deliver_some(&shared, spool) => delivered,
        };
        wait = if delivered { RETRY.0 } else { (wait * 2).min(RETRY.1) };
        if !delivered {
            tokio::select! {
                () = shared.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

/// Delivers the oldest that wait. Answers whether that came to be; what was delivered of them then is delivered again.
async fn deliver_some(shared: &Shared, spool: &Spool) -> bool {
    // What waits is for the log that was served by, and for no other.
    if shared.memory.refused().is_some() {
        return false;
    }
    if let Err(error) = spool.sync() {
        tracing::error!(%error, "the spool of audit entries can't be made durable");
    }
    let (some, last) = match spool.next(AT_ONCE) {
        Ok(next) => next,
        Err(error) => {
            tracing::error!(%error, "the spool of audit entries can't be read");
            return false;
        }
    };
    for group in by_ticket(&some) {
        if !deliver_group(shared, spool, &group).await {
            return false;
        }
    }
    if !some.is_empty() {
        tracing::info!(entries = some.len(), "audit entries that had waited were delivered");
    }
    spool.delivered(last).inspect_err(|error| tracing::error!(%error, "what was delivered can't be noted")).is_ok()
}

/// Entries of one ticket go together, in their order.
fn by_ticket(some: &[Spooled]) -> Vec<Vec<&Spooled>> {
    let mut groups: Vec<Vec<&Spooled>> = Vec::new();
    for one in some {
        let fits = |group: &&mut Vec<&Spooled>| group.len() < OF_REQUEST && group[0].ticket == one.ticket;
        match groups.iter_mut().rev().find(fits) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

/// One request. Answers whether its entries need not be delivered any more.
async fn deliver_group(shared: &Shared, spool: &Spool, group: &[&Spooled]) -> bool {
    let Some(first) = group.first() else { return true };
    let project = first.entry.project.clone().unwrap_or_default();
    let entries: Vec<&AuditEntry> = group.iter().map(|one| &one.entry).collect();
    let sent = tokio::time::timeout(LATE_LIMIT, shared.ask.record_late(&first.ticket, &project, &entries)).await;
    match sent.unwrap_or_else(|_| Err(NotWritten::Later("it did not answer in time".to_owned()))) {
        Ok(()) => true,
        Err(NotWritten::Later(why)) => {
            tracing::debug!(%why, "audit entries wait on");
            false
        }
        // In the spool they would keep all later ones from arriving.
        Err(refused) => {
            tracing::error!(%refused, entries = group.len(), "audit entries were refused: they are kept in refused.jsonl");
            let aside = spool.set_aside(group);
            aside.inspect_err(|error| tracing::error!(%error, "refused audit entries can't be set aside")).is_ok()
        }
    }
}
