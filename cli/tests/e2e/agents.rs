//! Real agents through the gateway: each real client, in each era it speaks, calls tools of each real server.
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::parts::parts;
use crate::support::process::{Owned, Ran, run};
use crate::support::up::Up;

/// How long one client may take, the start of the servers included.
const LIMIT: Duration = Duration::from_secs(90);

/// What a client must be able to do: server, tool, arguments, and a piece of the answer.
fn calls(folder: &Path) -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let file = folder.join("note.txt");
    std::fs::write(&file, "written beforehand").unwrap();
    let entity = json!({"name": "gateway", "entityType": "thing", "observations": ["relays"]});
    vec![
        ("everything", "echo", json!({"message": "hello"}), "Echo: hello"),
        ("remote", "get-sum", json!({"a": 2, "b": 3}), "5"),
        ("files", "read_text_file", json!({"path": file}), "written beforehand"),
        ("memory", "create_entities", json!({"entities": [entity]}), "relays"),
        ("time", "get_current_time", json!({"timezone": "UTC"}), "\"timezone\": \"UTC\""),
    ]
}

/// A control plane with the five real servers in one project, and a token that opens it.
struct House {
    up: Up,
    endpoint: String,
    token: String,
    _remote: Owned,
}

impl House {
    fn start() -> Self {
        let up = Up::start();
        let (remote, url) = parts().everything_http();
        std::fs::create_dir(up.place.path("files")).unwrap();
        let stdio = |name: &str, argv: Vec<String>| json!({"kind": "server", "name": name, "command": argv});
        let mut memory = stdio("memory", parts().memory());
        memory["env"] = json!([{"name": "MEMORY_FILE_PATH", "value": up.place.path("memory.json")}]);
        let objects = [
            stdio("everything", parts().everything()),
            json!({"kind": "server", "name": "remote", "externalUrl": url, "allowPrivateAddress": true}),
            stdio("files", parts().filesystem(&up.place.path("files"))),
            memory,
            stdio("time", parts().time()),
            json!({"kind": "project", "name": "workshop", "servers": ["everything", "remote", "files", "memory", "time"]}),
        ];
        up.apply(&objects);
        let token = up.create_token("agent", "workshop");
        let endpoint = up.endpoint_of("workshop");
        Self { up, endpoint, token, _remote: remote }
    }

    fn calls(&self) -> Vec<(&'static str, &'static str, Value, &'static str)> {
        calls(&self.up.place.path("files"))
    }

    /// Every call was recorded, with who made it and how it ended.
    fn assert_audited(&self, tool: &str) {
        let events = self.up.mcpctl(&["audit", "events", "-o", "json"]).ok();
        assert!(events.stdout.contains(tool), "no audit event of {tool}:\n{}", events.said());
        assert!(!events.said().contains(&self.token), "the audit log holds a raw token");
    }
}

/// The full name of a server's tool among listed ones: what separates the two is the gateway's choice for the client.
fn named<'a>(names: &'a [String], server: &str, tool: &str) -> &'a str {
    let fits = |name: &&String| name.starts_with(server) && name.ends_with(tool);
    names.iter().find(fits).unwrap_or_else(|| panic!("no tool {tool} of {server} in {names:?}"))
}

#[test]
fn the_inspector_calls_every_real_server_as_a_legacy_client() {
    inspector("legacy");
}

#[test]
fn the_inspector_calls_every_real_server_as_a_modern_client() {
    inspector("modern");
}

fn inspector(era: &str) {
    let house = House::start();
    let header = format!("Authorization: Bearer {}", house.token);
    let ask = |flags: &[&str]| -> Value {
        let mut command = parts().inspector(&[&house.endpoint, "--transport", "http", "--protocol-era", era]);
        let asked = command.args(["--header", &header]).args(flags).env("HOME", house.up.place.home());
        run(asked, None, LIMIT).ok().json()
    };
    let listed = ask(&["--method", "tools/list"]);
    let names: Vec<String> =
        listed["tools"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap().into()).collect();
    for (server, tool, arguments, expected) in house.calls() {
        let name = named(&names, server, tool);
        let mut flags = vec!["--method".to_owned(), "tools/call".into(), "--tool-name".into(), name.into()];
        for (key, value) in arguments.as_object().unwrap() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            flags.extend(["--tool-arg".to_owned(), format!("{key}={value}")]);
        }
        let answer = ask(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        let text = answer["content"][0]["text"].as_str().unwrap_or_default();
        assert!(text.contains(expected), "{name} of a {era} client answered {answer}");
    }
    house.assert_audited("read_text_file");
}

#[test]
fn fastmcp_lists_and_calls_every_real_server() {
    let house = House::start();
    let with_token = ["--auth", house.token.as_str(), "--json"];
    let fastmcp = |args: &[&str]| -> Ran {
        run(parts().fastmcp(args).args(with_token).env("HOME", house.up.place.home()), None, LIMIT).ok()
    };
    let listed = fastmcp(&["list", &house.endpoint]);
    let names: Vec<String> = names_in(&listed.json());
    for (server, tool, arguments, expected) in house.calls() {
        let name = named(&names, server, tool);
        let answer = fastmcp(&["call", &house.endpoint, name, "--input-json", &arguments.to_string()]);
        let shown = answer.json().to_string();
        let expected = expected.replace('"', "\\\"");
        assert!(shown.contains(&expected), "{name} answered {shown}");
    }
    house.assert_audited("create_entities");
}

/// Every value of a field `name`, at any depth.
fn names_in(value: &Value) -> Vec<String> {
    match value {
        Value::Array(all) => all.iter().flat_map(names_in).collect(),
        Value::Object(fields) => match fields.get("name").and_then(Value::as_str) {
            Some(name) => vec![name.to_owned()],
            None => fields.values().flat_map(names_in).collect(),
        },
        _ => Vec::new(),
    }
}

/// Runs the client on the official Python SDK and looks at what it reports.
fn python_sdk(house: &House, mut spec: Value, revision: &str) {
    let calls = house.calls();
    spec["calls"] = calls.iter().map(|(server, tool, arguments, _)| json!([server, tool, arguments])).collect();
    let mut command = Command::new(parts().python());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/scripts/mcp_client.py");
    let asked = command.arg(script).arg(spec.to_string()).env("HOME", house.up.place.home());
    let report = run(asked, None, LIMIT).ok().json();
    assert_eq!(report["revision"], revision, "{report}");
    for (result, (_, tool, _, expected)) in report["results"].as_array().unwrap().iter().zip(&calls) {
        let text = result["text"].as_str().unwrap_or_default();
        assert!(text.contains(expected) && result["error"] == false, "{tool} answered {result}");
    }
}

#[test]
fn the_python_sdk_calls_every_real_server_as_a_legacy_client() {
    let house = House::start();
    python_sdk(&house, json!({"mode": "legacy", "url": house.endpoint, "token": house.token}), "2025-11-25");
}

#[test]
fn the_python_sdk_finds_out_by_itself_that_the_gateway_is_modern() {
    let house = House::start();
    python_sdk(&house, json!({"mode": "auto", "url": house.endpoint, "token": house.token}), "2026-07-28");
}

#[test]
fn the_stdio_bridge_carries_a_real_client_to_every_real_server() {
    let house = House::start();
    let bridge = [env!("CARGO_BIN_EXE_mcpctl"), "mcp", "-p", "workshop"];
    python_sdk(&house, json!({"mode": "legacy", "command": bridge}), "2025-11-25");
    let mut command = parts().inspector(&["--method", "tools/list"]);
    let asked = command.args(bridge).env("HOME", house.up.place.home());
    let listed = run(asked, None, LIMIT).ok();
    assert!(listed.stdout.contains("read_text_file"), "{}", listed.said());
}
