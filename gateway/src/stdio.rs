//! The same endpoint over standard input and output: one message a line, one caller, one project.
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use mcpctl_api::plane::{CallerBearer, Plane};
use mcpctl_api::upstream::Reply;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::Client;
use crate::exchange::{Arrival, Way};
use crate::gateway::Gateway;
use crate::message::Message;
use crate::options::Options;
use crate::outlet::{Outlet, Waiting, outlet};
use crate::rpc_error::{INTERNAL, INVALID_REQUEST, RpcError};

/// Requests that may run at once.
const RUNNING_MAX: usize = 256;
/// Answers that may wait to be written.
const WRITE_MAX: usize = 64;

/// Serves one project to one caller over two pipes, until the input ends or it is stopped. Messages of either era are taken,
/// one a line.
///
/// # Errors
/// When the pipes break.
pub async fn serve_stdio(
    plane: Arc<dyn Plane>,
    bearer: CallerBearer,
    project: &str,
    input: impl AsyncRead + Unpin + Send,
    output: impl AsyncWrite + Unpin + Send + 'static,
    stop: CancellationToken,
) -> io::Result<()> {
    let options = Options::default();
    let longest = options.body_bytes_max;
    let gateway = Gateway::new(plane, options, stop.child_token());
    let (answers, queue) = mpsc::channel(WRITE_MAX);
    let (early, waiting) = outlet();
    let writer = tokio::spawn(write(output, queue, waiting));
    let bridge = Bridge {
        gateway: gateway.clone(),
        bearer,
        project: project.to_owned(),
        client: Arc::default(),
        answers,
        early,
        calls: TaskTracker::new(),
        over: CancellationToken::new(),
    };
    let read = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        read = bridge.read(BufReader::new(input), longest) => read,
    };
    bridge.finish(stop.is_cancelled()).await;
    gateway.finish().await;
    let written = writer.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    read.and(written)
}

struct Bridge {
    gateway: Arc<Gateway>,
    bearer: CallerBearer,
    project: String,
    /// The legacy session, once the client has introduced itself.
    client: Arc<Mutex<Option<Arc<Client>>>>,
    answers: mpsc::Sender<Message>,
    /// What comes before and between the answers.
    early: Outlet,
    calls: TaskTracker,
    over: CancellationToken,
}

impl Bridge {
    async fn read(&self, mut input: BufReader<impl AsyncRead + Unpin>, longest: usize) -> io::Result<()> {
        loop {
            match next_line(&mut input, longest).await? {
                None => return Ok(()),
                Some(Line::TooLong) => {
                    let error = RpcError::new(INVALID_REQUEST, format!("the message is longer than {longest} bytes"));
                    self.answer(Message::answer(None, Reply::Error(error.to_raw()))).await;
                }
                Some(Line::Whole(line)) if line.iter().all(u8::is_ascii_whitespace) => {}
                Some(Line::Whole(line)) => self.begin(line).await,
            }
        }
    }

    /// Handles a message beside the others: an answer to a server's question must not wait for the call that asks it.
    async fn begin(&self, body: Bytes) {
        if self.calls.len() >= RUNNING_MAX {
            let error = RpcError::new(INTERNAL, "too many requests are running: wait for answers");
            return self.answer(Message::answer(None, Reply::Error(error.to_raw()))).await;
        }
        let arrival = Arrival {
            bearer: self.bearer.clone(),
            project: self.project.clone(),
            body,
            way: Way::Stdio(self.client.clone()),
        };
        let handling = self.gateway.clone().handle(arrival, self.early.clone());
        let (answers, over) = (self.answers.clone(), self.over.clone());
        self.calls.spawn(async move {
            let answered = tokio::select! {
                biased;
                () = over.cancelled() => return,
                answered = handling => answered,
            };
            if let Some(message) = answered.message {
                // Nobody reads any more: then nobody misses it.
                drop(answers.send(message).await);
            }
        });
    }

    async fn answer(&self, message: Message) {
        drop(self.answers.send(message).await);
    }

    /// The input has ended: long streams end, and requests may finish within the drain limit, as some callers send, close,
    /// and read. Who was told to stop does so at once.
    async fn finish(self, at_once: bool) {
        self.gateway.stop.cancel();
        self.calls.close();
        let drain = self.gateway.options.drain;
        if !at_once && tokio::time::timeout(drain, self.calls.wait()).await.is_err() {
            tracing::debug!("requests were still running when the input had ended");
        }
        self.over.cancel();
        self.calls.wait().await;
        let client = self.client.lock().take();
        if let Some(client) = client {
            client.end().await;
        }
    }
}

enum Line {
    Whole(Bytes),
    TooLong,
}

/// The next line without its end. What is too long is read to its end and thrown away.
async fn next_line(input: &mut BufReader<impl AsyncRead + Unpin>, longest: usize) -> io::Result<Option<Line>> {
    let mut line: Vec<u8> = Vec::new();
    let mut too_long = false;
    loop {
        let buffer = input.fill_buf().await?;
        if buffer.is_empty() {
            return Ok((!line.is_empty()).then(|| Line::Whole(line.into())));
        }
        let end = memchr::memchr(b'\n', buffer);
        let piece = &buffer[..end.unwrap_or(buffer.len())];
        too_long |= line.len() + piece.len() > longest;
        if too_long {
            line.clear();
        } else {
            line.extend_from_slice(piece);
        }
        let used = end.map_or(buffer.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(Some(if too_long { Line::TooLong } else { Line::Whole(line.into()) }));
        }
    }
}

/// Writes messages, one a line. Those of the outlet go first: they were made before the answers that wait.
async fn write(
    mut output: impl AsyncWrite + Unpin,
    mut answers: mpsc::Receiver<Message>,
    early: Waiting,
) -> io::Result<()> {
    loop {
        let next = tokio::select! {
            biased;
            message = std::future::poll_fn(|context| early.poll_next(context)) => Some(message),
            message = answers.recv() => message,
        };
        let Some(message) = next else { return output.shutdown().await };
        for piece in message.on_one_line().pieces {
            output.write_all(&piece).await?;
        }
        output.write_all(b"\n").await?;
        output.flush().await?;
    }
}
