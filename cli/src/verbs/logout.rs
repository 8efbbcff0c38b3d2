//! `mcpctl logout`: ends the login of a context.
use crate::failure::Done;
use crate::home::Home;
use crate::out;
use crate::session::Global;

/// Ends the login of the context, there and here
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl logout
  mcpctl logout --context work")]
pub struct Logout {}

impl Logout {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let home = Home::find()?;
        if !home.credentials()?.contains_key(&session.context) {
            out::note(&format!("Context {} is not logged in.", session.context));
            return Ok(());
        }
        // The token is removed here in any case: somebody who logs out wants it gone.
        let ended = session.client.logout().await;
        home.update_credentials(|all| drop(all.remove(&session.context)))?;
        match ended {
            Err(error) if error.status() != Some(401) => {
                out::note(&format!(
                    "warning: the control plane was not told: {error}. The login ends there by itself."
                ));
            }
            _ => {}
        }
        out::print(&format!("Logged out of {} (context {}).\n", session.client.address(), session.context))
    }
}
