//! Bad input and bad luck at the outside: each a clear error that names the thing and the next step, and nothing half done.
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::{Answer, get, modern, post_mcp};
use crate::support::parts::parts;
use crate::support::process::{Ran, run};
use crate::support::up::{Place, Up};

const LIMIT: Duration = Duration::from_secs(30);

/// Starts an `up` that must refuse to start, and answers what it said.
#[track_caller]
fn refused(command: &mut Command, names: &str) -> Ran {
    let ran = run(command, None, LIMIT);
    assert!(ran.code.is_some_and(|code| code != 0), "`up` should have refused to start:\n{}", ran.said());
    assert!(ran.stderr.contains(names), "the error does not name {names}:\n{}", ran.said());
    assert!(!ran.said().contains("panicked"), "{}", ran.said());
    assert_eq!(ran.stdout, "", "a refused start prints no ready line");
    ran
}

#[test]
fn a_port_in_use_is_named_and_nothing_runs_on() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (api, gateway) in [(port.as_str(), "0"), ("0", port.as_str())] {
        let mut command = place.command(&["up", "--api-port", api, "--gateway-port", gateway, "--data-dir"]);
        refused(command.arg(place.data()), &port);
    }
    drop(taken);
    assert!(Up::start_in(place).token().starts_with("mcpctl_pat_"), "the failed starts left something half done");
}

#[test]
fn a_data_folder_that_cant_be_written_is_named() {
    let place = Place::new();
    std::fs::write(place.path("file"), "not a folder").unwrap();
    let below = place.path("file").join("data");
    refused(&mut place.up_command(&below), below.to_str().unwrap());
    // Nobody may make a folder here, whoever runs the test.
    let forbidden = Path::new("/sys/mcpctl-data");
    refused(&mut place.up_command(forbidden), forbidden.to_str().unwrap());
}

#[test]
fn a_data_folder_in_use_is_named_and_its_owner_goes_on() {
    let up = Up::start();
    let ran = refused(&mut up.place.up_command(&up.place.data()), up.place.data().to_str().unwrap());
    assert!(ran.stderr.contains("in use"), "{}", ran.stderr);
    assert_eq!(get(&format!("{}/healthz", up.ready.api), None).unwrap().status, 200);
}

#[test]
fn a_log_of_a_later_version_is_refused_and_left_as_it_is() {
    let place = Place::new();
    let (_, status) = Up::start_in(Arc::clone(&place)).stop();
    assert!(status.success(), "{status}\n{}", place.log());
    let formats = files_named(&place.data(), "format");
    assert!(!formats.is_empty(), "no file `format` in the data folder says which version wrote it");
    for format in &formats {
        std::fs::write(format, "999\n").unwrap();
    }
    let ran = refused(&mut place.up_command(&place.data()), "999");
    assert!(ran.stderr.contains("newer"), "{}", ran.stderr);
}

fn files_named(folder: &Path, name: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| match path.is_dir() {
        true => files_named(&path, name),
        false if path.file_name().is_some_and(|n| n == name) => vec![path],
        false => Vec::new(),
    });
    found.collect()
}

/// A project with servers that are broken each in its own way, and a sound one.
fn broken() -> (Up, String, String) {
    let up = Up::start();
    let server = |name: &str, argv: &[&str]| json!({"kind": "server", "name": name, "command": argv});
    up.apply(&[
        server(
            "garbage",
            &["sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo no-json-$i; i=$((i+1)); done; cat >/dev/null"],
        ),
        server("silent", &["sh", "-c", "cat >/dev/null"]),
        server("absent", &["no-such-program-anywhere"]),
        server("dying", &["sh", "-c", "echo last words >&2; exit 3"]),
        json!({"kind": "server", "name": "time", "command": parts().time()}),
        json!({"kind": "project", "name": "ward", "servers": ["garbage", "silent", "absent", "dying", "time"]}),
    ]);
    let (token, endpoint) = (up.create_token("agent", "ward"), up.endpoint_of("ward"));
    (up, endpoint, token)
}

#[test]
fn broken_servers_stall_one_call_and_the_sound_one_is_served() {
    let (up, endpoint, token) = broken();
    let names = |answer: &Answer| -> Vec<String> {
        let listed = answer.json();
        let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("no tools in {listed}")).clone();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    };
    let first = modern(&endpoint, &token, "tools/list", json!({})).unwrap();
    let listed = names(&first);
    assert!(listed.iter().any(|name| name.ends_with("get_current_time")), "{listed:?}\n{}", up.place.log());
    let begun = Instant::now();
    assert_eq!(names(&modern(&endpoint, &token, "tools/list", json!({})).unwrap()), listed);
    assert!(begun.elapsed() < Duration::from_secs(5), "a dead server stalls every call: {:?}", begun.elapsed());
    let tool = listed.iter().find(|name| name.ends_with("get_current_time")).unwrap();
    let answer =
        modern(&endpoint, &token, "tools/call", json!({"name": tool, "arguments": {"timezone": "UTC"}})).unwrap();
    assert_eq!((answer.status, answer.json()["result"]["isError"].clone()), (200, json!(false)), "{answer:?}");
}

#[test]
fn a_call_of_a_broken_server_says_which_and_why() {
    let (up, endpoint, token) = broken();
    for (server, why) in
        [("absent", "no-such-program-anywhere"), ("dying", "dying"), ("garbage", "garbage"), ("silent", "silent")]
    {
        let params = json!({"name": format!("{server}/anything"), "arguments": {}});
        let answer = modern(&endpoint, &token, "tools/call", params).unwrap();
        let text = answer.body.to_lowercase();
        assert!(answer.json().get("error").is_some() || answer.json()["result"]["isError"] == true, "{answer:?}");
        assert!(text.contains(why), "the answer about {server} does not say {why}: {}", answer.body);
    }
    let logs = up.mcpctl(&["logs", "dying"]).ok();
    assert!(logs.stdout.contains("last words"), "{}", logs.said());
}

#[test]
fn what_is_not_an_mcp_request_is_refused_with_a_reason() {
    let up = Up::start();
    let (endpoint, token) = (up.ready.endpoint.as_str(), up.token());
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let post = |token: &str, more: &[(&str, &str)], body: &str| post_mcp(endpoint, token, more, body).unwrap();
    let parse_error = post(token, &[], "{\"jsonrpc\": \"2.0\", ");
    assert_eq!(
        (parse_error.status, parse_error.json()["error"]["code"].clone()),
        (400, json!(-32700)),
        "{parse_error:?}"
    );
    for body in [
        "[]",
        "7",
        r#"{"id":1}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
    ] {
        let answer = post(token, &[], body);
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert_eq!(answer.json()["error"]["code"], -32600, "{body}: {answer:?}");
    }
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#;
    assert_eq!(post(token, &[], twice).status, 400, "duplicate keys hide what is called");
    assert_eq!(post(token, &[("content-type", "text/plain")], ping).status, 415);
    assert_eq!(post("", &[], ping).status, 401);
    assert_eq!(post("mcpctl_pat_wrong", &[], ping).status, 401);
    assert_eq!(post(token, &[("origin", "https://evil.example")], ping).status, 403);
    let deep = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(post(token, &[], &deep).status, 400);
    let huge = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"x\":\"{}\"}}}}",
        "x".repeat(64 << 20)
    );
    // A server that refuses a body early may close before all of it is sent.
    assert!(post_mcp(endpoint, token, &[], huge).map_or(true, |answer| answer.status == 413));
    assert_eq!(post(token, &[], r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"e2e","version":"0"}}}"#).status, 200);
}

#[test]
fn a_token_of_another_project_is_refused_with_403() {
    let up = Up::start();
    up.apply(&[json!({"kind": "project", "name": "other", "servers": []})]);
    let foreign = up.create_token("foreign", "other");
    let answer = post_mcp(&up.ready.endpoint, &foreign, &[], r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).unwrap();
    assert_eq!(answer.status, 403, "{answer:?}");
}

#[test]
fn a_manifest_with_an_error_changes_nothing_and_says_where() {
    let up = Up::start();
    let sound = json!({"kind": "server", "name": "sound", "command": ["true"]});
    let cases: [(Value, &str); 7] = [
        (json!({"kind": "sever", "name": "x"}), "sever"),
        (json!({"kind": "server", "name": "x", "command": ["true"], "replcas": 2}), "replcas"),
        (json!({"kind": "server", "name": "x", "command": ["true"], "replicas": "two"}), "replicas"),
        (json!({"kind": "server", "name": "Not A Name", "command": ["true"]}), "Not A Name"),
        (json!({"kind": "project", "name": "x", "servers": ["missing"]}), "missing"),
        (json!({"kind": "server", "name": "sound", "command": ["false"]}), "sound"),
        (json!({"name": "x"}), "kind"),
    ];
    for (bad, named) in cases {
        let input = format!("{sound}\n---\n{bad}");
        let ran = up.place.mcpctl_with_input(&["apply", "-f", "-"], &input);
        assert!(ran.code.is_some_and(|code| code != 0), "{bad} was accepted:\n{}", ran.said());
        assert!(ran.stderr.contains(named), "the error about {bad} does not name {named}:\n{}", ran.said());
        let listed = up.mcpctl(&["get", "servers", "-o", "name"]).ok();
        assert!(!listed.stdout.contains("sound"), "{bad} left half of its manifest behind");
    }
}
