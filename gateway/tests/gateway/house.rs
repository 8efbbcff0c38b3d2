//! A gateway that runs, with its fake plane and servers, and clients of both eras for it.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mcpctl_api::plane::{ProjectView, ServerView};
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::kinds::{ToolFilter, ToolNames};
use mcpctl_gateway::{Options, serve};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::fake_plane::{FakePlane, token};
use crate::fake_server::FakeServer;

/// Nothing in a test takes longer.
pub const LIMIT: Duration = Duration::from_secs(20);

pub struct House {
    pub plane: Arc<FakePlane>,
    pub servers: HashMap<String, Arc<FakeServer>>,
    pub address: String,
    pub http: reqwest::Client,
    pub stop: CancellationToken,
    pub served: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        self.events().pop().unwrap_or_else(|| panic!("no message in {self:?}"))
    }

    /// All messages, of a stream or of a body.
    pub fn events(&self) -> Vec<Value> {
        let streamed = self.headers["content-type"] == "text/event-stream";
        let lines =
            self.body.lines().filter_map(|line| if streamed { line.strip_prefix("data: ") } else { Some(line) });
        lines.filter(|line| !line.trim().is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn error(&self) -> (u16, i64) {
        (self.status, self.json()["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error in {self:?}")))
    }
}

pub fn view(servers: &[Arc<FakeServer>], tool_names: ToolNames) -> ProjectView {
    let view = |(index, server): (usize, &Arc<FakeServer>)| ServerView {
        pins: None,
        uid: Uid::fixed(index as u128 + 1),
        name: server.name.clone(),
        description: None,
        tools: ToolFilter::default(),
        project_tools: ToolFilter::default(),
        version: Seq(1),
    };
    ProjectView {
        uid: Uid::fixed(500),
        name: "web".into(),
        instructions: Some("Be kind.".into()),
        tool_names,
        strict: false,
        servers: servers.iter().enumerate().map(view).collect(),
        version: Seq(1),
    }
}

pub fn plane_of(servers: Vec<FakeServer>, tool_names: ToolNames) -> (Arc<FakePlane>, HashMap<String, Arc<FakeServer>>) {
    let servers: Vec<Arc<FakeServer>> = servers.into_iter().map(Arc::new).collect();
    let view = view(&servers, tool_names);
    let by_uid = view.servers.iter().map(|server| server.uid).zip(servers.iter().cloned()).collect();
    (FakePlane::new(view, by_uid), servers.into_iter().map(|server| (server.name.clone(), server)).collect())
}

pub fn quick() -> Options {
    Options {
        list: Duration::from_millis(200),
        first_list: Duration::from_millis(300),
        call: Duration::from_secs(10),
        drain: Duration::from_secs(5),
        ..Options::default()
    }
}

impl House {
    pub async fn new(servers: Vec<FakeServer>) -> Self {
        Self::with(servers, ToolNames::Prefixed, quick()).await
    }

    pub async fn with(servers: Vec<FakeServer>, tool_names: ToolNames, options: Options) -> Self {
        let (plane, servers) = plane_of(servers, tool_names);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(listener, plane.clone(), options, stop.clone()));
        let http = reqwest::Client::builder().timeout(LIMIT * 2).no_proxy().build().unwrap();
        Self { plane, servers, address, http, stop, served }
    }

    pub fn server(&self, name: &str) -> &Arc<FakeServer> {
        &self.servers[name]
    }

    /// Changes the project as the plane shows it.
    pub fn change(&self, change: impl FnOnce(&mut ProjectView)) {
        let mut project = self.plane.project.lock();
        change(Arc::make_mut(&mut project));
    }

    pub fn url(&self) -> String {
        format!("http://{}/projects/web/mcp", self.address)
    }

    pub fn request(&self, method: &str, headers: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method.parse().unwrap(), self.url());
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.bearer_auth(token(1));
        }
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.text().await.unwrap() }
    }

    /// POSTs a message with what every client sends.
    pub async fn post(&self, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.send(self.posting(headers, body)).await
    }

    pub fn posting(&self, headers: &[(&str, &str)], body: &Value) -> reqwest::RequestBuilder {
        let request = self.request("POST", headers).header("content-type", "application/json");
        request.header("accept", "application/json, text/event-stream").body(body.to_string())
    }

    /// A request of a modern client.
    pub async fn modern(&self, method: &str, params: Value) -> Answer {
        self.send(self.modern_request(method, params)).await
    }

    pub fn modern_request(&self, method: &str, mut params: Value) -> reqwest::RequestBuilder {
        let name = ["name", "uri", "taskId"].iter().find_map(|key| params[key].as_str()).map(str::to_owned);
        let mut meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        });
        if let Some(more) = params["_meta"].as_object() {
            more.iter().for_each(|(key, value)| meta[key] = value.clone());
        }
        params["_meta"] = meta;
        let body = json!({"jsonrpc": "2.0", "id": "m1", "method": method, "params": params});
        let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
        headers.extend(name.as_deref().map(|name| ("mcp-name", name)));
        self.posting(&headers, &body)
    }

    /// Opens a legacy session.
    pub async fn session(&self, version: &str, capabilities: Value) -> Legacy<'_> {
        let params = json!({"protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": "test", "version": "1"}});
        let hello = self.post(&[], &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})).await;
        let id = hello.headers["mcp-session-id"].to_str().unwrap().to_owned();
        Legacy { house: self, id, hello: hello.json()["result"].clone() }
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, so: impl Fn() -> bool) {
        until(what, so).await;
    }
}

pub async fn until(what: &str, so: impl Fn() -> bool) {
    let waiting = async {
        while !so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A legacy client.
pub struct Legacy<'a> {
    pub house: &'a House,
    pub id: String,
    pub hello: Value,
}

impl Legacy<'_> {
    pub async fn ask(&self, method: &str, params: Value) -> Answer {
        self.house.send(self.asking(method, params)).await
    }

    pub fn asking(&self, method: &str, params: Value) -> reqwest::RequestBuilder {
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        self.house.posting(&[("mcp-session-id", &self.id)], &body)
    }

    pub async fn tell(&self, body: Value) -> Answer {
        self.house.post(&[("mcp-session-id", &self.id)], &body).await
    }

    /// Opens the stream of the session.
    pub async fn stream(&self) -> Stream {
        let request = self.house.request("GET", &[("mcp-session-id", &self.id), ("accept", "text/event-stream")]);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Stream { response, text: String::new() }
    }
}

/// A stream that is read message by message.
pub struct Stream {
    pub response: reqwest::Response,
    text: String,
}

impl Stream {
    pub fn new(response: reqwest::Response) -> Self {
        Self { response, text: String::new() }
    }

    /// The next message; `None` when the stream has ended in good order.
    pub async fn next(&mut self) -> Option<Value> {
        self.read().await.expect("the stream is not reset")
    }

    /// Whether the stream is reset before anything more comes.
    pub async fn is_reset(&mut self) -> bool {
        self.read().await.is_err()
    }

    async fn read(&mut self) -> Result<Option<Value>, reqwest::Error> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: ")).map(str::to_owned);
                // An event without data says where the stream can be taken up again.
                let data = data.filter(|data| !data.trim().is_empty());
                self.text = rest.to_owned();
                match data {
                    Some(data) => return Ok(Some(serde_json::from_str(&data).unwrap())),
                    None => continue,
                }
            }
            match tokio::time::timeout(LIMIT, self.response.chunk()).await.expect("a message in time")? {
                Some(chunk) => self.text.push_str(std::str::from_utf8(&chunk).unwrap()),
                None => return Ok(None),
            }
        }
    }
}

/// Names in a list.
pub fn names(answer: &Answer, member: &str, key: &str) -> Vec<String> {
    let list = answer.json()["result"][member].clone();
    list.as_array()
        .unwrap_or_else(|| panic!("no list in {answer:?}"))
        .iter()
        .map(|one| one[key].as_str().unwrap().to_owned())
        .collect()
}
