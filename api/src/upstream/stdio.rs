//! A conversation with a server that is our child process: one JSON-RPC message a line on its standard input and output.
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::child::{self, Streams};
use super::conversation::{Activity, Conversation};
use super::lines::{Line, Lines};
use super::logs::{LINE_BYTES_MAX, LogPen, LogSource};
use super::peer::{End, Outgoing, Peer};
use super::peer_open::Unopened;
use super::rpc::MESSAGE_BYTES_MAX;
use super::{Call, CallSink, Era, Handshake, NoSink, Reply, ServerMessage, Session, UpstreamError};

/// What is started, and for whom.
pub(super) struct Start<'a> {
    pub(super) server: Arc<str>,
    pub(super) argv: &'a [String],
    pub(super) env: &'a BTreeMap<String, Zeroizing<String>>,
    pub(super) folder: &'a Path,
    pub(super) capabilities: Option<Arc<str>>,
    pub(super) pen: LogPen,
    /// What is known of its generation.
    pub(super) era: Option<Era>,
    /// Limit on the handshake.
    pub(super) limit: Duration,
    /// Owner of the task that ends the process, which may outlive the conversation by the grace of a stop.
    pub(super) tasks: &'a TaskTracker,
}

/// One child process and the conversation with it.
pub(super) struct StdioSession {
    peer: Arc<Peer>,
    handshake: Handshake,
    activity: Activity,
    pid: u32,
    exit: Arc<Exit>,
}

/// How the child ended; set before `gone`.
struct Exit {
    stop: CancellationToken,
    gone: CancellationToken,
    words: Mutex<Option<String>>,
}

/// A process whose handshake is still to come.
struct Started {
    peer: Arc<Peer>,
    pid: u32,
    exit: Arc<Exit>,
}

/// Dropped before the handshake is done, the process is stopped.
impl Drop for Exit {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl StdioSession {
    /// Starts the process and opens the conversation. A server that dies of `server/discover` gets a second process that
    /// is asked `initialize` only.
    pub(super) async fn open(start: Start<'_>) -> Result<Self, UpstreamError> {
        let first = spawn(&start)?;
        let (started, opened) = match first.peer.open(start.era, start.limit).await {
            Err(Unopened::DiedOfProbe) => {
                first.ended().await;
                let second = spawn(&start)?;
                let opened = second.peer.open(Some(Era::Legacy), start.limit).await;
                (second, opened)
            }
            opened => (first, opened),
        };
        match opened {
            Ok(handshake) => Ok(Self {
                peer: started.peer,
                handshake,
                activity: Activity::new(),
                pid: started.pid,
                exit: started.exit,
            }),
            Err(unopened) => Err(started.explain(unopened, &start.server).await),
        }
    }
}

impl Started {
    /// Stops what is left of the process, and says why the conversation did not open.
    async fn explain(self, unopened: Unopened, server: &str) -> UpstreamError {
        let died = self.exit.gone.is_cancelled() || !self.peer.is_open();
        self.ended().await;
        match unopened {
            Unopened::Failed(UpstreamError::Gone { .. }) | Unopened::DiedOfProbe => {
                let why = self.exit.words.lock().clone().filter(|_| died).unwrap_or_else(|| "it ended".into());
                let why = format!("{why} before its handshake was done: `mcpctl logs {server}` shows what it printed");
                UpstreamError::Unavailable { server: server.into(), why }
            }
            Unopened::Failed(why) => why,
        }
    }

    async fn ended(&self) {
        self.exit.stop.cancel();
        self.exit.gone.cancelled().await;
        self.peer.tasks.close();
        self.peer.tasks.wait().await;
    }
}

fn spawn(start: &Start<'_>) -> Result<Started, UpstreamError> {
    let unavailable = |why| UpstreamError::Unavailable { server: start.server.to_string(), why };
    let (running, streams) = child::start(start.argv, start.env, start.folder).map_err(unavailable)?;
    let Streams { stdin, stdout, stderr } = streams;
    let pid = running.pid();
    start.pen.write(LogSource::Event, &format!("started, pid {pid}"));
    let (peer, queue) = Peer::new(start.server.clone(), start.capabilities.clone());
    let exit = Arc::new(Exit { stop: peer.ended.clone(), gone: CancellationToken::new(), words: Mutex::default() });
    peer.tasks.spawn(write_all(peer.clone(), stdin, queue));
    let reader = peer.tasks.spawn(read_all(peer.clone(), stdout, start.pen.clone()));
    peer.tasks.spawn(read_log(stderr, start.pen.clone(), peer.ended.clone()));
    let (words, gone, stop) = (Arc::downgrade(&exit), exit.gone.clone(), exit.stop.clone());
    let (peer_of_exit, pen) = (peer.clone(), start.pen.clone());
    start.tasks.spawn(async move {
        let how = running.attend(&stop).await;
        pen.write(LogSource::Event, &how);
        // Answers that it wrote before it went are still in the pipe.
        drop(tokio::time::timeout(Duration::from_millis(500), reader).await);
        if let Some(exit) = words.upgrade() {
            *exit.words.lock() = Some(how.clone());
        }
        peer_of_exit.end(End::Gone(how));
        gone.cancel();
    });
    Ok(Started { peer, pid, exit })
}

/// Owns the standard input; closing it is the first thing a stop does.
async fn write_all(peer: Arc<Peer>, mut stdin: ChildStdin, mut queue: mpsc::Receiver<Outgoing>) {
    let mut batch = Vec::with_capacity(16);
    let mut bytes = Vec::new();
    loop {
        tokio::select! {
            taken = queue.recv_many(&mut batch, 16) => if taken == 0 { return },
            () = peer.ended.cancelled() => return,
        }
        bytes.clear();
        for message in batch.drain(..) {
            bytes.extend_from_slice(&message.bytes);
            bytes.push(b'\n');
        }
        tokio::select! {
            written = stdin.write_all(&bytes) => if written.is_err() {
                // It closed its input or died; its exit says which.
                return;
            },
            () = peer.ended.cancelled() => return,
        }
        if bytes.capacity() > 1 << 20 {
            bytes = Vec::new();
        }
    }
}

async fn read_all(peer: Arc<Peer>, stdout: ChildStdout, pen: LogPen) {
    let mut lines = Lines::new(stdout, MESSAGE_BYTES_MAX);
    loop {
        match lines.next().await {
            Ok(Line::Whole(length)) => lines.take(length, |line| {
                if line.is_empty() {
                    return;
                }
                if let Err(garbage) = peer.incoming(line) {
                    pen.write(LogSource::Garbage, &garbage);
                }
            }),
            Ok(Line::TooLong) => {
                let what = format!("it sent a message of more than {} MiB", MESSAGE_BYTES_MAX >> 20);
                pen.write(LogSource::Event, &what);
                return peer.end(End::Broken(what));
            }
            // Without its output it is of no use, even if its process lives on.
            Ok(Line::End) | Err(_) => return peer.end(End::Gone("it closed its standard output".into())),
        }
    }
}

/// How long a stopped process's last words are waited for. A descendant may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_secs(3);

async fn read_log(stderr: ChildStderr, pen: LogPen, ended: CancellationToken) {
    let mut lines = Lines::new(stderr, LINE_BYTES_MAX);
    let write = |line: &[u8]| pen.write(LogSource::Stderr, &String::from_utf8_lossy(line));
    let read = async {
        loop {
            match lines.next().await {
                Ok(Line::Whole(length)) => lines.take(length, write),
                Ok(Line::TooLong) => lines.skip(write),
                Ok(Line::End) | Err(_) => return,
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = async { ended.cancelled().await; tokio::time::sleep(LAST_WORDS).await } => {}
    }
}

#[async_trait]
impl Session for StdioSession {
    fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    async fn request(&self, call: Call, sink: Arc<dyn CallSink>) -> Result<Reply, UpstreamError> {
        let _busy = self.activity.begin();
        let answer = self.peer.request(&call, sink).await;
        self.activity.outcome(&answer, self.end_is_failure());
        answer
    }

    async fn notify(&self, method: &str, params: Option<&RawValue>) -> Result<(), UpstreamError> {
        self.peer.notify(method, params).await
    }

    async fn respond(&self, id: &RawValue, reply: Reply) -> Result<(), UpstreamError> {
        self.peer.respond(id, &reply).await
    }

    fn messages(&self) -> broadcast::Receiver<ServerMessage> {
        self.peer.subscribe()
    }

    fn is_open(&self) -> bool {
        self.peer.is_open()
    }
}

#[async_trait]
impl Conversation for StdioSession {
    fn activity(&self) -> &Activity {
        &self.activity
    }

    async fn ask(&self, call: Call) -> Result<Reply, UpstreamError> {
        self.peer.request(&call, Arc::new(NoSink)).await
    }

    fn pid(&self) -> Option<u32> {
        Some(self.pid)
    }

    async fn closed(&self) -> String {
        self.exit.gone.cancelled().await;
        self.exit.words.lock().clone().unwrap_or_else(|| self.peer.end_words())
    }

    async fn close(&self) {
        self.peer.end(End::Gone("stopped".into()));
        self.exit.gone.cancelled().await;
        self.peer.tasks.close();
        self.peer.tasks.wait().await;
    }
}

#[cfg(test)]
#[path = "stdio_tests.rs"]
mod tests;
