//! A control plane on a folder of its own, behind a port, and the questions that tests put to it.
use std::path::Path;
use std::sync::Arc;

use mcpctl_api::server::bootstrap::{ADMINISTRATOR, FirstStart, first_start};
use mcpctl_api::server::clock::Clock;
use mcpctl_api::server::control_plane::ControlPlane;
use mcpctl_api::server::login;
use mcpctl_core::log::EventLog;
use mcpctl_core::manifest;
use mcpctl_core::name::{Name, NameRule};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the examples of the kinds refer to.
pub const BASE: &str = include_str!("../../../fixtures/kinds/_base.yaml");
/// A password that is good enough.
pub const PASSWORD: &str = "correct horse battery";

/// A control plane behind a port.
pub struct House {
    pub folder: TempDir,
    pub control: Arc<ControlPlane>,
    pub address: String,
    /// A login of the administrator.
    pub admin: String,
    pub first: Option<FirstStart>,
    http: Client,
    served: JoinHandle<std::io::Result<()>>,
}

/// An answer, read to its end.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn outcome(&self) -> &str {
        self.header("mcpctl-outcome")
    }

    /// That it is a problem of this status; answers the problem.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
        problem
    }

    /// That it is this status; answers itself.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }
}

/// A request before it is sent.
pub struct Ask<'a> {
    house: &'a House,
    request: reqwest::RequestBuilder,
}

impl Ask<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn body(mut self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.header("content-type", content_type).body(body);
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// The body as it is, of an answer that is good.
    pub async fn send_bytes(self) -> Vec<u8> {
        let reply = self.request.send().await.unwrap();
        assert_eq!(reply.status(), 200);
        reply.bytes().await.unwrap().to_vec()
    }

    pub async fn send(self) -> Reply {
        let response = self.house.http.execute(self.request.build().unwrap()).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Reply { status, headers, text: response.text().await.unwrap() }
    }
}

impl House {
    /// On a new folder.
    pub async fn start() -> Self {
        Self::on(tempfile::tempdir().unwrap()).await
    }

    /// On a folder that may have been in use before.
    pub async fn on(folder: TempDir) -> Self {
        Self::around(folder, |log| log).await
    }

    /// With something put around the log.
    pub async fn around(folder: TempDir, log: impl FnOnce(Box<dyn EventLog>) -> Box<dyn EventLog>) -> Self {
        Self::with(folder, Clock::Wall, log).await
    }

    /// By a clock that the test sets.
    pub async fn at(clock: Clock) -> Self {
        Self::with(tempfile::tempdir().unwrap(), clock, |log| log).await
    }

    async fn with(folder: TempDir, clock: Clock, log: impl FnOnce(Box<dyn EventLog>) -> Box<dyn EventLog>) -> Self {
        let control = Arc::new(ControlPlane::open_with(&folder.path().join("data"), clock, log).await.unwrap());
        let first = first_start(control.app()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = control.clone();
        let served = tokio::spawn(async move { serving.serve(listener).await });
        let administrator = Name::parse(NameRule::Email, ADMINISTRATOR).unwrap();
        let admin = login::open(control.app(), &administrator).await.unwrap().token;
        Self { folder, control, address, admin, first, http: Client::new(), served }
    }

    pub fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// Stops it; the folder stays.
    pub async fn stop(self) -> TempDir {
        self.control.stopping().cancel();
        self.served.await.unwrap().unwrap();
        Arc::into_inner(self.control).expect("nobody else holds it once it stopped serving").shutdown().await;
        self.folder
    }

    pub async fn restart(self) -> Self {
        Self::on(self.stop().await).await
    }

    /// A request by a bearer, or by nobody.
    pub fn by<'a>(&'a self, bearer: Option<&str>, method: &str, path: &str) -> Ask<'a> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.http.request(method, format!("http://{}{path}", self.address));
        let request = match bearer {
            Some(bearer) => request.bearer_auth(bearer),
            None => request,
        };
        Ask { house: self, request }
    }

    /// A request by the administrator, below `/api/v1`.
    pub fn ask<'a>(&'a self, method: &str, path: &str) -> Ask<'a> {
        self.by(Some(&self.admin), method, &format!("/api/v1{path}"))
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path).send().await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.ask("POST", path).json(&body).send().await
    }

    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.ask("PUT", path).json(&body).send().await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.ask("DELETE", path).send().await
    }

    /// Seq of the newest state.
    pub async fn seq(&self) -> u64 {
        self.by(None, "GET", "/healthz").send().await.json()["seq"].as_u64().unwrap()
    }

    /// Applies documents as one batch.
    pub async fn apply(&self, yaml: &str) -> Reply {
        self.post("/apply", json!({ "items": manifest::documents(yaml).unwrap() })).await.is(200)
    }

    /// A person without any right, signed in; the bearer.
    pub async fn person(&self, email: &str) -> String {
        self.put(&format!("/users/{email}"), json!({ "password": PASSWORD })).await.is(201);
        self.log_in(email, PASSWORD).await.is(200).json()["token"].as_str().unwrap().to_owned()
    }

    pub async fn log_in(&self, email: &str, password: &str) -> Reply {
        let body = json!({ "email": email, "password": password });
        self.by(None, "POST", "/api/v1/auth/login").json(&body).send().await
    }

    /// A new token of a project; the bearer.
    pub async fn token(&self, project: &str, name: &str) -> String {
        let made = self.post(&format!("/projects/{project}/mcptokens"), json!({ "name": name, "rbac": "clone" })).await;
        made.is(201).json()["token"].as_str().unwrap().to_owned()
    }

    /// Bytes as they are, on a connection of their own; answers the status.
    pub async fn raw(&self, head: &str) -> u16 {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let text = String::from_utf8_lossy(&answer);
        text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head}: {text}"))
    }
}

/// The fields of one document.
pub fn fields(yaml: &str) -> Map<String, Value> {
    manifest::documents(yaml).unwrap().remove(0)
}

/// Every file below a folder.
pub fn files(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(files(&path));
        } else if kind.is_file() {
            found.push((path.clone(), std::fs::read(&path).unwrap_or_default()));
        }
    }
    found
}
