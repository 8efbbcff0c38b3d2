//! Lanes: threads with a runtime of their own, each of which serves its share of the connections.
//!
//! A call then stays on one thread from its first byte to its last, with the connection to its server too: no task is
//! stolen, and nobody is woken across threads. What makes a call dear otherwise is not the work but the hand-overs.
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Connection;

/// Connections on their way to a lane.
const ON_THE_WAY_MAX: usize = 256;

/// A connection, what it is served with, and its place among all that may be open.
struct Job {
    stream: std::net::TcpStream,
    with: Connection,
    place: OwnedSemaphorePermit,
}

struct Lane {
    jobs: mpsc::Sender<Job>,
    open: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

/// All lanes.
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    connections: TaskTracker,
    over: CancellationToken,
}

impl Lanes {
    /// Starts so many threads.
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let mut all = Self { lanes: Vec::new(), connections: TaskTracker::new(), over: CancellationToken::new() };
        for number in 0..count.max(1) {
            let (jobs, incoming) = mpsc::channel(ON_THE_WAY_MAX);
            let open = Arc::new(AtomicUsize::new(0));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (connections, over, count) = (all.connections.clone(), all.over.clone(), open.clone());
            let thread = std::thread::Builder::new().name(format!("lane-{number}"));
            let thread = thread.spawn(move || runtime.block_on(serve(incoming, connections, over, count)))?;
            all.lanes.push(Lane { jobs, open, thread });
        }
        Ok(all)
    }

    /// Hands a connection to the lane that has the fewest.
    pub(super) async fn take(&self, stream: TcpStream, with: Connection, place: OwnedSemaphorePermit) {
        let Some(lane) = self.lanes.iter().min_by_key(|lane| lane.open.load(Ordering::Relaxed)) else { return };
        match stream.into_std() {
            Ok(stream) => {
                lane.open.fetch_add(1, Ordering::Relaxed);
                if lane.jobs.send(Job { stream, with, place }).await.is_err() {
                    tracing::error!("a lane has ended: this is a bug in mcpctl");
                }
            }
            Err(error) => tracing::debug!(%error, "the connection was gone at once"),
        }
    }

    /// The connections that are open. Close it to wait for them.
    pub(super) const fn connections(&self) -> &TaskTracker {
        &self.connections
    }

    /// Ends the threads, and what still goes on there.
    pub(super) async fn finish(self) {
        self.over.cancel();
        for lane in self.lanes {
            drop(lane.jobs);
            if tokio::task::spawn_blocking(move || lane.thread.join().is_err()).await.unwrap_or(true) {
                tracing::error!("a lane ended by a panic: this is a bug in mcpctl");
            }
        }
    }
}

/// Serves what comes until all is over.
async fn serve(
    mut jobs: mpsc::Receiver<Job>,
    connections: TaskTracker,
    over: CancellationToken,
    open: Arc<AtomicUsize>,
) {
    loop {
        let job = tokio::select! {
            biased;
            () = over.cancelled() => return,
            job = jobs.recv() => job,
        };
        let Some(Job { stream, with, place }) = job else { return over.cancelled().await };
        let open = Counted(open.clone());
        match TcpStream::from_std(stream) {
            Ok(stream) => drop(connections.spawn(async move {
                let _counted = (open, place);
                with.serve(stream).await;
            })),
            Err(error) => tracing::warn!(%error, "a connection could not be served"),
        }
    }
}

/// Counts a connection off when it ends, however it does.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
