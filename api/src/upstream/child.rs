//! A child process in a process group of its own: how it is started, watched, stopped, and nothing of it left behind.
//!
//! A child must not outlive us. Stopped in order, its whole group is ended and waited for. If we are killed, its standard
//! input ends, on which MCP servers exit, and the [`super::guardian`] ends the group of those that do not.
//! (`PR_SET_PDEATHSIG` would need unsafe code between fork and exec.)
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::guardian;

/// From the end of its input to SIGTERM.
const INPUT_GRACE: Duration = Duration::from_millis(300);
/// From SIGTERM to SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(2);
/// How long a killed group may take to vanish.
const KILL_GRACE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

/// Variables that a child inherits; all others must be declared. `LC_*` too.
const INHERITED: [&str; 7] = ["PATH", "HOME", "LANG", "TMPDIR", "TZ", "USER", "LOGNAME"];

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Child processes that run now, for metrics. Descendants are not counted.
#[must_use]
pub fn live_children() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// A running child, without its streams.
pub(super) struct Running {
    child: Child,
    group: Pid,
}

/// The ends of its streams.
pub(super) struct Streams {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// Starts a program with exactly these arguments and this environment. No shell is involved.
///
/// # Errors
/// In words fit for the user, naming the program.
pub(super) fn start(
    argv: &[String],
    env: &BTreeMap<String, Zeroizing<String>>,
    folder: &Path,
) -> Result<(Running, Streams), String> {
    let (program, arguments) = argv.split_first().ok_or("its command is empty: set `command`")?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().current_dir(folder).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs(std::env::vars_os().filter(|(name, _)| inherited(&name.to_string_lossy())));
    command.envs(env.iter().map(|(name, value)| (name, value.as_str())));
    let mut child = command.spawn().map_err(|error| not_started(program, folder, &error))?;
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).ok_or("it ended at once")?;
    let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    LIVE.fetch_add(1, Ordering::Relaxed);
    guardian::watch(pid);
    let running = Running { child, group: pid };
    match streams {
        (Some(stdin), Some(stdout), Some(stderr)) => Ok((running, Streams { stdin, stdout, stderr })),
        _ => Err("its standard streams could not be opened".into()),
    }
}

fn inherited(name: &str) -> bool {
    INHERITED.contains(&name) || name.starts_with("LC_")
}

fn not_started(program: &str, folder: &Path, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound && !folder.is_dir() {
        return "its working folder is missing: check the data folder of mcpctl".into();
    }
    match error.kind() {
        io::ErrorKind::NotFound => format!(
            "the program {program:?} was not found: install it where mcpctl runs, or give its full path in `command`"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("the program {program:?} may not be executed: check its permissions")
        }
        _ => format!("the program {program:?} could not be started ({error})"),
    }
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        self.group.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits until the child exits by itself, or is stopped because `stop` is set. Returns with the whole group gone, and
    /// says how the child ended. Its standard input must be closed by its owner on `stop`.
    pub(super) async fn attend(mut self, stop: &CancellationToken) -> String {
        let exited = tokio::select! {
            status = self.child.wait() => Some(status),
            () = stop.cancelled() => None,
        };
        let status = match exited {
            Some(status) => status,
            None => self.stop().await,
        };
        // Descendants outlive the child when it crashed, or ignored its input.
        self.clear_group().await;
        words(status.as_ref())
    }

    async fn stop(&mut self) -> io::Result<ExitStatus> {
        if let Ok(status) = tokio::time::timeout(INPUT_GRACE, self.child.wait()).await {
            return status;
        }
        self.signal(Signal::TERM);
        if let Ok(status) = tokio::time::timeout(TERM_GRACE, self.child.wait()).await {
            return status;
        }
        self.signal(Signal::KILL);
        self.child.wait().await
    }

    async fn clear_group(&self) {
        let gone = || test_kill_process_group(self.group).is_err();
        for (signal, grace) in [(Signal::TERM, TERM_GRACE), (Signal::KILL, KILL_GRACE)] {
            if gone() {
                return;
            }
            self.signal(signal);
            let polls = grace.as_millis() / POLL.as_millis();
            for _ in 0..polls {
                if gone() {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
        }
        tracing::warn!(pid = self.pid(), "processes of a server could not be ended");
    }

    fn signal(&self, signal: Signal) {
        // It may have gone meanwhile, which is what was wanted.
        let _ = kill_process_group(self.group, signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only when the runtime is torn down is there a group left here.
        self.signal(Signal::KILL);
        guardian::forget(self.group);
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

fn words(status: Result<&ExitStatus, &io::Error>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("its process exited with status {code}"),
            (None, Some(signal)) => format!("its process was ended by signal {signal}"),
            (None, None) => "its process ended".into(),
        },
        Err(error) => format!("its process could not be waited for ({error})"),
    }
}
