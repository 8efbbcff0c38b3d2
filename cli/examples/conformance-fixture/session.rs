//! One legacy session, or one modern request: what it has asked to hear.
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use rmcp::RoleServer;
use rmcp::model::{LoggingLevel, ProtocolVersion, ResourceUpdatedNotificationParam};
use rmcp::service::{Peer, RequestContext, SubscriptionContext};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::task::AbortOnDropHandle;

use crate::board::{Board, Change};

pub struct Session {
    pub board: Arc<Board>,
    /// `logging/setLevel` of a legacy client; a modern one says it with each request.
    pub level: Mutex<LoggingLevel>,
    /// `resources/subscribe` of a legacy client.
    pub subscribed: Arc<Mutex<BTreeSet<String>>>,
    /// Tells a legacy client of changes for as long as its session lives.
    telling: Mutex<Option<AbortOnDropHandle<()>>>,
    /// Changes since the subscription of a modern client was accepted, so that none falls between that and the listening.
    pub accepted: Mutex<Option<Receiver<Change>>>,
}

impl Session {
    pub fn new(board: Arc<Board>) -> Self {
        Self {
            board,
            level: Mutex::new(LoggingLevel::Debug),
            subscribed: Arc::default(),
            telling: Mutex::default(),
            accepted: Mutex::default(),
        }
    }

    /// Begins to tell a legacy client of changes.
    pub fn tell_changes(&self, peer: Peer<RoleServer>) {
        let told = tell(peer, self.board.changes(), Arc::clone(&self.subscribed));
        *self.telling.lock().unwrap() = Some(AbortOnDropHandle::new(tokio::spawn(told)));
    }
}

/// Whether the request is of the era without sessions.
pub fn is_modern(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|v| v.as_str() >= ProtocolVersion::V_2026_07_28.as_str())
}

async fn tell(peer: Peer<RoleServer>, mut changes: Receiver<Change>, subscribed: Arc<Mutex<BTreeSet<String>>>) {
    loop {
        let told = match changes.recv().await {
            Ok(Change::Tools) => peer.notify_tool_list_changed().await,
            Ok(Change::Prompts) => peer.notify_prompt_list_changed().await,
            Ok(Change::Resource(uri)) if subscribed.lock().unwrap().contains(&uri) => {
                peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri)).await
            }
            Ok(Change::Resource(_)) | Err(RecvError::Lagged(_)) => Ok(()),
            Err(RecvError::Closed) => return,
        };
        if told.is_err() {
            return;
        }
    }
}

/// Tells a modern client of the changes that it subscribed to, until it hangs up.
pub async fn listen(context: &SubscriptionContext, mut changes: Receiver<Change>) {
    loop {
        let change = tokio::select! {
            () = context.cancelled() => return,
            change = changes.recv() => change,
        };
        // The sink refuses what the client did not ask for, which is what a filter is for.
        let _ = match change {
            Ok(Change::Tools) => context.sink().notify_tool_list_changed().await,
            Ok(Change::Prompts) => context.sink().notify_prompt_list_changed().await,
            Ok(Change::Resource(uri)) => context.sink().notify_resource_updated(uri).await,
            Err(RecvError::Lagged(_)) => Ok(()),
            Err(RecvError::Closed) => return,
        };
    }
}
