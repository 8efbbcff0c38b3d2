//! The answer to one HTTP request, as it is read.
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::UpstreamError;
use super::endpoint::{Endpoint, Failed, IDLE_FOR};
use super::http_head::{Head, Media};
use super::http_line::{Line, TOO_LARGE};
use super::rpc::MESSAGE_BYTES_MAX;

/// An answer that is being read. Dropped before its end, the connection is closed.
pub(super) struct Exchange {
    endpoint: Arc<Endpoint>,
    line: Option<Line>,
    _place: OwnedSemaphorePermit,
    /// Status, and what of the headers is looked at.
    pub(super) head: Head,
}

impl Exchange {
    pub(super) fn new(endpoint: Arc<Endpoint>, mut line: Line, place: OwnedSemaphorePermit, head: Head) -> Self {
        if let Some(keep_for) = head.keep_for {
            line.keep_for = keep_for.min(IDLE_FOR);
        }
        Self { endpoint, line: Some(line), _place: place, head }
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Failed> {
        let Some(line) = &mut self.line else { return Ok(None) };
        match line.chunk().await {
            Ok(Some(piece)) => Ok(Some(piece)),
            Ok(None) => {
                self.finish();
                Ok(None)
            }
            Err(_) => Err(Failed::Lost),
        }
    }

    /// Gives the connection back, once the answer was read to its end.
    fn finish(&mut self) {
        if let Some(line) = self.line.take_if(|line| line.usable()) {
            self.endpoint.keep(line);
        }
        self.line = None;
    }

    /// The whole body, within the limit of a message.
    pub(super) async fn whole(&mut self) -> Result<Bytes, UpstreamError> {
        let server = self.endpoint.server().clone();
        let Some(line) = &mut self.line else { return Ok(Bytes::new()) };
        match line.known(MESSAGE_BYTES_MAX).await {
            Ok(Some(whole)) => {
                self.finish();
                return Ok(whole);
            }
            Ok(None) => {}
            Err(error) if error.get_ref().is_some_and(|why| why.to_string() == TOO_LARGE) => {
                return Err(too_large(&server));
            }
            Err(_) => return Err(UpstreamError::Gone { server: server.to_string() }),
        }
        let Some(first) = self.chunk_or(&server).await? else { return Ok(Bytes::new()) };
        let Some(second) = self.chunk_or(&server).await? else { return Ok(first) };
        let mut all = Vec::with_capacity((first.len() + second.len()) * 2);
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(more) = self.chunk_or(&server).await? {
            if all.len() + more.len() > MESSAGE_BYTES_MAX {
                return Err(too_large(&server));
            }
            all.extend_from_slice(&more);
        }
        Ok(all.into())
    }

    async fn chunk_or(&mut self, server: &str) -> Result<Option<Bytes>, UpstreamError> {
        self.chunk().await.map_err(|_| UpstreamError::Gone { server: server.into() })
    }

    /// Whether the body is JSON.
    pub(super) fn is_json(&self) -> bool {
        self.head.media == Media::Json
    }

    /// Whether the body is a stream of events.
    pub(super) fn is_events(&self) -> bool {
        self.head.media == Media::Events
    }
}

fn too_large(server: &str) -> UpstreamError {
    let what = format!("it sent a message of more than {} MiB", MESSAGE_BYTES_MAX >> 20);
    UpstreamError::Protocol { server: server.to_owned(), what }
}
