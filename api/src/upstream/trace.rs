//! A call as a part of a trace: a span of its own while it runs, which the server is told of.
use std::sync::Arc;

use serde_json::value::RawValue;

use super::rpc::{Members, member, string_member};
use super::{Call, Reply, Session, UpstreamError};
use crate::otel::{Attribute, Parent, Place, SpanKind, TRACEPARENT, TRACESTATE};

/// Methods by which spans and metrics may be named. Others are a client's to choose, and so no name.
pub const METHODS: [&str; 19] = [
    "tools/call",
    "tools/list",
    "initialize",
    "server/discover",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "logging/setLevel",
    "subscriptions/listen",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/cancel",
    "tasks/update",
];

/// Name and first attributes of a span, by OpenTelemetry's conventions for MCP. The target is told of tools and prompts only:
/// the address of a resource may hold anything.
#[must_use]
pub fn described(method: &str, target: Option<&str>) -> (String, Vec<(&'static str, Attribute)>) {
    let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("_OTHER");
    let mut attributes: Vec<(&'static str, Attribute)> = Vec::with_capacity(10);
    attributes.push(("mcp.method.name", method.into()));
    let key = match method {
        "tools/call" => {
            attributes.push(("gen_ai.operation.name", "execute_tool".into()));
            "gen_ai.tool.name"
        }
        "prompts/get" => "gen_ai.prompt.name",
        _ => return (method.to_owned(), attributes),
    };
    let Some(target) = target else { return (method.to_owned(), attributes) };
    attributes.push((key, target.to_owned().into()));
    (format!("{method} {target}"), attributes)
}

/// Whether an error may mean that there is no such thing: then its name is a text of the client's, and not told.
#[must_use]
pub const fn may_be_unknown(code: Option<i64>) -> bool {
    matches!(code, Some(-32601 | -32602 | -32002))
}

/// A call that is made within something that is traced.
pub struct TracedCall {
    place: Place,
    /// What is told of it; taken when it has ended.
    told: Option<Told>,
}

struct Told {
    method: Arc<str>,
    target: Option<Arc<str>>,
    server: String,
    version: String,
}

impl TracedCall {
    /// Opens its span and tells the call of it: the server learns of it in the header and in `_meta`.
    #[must_use]
    pub fn begin(place: Place, server: &str, session: &dyn Session, call: &mut Call) -> Self {
        call.carry(&place);
        let told = place.is_kept().then(|| Told {
            method: call.method.clone(),
            target: call.target.clone(),
            server: server.to_owned(),
            version: session.handshake().version.to_string(),
        });
        Self { place, told }
    }

    /// Closes it with what came of the call.
    pub fn end(mut self, ended: &Result<Reply, UpstreamError>) {
        let is_tool = self.told.as_ref().is_some_and(|told| &*told.method == "tools/call");
        match ended {
            _ if self.told.is_none() => {}
            Ok(Reply::Result(result)) if is_tool && is_tool_error(result) => {
                self.close(Some("tool_error".into()), None)
            }
            Ok(Reply::Result(_)) => self.close(None, None),
            Ok(Reply::Error(error)) => {
                let code = error_code(error);
                self.close(Some(code.map_or_else(|| "_OTHER".into(), |code| code.to_string().into())), code);
            }
            Err(error) => self.close(Some(sort(error).into()), None),
        }
    }

    fn close(&mut self, error: Option<Attribute>, code: Option<i64>) {
        let Some(Told { method, target, server, version }) = self.told.take() else { return };
        let target = target.filter(|_| !may_be_unknown(code));
        let (name, mut attributes) = described(&method, target.as_deref());
        attributes.push(("mcpctl.server", server.into()));
        attributes.push(("mcp.protocol.version", version.into()));
        attributes.extend(code.map(|code| ("rpc.response.status_code", code.to_string().into())));
        self.place.end(SpanKind::Client, name, attributes, error);
    }
}

impl Drop for TracedCall {
    /// The call was given up: its client went away, took it back, or lost its access.
    fn drop(&mut self) {
        self.close(Some("cancelled".into()), None);
    }
}

/// The trace that params say they belong to.
pub(crate) fn given(params: Option<&RawValue>) -> Option<Parent> {
    let meta = member(params?, "_meta")?;
    let (parent, state) = (string_member(meta, TRACEPARENT)?, string_member(meta, TRACESTATE));
    Parent::read(std::iter::once(&*parent), state.as_deref().into_iter())
}

const fn sort(error: &UpstreamError) -> &'static str {
    match error {
        UpstreamError::TimedOut { .. } => "timeout",
        UpstreamError::Unavailable { .. } | UpstreamError::Busy { .. } => "unavailable",
        UpstreamError::Gone { .. } => "gone",
        UpstreamError::Protocol { .. } => "protocol",
        UpstreamError::Unrecorded { .. } => "unrecorded",
    }
}

/// The code of a JSON-RPC error.
#[must_use]
pub fn error_code(error: &RawValue) -> Option<i64> {
    member(error, "code")?.get().parse().ok()
}

fn is_tool_error(result: &RawValue) -> bool {
    member(result, "isError").is_some_and(|raw| raw.get() == "true")
}

impl Call {
    /// Tells it of the span that it is made in. What it had of the kind comes from before and is replaced.
    fn carry(&mut self, place: &Place) {
        let parent = place.context().to_string();
        self.headers
            .retain(|(name, _)| !name.eq_ignore_ascii_case(TRACEPARENT) && !name.eq_ignore_ascii_case(TRACESTATE));
        self.headers.push((TRACEPARENT.to_owned(), parent.clone()));
        let state = place.state().map(str::to_owned);
        self.headers.extend(state.clone().map(|state| (TRACESTATE.to_owned(), state)));
        let own = [(TRACEPARENT, Some(parent)), (TRACESTATE, state)];
        self.params = with_meta(self.params.take(), &own);
    }
}

/// Params whose `_meta` has these members, or has them no more. What is no object stays as it is.
fn with_meta(params: Option<Box<RawValue>>, own: &[(&str, Option<String>)]) -> Option<Box<RawValue>> {
    let text = params.as_deref().map_or("{}", RawValue::get);
    let Ok(Members(members)) = serde_json::from_str(text) else { return params };
    let old = members.iter().find(|(key, _)| key == "_meta").map_or("{}", |(_, raw)| raw.get());
    let Ok(Members(old)) = serde_json::from_str(old) else { return params };
    let mut out = String::with_capacity(text.len() + 200);
    out.push_str("{\"_meta\":{");
    let kept = old.iter().filter(|(key, _)| own.iter().all(|(name, _)| key != name));
    let written = kept.map(|(key, raw)| (&**key, raw.get().to_owned()));
    let added = own.iter().filter_map(|(key, value)| Some((*key, quoted(value.as_deref()?))));
    push(&mut out, written.chain(added));
    out.push('}');
    let others = members.iter().filter(|(key, _)| key != "_meta");
    let mut rest = String::new();
    push(&mut rest, others.map(|(key, raw)| (&**key, raw.get().to_owned())));
    if !rest.is_empty() {
        out.push(',');
        out.push_str(&rest);
    }
    out.push('}');
    Some(RawValue::from_string(out).expect("JSON put together of JSON"))
}

fn push<'m>(out: &mut String, members: impl Iterator<Item = (&'m str, String)>) {
    for (index, (key, value)) in members.enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&quoted(key));
        out.push(':');
        out.push_str(&value);
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string always serialises")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(params: Option<&str>, state: Option<&str>) -> String {
        let params = params.map(|text| RawValue::from_string(text.to_owned()).unwrap());
        let own = [(TRACEPARENT, Some("P".to_owned())), (TRACESTATE, state.map(str::to_owned))];
        with_meta(params, &own).map_or_else(String::new, |raw| raw.get().to_owned())
    }

    #[test]
    fn the_rest_of_the_params_stays_byte_for_byte() {
        assert_eq!(changed(None, None), r#"{"_meta":{"traceparent":"P"}}"#);
        let params =
            r#"{"name":"a","arguments":{ "x" : 1.0 },"_meta":{"v":{ },"traceparent":"old","tracestate":"old"}}"#;
        let arguments = r#""name":"a","arguments":{ "x" : 1.0 }"#;
        assert_eq!(changed(Some(params), None), format!(r#"{{"_meta":{{"v":{{ }},"traceparent":"P"}},{arguments}}}"#));
        let stated = format!(r#"{{"_meta":{{"v":{{ }},"traceparent":"P","tracestate":"a=\"1"}},{arguments}}}"#);
        assert_eq!(changed(Some(params), Some("a=\"1")), stated);
    }

    #[test]
    fn what_can_not_be_changed_is_left_as_it_is() {
        for odd in ["[1]", "7", r#"{"_meta":3}"#, r#"{"_meta":{"a":1,"a":2}}"#] {
            assert_eq!(changed(Some(odd), None), odd);
        }
    }

    #[test]
    fn a_span_has_no_name_that_a_client_made_up() {
        let (name, attributes) = described("canary/method", Some("canary"));
        assert_eq!((name.as_str(), attributes.len()), ("_OTHER", 1));
        let (name, attributes) = described("resources/read", Some("file:///canary"));
        assert_eq!((name.as_str(), attributes.len()), ("resources/read", 1));
        assert_eq!(described("tools/call", Some("echo")).0, "tools/call echo");
    }
}
