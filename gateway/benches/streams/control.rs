//! The control plane of the bench: a process of its own, so that what it costs can be told from what its gateways cost.
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mcpctl_api::client::Address;
use mcpctl_api::server::bootstrap::first_start;
use mcpctl_api::server::control_plane::ControlPlane;
use mcpctl_api::server::process::bind;
use mcpctl_api::server::rate_limit::Rate;
use serde_json::{Value, json};

const DATA: &str = "MCPCTL_BENCH_DATA";
/// Tokens of one batch.
const BATCH: usize = 200;

/// Serves when this process was started to; never returns then.
pub async fn serve_if_asked() {
    let Some(data) = std::env::var_os(DATA) else { return };
    let listener = bind(IpAddr::V4(Ipv4Addr::LOCALHOST), 0, "--port").await.unwrap();
    let address = listener.local_addr().unwrap();
    let control = ControlPlane::open(Path::new(&data)).await.unwrap();
    control.app().limits.limit_requests(Rate::per_minute(10_000_000));
    let first = first_start(control.app()).await.map_err(|answer| answer.0).unwrap().expect("a first start");
    println!("{}", json!({ "address": address, "password": first.password.expose() }));
    control.serve(listener).await.unwrap();
    std::process::exit(0);
}

/// A control plane that runs.
pub struct Control {
    child: Child,
    address: SocketAddr,
    login: String,
    client: reqwest::Client,
    _data: tempfile::TempDir,
}

impl Control {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(DATA, data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).expect("it says where it serves");
        let address = said["address"].as_str().unwrap().parse().unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut control = Self { child, address, login: String::new(), client, _data: data };
        let login = json!({ "email": "admin@localhost", "password": said["password"] });
        let answer = control.client.post(control.url("auth/login")).json(&login).send().await.unwrap();
        control.login = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
        control
    }

    pub fn address(&self) -> Address {
        format!("http://{}", self.address).parse().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1/{path}", self.address)
    }

    async fn sent(&self, request: reqwest::RequestBuilder) -> (Value, Option<Value>, Duration) {
        let began = Instant::now();
        let answer = request.bearer_auth(&self.login).send().await.unwrap();
        let took = began.elapsed();
        let fenced =
            answer.headers().get("mcpctl-fenced").and_then(|value| serde_json::from_slice(value.as_bytes()).ok());
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{status} {body}");
        (body, fenced, took)
    }

    /// Tokens of the project `default`, in their raw form.
    pub async fn tokens(&self, prefix: &str, count: usize) -> Vec<String> {
        let mut raw = Vec::new();
        for from in (0..count).step_by(BATCH) {
            let name = |n| json!({ "kind": "mcptoken", "name": format!("{prefix}-{n}"), "project": "default" });
            let items: Vec<Value> = (from..count.min(from + BATCH)).map(name).collect();
            let (rows, ..) = self.sent(self.client.post(self.url("apply")).json(&json!({ "items": items }))).await;
            let rows = rows["items"].as_array().unwrap().clone();
            raw.extend(rows.into_iter().map(|row| row["token"].as_str().unwrap().to_owned()));
        }
        raw
    }

    /// Waits until so many streams are open, and each holds so many tokens.
    pub async fn until_held(&self, streams: usize, tokens: usize) {
        let began = Instant::now();
        loop {
            let (gateways, ..) = self.sent(self.client.get(self.url("gateways"))).await;
            let full = |gateway: &&Value| gateway["state"] == "OPEN" && gateway["tokens"] == tokens;
            if gateways["items"].as_array().unwrap().iter().filter(full).count() == streams {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{gateways}");
        }
    }

    /// Revokes a token: what was waited for, and how long that took the caller.
    pub async fn revoke(&self, name: &str) -> (Value, Duration) {
        let request = self.client.post(self.url(&format!("projects/default/mcptokens/{name}/revoke")));
        let (said, _, took) = self.sent(request).await;
        (said["revocation"].clone(), took)
    }

    /// Applies a manifest: what was waited for, and how long that took the caller.
    pub async fn apply(&self, manifest: Value) -> (Value, Duration) {
        let request = self.client.post(self.url("apply")).json(&json!({ "items": [manifest] }));
        let (_, fenced, took) = self.sent(request).await;
        (fenced.expect("an edit of a project is fenced"), took)
    }

    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Processor time since its start. A tick is 10 ms (USER_HZ).
    pub fn processor(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        Duration::from_millis((fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
