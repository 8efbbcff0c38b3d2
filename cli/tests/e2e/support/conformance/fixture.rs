//! The conformance fixture as a process of its own: `examples/conformance-fixture`, built with the tests.
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::support::http;
use crate::support::process::Owned;

/// How long it may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The eras that a fixture serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    Dual,
    Legacy,
    Modern,
}

#[derive(Debug)]
pub struct Fixture {
    pub url: String,
    _process: Owned,
}

impl Fixture {
    /// # Panics
    /// When it has not been built or does not listen within the limit.
    pub fn start(era: Era) -> Self {
        let program = program();
        let built = "the fixture is built by `cargo build -p mcpctl-cli --examples`, and by a run of all tests";
        assert!(program.exists(), "{} is missing: {built}", program.display());
        let mut command = Command::new(program);
        match era {
            Era::Dual => &mut command,
            Era::Legacy => command.args(["--era", "legacy"]),
            Era::Modern => command.args(["--era", "modern"]),
        };
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let process = Owned::new(child);
        let (sender, receiver) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut line = String::new();
            // Without a line there is nothing to send, and the receiver hears that.
            let _ = stdout.read_line(&mut line).map(|_| sender.send(line));
        });
        let line = receiver.recv_timeout(START_LIMIT).expect("the fixture prints its URL");
        Self { url: line.trim().to_owned(), _process: process }
    }

    /// How often each method and name has arrived so far.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let answer = http::get(&self.url.replace("/mcp", "/calls"), None).unwrap();
        serde_json::from_value(answer.json()).unwrap()
    }
}

/// Beside the binary under test, where Cargo puts examples.
fn program() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_mcpctl")).parent().expect("the binary lies in a folder");
    folder.join("examples/conformance-fixture")
}
