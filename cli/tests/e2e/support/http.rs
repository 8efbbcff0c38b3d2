//! A small blocking HTTP client for tests, and one MCP request over it.
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// No answer in a test takes longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(90);

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// A header's value; names are lower-case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as JSON; of an event stream the last message.
    ///
    /// # Panics
    /// When it is neither.
    #[track_caller]
    pub fn json(&self) -> Value {
        let streamed = self.header("content-type").is_some_and(|t| t.starts_with("text/event-stream"));
        let last = || self.body.lines().filter_map(|l| l.strip_prefix("data:")).rfind(|d| !d.trim().is_empty());
        let text = if streamed { last().unwrap_or_default().trim() } else { self.body.as_str() };
        serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in the answer {}: {}", self.status, self.body))
    }
}

/// Sends a request. A transport error is the error's text.
pub fn send(method: &str, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Answer, String> {
    static RUNTIME: OnceLock<(Runtime, reqwest::Client)> = OnceLock::new();
    let (runtime, client) = RUNTIME.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        (runtime, reqwest::Client::builder().timeout(ANSWER_LIMIT).no_proxy().build().unwrap())
    });
    let mut request = client.request(method.parse().unwrap(), url).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    runtime.block_on(async {
        let answer = request.send().await.map_err(|e| format!("{e:?}"))?;
        let status = answer.status().as_u16();
        let pair = |(n, v): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
            (n.as_str().to_owned(), String::from_utf8_lossy(v.as_bytes()).into_owned())
        };
        let headers = answer.headers().iter().map(pair).collect();
        let body = answer.text().await.map_err(|e| format!("{e:?}"))?;
        Ok(Answer { status, headers, body })
    })
}

/// GETs a URL.
pub fn get(url: &str, token: Option<&str>) -> Result<Answer, String> {
    let bearer = token.map(|t| format!("Bearer {t}"));
    let headers: Vec<_> = bearer.iter().map(|b| ("authorization", b.as_str())).collect();
    send("GET", url, &headers, Vec::new())
}

/// POSTs bytes to an MCP endpoint with the headers that a legacy client sends.
pub fn post_mcp(
    endpoint: &str,
    token: &str,
    more: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Result<Answer, String> {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("authorization", bearer.as_str()), ("accept", "application/json, text/event-stream")];
    if !more.iter().any(|(name, _)| *name == "content-type") {
        headers.push(("content-type", "application/json"));
    }
    headers.extend_from_slice(more);
    send("POST", endpoint, &headers, body.into())
}

/// One request of a modern client: no session, the version in the body and in the headers.
pub fn modern(endpoint: &str, token: &str, method: &str, mut params: Value) -> Result<Answer, String> {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "0"},
    });
    let name = ["name", "uri"].iter().find_map(|k| params[k].as_str()).map(str::to_owned);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
    if let Some(name) = &name {
        headers.push(("mcp-name", name));
    }
    post_mcp(endpoint, token, &headers, body)
}
