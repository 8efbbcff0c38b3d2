//! What is measured: the upstream itself, nginx in front of it, and `mcpctl up` in front of it.
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::LISTED;
use crate::load::{SESSION, find, header, once};

/// The revision of MCP that the load generator speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    Legacy,
    Modern,
}

/// A running program that answers `tools/call`.
pub struct Target {
    pub name: &'static str,
    pub address: SocketAddr,
    pub url: String,
    pub idle_kib: u64,
    path: String,
    token: String,
    /// Prefix of the upstream's tools as this target names them.
    prefix: String,
    session: Option<String>,
    /// Where the long list of tools is, and what opens it.
    long: (String, String),
    era: Era,
    process: Child,
    _folder: Option<TempDir>,
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How long `up` took.
pub struct Start {
    pub ready: Duration,
    pub first_call: Duration,
    pub again: Duration,
}

impl Target {
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The bytes of one `tools/call`.
    pub fn call(&self, tool: &str) -> Vec<u8> {
        let name = format!("{}{tool}", self.prefix);
        self.request("tools/call", json!({"name": name, "arguments": {"text": "a few words"}}), Some(&name))
    }

    /// The bytes of a `tools/list` of the long list.
    pub fn list(&self) -> Vec<u8> {
        let (path, token) = &self.long;
        self.request_at(path, token, "tools/list", json!({}), None)
    }

    /// What opens a legacy session and ends it.
    pub fn session(&self) -> [String; 3] {
        let client = json!({"name": "bench", "version": "1"});
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}).to_string();
        let begin = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
        let version = format!("MCP-Protocol-Version: 2025-06-18\r\nMcp-Session-Id: {SESSION}\r\n");
        let head = |method: &str| {
            let (path, address, token) = (&self.path, self.address, &self.token);
            format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n")
        };
        let accepts = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";
        let post = |more: &str, body: &str| {
            format!("{}{accepts}{more}Content-Length: {}\r\n\r\n{body}", head("POST"), body.len())
        };
        [post("", &hello), post(&version, &begin), format!("{}{version}\r\n", head("DELETE"))]
    }

    fn request(&self, method: &str, params: Value, name: Option<&str>) -> Vec<u8> {
        self.request_at(&self.path, &self.token, method, params, name)
    }

    fn request_at(&self, path: &str, token: &str, method: &str, mut params: Value, name: Option<&str>) -> Vec<u8> {
        let mut more = String::new();
        if self.era == Era::Modern {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
            });
            more += &format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n");
            more += &name.map_or_else(String::new, |name| format!("Mcp-Name: {name}\r\n"));
        } else if let Some(session) = self.session.as_ref().filter(|_| path == self.path) {
            more += &format!("MCP-Protocol-Version: 2025-06-18\r\nMcp-Session-Id: {session}\r\n");
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\n{more}Content-Length: {}\r\n\r\n{body}",
            path,
            self.address,
            token,
            body.len()
        )
        .into_bytes()
    }

    /// Sends a request and answers head and body of what came back.
    fn ask(&self, method: &str, params: Value, name: Option<&str>) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(once(self.address, &self.request(method, params, name)));
        String::from_utf8(answer).unwrap()
    }

    /// A legacy client opens its session; a modern one has nothing to open.
    fn open(&mut self) {
        if self.era == Era::Legacy {
            let client = json!({"name": "bench", "version": "1"});
            let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
            let answer = self.ask("initialize", hello, None);
            self.session = header(&answer, "mcp-session-id").map(str::to_owned);
        }
    }

    /// What the target puts before the name of a tool that the upstream calls `tool`.
    fn prefix_of(&self, tool: &str) -> String {
        let listed = self.ask("tools/list", json!({}), None);
        let end = find(listed.as_bytes(), format!("{tool}\"").as_bytes());
        let end = end.unwrap_or_else(|| panic!("no tool `{tool}` in {listed}"));
        let begin = listed[..end].rfind('"').expect("a name is quoted") + 1;
        listed[begin..end].to_owned()
    }
}

/// This program again, as the upstream.
pub fn start_upstream() -> Target {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut process = command.arg("--upstream").stdout(Stdio::piped()).spawn().unwrap();
    let address: SocketAddr = first_line(&mut process).trim().parse().unwrap();
    let url = format!("http://{address}/mcp");
    target("direct", address, url, "none", Era::Modern, process, None)
}

/// nginx as a plain reverse proxy with one worker: the bearer compared as a string, connections to the upstream kept.
/// `None` where it is not installed.
pub fn start_nginx(upstream: SocketAddr, era: Era) -> Option<Target> {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let root = folder.path().display();
    let config = format!(
        r#"daemon off; master_process off; pid {root}/pid; error_log {root}/error;
        events {{ worker_connections 1024; }}
        http {{
          access_log off; client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;
          uwsgi_temp_path {root}/u; scgi_temp_path {root}/s; keepalive_requests 100000000; proxy_buffers 16 16k;
          upstream one {{ server {upstream}; keepalive 128; keepalive_requests 100000000; }}
          server {{
            listen 127.0.0.1:{port};
            location / {{
              if ($http_authorization != "Bearer none") {{ return 401; }}
              proxy_pass http://one; proxy_http_version 1.1; proxy_set_header Connection "";
            }}
          }}
        }}"#
    );
    fs::write(folder.path().join("nginx.conf"), config).unwrap();
    let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].into_iter().find(|p| Path::new(p).exists())?;
    let mut command = Command::new(program);
    let process = command.arg("-c").arg(folder.path().join("nginx.conf")).stderr(Stdio::null()).spawn().ok()?;
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let until = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(address).is_err() {
        assert!(Instant::now() < until, "nginx does not listen");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    Some(target("nginx", address, format!("http://{address}/mcp"), "none", era, process, Some(folder)))
}

/// `mcpctl up` with the upstream attached to its project, audit on, everything as a user has it. The first start, on an
/// empty folder, is timed up to a served call; the one that is measured is the second.
pub fn start_gateway(upstream: &str, era: Era) -> (Target, Start) {
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let (process, ready) = up(folder.path());
    let ready_after = begun.elapsed();
    let token = ready["token"].as_str().expect("the first start prints the token").to_owned();
    let mut first = gateway(&ready, &token, era, process, None);
    first.open();
    let whoami = format!("{}whoami", first.prefix_of("whoami"));
    let answer = first.ask("tools/call", json!({"name": whoami, "arguments": {}}), Some(&whoami));
    assert!(answer.contains("\"content\""), "the first call failed: {answer}");
    let first_call = begun.elapsed();
    drop(first);
    let begun = Instant::now();
    let (process, ready) = up(folder.path());
    let start = Start { ready: ready_after, first_call, again: begun.elapsed() };
    let project = ready["project"].as_str().expect("the line names the project");
    attach(folder.path(), upstream, project);
    let home = folder.path().to_owned();
    let mut target = gateway(&ready, &token, era, process, Some(folder));
    target.open();
    target.prefix = target.prefix_of("small");
    if era == Era::Modern {
        target.long = long_list(home.as_path(), upstream, &target);
    }
    (target, start)
}

/// The gateway with its audit log and without, each on a folder of its own that `up` made.
pub fn start_audited_and_not(upstream: &str, era: Era) -> [Target; 2] {
    [("audit on", "recorded"), ("audit off", "unrecorded")].map(|(name, how)| {
        let folder = tempfile::tempdir().unwrap();
        let (process, ready) = up(folder.path());
        let token = ready["token"].as_str().expect("the first start prints the token").to_owned();
        let project = ready["project"].as_str().expect("the line names the project").to_owned();
        let first = gateway(&ready, &token, era, process, None);
        attach(folder.path(), upstream, &project);
        drop(first);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--gateway").arg(folder.path().join("data")).args([&project, how]).env("HOME", folder.path());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let ready = serde_json::from_str(&first_line(&mut process)).expect("it says when it is ready");
        let mut target = gateway(&ready, &token, era, process, Some(folder));
        target.name = name;
        target.open();
        target.prefix = target.prefix_of("small");
        target
    })
}

/// Attaches the upstream to a project.
fn attach(home: &Path, upstream: &str, project: &str) {
    let manifest = format!(
        "kind: server\nname: bench\ntransport: STREAMABLE_HTTP\nexternalUrl: {upstream}\n\
         allowPrivateAddress: true\n---\nkind: project\nname: {project}\nservers: [mcpctl, bench]\n"
    );
    apply(home, &manifest);
}

/// Many servers in a project of their own: its path and its token.
fn long_list(home: &Path, upstream: &str, target: &Target) -> (String, String) {
    let (servers, _) = LISTED;
    let names: Vec<String> = (0..servers).map(|number| format!("list-{number}")).collect();
    let mut manifest = String::new();
    for (number, name) in names.iter().enumerate() {
        manifest += &format!(
            "kind: server\nname: {name}\ntransport: STREAMABLE_HTTP\nexternalUrl: {upstream}/list/{number}\n\
             allowPrivateAddress: true\n---\n"
        );
    }
    apply(home, &format!("{manifest}kind: project\nname: long\nservers: [{}]\n", names.join(", ")));
    let made = mcpctl(home).args(["create", "mcptoken", "bench", "-p", "long"]).output().unwrap();
    let said = String::from_utf8(made.stdout).unwrap();
    let token =
        said.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').find(|word| word.starts_with("mcpctl_pat_"));
    let token = token.unwrap_or_else(|| panic!("no token was shown: {said}"));
    let own = target.path.split('/').nth(2).expect("the path names the project");
    (target.path.replace(&format!("/{own}/"), "/long/"), token.to_owned())
}

fn gateway(ready: &Value, token: &str, era: Era, process: Child, folder: Option<TempDir>) -> Target {
    let url = url::Url::parse(ready["endpoint"].as_str().expect("the line names the endpoint")).unwrap();
    let address = url.socket_addrs(|| None).unwrap()[0];
    let mut target = target("mcpctl", address, url.to_string(), token, era, process, folder);
    url.path().clone_into(&mut target.path);
    target
}

fn up(folder: &Path) -> (Child, Value) {
    let mut command = mcpctl(folder);
    command.args(["up", "-o", "json", "--api-port", "0", "--gateway-port", "0", "--data-dir"]).arg(folder.join("data"));
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let ready = serde_json::from_str(&first_line(&mut process)).expect("`up` says when it is ready");
    (process, ready)
}

fn mcpctl(home: &Path) -> Command {
    let mut command = Command::new(crate::program());
    command.env("HOME", home);
    command
}

fn apply(home: &Path, manifest: &str) {
    let mut command = mcpctl(home);
    let mut child = command.args(["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "`mcpctl apply` failed");
}

fn target(
    name: &'static str,
    address: SocketAddr,
    url: String,
    token: &str,
    era: Era,
    process: Child,
    folder: Option<TempDir>,
) -> Target {
    let idle_kib = resident_kib(process.id());
    let path = "/mcp".to_owned();
    let (token, prefix) = (token.to_owned(), String::new());
    let long = ("/mcp/all".to_owned(), token.clone());
    Target { name, address, url, idle_kib, path, token, prefix, session: None, long, era, process, _folder: folder }
}

fn first_line(process: &mut Child) -> String {
    let mut line = String::new();
    let mut reader = BufReader::new(process.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    // Kept open: a program that says more must not die of it.
    process.stdout = Some(reader.into_inner());
    line
}

/// CPU that a process and its threads have spent.
pub fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in brackets, may contain blanks.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum::<u64>();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// Memory that a process holds.
pub fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}
