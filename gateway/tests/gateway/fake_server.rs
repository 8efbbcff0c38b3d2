//! A server of either era that does what its tools are called for, and remembers what it was asked.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mcpctl_api::upstream::{Call, CallSink, Era, Handshake, Reply, ServerMessage, Session, SessionKey, UpstreamError};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast, oneshot};

/// What a server was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub params: Value,
    pub progress: bool,
    pub target: Option<String>,
    pub headers: Vec<(String, String)>,
    pub capabilities: Option<String>,
    pub key: SessionKey,
}

/// A server.
pub struct FakeServer {
    pub name: String,
    pub era: Era,
    pub tools: Mutex<Vec<Value>>,
    pub prompts: Mutex<Vec<Value>>,
    pub resources: Mutex<Vec<Value>>,
    pub templates: Mutex<Vec<Value>>,
    pub capabilities: Value,
    pub instructions: Option<String>,
    /// Entries per page of a list.
    pub page: usize,
    pub dead: AtomicBool,
    /// Lists are answered only once this is let go.
    pub slow: AtomicBool,
    pub let_go: Notify,
    pub asked: Mutex<Vec<Asked>>,
    pub notified: Mutex<Vec<(String, Value)>>,
    pub cancelled: AtomicUsize,
    pub opened: AtomicUsize,
    pub ended: Mutex<Vec<SessionKey>>,
    pub sinks: Mutex<Vec<Arc<dyn CallSink>>>,
    pub sessions: Mutex<Vec<(SessionKey, Arc<FakeSession>)>>,
    /// Tasks of 2025-11-25, of whomever: a server sees the gateway's credentials only.
    pub jobs: Mutex<Vec<String>>,
}

impl FakeServer {
    /// A server with the tools `echo` and those named.
    pub fn new(name: &str, era: Era, tools: &[&str]) -> Self {
        let tool = |tool: &str| json!({"name": tool, "description": format!("does {tool}"), "inputSchema": {"type": "object"}, "x-unknown": [1.0]});
        Self {
            name: name.to_owned(),
            era,
            tools: Mutex::new(["echo"].iter().chain(tools).map(|one| tool(one)).collect()),
            prompts: Mutex::default(),
            resources: Mutex::default(),
            templates: Mutex::default(),
            capabilities: json!({"tools": {"listChanged": true}, "prompts": {}, "resources": {"subscribe": true}, "logging": {}, "completions": {}}),
            instructions: None,
            page: 100,
            dead: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            let_go: Notify::new(),
            asked: Mutex::default(),
            notified: Mutex::default(),
            cancelled: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            ended: Mutex::default(),
            sinks: Mutex::default(),
            sessions: Mutex::default(),
            jobs: Mutex::default(),
        }
    }

    /// What it was asked by a method.
    pub fn asked(&self, method: &str) -> Vec<Asked> {
        self.asked.lock().iter().filter(|one| one.method == method).cloned().collect()
    }

    /// Says something outside of calls, on all conversations.
    pub fn say(&self, method: &str, params: Value) {
        for (_, session) in self.sessions.lock().iter() {
            let _ = session.messages.send(notification(method, params.clone()));
        }
    }

    pub fn open(self: &Arc<Self>, key: &SessionKey) -> Result<Arc<dyn Session>, UpstreamError> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(UpstreamError::Unavailable { server: self.name.clone(), why: "it is dead".into() });
        }
        let mut sessions = self.sessions.lock();
        let same = |known: &SessionKey| self.era == Era::Modern || known == key;
        if let Some((_, session)) = sessions.iter().find(|(known, _)| same(known)) {
            return Ok(session.clone());
        }
        self.opened.fetch_add(1, Ordering::SeqCst);
        let session = Arc::new(FakeSession {
            server: self.clone(),
            key: key.clone(),
            handshake: Handshake {
                era: self.era,
                version: if self.era == Era::Modern { "2026-07-28" } else { "2025-06-18" }.into(),
                server_info: None,
                capabilities: Some(raw(&self.capabilities).into()),
                instructions: self.instructions.as_deref().map(Into::into),
            },
            messages: broadcast::Sender::new(64),
            answers: Mutex::default(),
        });
        sessions.push((key.clone(), session.clone()));
        Ok(session)
    }

    /// Whether it is a modern server that wants arguments as headers too.
    fn wants_header(&self) -> bool {
        self.era == Era::Modern && self.tools.lock()[0]["inputSchema"].to_string().contains("x-mcp-header")
    }

    pub fn end(&self, key: &SessionKey) {
        self.ended.lock().push(key.clone());
        self.sessions.lock().retain(|(known, _)| known != key);
    }

    fn list(&self, member: &str, entries: &Mutex<Vec<Value>>, params: &Value) -> Reply {
        let all = entries.lock();
        let from: usize = params["cursor"].as_str().map_or(0, |cursor| cursor.parse().unwrap());
        let page: Vec<Value> = all.iter().skip(from).take(self.page).cloned().collect();
        let mut result = json!({ member: page });
        if from + self.page < all.len() {
            result["nextCursor"] = json!((from + self.page).to_string());
        }
        if self.era == Era::Modern {
            result["resultType"] = json!("complete");
            result["ttlMs"] = json!(30_000);
            result["cacheScope"] = json!("public");
        }
        Reply::Result(raw(&result))
    }
}

pub fn raw(value: &Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).unwrap()
}

fn notification(method: &str, params: Value) -> ServerMessage {
    ServerMessage::Notification { method: method.into(), params: Some(raw(&params).into()) }
}

/// A conversation.
pub struct FakeSession {
    server: Arc<FakeServer>,
    key: SessionKey,
    handshake: Handshake,
    pub messages: broadcast::Sender<ServerMessage>,
    answers: Mutex<Vec<(String, oneshot::Sender<Value>)>>,
}

/// A tool of the modern era that asks for a name, and then for a sample, before it answers.
fn need(params: &Value) -> Value {
    let ask = |key: &str, method: &str, params: Value, state: &str| json!({"resultType": "input_required", "inputRequests": {key: {"method": method, "params": params}}, "requestState": state});
    match params["requestState"].as_str() {
        None => ask("name", "elicitation/create", json!({"message": "Who?"}), "asked-name"),
        Some("asked-name") => ask("word", "sampling/createMessage", json!({"maxTokens": 1}), "asked-word"),
        Some(_) => {
            json!({"resultType": "complete", "content": [{"type": "text", "text": params["inputResponses"].to_string()}]})
        }
    }
}

/// Notes that a call was given up.
struct Given<'a>(&'a FakeServer, bool);
impl Drop for Given<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl FakeSession {
    async fn tool(&self, params: &Value, sink: &Arc<dyn CallSink>) -> Reply {
        let text = |text: &str| json!({"content": [{"type": "text", "text": text}]});
        let result = match params["name"].as_str().unwrap() {
            "echo" => json!({"content": [{"type": "text", "text": params["arguments"].to_string()}], "vendor": 1.0}),
            "fail" => json!({"content": [], "isError": true}),
            "progress" => {
                for step in 1..=2 {
                    sink.message(notification(
                        "notifications/progress",
                        json!({"progressToken": 4711, "progress": step}),
                    ));
                }
                text("done")
            }
            "log" => {
                for level in ["debug", "error"] {
                    self.log(sink, json!({"level": level, "data": level}));
                }
                text("logged")
            }
            "hang" => {
                std::future::pending::<()>().await;
                unreachable!("it waits for ever")
            }
            "ask" => {
                let answer = self.ask(sink, "their-id", "sampling/createMessage", json!({"maxTokens": 1})).await;
                text(&answer.to_string())
            }
            "ask_two" => {
                let form = json!({"message": "Who?", "_meta": {"progressToken": 5}});
                let name = self.ask(sink, "1", "elicitation/create", form);
                let (name, roots) = tokio::join!(name, self.ask(sink, "2", "roots/list", json!({})));
                text(&json!([name, roots]).to_string())
            }
            "ask_twice" => {
                let first = self.ask(sink, "1", "elicitation/create", json!({"message": "first"})).await;
                let second = self.ask(sink, "1", "elicitation/create", json!({"message": "second"})).await;
                text(&json!([first, second]).to_string())
            }
            "ask_url" => {
                let url = json!({"mode": "url", "url": "https://x.example", "elicitationId": "e", "message": "m"});
                match self.ask(sink, "1", "elicitation/create", url).await {
                    refused if refused["code"].is_number() => json!({"content": [], "isError": true}),
                    answer => text(&answer.to_string()),
                }
            }
            // As a conversation does it that has offered nothing.
            "ask_lacking" => {
                sink.message(ServerMessage::Refused { method: "sampling/createMessage".into() });
                json!({"content": [], "isError": true})
            }
            "do_without" => {
                sink.message(ServerMessage::Refused { method: "sampling/createMessage".into() });
                text("done without")
            }
            "begin" => {
                json!({"resultType": "task", "taskId": format!("task of {}", self.server.name), "status": "working"})
            }
            job @ ("job" | "job_asking" | "job_hanging") => return self.begin(job, params),
            "need" => return Reply::Result(raw(&need(params))),
            "large" => text(&"x".repeat(200_000)),
            _ => return Reply::Error(raw(&json!({"code": -32602, "message": "unknown tool"}))),
        };
        Reply::Result(raw(&result))
    }

    /// Begins a task, if one is asked for.
    fn begin(&self, job: &str, params: &Value) -> Reply {
        if !params["task"].is_object() {
            return Reply::Error(raw(&json!({"code": -32601, "message": "it runs as a task only"})));
        }
        let mut jobs = self.server.jobs.lock();
        let id = format!("{job} {}", jobs.len());
        jobs.push(id.clone());
        Reply::Result(raw(
            &json!({"task": {"taskId": id, "status": "working", "ttl": params["task"]["ttl"], "vendor": 1.0}}),
        ))
    }

    /// What a task is asked.
    async fn job(&self, method: &str, id: &Value, sink: &Arc<dyn CallSink>) -> Reply {
        let id = id.as_str().unwrap_or_default();
        if !self.server.jobs.lock().iter().any(|job| job == id) {
            return Reply::Error(raw(&json!({"code": -32602, "message": "no such task"})));
        }
        let about = json!({"io.modelcontextprotocol/related-task": {"taskId": id}, "kept": 1});
        if method != "tasks/result" {
            let status = if method == "tasks/cancel" { "cancelled" } else { "working" };
            return Reply::Result(raw(&json!({"taskId": id, "status": status})));
        }
        let mut said = Value::Null;
        if id.starts_with("job_asking") {
            let form = json!({"message": "Who?", "_meta": about});
            said = self.ask(sink, "1", "elicitation/create", form).await;
        }
        if id.starts_with("job_hanging") {
            std::future::pending::<()>().await;
        }
        Reply::Result(raw(&json!({"content": [{"type": "text", "text": format!("{id} {said}")}], "_meta": about})))
    }

    /// As the fleet has it: of a legacy server a log message belongs to no call.
    fn log(&self, sink: &Arc<dyn CallSink>, params: Value) {
        match self.server.era {
            Era::Modern => sink.message(notification("notifications/message", params)),
            Era::Legacy => drop(self.messages.send(notification("notifications/message", params))),
        }
    }

    async fn ask(&self, sink: &Arc<dyn CallSink>, id: &str, method: &str, params: Value) -> Value {
        let (answer, answered) = oneshot::channel();
        let id = format!("\"{id}\"");
        self.answers.lock().push((id.clone(), answer));
        sink.message(ServerMessage::Request {
            id: RawValue::from_string(id).unwrap().into(),
            method: method.into(),
            params: Some(raw(&params).into()),
        });
        tokio::time::timeout(Duration::from_secs(10), answered).await.unwrap().unwrap()
    }
}

#[async_trait]
impl Session for FakeSession {
    fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    async fn request(&self, call: Call, sink: Arc<dyn CallSink>) -> Result<Reply, UpstreamError> {
        let params: Value = call.params.as_deref().map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap());
        self.server.asked.lock().push(Asked {
            method: call.method.to_string(),
            params: params.clone(),
            progress: call.progress,
            target: call.target.as_deref().map(str::to_owned),
            headers: call.headers.clone(),
            capabilities: call.capabilities.as_deref().map(str::to_owned),
            key: self.key.clone(),
        });
        let mut given = Given(&self.server, false);
        let server = &self.server;
        if call.method.ends_with("/list") && server.slow.load(Ordering::SeqCst) {
            server.let_go.notified().await;
        }
        let reply = match &*call.method {
            "tools/list" => server.list("tools", &server.tools, &params),
            "prompts/list" => server.list("prompts", &server.prompts, &params),
            "resources/list" => server.list("resources", &server.resources, &params),
            "resources/templates/list" => server.list("resourceTemplates", &server.templates, &params),
            "tools/call" if server.wants_header() && call.headers.is_empty() => {
                Reply::Error(raw(&json!({"code": -32020, "message": "Header mismatch"})))
            }
            "tools/call" => self.tool(&params, &sink).await,
            "subscriptions/listen" => {
                server.sinks.lock().push(sink.clone());
                let method = "notifications/subscriptions/acknowledged".into();
                sink.message(ServerMessage::Notification { method, params: None });
                std::future::pending().await
            }
            "resources/read" => {
                let known = server.resources.lock().iter().any(|one| one["uri"] == params["uri"]);
                let known = known || params["uri"].as_str().unwrap().starts_with("dynamic:");
                match known {
                    true => Reply::Result(raw(&json!({"contents": [{"uri": params["uri"], "text": server.name}]}))),
                    false => Reply::Error(raw(&json!({"code": -32002, "message": "not found"}))),
                }
            }
            "prompts/get" | "completion/complete" => Reply::Result(raw(&json!({"of": server.name, "got": params}))),
            "tasks/list" => {
                let all: Vec<Value> =
                    server.jobs.lock().iter().map(|id| json!({"taskId": id, "status": "working"})).collect();
                Reply::Result(raw(&json!({"tasks": all})))
            }
            "tasks/get" | "tasks/result" | "tasks/cancel"
                if server.era == Era::Legacy && params["taskId"].as_str().is_some_and(|id| id.starts_with("job")) =>
            {
                self.job(&call.method, &params["taskId"], &sink).await
            }
            "tasks/get" if params["taskId"] == format!("task of {}", server.name) => Reply::Result(raw(
                &json!({"resultType": "complete", "status": "working", "of": server.name, "taskId": params["taskId"]}),
            )),
            "tasks/get" => Reply::Error(raw(&json!({"code": -32602, "message": "no such task"}))),
            "vendor/method" => Reply::Result(raw(&json!({"vendor": true}))),
            "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => Reply::Result(raw(&json!({}))),
            _ => Reply::Error(raw(&json!({"code": -32601, "message": "no such method"}))),
        };
        given.1 = true;
        Ok(reply)
    }

    async fn notify(&self, method: &str, params: Option<&RawValue>) -> Result<(), UpstreamError> {
        let params = params.map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap());
        self.server.notified.lock().push((method.to_owned(), params));
        Ok(())
    }

    async fn respond(&self, id: &RawValue, reply: Reply) -> Result<(), UpstreamError> {
        let mut answers = self.answers.lock();
        let place = answers.iter().position(|(known, _)| known == id.get()).expect("the id that was asked with");
        let (Reply::Result(raw) | Reply::Error(raw)) = reply;
        let _ = answers.swap_remove(place).1.send(serde_json::from_str(raw.get()).unwrap());
        Ok(())
    }

    fn messages(&self) -> broadcast::Receiver<ServerMessage> {
        self.messages.subscribe()
    }

    fn is_open(&self) -> bool {
        true
    }
}
