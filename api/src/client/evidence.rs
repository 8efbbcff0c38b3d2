//! Evidence of the log: its checkpoint, its tiles, and proofs.
use super::transport::Ask;
use super::{Client, ClientError};
use crate::wire::Consistency;

impl Client {
    /// The newest signed checkpoint. It is to be checked, not believed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn log_checkpoint(&self) -> Result<Vec<u8>, ClientError> {
        self.log_bytes(&["checkpoint"]).await
    }

    /// The public key that the log says is its own.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn log_key(&self) -> Result<Vec<u8>, ClientError> {
        self.log_bytes(&["key"]).await
    }

    /// A tile of hashes or a bundle of entries, by its path below the log's address.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn log_tile(&self, path: &str) -> Result<Vec<u8>, ClientError> {
        self.log_bytes(&path.split('/').collect::<Vec<_>>()).await
    }

    /// The proof that the log goes on from one of its earlier sizes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn log_consistency(&self, size: u64) -> Result<Consistency, ClientError> {
        let url = self.address().at(&["log", "config", "consistency", &size.to_string()]);
        Ok(self.json(Ask::get(url)).await?.body)
    }

    /// The proof that an event is in the log, as tlog-proof@v1.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn log_proof(&self, seq: u64) -> Result<Vec<u8>, ClientError> {
        self.log_bytes(&["proof", &seq.to_string()]).await
    }

    /// An event as it is stored.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn log_event(&self, seq: u64) -> Result<Vec<u8>, ClientError> {
        self.log_bytes(&["event", &seq.to_string()]).await
    }

    async fn log_bytes(&self, segments: &[&str]) -> Result<Vec<u8>, ClientError> {
        self.bytes(Ask::get(self.address().at(&[&["log", "config"], segments].concat()))).await
    }
}
