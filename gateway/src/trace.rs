//! The span of a request: whose trace it belongs to, and what is told of it when it has ended.
//!
//! It says what the audit log says of a request, less who made it, and no text that a client chose: neither an argument, nor
//! the name of a thing that does not exist.
use std::iter;
use std::sync::Arc;

use mcpctl_api::otel::{Attribute, Parent, Place, SpanKind, TRACEPARENT, TRACESTATE};
use mcpctl_api::plane::AuditEntry;
use mcpctl_api::upstream::trace::{described, error_code, may_be_unknown};
use serde_json::value::RawValue;

use crate::call::{Incoming, Malformed};
use crate::exchange::Way;
use crate::json::Members;

/// The trace that a request says it belongs to. What `_meta` says is about this very message, so it comes first
/// (OpenTelemetry, MCP, context propagation); else the headers say it.
pub(crate) fn given(way: &Way, incoming: &Result<Incoming<'_>, Malformed>) -> Option<Parent> {
    let meta = match incoming {
        Ok(Incoming::Request(parsed) | Incoming::Notification(parsed)) => parsed.members.get("_meta").map(Members::of),
        Ok(Incoming::Batch(_) | Incoming::Answer { .. }) | Err(_) => None,
    };
    let in_meta = meta.and_then(|meta| {
        let (parent, state) = (meta.text(TRACEPARENT)?, meta.text(TRACESTATE));
        Parent::read(iter::once(&*parent), state.as_deref().into_iter())
    });
    in_meta.or_else(|| match way {
        Way::Http { pass, .. } => {
            let all =
                |wanted: &'static str| pass.iter().filter(move |(name, _)| name == wanted).map(|(_, text)| &**text);
            Parent::read(all(TRACEPARENT), all(TRACESTATE))
        }
        Way::Stdio(_) => None,
    })
}

/// A request's span.
pub(crate) struct RequestSpan {
    place: Arc<Place>,
    /// Of the protocol, and whether it came over HTTP.
    spoken: Option<(&'static str, bool)>,
    code: Option<i64>,
}

impl RequestSpan {
    pub(crate) fn new(place: Arc<Place>) -> Self {
        Self { place, spoken: None, code: None }
    }

    /// Which version its client speaks, and how it came.
    pub(crate) fn spoken(&mut self, version: &'static str, over_http: bool) -> Arc<Place> {
        self.spoken = Some((version, over_http));
        self.place.clone()
    }

    /// It is answered with an error.
    pub(crate) fn refused(&mut self, error: &RawValue) {
        self.code = error_code(error);
    }

    /// Closes it with what the audit log says of the request.
    pub(crate) fn end(self, entry: &AuditEntry, outcome: &'static str) {
        if !self.place.is_kept() {
            return;
        }
        let is_known = entry.definition.is_some() || entry.allowed && !may_be_unknown(self.code);
        let found = entry.server.as_ref().and(entry.tool.as_deref()).filter(|_| is_known);
        let (name, mut attributes) = described(&entry.method, found);
        let mut tell = |key, value: Option<Attribute>| attributes.extend(value.map(|value| (key, value)));
        let text = |text: &Option<String>| text.clone().map(Attribute::from);
        tell("mcp.protocol.version", self.spoken.map(|(version, _)| version.into()));
        let transport = self.spoken.map(|(_, over_http)| if over_http { "tcp" } else { "pipe" }.into());
        tell("network.transport", transport);
        // Of a caller who was not admitted it may be any text.
        tell("mcpctl.project", text(&entry.project).filter(|_| entry.actor.is_some()));
        tell("mcpctl.server", text(&entry.server));
        tell("mcpctl.session", text(&entry.session));
        tell("mcpctl.outcome", Some(outcome.into()));
        tell("rpc.response.status_code", self.code.map(|code| code.to_string().into()));
        let error = match outcome {
            "ok" | "input-required" => None,
            // By OpenTelemetry's name for it.
            "tool-error" => Some("tool_error".into()),
            "error" => Some(self.code.map_or_else(|| "_OTHER".into(), |code| code.to_string().into())),
            other => Some(other.into()),
        };
        self.place.end(SpanKind::Server, name, attributes, error);
    }
}
