//! The way to one server for one caller through the control plane's proxy, and the messages that go it.
use std::sync::Weak;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Shared;
use super::ask::{body, root_cause};
use crate::client::gateway_wire::{Conversation, FailureProblem, REFUSED_PREFIX};
use crate::plane::CallerBearer;
use crate::upstream::{Reply, ServerMessage, UpstreamError};

/// The way to one server for one caller.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) shared: Weak<Shared>,
    pub(super) bearer: CallerBearer,
    pub(super) project: String,
    pub(super) server: String,
    pub(super) conversation: Conversation,
}

impl Way {
    pub(super) fn request(&self, method: Method) -> Result<RequestBuilder, UpstreamError> {
        let shared = self.shared.upgrade().ok_or_else(|| self.unavailable("the gateway stops".to_owned()))?;
        Ok(shared.ask.proxy(method, &self.bearer, (&self.project, &self.server), &self.conversation))
    }

    pub(super) fn unavailable(&self, why: String) -> UpstreamError {
        UpstreamError::Unavailable { server: self.server.clone(), why }
    }

    pub(super) fn protocol(&self, what: &str) -> UpstreamError {
        UpstreamError::Protocol { server: self.server.clone(), what: what.to_owned() }
    }

    /// Sends a message; the answer is one of success.
    pub(super) async fn send(&self, request: RequestBuilder, message: String) -> Result<Response, UpstreamError> {
        let request = request.header(CONTENT_TYPE, "application/json").body(message);
        let sent = request.send().await;
        let response = sent.map_err(|error| self.unavailable(format!("control plane: {}", root_cause(&error))))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let again = response.headers().get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()).map(str::to_owned);
        if let (StatusCode::TOO_MANY_REQUESTS, Some(seconds)) = (status, again) {
            // Not the server's fault, and no reason to begin the conversation anew.
            return Err(
                self.protocol(&format!("the control plane takes no more requests of this caller for {seconds} s"))
            );
        }
        let bytes = body(response).await.unwrap_or_default();
        let said: Option<FailureProblem> = serde_json::from_slice(&bytes).ok();
        Err(match said {
            Some(FailureProblem { upstream: Some(failure), .. }) => failure.into(),
            Some(FailureProblem { problem, .. }) => self.unavailable(problem.detail),
            None => self.unavailable(format!("the control plane answered {status}")),
        })
    }

    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, UpstreamError>> + Send,
    ) -> Result<T, UpstreamError> {
        let late = |_| UpstreamError::TimedOut { server: self.server.clone(), seconds: limit.as_secs() };
        tokio::time::timeout(limit, work).await.map_err(late)?
    }
}

/// A message of the proxy, one level deep.
#[derive(Deserialize)]
pub(super) struct Envelope {
    #[serde(default)]
    pub(super) id: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) method: Option<String>,
    #[serde(default)]
    pub(super) params: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) result: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) error: Option<Box<RawValue>>,
}

impl Envelope {
    pub(super) fn reply(self) -> Option<Reply> {
        match (self.result, self.error) {
            (Some(result), None) => Some(Reply::Result(result)),
            (None, Some(error)) => Some(Reply::Error(error)),
            _ => None,
        }
    }

    pub(super) fn message(self) -> Option<ServerMessage> {
        let method = self.method?;
        if let Some(refused) = method.strip_prefix(REFUSED_PREFIX) {
            return Some(ServerMessage::Refused { method: refused.into() });
        }
        let (method, params) = (method.into(), self.params.map(Into::into));
        Some(match self.id {
            Some(id) => ServerMessage::Request { id: id.into(), method, params },
            None => ServerMessage::Notification { method, params },
        })
    }
}

/// A request, or without an id a notification.
pub(super) fn text(id: Option<u64>, method: &str, params: Option<&RawValue>) -> String {
    let id = id.map_or_else(String::new, |id| format!(r#","id":{id}"#));
    let params = params.map_or_else(String::new, |params| format!(r#","params":{}"#, params.get()));
    let method = serde_json::to_string(method).unwrap_or_default();
    format!(r#"{{"jsonrpc":"2.0"{id},"method":{method}{params}}}"#)
}
