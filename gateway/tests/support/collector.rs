//! A collector of spans that listens on loopback and takes OTLP in JSON.
use std::collections::VecDeque;
use std::sync::Arc;

use mcpctl_api::otel::{Settings, Traces};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What a collector was sent: head, and body.
pub type Requests = Arc<Mutex<Vec<(String, Value)>>>;

/// A listener that takes what a collector would, and answers with the statuses that it was given, then with 200.
pub struct Collector {
    pub endpoint: String,
    pub requests: Requests,
}

impl Collector {
    pub async fn start(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Requests::default();
        let statuses = Arc::new(Mutex::new(statuses.iter().copied().collect::<VecDeque<_>>()));
        let seen = requests.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, seen.clone(), statuses.clone()));
            }
        });
        Self { endpoint, requests }
    }

    pub fn traces(&self, more: &[(&str, &str)]) -> Traces {
        let variable = |name: &str| match more.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => Some((*value).to_owned()),
            None => match name {
                "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(self.endpoint.clone()),
                "OTEL_EXPORTER_OTLP_HEADERS" => Some("api-key=of-the-collector".to_owned()),
                "OTEL_EXPORTER_OTLP_PROTOCOL" => Some("http/json".to_owned()),
                "OTEL_BSP_SCHEDULE_DELAY" => Some("20".to_owned()),
                _ => None,
            },
        };
        Traces::start(Settings::read("test", variable).unwrap().unwrap()).unwrap()
    }

    pub fn spans(&self) -> Vec<Value> {
        let requests = self.requests.lock();
        let all = |value: &Value| value.as_array().unwrap().clone();
        let resources: Vec<Value> = requests.iter().flat_map(|(_, body)| all(&body["resourceSpans"])).collect();
        let scopes: Vec<Value> = resources.iter().flat_map(|resource| all(&resource["scopeSpans"])).collect();
        scopes.iter().flat_map(|scope| all(&scope["spans"])).collect()
    }
}

async fn serve(mut stream: tokio::net::TcpStream, seen: Requests, statuses: Arc<Mutex<VecDeque<u16>>>) {
    let mut input = Vec::new();
    while stream.read_buf(&mut input).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&input).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() < length.unwrap().parse::<usize>().unwrap() {
            continue;
        }
        let status = statuses.lock().pop_front().unwrap_or(200);
        if status == 200 {
            seen.lock().push((head, serde_json::from_str(body).unwrap()));
        }
        input.clear();
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\n{{}}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}
