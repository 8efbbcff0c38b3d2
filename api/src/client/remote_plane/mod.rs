//! The control plane from afar: what a gateway asks, asked over HTTP with the caller's bearer and nothing else.
//!
//! Nothing is remembered by time. What was admitted is served only while the control plane says that it still holds, on one
//! stream for all callers (`stream.rs`); without that word every call asks, within a limit, and when there is no answer the
//! caller is turned away.
mod ask;
mod events;
mod figures;
mod memory;
mod recording;
mod sessions;
mod spool;
mod stream;
#[cfg(test)]
mod tests;
mod views;
mod way;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::log::LogError;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Address, ClientError, http_client};
use crate::cut::Why;
use crate::lease::Boottime;
use crate::plane::{Admission, AuditEntry, AuditFailed, CallerBearer, Denial, Plane, WatchFigures};
use crate::upstream::{SessionKey, Sessions};
use ask::Asker;
use figures::Figures;
use memory::{LogMemory, OtherLog};
use sessions::{RemoteSession, RemoteSessions};
use spool::Spool;
use views::Views;

/// How long an answer to an admission may take.
const ASK_LIMIT: Duration = Duration::from_millis(300);

type Pair = (Digest, String);

/// A control plane elsewhere.
#[derive(Clone)]
pub struct RemotePlane {
    shared: Arc<Shared>,
}

/// A plane that can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TLS can't be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What waits to be recorded can't be kept.
    #[error("can't use the spool of audit entries; see MCPLOCAL_CACHE_DIR")]
    Spool(#[source] LogError),
    /// What is remembered of the control plane's log can't be read.
    #[error("can't read what is remembered of the control plane's log; see MCPLOCAL_CACHE_DIR")]
    Memory(#[source] std::io::Error),
}

struct Shared {
    ask: Asker,
    views: Mutex<Views>,
    /// There is something to hold that the stream does not hold, or the other way round.
    changed: Notify,
    /// There is another lease to be watched.
    installed: Notify,
    memory: LogMemory,
    /// Where entries wait that could not be recorded at once; nothing without a folder.
    spool: Option<Spool>,
    /// What entries are delivered with, by caller and project.
    tickets: Mutex<HashMap<Pair, Arc<str>>>,
    figures: Figures,
    conversations: Mutex<HashMap<(Digest, Uid, SessionKey), Arc<RemoteSession>>>,
    newest: AtomicU64,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl RemotePlane {
    /// A plane at an address. Nothing is asked before a caller comes: there is no credential to ask with. To be called
    /// within a runtime: it owns tasks, which [`Self::shutdown`] joins.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn connect(address: Address) -> Result<Self, ConnectError> {
        Self::connect_remembering(address, None, None)
    }

    /// The same, with a folder in which the last place in the log is remembered over restarts, and audit entries wait that
    /// could not be recorded at once: at most so many bytes of them, 64 MiB when nothing is said.
    ///
    /// # Errors
    /// When TLS can't be set up, or what is in the folder can't be read.
    pub fn connect_remembering(
        address: Address,
        folder: Option<&Path>,
        spool_bytes_max: Option<u64>,
    ) -> Result<Self, ConnectError> {
        let memory = LogMemory::open(folder, &address).map_err(ConnectError::Memory)?;
        let spool = |folder: &Path| Spool::open(&folder.join("spool"), spool_bytes_max.unwrap_or(spool::BYTES_MAX));
        let spool = folder.map(spool).transpose().map_err(ConnectError::Spool)?;
        let shared = Arc::new(Shared {
            ask: Asker::new(http_client(&address)?, address),
            views: Mutex::default(),
            changed: Notify::new(),
            installed: Notify::new(),
            memory,
            spool,
            tickets: Mutex::default(),
            figures: Figures::default(),
            conversations: Mutex::default(),
            newest: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        shared.tasks.spawn(stream::keep(shared.clone()));
        shared.tasks.spawn(stream::watch_leases(shared.clone()));
        shared.tasks.spawn(recording::deliver(shared.clone()));
        Ok(Self { shared })
    }

    /// Ends the stream, cuts everybody who was admitted, and waits for the tasks.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.views.lock().end_all(&Why::stopped());
        self.shared.conversations.lock().clear();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.memory.keep();
    }
}

impl Shared {
    fn saw(&self, seq: Seq) {
        self.newest.fetch_max(seq.0, Ordering::AcqRel);
    }

    /// Asks, and takes the answer, from which the stream goes on. Asked once more when the answer was void before it came.
    async fn ask_anew(self: &Arc<Self>, bearer: &CallerBearer, project: &str) -> Result<Admission, Denial> {
        let asked = async {
            match self.ask_once(bearer, project).await? {
                Some(admission) => Ok(admission),
                None => {
                    let again = self.ask_once(bearer, project).await?;
                    again.ok_or_else(|| Denial::Unavailable("access changed during the question".to_owned()))
                }
            }
        };
        let late = |_| Denial::Unavailable("it did not answer in time".to_owned());
        tokio::time::timeout(ASK_LIMIT, asked).await.map_err(late)?
    }

    /// The log is not the one that was seen: nobody is served by what it says.
    fn distrust(&self, other: &OtherLog) -> Denial {
        let denial = Denial::Unavailable(other.to_string());
        self.views.lock().end_all(&Why::denied(&denial, Seq(0)));
        denial
    }

    async fn ask_once(self: &Arc<Self>, bearer: &CallerBearer, project: &str) -> Result<Option<Admission>, Denial> {
        if let Some(other) = self.memory.refused() {
            self.memory.remind();
            return Err(self.distrust(&other));
        }
        let pair = (bearer.digest(), project.to_owned());
        let (stream, handle) = self.views.lock().known(&pair);
        let log = self.memory.to_ask();
        // The lease counts from here: before the question is sent.
        let asked = Boottime::now();
        match self.ask.view(bearer, project, ask::Named { stream, handle, log }).await {
            Ok(told) => {
                self.memory.check(log.saw, told.log).map_err(|other| self.distrust(&other))?;
                if log.size.is_some() {
                    self.memory.judge(told.shown.as_ref()).map_err(|other| self.distrust(&other))?;
                }
                self.saw(told.seq);
                self.keep_ticket(pair.clone(), &told.ticket);
                let admission = self.views.lock().install(pair, asked, stream, told);
                self.changed.notify_one();
                self.installed.notify_one();
                Ok(admission)
            }
            Err(denial) => {
                if !matches!(denial, Denial::Unavailable(_)) {
                    self.refused(&pair, asked, &denial);
                }
                Err(denial)
            }
        }
    }

    /// Access was denied: whoever was admitted before is cut.
    fn refused(&self, pair: &Pair, asked: Boottime, denial: &Denial) {
        self.views.lock().refused(pair, asked, denial);
        self.conversations.lock().retain(|(digest, _, _), _| *digest != pair.0);
    }
}

#[async_trait]
impl Plane for RemotePlane {
    async fn admit(&self, bearer: &CallerBearer, project: &str) -> Result<Admission, Denial> {
        let pair = (bearer.digest(), project.to_owned());
        let known = self.shared.views.lock().served(&pair);
        match known {
            Some(admission) => Ok(admission),
            None => self.shared.ask_anew(bearer, project).await,
        }
    }

    fn sessions(&self, bearer: &CallerBearer) -> Arc<dyn Sessions> {
        Arc::new(RemoteSessions::new(self.shared.clone(), bearer.clone()))
    }

    /// The control plane's proxy, which calls the servers, writes it down before it does.
    async fn admitted(&self, _: Option<&CallerBearer>, _: AuditEntry) -> Result<(), AuditFailed> {
        Ok(())
    }

    async fn record(&self, bearer: Option<&CallerBearer>, entry: AuditEntry) -> Result<(), AuditFailed> {
        let (Some(bearer), Some(project)) = (bearer, entry.project.clone()) else {
            return Err(AuditFailed("without a bearer and a project nothing can be recorded from afar".to_owned()));
        };
        self.shared.record(bearer, project, entry).await
    }

    fn seq(&self) -> Seq {
        Seq(self.shared.newest.load(Ordering::Acquire))
    }

    fn refused(&self) -> Option<String> {
        self.shared.memory.refused().map(|other| other.to_string())
    }

    fn watch_figures(&self) -> WatchFigures {
        let held = self.shared.views.lock().count();
        WatchFigures { refused: self.shared.memory.refused().is_some(), ..self.shared.figures.shown(held) }
    }
}
