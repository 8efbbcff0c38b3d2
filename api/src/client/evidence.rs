//! Evidence of a log, `config` or `audit`: its checkpoint, its tiles, and proofs.
use super::transport::Ask;
use super::{Client, ClientError};
use crate::wire::{Consistency, GrantProof};

impl Client {
    /// The newest signed checkpoint. It is to be checked, not believed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn log_checkpoint(&self, log: &str) -> Result<Vec<u8>, ClientError> {
        self.log_bytes(log, &["checkpoint"]).await
    }

    /// The public key that the log says is its own.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn log_key(&self, log: &str) -> Result<Vec<u8>, ClientError> {
        self.log_bytes(log, &["key"]).await
    }

    /// A tile of hashes or a bundle of entries, by its path below the log's address.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn log_tile(&self, log: &str, path: &str) -> Result<Vec<u8>, ClientError> {
        self.log_bytes(log, &path.split('/').collect::<Vec<_>>()).await
    }

    /// The proof that the log goes on from one of its earlier sizes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn log_consistency(&self, log: &str, size: u64) -> Result<Consistency, ClientError> {
        let url = self.address().at(&["log", log, "consistency", &size.to_string()]);
        Ok(self.json(Ask::get(url)).await?.body)
    }

    /// The proof that an event is in the log, as tlog-proof@v1.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn log_proof(&self, log: &str, seq: u64) -> Result<Vec<u8>, ClientError> {
        self.log_bytes(log, &["proof", &seq.to_string()]).await
    }

    /// An event as it is stored.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn log_event(&self, log: &str, seq: u64) -> Result<Vec<u8>, ClientError> {
        self.log_bytes(log, &["event", &seq.to_string()]).await
    }

    /// The nonce of an audit entry's details, and the details.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn audit_details(&self, position: u64) -> Result<Vec<u8>, ClientError> {
        self.log_bytes("audit", &["details", &position.to_string()]).await
    }

    /// Whether a grant was in force, with the proof.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn grant_proof(&self, subject: &str, grant: &str, at: Option<&str>) -> Result<GrantProof, ClientError> {
        let mut url = self.address().at(&["log", "state", "grant"]);
        url.query_pairs_mut().append_pair("subject", subject).append_pair("grant", grant);
        if let Some(at) = at {
            url.query_pairs_mut().append_pair("at", at);
        }
        Ok(self.json(Ask::get(url)).await?.body)
    }

    async fn log_bytes(&self, log: &str, segments: &[&str]) -> Result<Vec<u8>, ClientError> {
        self.bytes(Ask::get(self.address().at(&[&["log", log], segments].concat()))).await
    }
}
