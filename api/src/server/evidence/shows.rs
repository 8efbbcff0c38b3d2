//! What is shown of the log to whoever keeps one of its checkpoints: the newest one, and the proof that it goes on from there.
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Evidence, EvidenceError};
use crate::client::stream_wire::ShownLog;

/// Most proofs that are put together for gateways at once: each reads some tiles.
static LOOKS: Semaphore = Semaphore::const_new(2);
/// How long one may take. Whoever asked is answered without it then, and asks again.
const WITHIN: Duration = Duration::from_millis(100);

impl Evidence {
    /// The newest checkpoint, with the proof that the log goes on from an earlier size; nothing while the tree is not level
    /// with the log, or the log was altered. A size that the log never had has no proof: whoever kept it sees that.
    pub(crate) async fn show(self: &Arc<Self>, size: u64) -> Option<ShownLog> {
        let shown = async {
            let look = LOOKS.acquire().await.ok()?;
            let this = self.clone();
            let shown = tokio::task::spawn_blocking(move || {
                let shown = this.shown(size);
                drop(look);
                shown
            });
            let shown = shown.await.ok()?;
            shown.inspect_err(|error| tracing::warn!(log = %self.name(), %error, "a checkpoint can't be shown")).ok()?
        };
        tokio::time::timeout(WITHIN, shown).await.ok()?
    }

    fn shown(&self, size: u64) -> Result<Option<ShownLog>, EvidenceError> {
        if self.newest().is_none() || self.alarm().is_some() {
            return Ok(None);
        }
        let (signed, proofs) = self.prove_prefixes(&[size])?;
        let proof = proofs.into_iter().flat_map(|(_, proof)| proof).map(|hash| hash.to_string()).collect();
        let checkpoint = String::from_utf8_lossy(&signed.note).into_owned();
        Ok(Some(ShownLog { key: self.key().as_str().to_owned(), checkpoint, proof }))
    }
}
