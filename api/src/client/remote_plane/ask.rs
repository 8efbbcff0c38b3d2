//! Requests to the control plane, each with the bearer of the caller that it is about.
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use url::Url;

use super::super::Address;
use super::super::gateway_wire::{
    AdmittedView, CONVERSATION, Conversation, DenialProblem, HANDLE, LOG_SIZE, SAW, STREAM, TICKET, to_header,
};
use super::super::stream_wire::Handle;
use super::memory::ToAsk;
use crate::plane::{AuditEntry, CallerBearer, Denial};

/// Most bytes of an answer that is no stream.
pub(super) const ANSWER_BYTES_MAX: usize = 32 << 20;

/// What an introspection names, so that what it tells is held from the first moment.
pub(super) struct Named {
    pub(super) stream: Option<Handle>,
    pub(super) handle: Option<Handle>,
    /// What the answer shall say of the log.
    pub(super) log: ToAsk,
}

/// What came of opening a stream.
pub(super) enum Opening {
    Open(Response),
    /// None of the handles is known.
    Unknown,
    Failed,
}

/// Knows the way.
pub(super) struct Asker {
    http: reqwest::Client,
    address: Address,
}

impl Asker {
    pub(super) const fn new(http: reqwest::Client, address: Address) -> Self {
        Self { http, address }
    }

    fn request(&self, method: Method, url: Url, bearer: &CallerBearer) -> RequestBuilder {
        let request = self.http.request(method, url);
        // A bearer that fits into no header is no token: the control plane says so.
        match HeaderValue::from_str(&format!("Bearer {}", bearer.expose())) {
            Ok(mut value) => {
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            Err(_) => request,
        }
    }

    /// A request of one conversation with one server.
    pub(super) fn proxy(
        &self,
        method: Method,
        bearer: &CallerBearer,
        (project, server): (&str, &str),
        conversation: &Conversation,
    ) -> RequestBuilder {
        let mut url = self.address.api(&["mcp", "proxy"]);
        url.query_pairs_mut().append_pair("project", project).append_pair("server", server);
        let request = self.request(method, url, bearer).header(ACCEPT, "application/json, text/event-stream");
        if *conversation == Conversation::default() {
            return request;
        }
        request.header(CONVERSATION, to_header(conversation))
    }

    /// Whether the caller may open the project.
    pub(super) async fn view(
        &self,
        bearer: &CallerBearer,
        project: &str,
        named: Named,
    ) -> Result<AdmittedView, Denial> {
        let url = self.address.api(&["projects", project, "view"]);
        let mut request = self.request(Method::GET, url, bearer);
        for (name, value) in [(STREAM, named.stream), (HANDLE, named.handle)] {
            if let Some(mut value) = value.and_then(|value| HeaderValue::from_str(&value.to_string()).ok()) {
                value.set_sensitive(true);
                request = request.header(name, value);
            }
        }
        for (name, value) in [(SAW, named.log.saw.map(|saw| saw.seq.0)), (LOG_SIZE, named.log.size)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let response = request.send().await.map_err(|error| unavailable(&error))?;
        let response = allowed(response).await?;
        let bytes = body(response).await.map_err(Denial::Unavailable)?;
        serde_json::from_slice(&bytes)
            .map_err(|_| Denial::Unavailable("its answer can't be read; are both of the same version?".to_owned()))
    }

    /// Opens the stream on which is told what becomes of all that is held. It carries nobody's bearer.
    pub(super) async fn stream(&self, body: reqwest::Body) -> Opening {
        let url = self.address.api(&["gateways", "stream"]);
        match self.http.post(url).header(CONTENT_TYPE, "application/x-ndjson").body(body).send().await {
            Ok(response) if response.status().is_success() => Opening::Open(response),
            Ok(response) if response.status() == StatusCode::UNAUTHORIZED => Opening::Unknown,
            Ok(response) => {
                tracing::warn!(status = %response.status(), "the control plane opens no stream");
                Opening::Failed
            }
            Err(error) => {
                tracing::debug!(error = root_cause(&error), "the control plane can't be reached");
                Opening::Failed
            }
        }
    }

    /// Records an entry.
    pub(super) async fn record(&self, bearer: &CallerBearer, project: &str, entry: &AuditEntry) -> Result<(), String> {
        let url = self.address.api(&["projects", project, "audit"]);
        written(self.request(Method::POST, url, bearer).json(entry)).await.map_err(|not| not.to_string())
    }

    /// Records entries that could not be recorded at once, about the access that a ticket names.
    pub(super) async fn record_late(
        &self,
        ticket: &str,
        project: &str,
        entries: &[&AuditEntry],
    ) -> Result<(), NotWritten> {
        let url = self.address.api(&["projects", project, "audit"]);
        let mut ticket = HeaderValue::from_str(ticket).map_err(|_| NotWritten::Refused(StatusCode::BAD_REQUEST))?;
        ticket.set_sensitive(true);
        written(self.http.post(url).header(TICKET, ticket).json(entries)).await
    }
}

/// Why entries were not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotWritten {
    /// They never will be.
    #[error("the control plane answered {0}")]
    Refused(StatusCode),
    /// Not now.
    #[error("{0}")]
    Later(String),
}

async fn written(request: RequestBuilder) -> Result<(), NotWritten> {
    let response = request.send().await.map_err(|error| NotWritten::Later(root_cause(&error)))?;
    match response.status() {
        status if status.is_success() => Ok(()),
        // It is of another version, or starts: that passes.
        status @ (StatusCode::NOT_FOUND | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => {
            Err(NotWritten::Later(format!("the control plane answered {status}")))
        }
        status if status.is_client_error() => Err(NotWritten::Refused(status)),
        status => Err(NotWritten::Later(format!("the control plane answered {status}"))),
    }
}

/// The answer, when it is one of yes.
async fn allowed(response: Response) -> Result<Response, Denial> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let bytes = body(response).await.unwrap_or_default();
    let said = serde_json::from_slice::<DenialProblem>(&bytes).ok().and_then(|problem| problem.denial);
    Err(said.map_or_else(|| Denial::Unavailable(format!("it answered {status}")), Denial::from))
}

/// The body of an answer that is no stream.
pub(super) async fn body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| root_cause(&error))? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(format!("an answer has more than {ANSWER_BYTES_MAX} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn unavailable(error: &reqwest::Error) -> Denial {
    Denial::Unavailable(root_cause(error))
}

/// The innermost cause says what happened; the outer ones repeat the address.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
