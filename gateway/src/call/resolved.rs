//! A request whose server, and whose name on that server, are known. Nothing is decided yet.
use std::sync::Arc;
use std::time::Duration;

use mcpctl_api::otel::Place;
use mcpctl_api::plane::ServerView;
use mcpctl_api::upstream::Call;
use serde_json::value::RawValue;

/// What a request is about, under the server's own name for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A tool: the filters decide on it.
    Tool(Arc<str>),
    /// A prompt or a resource.
    Other(Arc<str>),
    /// The server as a whole: a list, a level of logging.
    Server,
    /// A method that the gateway does not know; nobody can say what it is about.
    Unknown,
}

impl Target {
    /// The name, where there is one.
    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        match self {
            Target::Tool(name) | Target::Other(name) => Some(name),
            Target::Server | Target::Unknown => None,
        }
    }
}

/// A request whose server and target are known.
pub struct Resolved<'a> {
    pub(super) server: &'a ServerView,
    pub(super) target: Target,
    pub(super) call: Call,
    pub(super) trace: Option<Arc<Place>>,
}

impl<'a> Resolved<'a> {
    /// A request of a server, with params as they go there.
    pub(crate) fn new(
        server: &'a ServerView,
        target: Target,
        method: &str,
        params: Option<Box<RawValue>>,
        limit: Duration,
    ) -> Self {
        let mut call = Call::new(method, params, limit);
        call.target = target.name().cloned();
        Self { server, target, call, trace: None }
    }

    /// A request that is about the server as a whole.
    pub(crate) fn of_server(
        server: &'a ServerView,
        method: &str,
        params: Option<Box<RawValue>>,
        limit: Duration,
    ) -> Self {
        Self::new(server, Target::Server, method, params, limit)
    }

    /// Asks for progress.
    #[must_use]
    pub(crate) fn with_progress(mut self, wanted: bool) -> Self {
        self.call.progress = wanted;
        self
    }

    /// Makes it a part of a trace.
    #[must_use]
    pub(crate) fn traced(mut self, trace: Option<Arc<Place>>) -> Self {
        self.trace = trace;
        self
    }

    /// Headers that a HTTP server may see.
    #[must_use]
    pub(crate) fn with_headers(mut self, headers: Vec<(String, String)>) -> Self {
        self.call.headers = headers;
        self
    }
}
