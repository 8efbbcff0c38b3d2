//! The answer to one HTTP request, as it is read.
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::response;
use hyper::body::{Body as _, Incoming};
use tokio::sync::OwnedSemaphorePermit;

use super::UpstreamError;
use super::endpoint::{Endpoint, Failed, IDLE_FOR};
use super::http_line::{Line, drive};
use super::rpc::MESSAGE_BYTES_MAX;

/// An answer that is being read. Dropped before its end, the connection is closed.
pub(super) struct Exchange {
    endpoint: Arc<Endpoint>,
    line: Option<Line>,
    _place: OwnedSemaphorePermit,
    /// Status and headers.
    pub(super) head: response::Parts,
    body: Incoming,
}

impl Exchange {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        mut line: Line,
        place: OwnedSemaphorePermit,
        head: response::Parts,
        body: Incoming,
    ) -> Self {
        if let Some(keep_for) = head.headers.get("keep-alive").and_then(kept_by_server) {
            line.keep_for = keep_for;
        }
        Self { endpoint, line: Some(line), _place: place, head, body }
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Failed> {
        loop {
            let Some(line) = &mut self.line else { return Ok(None) };
            let body = &mut self.body;
            let frame =
                drive(&mut line.connection, &mut line.done, poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).await;
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(_)) => return Err(Failed::Lost),
                None => {
                    self.finish().await;
                    return Ok(None);
                }
            }
        }
    }

    async fn finish(&mut self) {
        let Some(mut line) = self.line.take() else { return };
        line.advance().await;
        if line.usable() {
            self.endpoint.keep(line);
        }
    }

    /// The whole body, within the limit of a message.
    pub(super) async fn whole(&mut self) -> Result<Bytes, UpstreamError> {
        let server = &self.endpoint.server().clone();
        let Some(first) = self.chunk_or(server).await? else { return Ok(Bytes::new()) };
        let Some(second) = self.chunk_or(server).await? else { return Ok(first) };
        let mut all = Vec::with_capacity((first.len() + second.len()) * 2);
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(more) = self.chunk_or(server).await? {
            if all.len() + more.len() > MESSAGE_BYTES_MAX {
                let what = format!("it sent a message of more than {} MiB", MESSAGE_BYTES_MAX >> 20);
                return Err(UpstreamError::Protocol { server: server.to_string(), what });
            }
            all.extend_from_slice(&more);
        }
        Ok(all.into())
    }

    async fn chunk_or(&mut self, server: &str) -> Result<Option<Bytes>, UpstreamError> {
        self.chunk().await.map_err(|_| UpstreamError::Gone { server: server.into() })
    }

    /// Whether the body is of this media type.
    pub(super) fn is(&self, media_type: &str) -> bool {
        let value = self.head.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        value.split(';').next().is_some_and(|found| found.trim().eq_ignore_ascii_case(media_type))
    }
}

/// `Keep-Alive: timeout=5`: what the server allows, less a second for the way.
fn kept_by_server(value: &HeaderValue) -> Option<Duration> {
    let parameters = value.to_str().ok()?.split(',');
    let seconds = parameters.filter_map(|p| p.trim().strip_prefix("timeout=")).find_map(|s| s.parse::<u64>().ok())?;
    Some(Duration::from_secs(seconds.saturating_sub(1)).min(IDLE_FOR))
}
