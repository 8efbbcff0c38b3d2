//! Having both logs decided again, and hearing how far it is.
use std::time::Duration;

use futures::StreamExt;
use reqwest::Method;

use super::transport::Ask;
use super::{Client, ClientError};
use crate::replay_wire::{ReplayLine, ReplayReport, ReplayRequest};

/// How long it may be silent between two lines.
const SILENCE: Duration = Duration::from_secs(120);
/// Most bytes of a line: a report names at most two hundred findings.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Client {
    /// Has every mutation and every recorded decision made again. `hear` is told how far it is.
    ///
    /// # Errors
    /// See [`ClientError`]; also when a log can't be read to its end.
    pub async fn audit_replay(
        &self,
        asked: &ReplayRequest,
        hear: &mut dyn FnMut(&ReplayLine),
    ) -> Result<ReplayReport, ClientError> {
        let body = serde_json::to_value(asked).map_err(|error| self.odd(error.to_string()))?;
        let url = self.address().api(&["audit", "replay"]);
        let response = self.send(Ask::once(Method::POST, url, Some(body))).await?;
        let (mut chunks, mut text) = (response.bytes_stream(), Vec::new());
        loop {
            let silent = || self.odd(format!("it said nothing for {} s", SILENCE.as_secs()));
            let Some(chunk) = tokio::time::timeout(SILENCE, chunks.next()).await.map_err(|_| silent())? else {
                return Err(self.odd("its answer ended without a report".to_owned()));
            };
            text.extend_from_slice(&chunk.map_err(|error| self.failed(&error))?);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(ReplayLine::Report(report)) => return Ok(*report),
                    Ok(ReplayLine::Failed(why)) => return Err(self.odd(format!("the replay can't go on: {why}"))),
                    Ok(progress) => hear(&progress),
                    Err(error) => return Err(self.odd(format!("its answer can't be read: {error}"))),
                }
            }
            if text.len() > LINE_BYTES_MAX {
                return Err(self.odd(format!("a line of its answer has more than {LINE_BYTES_MAX} bytes")));
            }
        }
    }
}
