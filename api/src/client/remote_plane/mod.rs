//! The control plane from afar: what a gateway asks, asked over HTTP with the caller's bearer and nothing else.
//!
//! Nothing is remembered by time. What was admitted is served only while a stream says that it still holds (`lease.rs`);
//! without one, every call asks, within a limit, and when there is no answer the caller is turned away.
mod ask;
mod events;
mod follow;
mod lease;
mod sessions;
#[cfg(test)]
mod tests;
mod way;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mcpctl_core::ids::{Digest, Seq, Uid};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Address, ClientError, http_client};
use crate::plane::{Admission, AuditEntry, AuditFailed, CallerBearer, Denial, Plane};
use crate::upstream::{SessionKey, Sessions};
use ask::Asker;
use follow::Follow;
use sessions::{RemoteSession, RemoteSessions};

/// How long an answer to an admission may take.
const ASK_LIMIT: Duration = Duration::from_millis(300);
/// How long the control plane may take to write an audit entry.
const RECORD_LIMIT: Duration = Duration::from_secs(5);
/// Most pairs of caller and project that are followed; beyond that the one that was quiet longest is let go.
const FOLLOWED_MAX: usize = 1024;

type Pair = (Digest, String);

/// A control plane elsewhere.
#[derive(Clone)]
pub struct RemotePlane {
    shared: Arc<Shared>,
}

struct Shared {
    ask: Asker,
    followed: Mutex<HashMap<Pair, Arc<Follow>>>,
    conversations: Mutex<HashMap<(Digest, Uid, SessionKey), Arc<RemoteSession>>>,
    newest: AtomicU64,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl RemotePlane {
    /// A plane at an address. Nothing is asked before a caller comes: there is no credential to ask with.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn connect(address: Address) -> Result<Self, ClientError> {
        let shared = Shared {
            ask: Asker::new(http_client(&address)?, address),
            followed: Mutex::default(),
            conversations: Mutex::default(),
            newest: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Ends every stream, cuts everybody who was admitted, and waits for the tasks.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.followed.lock().drain().for_each(|(_, follow)| follow.end());
        self.shared.conversations.lock().clear();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
    fn saw(&self, seq: Seq) {
        self.newest.fetch_max(seq.0, Ordering::AcqRel);
    }

    /// Asks, and installs the answer where it is followed from now on.
    async fn ask_anew(self: &Arc<Self>, bearer: &CallerBearer, project: &str) -> Result<Admission, Denial> {
        let pair = (bearer.digest(), project.to_owned());
        let late = || Denial::Unavailable("it did not answer in time".to_owned());
        let asked = tokio::time::timeout(ASK_LIMIT, self.ask.view(bearer, project)).await.map_err(|_| late())?;
        match asked {
            Ok(view) => {
                self.saw(view.seq);
                let follow = self.follow(pair, bearer);
                follow.install(view).ok_or_else(|| Denial::Unavailable("access changed during the question".to_owned()))
            }
            Err(denial) => {
                if !matches!(denial, Denial::Unavailable(_)) {
                    self.forget(&pair);
                }
                Err(denial)
            }
        }
    }

    /// The one that follows a pair; made and started when there is none.
    fn follow(self: &Arc<Self>, pair: Pair, bearer: &CallerBearer) -> Arc<Follow> {
        let mut followed = self.followed.lock();
        if let Some(known) = followed.get(&pair).filter(|follow| !follow.has_ended()) {
            return known.clone();
        }
        if followed.len() >= FOLLOWED_MAX {
            let quiet = followed.iter().min_by_key(|(_, follow)| follow.last_used()).map(|(pair, _)| pair.clone());
            if let Some(let_go) = quiet.and_then(|pair| followed.remove(&pair)) {
                let_go.end();
            }
        }
        let follow = Arc::new(Follow::new(bearer.clone(), pair.1.clone()));
        followed.insert(pair, follow.clone());
        if !self.stop.is_cancelled() {
            self.tasks.spawn(follow::run(self.clone(), follow.clone()));
        }
        follow
    }

    /// Access was denied: whoever was admitted before is cut.
    fn forget(&self, pair: &Pair) {
        if let Some(follow) = self.followed.lock().remove(pair) {
            follow.end();
        }
        self.conversations.lock().retain(|(digest, _, _), _| *digest != pair.0);
    }

    /// Takes a follow out that ended by itself, unless another has its place.
    fn ended(&self, follow: &Arc<Follow>) {
        let pair = follow.pair();
        let mut followed = self.followed.lock();
        if followed.get(&pair).is_some_and(|current| Arc::ptr_eq(current, follow)) {
            followed.remove(&pair);
        }
    }
}

#[async_trait]
impl Plane for RemotePlane {
    async fn admit(&self, bearer: &CallerBearer, project: &str) -> Result<Admission, Denial> {
        let known = self.shared.followed.lock().get(&(bearer.digest(), project.to_owned())).cloned();
        match known.and_then(|follow| follow.served()) {
            Some(admission) => Ok(admission),
            None => self.shared.ask_anew(bearer, project).await,
        }
    }

    fn sessions(&self, bearer: &CallerBearer) -> Arc<dyn Sessions> {
        Arc::new(RemoteSessions::new(self.shared.clone(), bearer.clone()))
    }

    async fn record(&self, bearer: Option<&CallerBearer>, entry: AuditEntry) -> Result<(), AuditFailed> {
        let (Some(bearer), Some(project)) = (bearer, entry.project.clone()) else {
            return Err(AuditFailed("without a bearer and a project nothing can be recorded from afar".to_owned()));
        };
        let recorded = tokio::time::timeout(RECORD_LIMIT, self.shared.ask.record(bearer, &project, &entry)).await;
        recorded.map_err(|_| AuditFailed("the control plane did not answer in time".to_owned()))?.map_err(AuditFailed)
    }

    fn seq(&self) -> Seq {
        Seq(self.shared.newest.load(Ordering::Acquire))
    }
}
