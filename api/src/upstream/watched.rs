//! A conversation whose lists of tools are looked at on their way. Everything else passes as if nobody were there.
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use mcpctl_core::ids::Uid;
use serde_json::value::RawValue;
use tokio::sync::broadcast;

use super::conversation::{Activity, Conversation};
use super::{Call, CallSink, Handshake, Reply, ServerMessage, Session, UpstreamError};

/// Looks at the lists of tools that servers give.
#[async_trait]
pub trait ListTap: Send + Sync {
    /// A page of a list came: the `result` of `tools/list`. It goes on to whoever asked when this returns.
    async fn listed(&self, server: Uid, result: &RawValue);
}

/// Has the lists of a conversation looked at, if there is anybody to look.
pub(super) fn watched(
    conversation: Arc<dyn Conversation>,
    server: Uid,
    tap: Option<&Arc<dyn ListTap>>,
) -> Arc<dyn Conversation> {
    match tap {
        Some(tap) => Arc::new(Watched { server, conversation, tap: tap.clone() }),
        None => conversation,
    }
}

struct Watched {
    server: Uid,
    conversation: Arc<dyn Conversation>,
    tap: Arc<dyn ListTap>,
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Reply, UpstreamError>> + Send + 'a>>;

#[async_trait]
impl Session for Watched {
    fn handshake(&self) -> &Handshake {
        self.conversation.handshake()
    }

    /// Not an `async fn`: whatever is no list costs no second future.
    fn request<'life0, 'async_trait>(&'life0 self, call: Call, sink: Arc<dyn CallSink>) -> Answer<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        if &*call.method != "tools/list" {
            return self.conversation.request(call, sink);
        }
        Box::pin(async move {
            let reply = self.conversation.request(call, sink).await?;
            if let Reply::Result(result) = &reply {
                self.tap.listed(self.server, result).await;
            }
            Ok(reply)
        })
    }

    async fn notify(&self, method: &str, params: Option<&RawValue>) -> Result<(), UpstreamError> {
        self.conversation.notify(method, params).await
    }

    async fn respond(&self, id: &RawValue, reply: Reply) -> Result<(), UpstreamError> {
        self.conversation.respond(id, reply).await
    }

    fn messages(&self) -> broadcast::Receiver<ServerMessage> {
        self.conversation.messages()
    }

    fn is_open(&self) -> bool {
        self.conversation.is_open()
    }
}

#[async_trait]
impl Conversation for Watched {
    fn activity(&self) -> &Activity {
        self.conversation.activity()
    }

    async fn ask(&self, call: Call) -> Result<Reply, UpstreamError> {
        self.conversation.ask(call).await
    }

    fn end_is_failure(&self) -> bool {
        self.conversation.end_is_failure()
    }

    fn pid(&self) -> Option<u32> {
        self.conversation.pid()
    }

    async fn closed(&self) -> String {
        self.conversation.closed().await
    }

    async fn close(&self) {
        self.conversation.close().await;
    }
}
