//! `mcpctl mcp`: the STDIO bridge, for agents that start a program instead of opening a connection.
use std::sync::Arc;

use mcpctl_api::client::RemotePlane;
use mcpctl_api::plane::CallerBearer;
use tokio_util::sync::CancellationToken;

use super::InProject;
use crate::failure::{Done, Failure};
use crate::session::Global;

/// Serves a project over standard input and output, for agents that start a program
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl mcp -p web
  mcpctl config claude -p web     # writes the .mcp.json that starts it

It uses the login of the context (mcpctl login), or MCPCTL_TOKEN; nothing secret stands in the agent's settings.")]
pub struct Mcp {
    #[command(flatten)]
    project: InProject,
}

impl Mcp {
    pub async fn run(self, global: &Global) -> Done {
        if let Some(account) = &global.as_service_account {
            return Err(Failure::usage("mcpctl mcp acts as the bearer alone, and not as a service account").hint(format!(
                "make a token of the account: mcpctl --as-service-account {account} create mcptoken NAME -p PROJECT, and set MCPCTL_TOKEN"
            )));
        }
        let session = global.session()?;
        let project = session.project(self.project.name())?;
        let bearer = session.bearer().ok_or_else(|| {
            Failure::new(format!("not signed in to the context {:?}", session.context))
                .hint("mcpctl login, or set MCPCTL_TOKEN")
        })?;
        // Here a reason can be told; in the middle of the protocol hardly anybody sees it.
        session.client.me().await?;
        let plane =
            RemotePlane::connect(session.client.address().clone()).map_err(|error| Failure::new(error.to_string()))?;
        let bearer = CallerBearer::new(bearer.expose().to_owned());
        let stop = CancellationToken::new();
        let signals = tokio::spawn(cancel_on_signal(stop.clone()));
        let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
        let served = mcpctl_gateway::serve_stdio(Arc::new(plane.clone()), bearer, &project, input, output, stop).await;
        signals.abort();
        plane.shutdown().await;
        served.map_err(|error| Failure::new(format!("the bridge broke: {error}")))
    }
}

async fn cancel_on_signal(stop: CancellationToken) {
    mcpctl_api::server::process::stop_signal().await;
    stop.cancel();
}
