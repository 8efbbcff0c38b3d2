//! What the gateway knows of one client's conversation with one server: what it listed, its level of logging; and who
//! gets what the server says outside of any call.
use std::sync::{Arc, Weak};

use mcpctl_api::plane::ServerView;
use mcpctl_api::upstream::{Era, Reply, ServerMessage, Session};
use mcpctl_core::ids::{Digest, Seq, Uid};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::dialect::has;
use crate::gateway::Gateway;
use crate::listed::Facts;
use crate::lists::ListKind;
use crate::rpc_error::{METHOD_NOT_FOUND, RpcError};
use crate::tasks;

#[derive(Default)]
struct Slot {
    facts: Option<Arc<Facts>>,
    /// Counts what made them doubtful, so that a list which was asked for before is not kept.
    changes: u64,
}

/// A client's conversation with a server.
pub(crate) struct Link {
    pub(crate) server: Uid,
    pub(crate) era: Era,
    /// Whether the server said that it has log messages.
    pub(crate) logs: bool,
    /// Cancelled when another conversation has taken its place.
    pub(crate) ended: CancellationToken,
    version: Seq,
    session: Weak<dyn Session>,
    slots: Mutex<[Slot; 4]>,
    level: Mutex<Option<Arc<str>>>,
}

impl Link {
    pub(crate) fn new(server: &ServerView, session: &Arc<dyn Session>) -> Arc<Self> {
        Arc::new(Self {
            server: server.uid,
            era: session.handshake().era,
            logs: has(session.handshake().capabilities.as_deref(), "logging"),
            ended: CancellationToken::new(),
            version: server.version,
            session: Arc::downgrade(session),
            slots: Mutex::default(),
            level: Mutex::default(),
        })
    }

    /// Whether it is still about this server as configured, and this conversation. Modern servers keep no state, so any of
    /// their conversations is as good as another.
    pub(crate) fn is_of(&self, version: Seq, session: &Arc<dyn Session>) -> bool {
        let same = || std::ptr::addr_eq(self.session.as_ptr(), Arc::as_ptr(session));
        self.version == version && self.era == session.handshake().era && (self.era == Era::Modern || same())
    }

    pub(crate) fn session(&self) -> Option<Arc<dyn Session>> {
        self.session.upgrade()
    }

    /// What was listed and not said to have changed since.
    pub(crate) fn facts(&self, kind: ListKind) -> Option<Arc<Facts>> {
        self.slots.lock()[kind as usize].facts.clone()
    }

    /// To be asked before a list is: what changes meanwhile makes it stale.
    pub(crate) fn changes(&self, kind: ListKind) -> u64 {
        self.slots.lock()[kind as usize].changes
    }

    /// Keeps what a list told that was asked for after so many changes.
    pub(crate) fn remember(&self, kind: ListKind, changes: u64, facts: Arc<Facts>) {
        let slot = &mut self.slots.lock()[kind as usize];
        if slot.changes == changes {
            slot.facts = Some(facts);
        }
    }

    /// The definition by which a tool was shown in this conversation last.
    pub(crate) fn definition(&self, tool: &str) -> Option<Digest> {
        self.slots.lock()[ListKind::Tools as usize].facts.as_ref()?.definitions.get(tool).copied()
    }

    /// Whether a tool was listed as one that runs as a task only.
    pub(crate) fn runs_as_task_only(&self, tool: &str) -> bool {
        self.slots.lock()[ListKind::Tools as usize].facts.as_ref().is_some_and(|facts| facts.as_tasks.contains(tool))
    }

    /// The level of logging that was asked for last, if it is another one.
    pub(crate) fn level_to_set(&self, wanted: &Arc<str>) -> bool {
        let mut level = self.level.lock();
        let differs = level.as_ref() != Some(wanted);
        if differs {
            *level = Some(wanted.clone());
        }
        differs
    }

    /// A notification that belongs to no call.
    pub(crate) fn notified(&self, client: &Client, method: &str, params: Option<&RawValue>) {
        self.note(method);
        client.tell(method, params);
    }

    /// Forgets what a notification says to have changed.
    pub(crate) fn note(&self, method: &str) {
        let changed: &[ListKind] = match method {
            "notifications/tools/list_changed" => &[ListKind::Tools],
            "notifications/prompts/list_changed" => &[ListKind::Prompts],
            "notifications/resources/list_changed" => &[ListKind::Resources, ListKind::Templates],
            _ => &[],
        };
        changed.iter().for_each(|kind| self.forget(*kind));
    }

    fn forget(&self, kind: ListKind) {
        let slot = &mut self.slots.lock()[kind as usize];
        slot.facts = None;
        slot.changes += 1;
    }

    /// Follows what a legacy server says outside of calls, until the conversation or the client is gone. A modern one says
    /// nothing outside of `subscriptions/listen`.
    pub(crate) fn watch(self: &Arc<Self>, gateway: &Arc<Gateway>, client: &Arc<Client>, session: &Arc<dyn Session>) {
        if self.era == Era::Modern {
            return;
        }
        let watch = Watch {
            gateway: gateway.clone(),
            client: Arc::downgrade(client),
            gone: client.gone.clone(),
            link: self.clone(),
        };
        gateway.tasks.spawn(watch.follow(session.messages()));
    }
}

/// The task that follows a conversation. It holds neither the client nor the conversation alive.
struct Watch {
    gateway: Arc<Gateway>,
    client: Weak<Client>,
    gone: CancellationToken,
    link: Arc<Link>,
}

impl Watch {
    async fn follow(self, mut messages: broadcast::Receiver<ServerMessage>) {
        loop {
            let message = tokio::select! {
                biased;
                () = self.gone.cancelled() => return,
                () = self.link.ended.cancelled() => return,
                () = self.gateway.stop.cancelled() => return,
                message = messages.recv() => message,
            };
            let Some(client) = self.client.upgrade() else { return };
            match message {
                Ok(ServerMessage::Notification { method, params }) => {
                    self.notified(&client, &method, params.as_deref())
                }
                Ok(ServerMessage::Request { id, method, params }) => self.asked(&client, id, &method, params),
                Ok(ServerMessage::Refused { .. }) => {}
                // Nobody knows what was lost: all that is known may have changed.
                Err(RecvError::Lagged(_)) => ListKind::ALL.into_iter().for_each(|kind| self.link.forget(kind)),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn notified(&self, client: &Client, method: &str, params: Option<&RawValue>) {
        if method == "notifications/cancelled" {
            return client.asked.withdraw(&self.link.session, params);
        }
        let changed = tasks::from_server(&self.gateway, &client.key, self.link.server, method, params);
        let params = changed.as_deref().or(params);
        self.link.notified(client, method, params);
    }

    fn asked(&self, client: &Client, id: Arc<RawValue>, method: &str, params: Option<Arc<RawValue>>) {
        if let Some(round) = client.round_in(&self.link.session) {
            return round.asked(id, method, params);
        }
        let changed = tasks::from_server(&self.gateway, &client.key, self.link.server, method, params.as_deref());
        let params = changed.map(Into::into).or(params);
        let put = client.stream().is_some_and(|stream| {
            client.asked.put(self.link.session.clone(), id.clone(), method, params.as_deref(), &stream.outlet)
        });
        if !put {
            refuse(&self.gateway, self.link.session.clone(), id);
        }
    }
}

/// Answers a server's request that no client can be asked.
pub(crate) fn refuse(gateway: &Arc<Gateway>, session: Weak<dyn Session>, id: Arc<RawValue>) {
    gateway.tasks.spawn(async move {
        let Some(session) = session.upgrade() else { return };
        let error = RpcError::new(METHOD_NOT_FOUND, "the client can't be asked this now");
        if let Err(error) = session.respond(&id, Reply::Error(error.to_raw())).await {
            tracing::debug!(%error, "a server went away before its question was refused");
        }
    });
}
