//! Spans of `mcpctl up` as they arrive over OTLP, decoded by OpenTelemetry's own classes; and the guide about observing.
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::http::send;
use crate::support::parts::parts;
use crate::support::process::Owned;
use crate::support::up::{Place, Up};

/// A receiver of spans that runs.
pub struct Receiver {
    pub endpoint: String,
    file: PathBuf,
    _process: Owned,
}

impl Receiver {
    pub fn start(folder: &Path) -> Self {
        let file = folder.join("spans.jsonl");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/scripts/otlp_receiver.py");
        let mut command = Command::new(parts().python());
        let child = command.arg(script).arg(&file).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut process = Owned::new(child);
        let mut endpoint = String::new();
        BufReader::new(process.child.stdout.take().unwrap()).read_line(&mut endpoint).unwrap();
        Self { endpoint: endpoint.trim().to_owned(), file, _process: process }
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap_or_default()
    }

    fn spans(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A call of the tool `echo`, as a modern client makes it.
fn call(endpoint: &str, token: &str, message: &str) -> Value {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"name": "everything__echo", "arguments": {"message": message}, "_meta": meta});
    let bearer = format!("Bearer {token}");
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "everything__echo"),
        ("traceparent", &parent),
        ("tracestate", "congo=t61rcWkgMzE"),
    ];
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let answer = send("POST", endpoint, &headers, body.into_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

#[test]
fn a_call_is_followed_from_the_agent_to_the_server_and_no_secret_is_in_any_span() {
    for protocol in ["http/protobuf", "http/json"] {
        let place = Place::new();
        let receiver = Receiver::start(&place.path("."));
        let up = Up::start_with(place, |command| {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
            command.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test");
            command.env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=canary-of-the-collector");
        });
        up.place.mcpctl_with_input(&["create", "secret", "keys", "--data-stdin", "K"], "canary-secret").ok();
        let secret = json!({"name": "KEY", "valueFrom": {"secretRef": {"name": "keys", "key": "K"}}});
        up.apply(&[
            json!({"kind": "server", "name": "everything", "command": parts().everything(), "env": [secret]}),
            json!({"kind": "project", "name": "workshop", "servers": ["everything"], "toolNames": "prefixed"}),
        ]);
        let token = up.create_token("agent", "workshop");
        let answer = call(&up.endpoint_of("workshop"), &token, "canary-argument");
        assert!(answer.to_string().contains("Echo: canary-argument"), "{answer}");
        let metrics = send("GET", &format!("{}/metrics", up.ready.api), &[], Vec::new()).unwrap().body;
        assert!(metrics.contains("mcpctl_spans_undelivered_total 0"), "{metrics}");
        let (place, status) = up.stop();
        assert!(status.success(), "{}", place.log());
        let spans = receiver.spans();
        let one = |kind: &str| -> &Value {
            let found: Vec<_> =
                spans.iter().filter(|span| span["kind"] == kind && span["name"] == "tools/call echo").collect();
            assert_eq!(found.len(), 1, "{spans:#?}");
            found[0]
        };
        let (outer, inner) = (one("server"), one("client"));
        assert_eq!((&outer["trace"], &outer["parent"], &outer["flags"]), (&json!(TRACE), &json!(PARENT), &json!(1)));
        assert_eq!((&inner["trace"], &inner["parent"]), (&json!(TRACE), &outer["span"]));
        assert_eq!(outer["state"], "congo=t61rcWkgMzE");
        assert_eq!((&outer["service"], &outer["status"]), (&json!("mcpctl"), &json!("unset")));
        assert_eq!(outer["resource"]["deployment.environment"], "test");
        for (key, value) in [
            ("mcp.method.name", "tools/call"),
            ("gen_ai.tool.name", "echo"),
            ("mcpctl.project", "workshop"),
            ("mcpctl.server", "everything"),
            ("mcpctl.outcome", "ok"),
        ] {
            assert_eq!(outer["attributes"][key], value, "{outer}");
        }
        let applied = spans.iter().find(|span| span["attributes"]["http.route"] == "/api/v1/apply");
        assert!(applied.is_some_and(|span| span["kind"] == "server"), "requests to the control plane are spans too");
        let said = receiver.text();
        assert!(!said.contains("canary") && !said.contains(&token) && !said.contains("mcpctl_"), "{said}");
    }
}
