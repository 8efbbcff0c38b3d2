//! How long entries are kept: whole segments that are older than the organisation's policy says are dropped, and their
//! hashes stay in the tree.
use std::sync::Arc;
use std::time::Duration;

use mcpctl_core::actor::Actor;
use mcpctl_core::ids::Seq;
use mcpctl_core::kinds::Policy;
use mcpctl_core::log::LogError;
use mcpctl_core::time::Timestamp;
use tokio_util::sync::CancellationToken;

use super::AuditLog;
use super::record::decode;
use crate::plane::AuditEntry;
use crate::server::app::App;

/// How often it is looked whether something is too old.
const LOOK_EVERY: Duration = Duration::from_secs(10 * 60);
/// How far back the moment of an entry may lie behind those before it: a gateway's wait, and more.
const SLACK_MS: u64 = 60 * 60 * 1000;

/// Drops what is too old until the control plane stops.
pub(in crate::server) async fn keep(app: Arc<App>, stop: CancellationToken) {
    loop {
        if let Some(span) = Policy::of(&*app.published.load()).and_then(Policy::audit_retention_ms) {
            let looking = app.clone();
            let before = Timestamp::from_millis(app.published.now().as_millis().saturating_sub(span));
            let done = tokio::task::spawn_blocking(move || drop_old(&looking, before)).await;
            if let Ok(Err(why)) = done {
                tracing::error!(%why, "audit entries that are too old could not be dropped");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn drop_old(app: &App, before: Timestamp) -> Result<(), String> {
    let Some(kept) = app.audit.too_old(before).map_err(|error| error.to_string())? else { return Ok(()) };
    // Their hashes first: what is not in durable tiles could not be verified any more.
    let safe = app.audit_evidence.settle().map_err(|error| error.to_string())?;
    let kept = kept.min(Seq(safe + 1));
    app.audit.drop_before(kept, before, app.published.now()).map_err(|error| error.to_string())
}

impl AuditLog {
    /// The first position of which nothing is too old; nothing when no segment is.
    ///
    /// # Errors
    /// When the log can't be read.
    pub(super) fn too_old(&self, before: Timestamp) -> Result<Option<Seq>, LogError> {
        let reader = self.reader();
        let mut kept = None;
        for (_, last) in reader.whole_segments() {
            let newest = reader.read(last)?.and_then(|bytes| decode(&bytes).ok()).map(|entry| entry.at);
            // One that can't be read is as old as what is around it.
            if newest.is_some_and(|at| at.plus_millis(SLACK_MS) >= before) {
                break;
            }
            kept = Some(last.next());
        }
        Ok(kept)
    }

    /// Drops whole segments before a position, and records that it was done.
    ///
    /// # Errors
    /// When the log can't be written, or a file can't be removed.
    pub(super) fn drop_before(&self, kept: Seq, before: Timestamp, now: Timestamp) -> Result<(), LogError> {
        let reader = self.reader();
        let first = reader.first().unwrap_or(Seq(1));
        let gone = reader.whole_segments().into_iter().take_while(|(_, last)| *last < kept).last();
        let Some((_, last)) = gone else { return Ok(()) };
        let entry = AuditEntry {
            at: now,
            kind: "audit-retention".to_owned(),
            method: "retention".to_owned(),
            actor: Some(Actor::system("retention")),
            allowed: true,
            outcome: "ok".to_owned(),
            reason: Some(format!("dropped the entries at positions {first} to {last}, older than {before}")),
            ..AuditEntry::default()
        };
        // Said before it is done: a crash in between leaves entries that the next look drops.
        let said = self.append(entry).map_err(|error| LogError::Broken { why: error.to_string() })?;
        self.sync_up_to(said)?;
        let kept = reader.drop_before(kept)?;
        self.index_forget(kept.unwrap_or(Seq(1)));
        Ok(())
    }
}
