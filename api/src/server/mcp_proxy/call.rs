//! A request to a server: filtered, forwarded, recorded, answered as JSON or, when messages come before, as a stream.
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc;

use super::message::answer as answer_text;
use super::{Opened, failed, malformed, over, stream, until_cut};
use crate::client::gateway_wire::{CALL, CallOptions, HANDSHAKE, from_header};
use crate::otel::Place;
use crate::plane::{AuditEntry, Plane, is_call, kind};
use crate::server::clock;
use crate::server::watch::ForGateways;
use crate::upstream::trace::{TracedCall, given};
use crate::upstream::{Call, CallSink, Reply, ServerMessage, Session, UpstreamError};

const TIMEOUT: Duration = Duration::from_secs(60);
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Messages that may wait for a reader of the stream; more are dropped, as a server may send without end.
const MESSAGES_MAX: usize = 256;
const INVALID_PARAMS: i64 = -32602;

/// The request.
pub(super) struct Asked {
    pub(super) id: Box<RawValue>,
    pub(super) method: String,
    pub(super) params: Option<Box<RawValue>>,
    /// Of the whole message.
    pub(super) bytes: usize,
    /// Where in a trace it is made.
    pub(super) trace: Option<Arc<Place>>,
}

/// How a call ended: with an answer of the server, or why there is none.
pub(super) enum Ended {
    Answered(Reply),
    Failed(UpstreamError),
    NotAudited(String),
}

/// A call that runs. Dropping it cancels it.
pub(super) type Running = Pin<Box<dyn Future<Output = Ended> + Send>>;

struct ToChannel(mpsc::Sender<ServerMessage>);

impl CallSink for ToChannel {
    fn message(&self, message: ServerMessage) {
        if self.0.try_send(message).is_err() {
            tracing::debug!("a message of a server was dropped: its reader is slow or gone");
        }
    }
}

/// Answers a request.
pub(super) async fn answer(
    parts: &ForGateways,
    opened: Opened,
    session: Arc<dyn Session>,
    asked: Asked,
    headers: &HeaderMap,
) -> Response {
    if asked.method == HANDSHAKE {
        return json_answer(&asked.id, &Reply::Result(handshake(&*session)));
    }
    let options: CallOptions = match headers.get(CALL).map(|value| value.to_str().ok().and_then(from_header)) {
        None => CallOptions::default(),
        Some(Some(options)) => options,
        Some(None) => return malformed(format!("the header {CALL} can't be read")),
    };
    let target = target_of(&asked);
    if asked.method == "tools/call" && !target.as_deref().is_some_and(|tool| opened.server.serves(tool)) {
        let message = format!("Unknown tool: {}", target.unwrap_or_default().chars().take(80).collect::<String>());
        return json_answer(&asked.id, &Reply::Error(raw(&json!({ "code": INVALID_PARAMS, "message": message }))));
    }
    let (sink, mut messages) = mpsc::channel(MESSAGES_MAX);
    // The header of modern servers is made of the body: the two can't differ.
    let options = CallOptions { target: target.clone().or(options.target), ..options };
    let entry = entry(&opened, &asked, target);
    let admitted = admitted(&opened, &asked.method, &entry);
    let entry = Some(entry).filter(|entry| RECORDED.contains(&&*entry.method));
    let mut call = call(asked.method, asked.params, options);
    // A gateway that makes no spans passes on what its caller says.
    let place = asked.trace.and_then(|place| place.within_or(given(call.params.as_deref())));
    let span = place.map(|place| TracedCall::begin(place, &opened.server.name, &*session, &mut call));
    let mut running = run(parts.plane.clone(), opened, session, (call, span), sink, Lines { admitted, entry });
    let first = tokio::select! {
        biased;
        ended = &mut running => {
            // What was sent before the answer goes out before it.
            match messages.try_recv() {
                Ok(first) => return stream::of_call(asked.id, Some(first), messages, Box::pin(async { ended })),
                Err(_) => return plain(&asked.id, ended),
            }
        }
        first = messages.recv() => first,
    };
    stream::of_call(asked.id, first, messages, running)
}

fn plain(id: &RawValue, ended: Ended) -> Response {
    match ended {
        Ended::Answered(reply) => json_answer(id, &reply),
        Ended::Failed(error) => failed(error),
        Ended::NotAudited(why) => failed(UpstreamError::Unrecorded { why }),
    }
}

fn json_answer(id: &RawValue, reply: &Reply) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], answer_text(id, reply)).into_response()
}

fn raw(value: &serde_json::Value) -> Box<RawValue> {
    to_raw_value(value).expect("a JSON value is JSON")
}

fn handshake(session: &dyn Session) -> Box<RawValue> {
    let said = session.handshake();
    raw(&json!({
        "era": said.era,
        "version": said.version,
        "serverInfo": said.server_info,
        "capabilities": said.capabilities,
        "instructions": said.instructions,
    }))
}

/// The tool, prompt or resource that is asked for.
fn target_of(asked: &Asked) -> Option<String> {
    #[derive(Deserialize)]
    struct Target {
        name: Option<String>,
        uri: Option<String>,
    }
    let target: Target = serde_json::from_str(asked.params.as_ref()?.get()).ok()?;
    target.name.or(target.uri)
}

fn call(method: String, params: Option<Box<RawValue>>, options: CallOptions) -> Call {
    let timeout = options.timeout_ms.map_or(TIMEOUT, Duration::from_millis).min(TIMEOUT_MAX);
    Call {
        progress: options.progress,
        target: options.target.map(Into::into),
        headers: options.headers.into_iter().filter(|(name, _)| may_pass(name)).collect(),
        capabilities: options.capabilities.map(Into::into),
        ..Call::new(method, params, timeout)
    }
}

/// Headers that a caller may have passed on: parameters of the tool and the trace, and none that speaks for somebody.
fn may_pass(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("mcp-param-") || matches!(&*name, "traceparent" | "tracestate" | "baggage")
}

/// What the proxy records of each call when it has ended; lists and the like are the gateway's to record.
const RECORDED: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];

/// What is recorded of a call.
struct Lines {
    /// Durably, before the server is called.
    admitted: Option<AuditEntry>,
    /// When it has ended.
    entry: Option<AuditEntry>,
}

/// What a strict project has recorded before its server is called.
fn admitted(opened: &Opened, method: &str, entry: &AuditEntry) -> Option<AuditEntry> {
    let wanted = opened.admission.project.strict && is_call(method);
    wanted.then(|| AuditEntry { kind: kind::CALL_ADMITTED.to_owned(), outcome: "admitted".to_owned(), ..entry.clone() })
}

fn entry(opened: &Opened, asked: &Asked, target: Option<String>) -> AuditEntry {
    AuditEntry {
        at: clock::now(),
        kind: "proxy".to_owned(),
        method: asked.method.clone(),
        actor: Some(opened.admission.caller.actor.clone()),
        owner: opened.admission.caller.owner.clone(),
        token_sha: opened.admission.caller.token_sha,
        project: Some(opened.admission.project.name.clone()),
        server: Some(opened.server.name.clone()),
        tool: target,
        allowed: true,
        seq: opened.admission.seq,
        via: opened.admission.via.to_vec(),
        request_bytes: asked.bytes as u64,
        ..AuditEntry::default()
    }
}

fn run(
    plane: Arc<dyn Plane>,
    opened: Opened,
    session: Arc<dyn Session>,
    (call, span): (Call, Option<TracedCall>),
    sink: mpsc::Sender<ServerMessage>,
    lines: Lines,
) -> Running {
    Box::pin(async move {
        let began = Instant::now();
        let Lines { admitted, entry } = lines;
        let work = async {
            if let Some(admitted) = admitted {
                let durable = plane.admitted(Some(&opened.bearer), admitted).await;
                durable.map_err(|failed| UpstreamError::Unrecorded { why: failed.0 })?;
            }
            // An access that ended while the entry was written calls nothing.
            if opened.admission.cut.is_cancelled() {
                return Err(over(&opened));
            }
            let reply = session.request(call, Arc::new(ToChannel(sink))).await;
            if let Some(span) = span {
                span.end(&reply);
            }
            reply
        };
        let ended = until_cut(&opened, work).await;
        if let Err(unmade @ UpstreamError::Unrecorded { .. }) = ended {
            // What could not be recorded before is not recorded now either.
            return Ended::Failed(unmade);
        }
        if let Some(entry) = entry {
            let entry = closed(entry, &ended, opened.admission.cut.is_cancelled(), began.elapsed());
            if let Err(failed) = plane.record(Some(&opened.bearer), entry).await {
                return Ended::NotAudited(failed.to_string());
            }
        }
        match ended {
            Ok(reply) => Ended::Answered(reply),
            Err(error) => Ended::Failed(error),
        }
    })
}

fn closed(entry: AuditEntry, ended: &Result<Reply, UpstreamError>, cut: bool, took: Duration) -> AuditEntry {
    let (outcome, answer_bytes) = match ended {
        Err(_) if cut => ("cut", 0),
        Err(UpstreamError::TimedOut { .. }) => ("timeout", 0),
        Err(_) => ("unavailable", 0),
        Ok(Reply::Error(raw)) => ("error", raw.get().len()),
        Ok(Reply::Result(raw)) if is_tool_error(raw) => ("tool-error", raw.get().len()),
        Ok(Reply::Result(raw)) => ("ok", raw.get().len()),
    };
    AuditEntry {
        outcome: outcome.to_owned(),
        duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        answer_bytes: answer_bytes as u64,
        ..entry
    }
}

fn is_tool_error(result: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Result {
        #[serde(default, rename = "isError")]
        is_error: bool,
    }
    serde_json::from_str::<Result>(result.get()).is_ok_and(|result| result.is_error)
}
