//! The health of a server as its owner sees it: killed, told why, noted in the log, started again, and well.
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::modern;
use crate::support::process::Owned;
use crate::support::up::Up;
use crate::support::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(60);
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../api/src/upstream/testing/http_server.py");

/// A real server on a port of its own.
fn start(port: &str, sick: &Path) -> (Owned, String) {
    let mut command = Command::new("python3");
    let mut child = command.args([SCRIPT, port]).arg(sick).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (Owned::new(child), line.trim().rsplit(' ').next().unwrap().to_owned())
}

fn health(up: &Up) -> Value {
    let status = up.mcpctl(&["status", "-o", "json"]).ok().json();
    let servers = status["controlPlane"]["servers"].as_array().unwrap().clone();
    servers.into_iter().find(|one| one["server"] == "docs").unwrap()
}

fn becomes(up: &Up, state: &str) -> Value {
    wait_until(&format!("it is {state}"), LIMIT, || Some(health(up)).filter(|health| health["state"] == state))
}

fn events(up: &Up) -> Vec<String> {
    let history = up.mcpctl(&["history", "server/docs", "-o", "json"]).ok().json();
    let items = history["items"].as_array().unwrap().clone();
    let all = items.iter().map(|item| item["event"].as_str().unwrap().to_owned());
    // What its tools are is noticed as well, and told elsewhere.
    all.filter(|event| !event.contains("tool.")).collect()
}

#[test]
fn a_server_that_dies_is_told_of_with_the_reason_and_so_is_its_return() {
    let up = Up::start();
    let sick = up.place.path("sick");
    let (server, port) = start("0", &sick);
    up.apply(&[
        json!({
            "kind": "server", "name": "docs", "externalUrl": format!("http://127.0.0.1:{port}/mcp"),
            "allowPrivateAddress": true, "healthCheck": {"tool": "check", "intervalSeconds": 1, "failureThreshold": 1},
        }),
        json!({"kind": "project", "name": "web", "servers": ["docs"]}),
    ]);
    let token = up.create_token("ci", "web");
    let call = || modern(&up.endpoint_of("web"), &token, "tools/call", json!({"name": "docs__echo", "arguments": {}}));
    assert!(call().unwrap().json()["result"].is_object());
    becomes(&up, "HEALTHY");
    assert_eq!(events(&up), ["server.applied"], "that a server is well from the start is no event");

    drop(server);
    let unwell = becomes(&up, "UNHEALTHY");
    assert_eq!(unwell["cause"], "unavailable");
    assert!(unwell["lastError"].as_str().unwrap().contains("refused") && unwell["nextProbeAt"].is_string(), "{unwell}");
    let refused = call().unwrap().json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(refused.contains("tried again in"), "{refused}");
    let table = up.mcpctl(&["status"]).ok().stdout;
    let row = table.lines().find(|line| line.starts_with("docs ")).unwrap();
    assert!(row.contains("UNHEALTHY") && row.contains("refused"), "{table}");
    let told = wait_until("it is in the log", LIMIT, || Some(events(&up)).filter(|events| events.len() == 2));
    assert_eq!(told, ["server.applied", "server.failed"]);
    let described = up.mcpctl(&["describe", "server", "docs"]).ok().stdout;
    for word in ["UNHEALTHY", "unavailable", "nextProbeAt", "lastError", "failing", "tool check every 1 s"] {
        assert!(described.contains(word), "{word} in {described}");
    }

    let (_again, _) = start(&port, &sick);
    becomes(&up, "HEALTHY");
    let told = wait_until("that is in the log too", LIMIT, || Some(events(&up)).filter(|events| events.len() == 3));
    assert_eq!(told, ["server.applied", "server.failed", "server.recovered"]);
    assert!(call().unwrap().json()["result"].is_object());
    let audit = up.mcpctl(&["audit", "replay"]).ok();
    assert!(!audit.said().contains("not allowed"), "{}", audit.said());
}
