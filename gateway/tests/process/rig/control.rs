//! The control plane of the rig: a process of its own, so that it can be killed. The test program starts itself again as one.
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mcpctl_api::server::bootstrap::first_start;
use mcpctl_api::server::control_plane::ControlPlane;
use mcpctl_api::server::process::bind;
use mcpctl_api::server::rate_limit::Rate;
use serde_json::{Value, json};

const DATA: &str = "MCPCTL_RIG_DATA";
const HOST: &str = "MCPCTL_RIG_HOST";
const SAYS: &str = "rig serves ";

/// Serves when this process was started to; never returns then.
pub fn serve_if_asked() {
    let Some(data) = std::env::var_os(DATA) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let host = std::env::var(HOST).ok().and_then(|host| host.parse().ok());
        let listener = bind(host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), 0, "--port").await.unwrap();
        let address = listener.local_addr().unwrap();
        let control = ControlPlane::open(Path::new(&data)).await.unwrap();
        // A limit for people; the rig is faster than they are.
        control.app().limits.limit_requests(Rate::per_minute(10_000_000));
        // What is made at the first start is told to the test and to nobody else.
        let first = first_start(control.app()).await.map_err(|answer| answer.0).unwrap();
        let password = first.map(|first| first.password.expose().to_owned());
        println!("\n{SAYS}{}", json!({ "address": address, "password": password }));
        control.serve(listener).await.unwrap();
    });
}

/// A control plane that runs.
pub struct Control {
    child: Child,
    pub address: SocketAddr,
    password: String,
    login: String,
    client: reqwest::Client,
}

impl Control {
    pub async fn start(data: &Path) -> Self {
        Self::start_on(data, IpAddr::V4(Ipv4Addr::LOCALHOST)).await
    }

    /// One that listens on another address; this process reaches it on loopback all the same.
    pub async fn start_on(data: &Path, host: IpAddr) -> Self {
        let (child, said) = spawn(data, host);
        let mut address: SocketAddr = said["address"].as_str().unwrap().parse().unwrap();
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let password = said["password"].as_str().expect("a first start").to_owned();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        let mut control = Self { child, address, password, login: String::new(), client };
        control.sign_in().await;
        control
    }

    async fn sign_in(&mut self) {
        self.login = self.login_of("admin@localhost", &self.password).await;
    }

    /// A login of somebody.
    pub async fn login_of(&self, email: &str, password: &str) -> String {
        let login = json!({ "email": email, "password": password });
        let answer = self.client.post(self.url("auth/login")).json(&login).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned()
    }

    /// kill -9, and a new process on the same folder, at another port.
    pub fn kill_and_start(&mut self, data: &Path) {
        self.kill();
        self.start_again(data, None);
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A new process on a folder, at another port; where the folder has no key of the log, it makes one for this origin.
    pub fn start_again(&mut self, data: &Path, origin: Option<&str>) {
        let (child, said) = spawn_as(data, IpAddr::V4(Ipv4Addr::LOCALHOST), origin);
        (self.child, self.address) = (child, said["address"].as_str().unwrap().parse().unwrap());
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1/{path}", self.address)
    }

    async fn sent(&self, request: reqwest::RequestBuilder) -> Value {
        self.sent_by(&self.login, request).await
    }

    async fn sent_by(&self, login: &str, request: reqwest::RequestBuilder) -> Value {
        let answer = request.bearer_auth(login).send().await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.json().await.unwrap();
        assert!(status < 300, "{status} {body}");
        body
    }

    /// Applies manifests; answers the rows, with a token where one was drawn.
    pub async fn apply(&self, items: &[Value]) -> Vec<Value> {
        let request = self.client.post(self.url("apply")).json(&json!({ "items": items }));
        self.sent(request).await["items"].as_array().unwrap().clone()
    }

    /// Tokens of the project `default`, in their raw form.
    pub async fn tokens(&self, names: impl Iterator<Item = String>, ttl: Option<&str>) -> Vec<String> {
        self.tokens_by(&self.login, names, ttl).await
    }

    /// The same, made and owned by whoever has this login.
    pub async fn tokens_by(&self, login: &str, names: impl Iterator<Item = String>, ttl: Option<&str>) -> Vec<String> {
        let token = |name| json!({ "kind": "mcptoken", "name": name, "project": "default", "ttl": ttl });
        let items: Vec<Value> = names.map(token).collect();
        let request = self.client.post(self.url("apply")).json(&json!({ "items": items }));
        let rows = self.sent_by(login, request).await;
        rows["items"].as_array().unwrap().iter().map(|row| row["token"].as_str().unwrap().to_owned()).collect()
    }

    pub async fn revoke(&self, name: &str) -> Value {
        self.sent(self.client.post(self.url(&format!("projects/default/mcptokens/{name}/revoke")))).await
    }

    pub async fn delete(&self, path: &str) -> Value {
        self.sent(self.client.delete(self.url(path))).await
    }

    /// A figure of its `/metrics`.
    pub async fn figure(&self, name: &str) -> f64 {
        figure_of(&format!("http://{}", self.address), name).await
    }

    /// All audit entries that filters ask for, in order.
    pub async fn audited(&self, filters: &str) -> Vec<Value> {
        let (mut all, mut position) = (Vec::new(), "1".to_owned());
        loop {
            let path = format!("audit/events?{filters}&limit=1000&position={position}");
            let mut page = self.sent(self.client.get(self.url(&path))).await;
            all.append(page["items"].as_array_mut().unwrap());
            match page["next"].as_str() {
                Some(next) => position = next.to_owned(),
                None => return all,
            }
        }
    }

    pub async fn gateways(&self) -> Vec<Value> {
        self.sent(self.client.get(self.url("gateways"))).await["items"].as_array().unwrap().clone()
    }
}

/// A figure of the `/metrics` at an address.
pub async fn figure_of(address: &str, name: &str) -> f64 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let page = client.get(format!("{address}/metrics")).send().await.unwrap().text().await.unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in\n{page}")).parse().unwrap()
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(data: &Path, host: IpAddr) -> (Child, Value) {
    spawn_as(data, host, None)
}

fn spawn_as(data: &Path, host: IpAddr, origin: Option<&str>) -> (Child, Value) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["revocations::rig_control_plane", "--exact", "--nocapture"])
        .env(DATA, data)
        .env(HOST, host.to_string())
        .env("MCPD_LOG_ORIGIN", origin.unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix(SAYS).map(str::to_owned));
    std::thread::spawn(move || lines.for_each(drop));
    (child, serde_json::from_str(&said.expect("it says where it serves")).unwrap())
}
