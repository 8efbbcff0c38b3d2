//! A conversation with the embedded server: modern, without state, in this process.
use std::sync::Arc;

use async_trait::async_trait;
use mcpctl_core::log::LogReader;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast;

use super::answers::Asked;
use super::tools;
use crate::server::clock;
use crate::server::published::Published;
use crate::upstream::{Call, CallSink, Era, Handshake, Reply, ServerMessage, Session, SessionKey, UpstreamError};

const VERSION: &str = "2026-07-28";
/// How long a list of tools may be kept: it changes with the program only.
const LIST_TTL_MS: u64 = 300_000;

const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;

/// One caller's conversation.
pub(super) struct EmbeddedSession {
    published: Published,
    log: Arc<dyn LogReader>,
    key: SessionKey,
    handshake: Handshake,
    messages: broadcast::Sender<ServerMessage>,
}

impl EmbeddedSession {
    pub(super) fn new(published: Published, log: Arc<dyn LogReader>, key: &SessionKey) -> Self {
        let handshake = Handshake {
            era: Era::Modern,
            version: VERSION.to_owned(),
            server_info: Some(raw(&server_info()).into()),
            capabilities: Some(raw(&capabilities()).into()),
            instructions: Some(INSTRUCTIONS.into()),
        };
        Self { published, log, key: key.clone(), handshake, messages: broadcast::Sender::new(1) }
    }

    async fn call_tool(&self, params: Option<&RawValue>) -> Reply {
        let Some(asked) = params.and_then(|params| serde_json::from_str::<ToolCall>(params.get()).ok()) else {
            return error(INVALID_PARAMS, "tools/call takes an object with name and arguments");
        };
        let Some(tool) = tools::ALL.iter().find(|tool| tool.name == asked.name) else {
            return error(
                INVALID_PARAMS,
                &format!("there is no tool {:?}", asked.name.chars().take(80).collect::<String>()),
            );
        };
        let state = self.published.load();
        let now = clock::now().max(state.last_at());
        let question =
            Asked { log: self.log.clone(), project: self.key.project, subject: self.key.subject, now, state };
        // It may read the log, which is a disk.
        let answer = tokio::task::spawn_blocking(move || tool.answer(&question, &asked.arguments)).await;
        let answer = answer.unwrap_or_else(|_| Err("the control plane could not answer; see its log".to_owned()));
        complete(match answer {
            Ok(content) => {
                let text = serde_json::to_string_pretty(&content).unwrap_or_default();
                json!({ "content": [{ "type": "text", "text": text }], "structuredContent": content })
            }
            Err(why) => json!({ "content": [{ "type": "text", "text": why }], "isError": true }),
        })
    }
}

const INSTRUCTIONS: &str = "Asks the control plane that serves this endpoint: who you are to it, which servers and projects you may see, and who changed what, when and why.";

#[derive(Deserialize)]
struct ToolCall {
    name: String,
    #[serde(default)]
    arguments: Map<String, Value>,
}

fn server_info() -> Value {
    json!({ "name": "mcpctl", "title": "mcpctl control plane", "version": env!("CARGO_PKG_VERSION") })
}

fn capabilities() -> Value {
    json!({ "tools": {} })
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).expect("a JSON value is JSON")
}

/// A result of the modern era says that it is one.
fn complete(mut result: Value) -> Reply {
    result["resultType"] = json!("complete");
    Reply::Result(raw(&result))
}

fn error(code: i64, message: &str) -> Reply {
    Reply::Error(raw(&json!({ "code": code, "message": message })))
}

fn cacheable(mut result: Value) -> Reply {
    result["ttlMs"] = json!(LIST_TTL_MS);
    result["cacheScope"] = json!("public");
    complete(result)
}

#[async_trait]
impl Session for EmbeddedSession {
    fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    async fn request(&self, call: Call, _sink: Arc<dyn CallSink>) -> Result<Reply, UpstreamError> {
        Ok(match &*call.method {
            "tools/list" => {
                cacheable(json!({ "tools": tools::ALL.iter().map(tools::Tool::described).collect::<Vec<_>>() }))
            }
            "tools/call" => self.call_tool(call.params.as_deref()).await,
            "server/discover" => cacheable(json!({
                "supportedVersions": [VERSION],
                "capabilities": capabilities(),
                "serverInfo": server_info(),
                "instructions": INSTRUCTIONS,
            })),
            "ping" => complete(json!({})),
            other => error(
                METHOD_NOT_FOUND,
                &format!("the server mcpctl has no method {:?}", other.chars().take(80).collect::<String>()),
            ),
        })
    }

    async fn notify(&self, _method: &str, _params: Option<&RawValue>) -> Result<(), UpstreamError> {
        Ok(())
    }

    async fn respond(&self, _id: &RawValue, _reply: Reply) -> Result<(), UpstreamError> {
        Ok(())
    }

    fn messages(&self) -> broadcast::Receiver<ServerMessage> {
        self.messages.subscribe()
    }

    fn is_open(&self) -> bool {
        true
    }
}
