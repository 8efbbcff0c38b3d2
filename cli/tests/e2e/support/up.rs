//! A running `mcpctl up` with a home and a data folder of its own.
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use super::process::{Owned, Ran, run};

/// How long `up` may take until it is ready. A debug build on a busy machine is slow; nothing is measured with it.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// How long it may take to drain and end.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How long one command of the CLI may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The line that `up -o json` prints when it is ready.
#[derive(Clone, Debug, Deserialize)]
pub struct Ready {
    pub api: String,
    pub endpoint: String,
    pub project: String,
    /// Printed by the first start only.
    #[serde(default)]
    pub token: Option<String>,
}

/// Home and data folder of a user who runs `up`, which outlive each start of it.
#[derive(Debug)]
pub struct Place {
    folder: TempDir,
}

impl Place {
    pub fn new() -> Arc<Self> {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(place.home()).unwrap();
        Arc::new(place)
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A file or folder beside home and data, for the test's own use.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What `up` said on its standard error in all starts so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("up.stderr")).unwrap_or_default()).into_owned()
    }

    /// `mcpctl` with this home.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcpctl"));
        command.args(args).env("HOME", self.home()).env_remove("MCPCTL_TOKEN").env("NO_COLOR", "1");
        command
    }

    /// Runs `mcpctl` with this home to its end.
    #[track_caller]
    pub fn mcpctl(&self, args: &[&str]) -> Ran {
        run(&mut self.command(args), None, COMMAND_LIMIT)
    }

    /// The same, with something on its standard input.
    #[track_caller]
    pub fn mcpctl_with_input(&self, args: &[&str], input: &str) -> Ran {
        run(&mut self.command(args), Some(input), COMMAND_LIMIT)
    }

    /// The command that starts `up` here, on ports that the system chooses.
    pub fn up_command(&self, data: &Path) -> Command {
        let mut command = self.command(&["up", "-o", "json", "--api-port", "0", "--gateway-port", "0", "--data-dir"]);
        command.arg(data).current_dir(self.folder.path());
        command
    }
}

/// A running `up`. Ended when it goes out of scope.
#[derive(Debug)]
pub struct Up {
    pub place: Arc<Place>,
    pub ready: Ready,
    process: Owned,
}

impl Up {
    /// Starts a fresh one.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_in(Place::new())
    }

    /// Starts one in a place where perhaps another ran before.
    ///
    /// # Panics
    /// With all that it said when it does not become ready.
    #[track_caller]
    pub fn start_in(place: Arc<Place>) -> Self {
        Self::start_with(place, |_| {})
    }

    /// The same, with something changed in the command.
    #[track_caller]
    pub fn start_with(place: Arc<Place>, change: impl FnOnce(&mut Command)) -> Self {
        let stderr = File::options().create(true).append(true).open(place.path("up.stderr")).unwrap();
        let mut command = place.up_command(&place.data());
        change(&mut command);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut process = Owned::new(child);
        let line = first_line(&mut process, READY_LIMIT);
        let ready = line.and_then(|line| serde_json::from_str(&line).ok());
        let ready = ready.unwrap_or_else(|| panic!("`mcpctl up` did not become ready:\n{}", place.log()));
        Self { place, ready, process }
    }

    /// The token of the first start.
    #[track_caller]
    pub fn token(&self) -> &str {
        self.ready.token.as_deref().expect("the first start prints the token")
    }

    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    #[track_caller]
    pub fn mcpctl(&self, args: &[&str]) -> Ran {
        self.place.mcpctl(args)
    }

    /// Another project's endpoint on the same gateway.
    pub fn endpoint_of(&self, project: &str) -> String {
        let own = format!("/projects/{}/", self.ready.project);
        self.ready.endpoint.replace(&own, &format!("/projects/{project}/"))
    }

    /// Ctrl-C, and waits until it has drained and ended.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn stop(mut self) -> (Arc<Place>, ExitStatus) {
        self.process.signal(Signal::INT);
        let status = self.process.wait_at_most(STOP_LIMIT);
        let status = status.unwrap_or_else(|| panic!("`up` did not end after SIGINT:\n{}", self.place.log()));
        (Arc::clone(&self.place), status)
    }

    /// kill -9.
    pub fn kill_9(mut self) -> Arc<Place> {
        self.process.kill_9();
        Arc::clone(&self.place)
    }
}

/// The first line of the standard output, within a limit. The rest is read and thrown away until the process ends, so
/// that it never blocks on a full pipe.
fn first_line(process: &mut Owned, limit: Duration) -> Option<String> {
    let stdout = process.child.stdout.take().expect("stdout is piped");
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            // Only the first line is waited for.
            let _ = sender.try_send(line);
        }
    });
    receiver.recv_timeout(limit).ok()
}

impl Up {
    /// `mcpctl apply -f -` of some objects.
    #[track_caller]
    pub fn apply(&self, objects: &[Value]) {
        let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
        self.place.mcpctl_with_input(&["apply", "-f", "-"], &documents.join("\n---\n")).ok();
    }

    /// A new token for a project, in its raw form.
    #[track_caller]
    pub fn create_token(&self, name: &str, project: &str) -> String {
        let made = self.mcpctl(&["create", "mcptoken", name, "-p", project]).ok();
        raw_token(&made.stdout).unwrap_or_else(|| panic!("no token was shown:\n{}", made.said()))
    }
}

/// The first raw token in a text.
pub fn raw_token(text: &str) -> Option<String> {
    let begin = text.find("mcpctl_pat_")?;
    let end = text[begin..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len() - begin);
    Some(text[begin..begin + end].to_owned())
}

/// The administrator's login, as the CLI keeps it.
pub fn login(up: &Up) -> String {
    let text =
        fs::read_to_string(up.place.home().join(".mcpctl/credentials")).expect("`up` leaves credentials for the CLI");
    let begin = text.find("mcpctl_").unwrap_or_else(|| panic!("no credential in the CLI's file"));
    text[begin..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}
