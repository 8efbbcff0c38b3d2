//! One JSON-RPC exchange over Streamable HTTP, in either era.
use std::time::Duration;

use futures::StreamExt;
use mcpctl_core::plaintext::Plaintext;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::report::Trouble;

/// The revision asked for in the modern era.
pub const MODERN: &str = "2026-07-28";
/// The revision asked for in the legacy era.
pub const LEGACY: &str = "2025-11-25";
/// Most bytes of one answer.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How to speak to the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Era {
    /// Stateless: everything is in each request.
    Modern,
    /// After `initialize`, with the session's id if there is one.
    Legacy { revision: String, session: Option<String> },
}

/// A connection to an endpoint.
pub struct Exchange {
    http: reqwest::Client,
    url: Url,
    token: Option<Plaintext>,
    limit: Duration,
    next_id: u64,
}

/// What came back.
#[derive(Debug)]
pub enum Reply {
    /// A result, and the session's id when one was given.
    Result { result: Value, session: Option<String> },
    /// A JSON-RPC error.
    Error { status: StatusCode, code: i64, message: String },
    /// Something that is no JSON-RPC at all.
    Other { status: StatusCode, text: String },
}

impl Exchange {
    pub fn new(url: Url, token: Option<Plaintext>, limit: Duration) -> Result<Self, Trouble> {
        let loopback =
            url.host_str().is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]");
        let mut builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(limit);
        if loopback {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| Trouble::unreachable(error.to_string()))?;
        Ok(Self { http, url, token, limit, next_id: 0 })
    }

    /// `/healthz` of the same host.
    pub async fn health(&self) -> Result<StatusCode, Trouble> {
        let mut url = self.url.clone();
        url.set_path("/healthz");
        url.set_query(None);
        self.http.get(url).send().await.map(|response| response.status()).map_err(|error| self.unreachable(&error))
    }

    /// Sends a request and waits for its answer.
    pub async fn ask(&mut self, era: &Era, method: &str, mut params: Value) -> Result<Reply, Trouble> {
        self.next_id += 1;
        let id = self.next_id;
        if *era == Era::Modern {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": client_info(),
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        let name = params["name"].as_str().map(str::to_owned);
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let response = self.send(era, method, name.as_deref(), &message).await?;
        self.reply(response, id).await
    }

    /// Sends a notification.
    pub async fn tell(&self, era: &Era, method: &str) -> Result<(), Trouble> {
        let message = json!({ "jsonrpc": "2.0", "method": method });
        let response = self.send(era, method, None, &message).await?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(Trouble::contract(format!("{method} is answered with HTTP {status}"))),
        }
    }

    /// Ends a legacy session, if there is one. Not every server knows how.
    pub async fn close(&self, era: &Era) {
        if let Era::Legacy { session: Some(_), .. } = era {
            let _ = self.headers(era, "", None, self.http.delete(self.url.clone())).send().await;
        }
    }

    async fn send(&self, era: &Era, method: &str, name: Option<&str>, message: &Value) -> Result<Response, Trouble> {
        let request =
            self.http.post(self.url.clone()).header(ACCEPT, "application/json, text/event-stream").json(message);
        let response =
            self.headers(era, method, name, request).send().await.map_err(|error| self.unreachable(&error))?;
        match response.status() {
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(self.refused(status, response).await),
            status if status.is_redirection() => {
                Err(Trouble::contract(format!("the endpoint answers with a redirect ({status})")))
            }
            _ => Ok(response),
        }
    }

    fn headers(
        &self,
        era: &Era,
        method: &str,
        name: Option<&str>,
        mut request: reqwest::RequestBuilder,
    ) -> reqwest::RequestBuilder {
        if let Some(token) = &self.token
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        {
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        match era {
            Era::Modern => {
                request = request.header("MCP-Protocol-Version", MODERN).header("Mcp-Method", method);
                // Other names than these need the sentinel form, which no tool that we ask for has.
                match name.filter(|name| name.chars().all(|c| c.is_ascii_graphic() || c == ' ')) {
                    Some(name) => request.header("Mcp-Name", name),
                    None => request,
                }
            }
            Era::Legacy { revision, session } => {
                if method != "initialize" {
                    request = request.header("MCP-Protocol-Version", revision);
                }
                match session {
                    Some(session) => request.header("Mcp-Session-Id", session),
                    None => request,
                }
            }
        }
    }

    async fn refused(&self, status: StatusCode, response: Response) -> Trouble {
        let text = self.body(response, |_| None).await.unwrap_or_default();
        let said: Option<Value> = serde_json::from_slice(&text).ok();
        let said = said.as_ref().and_then(|body| {
            body["error"]["message"].as_str().or_else(|| body["detail"].as_str()).or_else(|| body["error"].as_str())
        });
        let said = said.map(|text| format!(": {text}")).unwrap_or_default();
        let advice = if self.token.is_none() { " (no token was given: --token or MCPCTL_TOKEN)" } else { "" };
        Trouble::refused(format!("HTTP {status}{said}{advice}"))
    }

    async fn reply(&self, response: Response, id: u64) -> Result<Reply, Trouble> {
        let status = response.status();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let session = header("mcp-session-id");
        let stream = header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.starts_with("text/event-stream"));
        let text = if stream {
            self.body(response, |bytes| event_with(bytes, id)).await?
        } else {
            self.body(response, |_| None).await?
        };
        let message: Value = match serde_json::from_slice(&text) {
            Ok(message) => message,
            Err(_) => {
                return Ok(Reply::Other { status, text: String::from_utf8_lossy(&text).chars().take(200).collect() });
            }
        };
        if let Some(error) = message.get("error").filter(|error| error.is_object()) {
            let message = error["message"].as_str().unwrap_or("without a message").to_owned();
            return Ok(Reply::Error { status, code: error["code"].as_i64().unwrap_or_default(), message });
        }
        match message.get("result") {
            Some(result) if message["id"] == id => Ok(Reply::Result { result: result.clone(), session }),
            _ => Ok(Reply::Other { status, text: String::from_utf8_lossy(&text).chars().take(200).collect() }),
        }
    }

    /// Reads until the end, or until what is looked for is there: a stream may stay open after the answer.
    async fn body(&self, response: Response, found: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Result<Vec<u8>, Trouble> {
        let mut bytes = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| self.unreachable(&error))?);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(Trouble::contract(format!("an answer has more than {ANSWER_BYTES_MAX} bytes")));
            }
            if let Some(found) = found(&bytes) {
                return Ok(found);
            }
        }
        Ok(bytes)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Trouble {
        if error.is_timeout() {
            return Trouble::unreachable(format!("no answer within {} s", self.limit.as_secs()));
        }
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Trouble::unreachable(cause.to_string())
    }
}

/// What this client says it is.
pub fn client_info() -> Value {
    json!({ "name": "mcpctl-test", "version": env!("CARGO_PKG_VERSION") })
}

/// The data of the event that answers a request, once it has come in whole.
fn event_with(bytes: &[u8], id: u64) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    let (whole, _) = text.rsplit_once("\n\n")?;
    whole.split("\n\n").find_map(|event| {
        let data: Vec<&str> = event
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| data.strip_prefix(' ').unwrap_or(data))
            .collect();
        let data = data.join("\n");
        let message: Value = serde_json::from_str(&data).ok()?;
        (message["id"] == id && message.get("method").is_none()).then(|| data.into_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_found_among_events_once_it_is_whole() {
        let stream = "event: message\r\ndata: {\"method\":\"x\"}\r\n\r\nid: 1\r\ndata:\r\n\r\ndata: {\"id\":7,\r\ndata: \"result\":{}}\r\n";
        assert_eq!(event_with(stream.as_bytes(), 7), None);
        let whole = event_with(format!("{stream}\r\n").as_bytes(), 7).expect("the event has ended");
        assert_eq!(serde_json::from_slice::<Value>(&whole).unwrap(), json!({"id": 7, "result": {}}));
        assert_eq!(event_with(format!("{stream}\r\n").as_bytes(), 8), None);
    }
}
