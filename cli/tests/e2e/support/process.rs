//! Child processes of a test: run to the end within a limit, or owned and ended when the owner goes.
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait::{try_until, wait_until};

/// What a process that ran to its end left.
#[derive(Debug)]
pub struct Ran {
    /// The command line, for messages.
    pub command: String,
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Answers itself when the exit code was 0.
    ///
    /// # Panics
    /// With everything the process said when it was not.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Answers itself when the exit code was `code`.
    ///
    /// # Panics
    /// With everything the process said when it was not.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code of `{}`\n{}", self.command, self.said());
        self
    }

    /// Parses the standard output.
    ///
    /// # Panics
    /// When it is not JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("`{}`: {e}\n{}", self.command, self.said()))
    }

    /// Both outputs, for a message or a search in all that was said.
    pub fn said(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

/// Runs a command to its end. Output goes through files, so that a chatty process never blocks on a full pipe.
///
/// # Panics
/// When it can't be started or takes longer than the limit.
#[track_caller]
pub fn run(command: &mut Command, input: Option<&str>, limit: Duration) -> Ran {
    let shown = format!("{command:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let to = |name: &str| File::create(path(name)).unwrap();
    command.stdout(to("out")).stderr(to("err"));
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = Owned::new(command.spawn().unwrap_or_else(|e| panic!("{shown} could not be started: {e}")));
    if let Some(text) = input {
        let mut stdin = child.child.stdin.take().unwrap();
        // A process that does not read its input closes the pipe: what it says about that is for the test to judge.
        let _ = stdin.write_all(text.as_bytes());
    }
    let read = |name: &str| String::from_utf8_lossy(&std::fs::read(path(name)).unwrap()).into_owned();
    let status = child
        .wait_at_most(limit)
        .unwrap_or_else(|| panic!("{shown} took longer than {limit:?}\n{}\n{}", read("out"), read("err")));
    Ran { command: shown, code: status.code(), stdout: read("out"), stderr: read("err") }
}

/// A running process that does not outlive its owner.
#[derive(Debug)]
pub struct Owned {
    pub child: Child,
}

impl Owned {
    pub fn new(child: Child) -> Self {
        Self { child }
    }

    /// Sends a signal; a process that is gone already is no error.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, signal);
    }

    /// How it ended, or `None` when the limit is over and it still runs.
    pub fn wait_at_most(&mut self, limit: Duration) -> Option<ExitStatus> {
        try_until(limit, || self.child.try_wait().unwrap())
    }

    /// Kills it as a power cut would, and reaps it.
    pub fn kill_9(&mut self) {
        let _ = self.child.kill();
        wait_until("a killed process is gone", Duration::from_secs(10), || self.child.try_wait().unwrap());
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port on loopback that nobody listens on now. Only for programs that can't be told to choose one themselves.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until something listens on a port of loopback.
pub fn wait_for_port(port: u16, limit: Duration) {
    wait_until(&format!("something listens on port {port}"), limit, || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
}
