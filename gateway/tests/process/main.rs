//! `mcplocal serve` as a process of its own, beside a control plane that it reaches over HTTP and holds no credential for.
#![allow(clippy::unwrap_used, clippy::print_stdout)]
#[path = "../support/collector.rs"]
mod collector;
mod figures;
mod forks;
mod kills;
mod namespaces;
mod revocations;
mod rig;
mod slow_reader;
mod traces;

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcpctl_api::server::bootstrap::first_start;
use mcpctl_api::server::control_plane::ControlPlane;
use mcpctl_api::server::process::bind;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// The process under test; killed when the test is over.
struct Mcplocal {
    child: Child,
    address: String,
    /// What it said on its standard error.
    said: Arc<Mutex<Vec<String>>>,
}

impl Mcplocal {
    fn start(mcpd: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcplocal"));
        command.args(["serve", "--port", "0"]);
        Self::start_by(command, mcpd)
    }

    /// The same by a command of the caller's.
    fn start_by(mut command: Command, mcpd: &str) -> Self {
        let mut child = command
            .env("MCPLOCAL_MCPD_URL", mcpd)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = "mcplocal serves ";
        let all = Arc::new(Mutex::new(Vec::new()));
        let mut note = {
            let all = all.clone();
            move |line: String| {
                all.lock().push(line.clone());
                line
            }
        };
        let mut heard = lines.by_ref().map_while(Result::ok).map(&mut note);
        let line = heard.find(|line| line.contains(said)).expect("it says where it serves");
        // Whatever it says later must be read, or it would wait for its reader.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(note(line))));
        Self { child, address: line.split(said).nth(1).unwrap().trim().to_owned(), said: all }
    }
}

impl Mcplocal {
    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A line that it said with a text in it.
    fn says(&self, text: &str) -> Option<String> {
        self.said.lock().iter().find(|line| line.contains(text)).cloned()
    }
}

impl Drop for Mcplocal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn modern(address: &str, token: &str, method: &str, more: Value) -> (u16, Value) {
    let mut params = json!({ "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "0" },
    }});
    let name = more.get("name").and_then(Value::as_str).map(str::to_owned);
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    static CLIENT: std::sync::LazyLock<reqwest::Client> = std::sync::LazyLock::new(|| {
        reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(0)
            .build()
            .unwrap()
    });
    let mut request = CLIENT
        .post(format!("{address}/projects/default/mcp"))
        .bearer_auth(token)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method);
    if let Some(name) = name {
        request = request.header("mcp-name", name);
    }
    let request = request.json(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }));
    // A connection that is reset is a refusal too.
    let Ok(answer) = request.send().await else { return (0, Value::Null) };
    let status = answer.status().as_u16();
    let Ok(text) = answer.text().await else { return (0, Value::Null) };
    (status, serde_json::from_str(&text).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_its_own_serves_by_the_callers_bearer_and_stops_with_the_revocation() {
    let data = tempfile::tempdir().unwrap();
    let listener = bind(IpAddr::V4(Ipv4Addr::LOCALHOST), 0, "--port").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let control = ControlPlane::open(data.path()).await.unwrap();
    let first = first_start(control.app()).await.map_err(|answer| answer.0).unwrap().expect("a first start");
    let token = first.token.expose().to_owned();
    let (stop, app) = (control.stopping(), control.app().clone());
    let serving = tokio::spawn(async move {
        control.serve(listener).await.unwrap();
        control.shutdown().await;
    });
    let gateway = Mcplocal::start(&api);

    let (status, listed) = modern(&gateway.address, &token, "tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().cloned().unwrap_or_default();
    assert!(status == 200 && tools.iter().any(|tool| tool["name"] == "whoami"), "{status} {listed}");
    let (status, called) =
        modern(&gateway.address, &token, "tools/call", json!({ "name": "whoami", "arguments": {} })).await;
    assert!(status == 200 && called.to_string().contains("first"), "{status} {called}");

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let login = json!({ "email": "admin@localhost", "password": first.password.expose() });
    let answer: Value =
        client.post(format!("{api}/api/v1/auth/login")).json(&login).send().await.unwrap().json().await.unwrap();
    let revoke = format!("{api}/api/v1/projects/default/mcptokens/first/revoke");
    let revoked = client.post(revoke).bearer_auth(answer["token"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(revoked.status(), 200);
    let begun = Instant::now();
    while modern(&gateway.address, &token, "tools/list", json!({})).await.0 != 401 {
        assert!(begun.elapsed() < Duration::from_secs(5), "a revoked token is still served");
    }

    drop((gateway, app));
    stop.cancel();
    serving.await.unwrap();
}

#[test]
fn a_gateway_without_an_address_of_its_control_plane_says_which_setting_is_missing() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_mcplocal")).arg("serve").env_remove("MCPLOCAL_MCPD_URL").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--mcpd-url"), "{output:?}");
}
