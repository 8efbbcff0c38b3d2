//! The real `oidc-provider` from npm, running, and people who sign in at it.
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::browser::Browser;
use super::http::send;
use super::parts::parts;
use super::process::{Owned, Ran, free_port, wait_for_port};
use super::up::{Place, Up};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/scripts/oidc_provider.mjs");
const START_LIMIT: Duration = Duration::from_secs(60);
const SIGN_IN_LIMIT: Duration = Duration::from_secs(90);

/// A provider.
pub struct Provider {
    port: u16,
    process: Option<Owned>,
}

impl Provider {
    /// One that is configured and does not run.
    pub fn down() -> Self {
        Self { port: free_port(), process: None }
    }

    /// One that runs.
    pub fn start() -> Self {
        let mut provider = Self::down();
        provider.restart();
        provider
    }

    /// Ends it and starts it again: with other keys, and without memory of anybody.
    pub fn restart(&mut self) {
        self.process = None;
        let mut command = std::process::Command::new(parts().node());
        command.arg(SCRIPT).env("PORT", self.port.to_string());
        command.env("OIDC_PROVIDER", parts().root().join("node_modules/oidc-provider/lib/index.js"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.process = Some(Owned::new(child));
        wait_for_port(self.port, START_LIMIT);
    }

    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Says who sits in front of the browser, and what the provider knows of them.
    #[track_caller]
    pub fn has(&self, subject: &str, email: &str, groups: &[&str]) {
        self.control(&json!({ "person": subject, "people": { subject: { "email": email, "groups": groups } } }));
    }

    /// Nobody agrees to sign in.
    #[track_caller]
    pub fn refuses(&self) {
        self.control(&json!({ "person": null }));
    }

    #[track_caller]
    fn control(&self, said: &Value) {
        let answer = send("POST", &format!("{}/control", self.issuer()), &[], said.to_string().into_bytes()).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.body);
    }

    /// An `up` whose people sign in here.
    pub fn up(&self) -> Up {
        Up::start_with(Place::new(), |command| {
            command.env("MCPD_OIDC_ISSUER", self.issuer()).env("MCPD_OIDC_CLIENT_ID", "mcpctl");
            command.env("MCPD_OIDC_SCOPES", "openid email groups");
            // It leaves the nonce out in the device flow, as most do.
            command.env("MCPD_OIDC_ALLOW_MISSING_NONCE", "true");
        })
    }
}

/// Runs a `mcpctl login` and goes with a browser wherever it says. Answers how it ended.
#[track_caller]
pub fn sign_in(home: &Arc<Place>, args: &[&str]) -> Ran {
    let mut command = home.command(args);
    let shown = format!("{command:?}");
    let out = home.path("login.out");
    command.stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(Stdio::piped());
    let mut login = Owned::new(command.spawn().unwrap());
    let mut said = String::new();
    let mut browsed = false;
    for line in BufReader::new(login.child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        // The device flow prints two: the last has the code in it.
        let address = line.trim().starts_with("http://").then(|| line.trim().to_owned());
        said.push_str(&line);
        said.push('\n');
        let complete = said.contains("enter the code");
        if let Some(address) = address.filter(|address| !browsed && (!complete || address.contains("user_code="))) {
            browsed = true;
            Browser::default().open(&address);
        }
    }
    let status = login.wait_at_most(SIGN_IN_LIMIT).unwrap_or_else(|| panic!("{shown} does not end:\n{said}"));
    let stdout = std::fs::read_to_string(out).unwrap();
    Ran { command: shown, code: status.code(), stdout, stderr: said }
}
