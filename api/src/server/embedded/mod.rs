//! The MCP server named `mcpctl` inside the control plane: tools through which an agent asks the control plane itself.
//!
//! It answers only what the caller may see, decided at each call on the newest state by the same function as REST. It
//! changes nothing.
mod answers;
mod questions;
mod session;
mod shapes;
#[cfg(test)]
mod tests;
mod tools;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use mcpctl_core::ids::Uid;
use mcpctl_core::kinds::{Embedded, Kind, Server};
use mcpctl_core::log::LogReader;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::published::Published;
use crate::upstream::{Session, SessionKey, Sessions, UpstreamError};
use session::EmbeddedSession;

/// The server. One serves every object of kind `server` that says `embedded: mcpctl`.
pub struct EmbeddedServer {
    published: Published,
    log: Arc<dyn LogReader>,
}

impl EmbeddedServer {
    /// A server over the newest state and the log.
    #[must_use]
    pub fn new(published: Published, log: Arc<dyn LogReader>) -> Self {
        Self { published, log }
    }
}

#[async_trait]
impl Sessions for EmbeddedServer {
    async fn session(&self, _server: Uid, key: &SessionKey) -> Result<Arc<dyn Session>, UpstreamError> {
        Ok(Arc::new(EmbeddedSession::new(self.published.clone(), self.log.clone(), key)))
    }

    /// There is nothing to end: a conversation has no state.
    async fn end(&self, _key: &SessionKey) {}
}

/// Keeps the fleet's register of embedded servers level with the state, until the control plane stops.
pub(super) async fn keep_registered(app: Arc<App>, stop: CancellationToken) {
    let server: Arc<dyn Sessions> = Arc::new(EmbeddedServer::new(app.published.clone(), app.log.clone()));
    let mut states = app.published.follow();
    let mut registered = HashSet::new();
    loop {
        let wanted = embedded_servers(&states.borrow_and_update());
        wanted.difference(&registered).for_each(|uid| app.fleet.register(*uid, server.clone()));
        registered.difference(&wanted).for_each(|uid| app.fleet.unregister(*uid));
        registered = wanted;
        tokio::select! {
            () = stop.cancelled() => return,
            changed = states.changed() => if changed.is_err() { return },
        }
    }
}

fn embedded_servers(state: &State) -> HashSet<Uid> {
    let is_embedded = |spec: &Server| spec.embedded == Some(Embedded::Mcpctl);
    let servers =
        state.all(Kind::Server).filter(|object| object.of::<Server>().is_some_and(|(spec, _)| is_embedded(spec)));
    servers.map(|object| object.meta.uid).collect()
}
