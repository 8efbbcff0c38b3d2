//! In whose name something is done: the admission of one request, its client, and the ways up and down from there.
use std::sync::Arc;
use std::time::Duration;

use mcpctl_api::otel::Place;
use mcpctl_api::plane::{Admission, CallerBearer, ServerView};
use mcpctl_api::upstream::{NoSink, Reply, Session, Sessions, UpstreamError};
use serde_json::value::RawValue;

use crate::call::{Authorized, Refused, Resolved, Unanswered, authorize, send};
use crate::client::Client;
use crate::dialect::Dialect;
use crate::gateway::Gateway;
use crate::json::Members;
use crate::link::Link;
use crate::outlet::{Outlet, outlet};

/// Of a request: who, where, how spoken to. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) admission: Admission,
    pub(crate) client: Arc<Client>,
    pub(crate) sessions: Arc<dyn Sessions>,
    /// Gives the key of what the client carries.
    pub(crate) bearer: CallerBearer,
    pub(crate) dialect: Dialect,
    /// Where messages go before the answer.
    pub(crate) outlet: Outlet,
    /// Whether it came as a POST, with headers that mirror the body.
    pub(crate) over_http: bool,
    /// Headers of the request that a HTTP server may see.
    pub(crate) headers: Vec<(String, String)>,
    /// Where in a trace it is done, if there is one.
    pub(crate) trace: Option<Arc<Place>>,
}

impl Context {
    /// The same without a way to the client: for what goes on in the background.
    pub(crate) fn detached(&self) -> Self {
        let (outlet, _) = outlet();
        Self { outlet, headers: Vec::new(), trace: None, ..self.clone() }
    }

    /// The servers of the project, in its order.
    pub(crate) fn servers(&self) -> &[ServerView] {
        &self.admission.project.servers
    }

    /// Decides on a request and opens the conversation for it.
    pub(crate) async fn open(
        &self,
        server: &ServerView,
        authorized: &Authorized,
    ) -> Result<(Arc<dyn Session>, Arc<Link>), Unanswered> {
        let session = authorized.open(&*self.sessions, &self.client.key).await?;
        let link = self.client.link(&self.gateway, server, &session);
        Ok((session, link))
    }

    /// The conversation with a server, for what its handshake says.
    pub(crate) async fn reach(&self, server: &ServerView) -> Result<(Arc<dyn Session>, Arc<Link>), Unanswered> {
        let authorized = self.authorize(server, "ping", None, Duration::ZERO)?;
        self.open(server, &authorized).await
    }

    /// Asks a server something of the gateway's own, such as a list.
    pub(crate) async fn ask(
        &self,
        server: &ServerView,
        session: &dyn Session,
        method: &str,
        params: Option<Box<RawValue>>,
    ) -> Result<Box<RawValue>, Unanswered> {
        let authorized = self.authorize(server, method, params, self.gateway.options.call)?;
        match send(authorized, session, Arc::new(NoSink)).await? {
            Reply::Result(result) => Ok(result),
            Reply::Error(error) => Err(refused_by(server, method, &error)),
        }
    }

    /// Decides on a request of the gateway's own.
    pub(crate) fn authorize(
        &self,
        server: &ServerView,
        method: &str,
        params: Option<Box<RawValue>>,
        limit: Duration,
    ) -> Result<Authorized, Unanswered> {
        let resolved = Resolved::of_server(server, method, params, limit).traced(self.trace.clone());
        authorize(&self.admission, resolved).map_err(|refused| match refused {
            Refused::Cut => Unanswered::Cut,
            Refused::NotServed | Refused::Quarantined | Refused::NotInProject | Refused::UnknownMethod => {
                UpstreamError::Unavailable { server: server.name.clone(), why: refused.to_string() }.into()
            }
        })
    }
}

/// What a server said instead of an answer, as an error that names it.
fn refused_by(server: &ServerView, method: &str, error: &RawValue) -> Unanswered {
    let said = Members::of(error).text("message").unwrap_or_default();
    let said: String = said.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
    UpstreamError::Protocol { server: server.name.clone(), what: format!("it refused {method}: {said}") }.into()
}
