//! The stream and the end of a legacy session: GET and DELETE on the endpoint.
use std::sync::Arc;

use mcpctl_api::plane::{Admission, CallerBearer};
use mcpctl_api::upstream::Reply;

use crate::audit::{Lasting, Opened};
use crate::client::Client;
use crate::context::Context;
use crate::dialect::Dialect;
use crate::exchange::{Answered, unrecorded};
use crate::feed::{StreamEnd, stream};
use crate::gateway::Gateway;
use crate::listener::Wish;
use crate::message::Message;
use crate::outlet::Outlet;
use crate::rpc_error::RpcError;

impl Gateway {
    /// Opens the stream of a session. It is recorded when it opens.
    pub(crate) async fn open_stream(
        self: &Arc<Self>,
        bearer: &CallerBearer,
        project: &str,
        session: &str,
        outlet: Outlet,
    ) -> Result<(Context, Lasting), Answered> {
        let (audit, admission, client) = self.enter("GET", bearer, project, session).await?;
        let open = audit.close_opened().await.map_err(|failed| unrecorded(None, &failed))?;
        let context = Context {
            gateway: self.clone(),
            admission,
            dialect: client.dialect.unwrap_or(Dialect::SESSIONLESS),
            client,
            sessions: self.plane.sessions(bearer),
            bearer: bearer.clone(),
            outlet,
            over_http: true,
            headers: Vec::new(),
            trace: None,
        };
        Ok((context, open))
    }

    /// Ends a session.
    pub(crate) async fn close_session(
        self: &Arc<Self>,
        bearer: &CallerBearer,
        project: &str,
        session: &str,
    ) -> Answered {
        let (audit, _, client) = match self.enter("DELETE", bearer, project, session).await {
            Ok(entered) => entered,
            Err(answered) => return answered,
        };
        self.clients.close(&client);
        client.end().await;
        match audit.close("ok", 0).await {
            Ok(()) => Answered::empty(204),
            Err(failed) => unrecorded(None, &failed),
        }
    }

    async fn enter(
        self: &Arc<Self>,
        method: &str,
        bearer: &CallerBearer,
        project: &str,
        session: &str,
    ) -> Result<(Opened, Admission, Arc<Client>), Answered> {
        let mut audit = Opened::new(self, Some(bearer), project, 0);
        audit.asked(method, None);
        let admission = match self.plane.admit(bearer, project).await {
            Ok(admission) => admission,
            Err(denial) => return Err(self.denied(audit, None, &denial).await),
        };
        audit.admitted(&admission);
        match self.clients.find(session, admission.project.uid, admission.caller.actor.uid) {
            Some(client) => {
                audit.in_session(client.key.session.as_deref());
                Ok((audit, admission, client))
            }
            None => {
                let error = RpcError::of_status(404, "the session is not known (any more): send `initialize` again");
                audit.refused();
                audit.because(error.message.clone());
                let message = Message::answer(None, Reply::Error(error.to_raw()));
                match audit.close("denied", message.len()).await {
                    Ok(()) => Err(Answered { status: 404, message: Some(message), ..Answered::default() }),
                    Err(failed) => Err(unrecorded(None, &failed)),
                }
            }
        }
    }
}

impl Context {
    /// Streams all that servers say outside of calls, until the session or the access ends. Over STDIO nobody opened it, and
    /// so its end is recorded by nobody.
    pub(crate) async fn stream_all(self, open: Option<Lasting>) -> Answered {
        match stream(&self, Wish::All).await {
            StreamEnd::Cut => {
                if let Some(open) = open {
                    self.gateway.tasks.spawn(open.cut(self.admission.cut.why()));
                }
                Answered { cut: true, ..Answered::empty(200) }
            }
            StreamEnd::Over | StreamEnd::TooMany => Answered::empty(200),
        }
    }
}
