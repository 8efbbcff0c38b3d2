//! `mcpctl why`: the chain of grants by which somebody may.
use super::question::{How, What, exit_unless, explained, failed, shown};
use crate::failure::Done;
use crate::out;
use crate::session::Global;

/// Shows why somebody may do something: each grant, who gave it and when; exits 1 when they may not
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl why alice@example.com edit servers/everything
  mcpctl why McpToken:web/ci run projects/web
  mcpctl why alice@example.com view secrets/ha --at 1207 -o json")]
pub struct Why {
    /// About whom: an e-mail address, User:…, ServiceAccount:…, McpToken:PROJECT/NAME or McpToken:SHA256
    #[arg(value_name = "SUBJECT", add = crate::completion::subjects())]
    subject: String,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    how: How,
}

impl Why {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let question = self.what.question(&session, Some(self.subject), &self.how);
        let answer = session.client.why(&question).await.map_err(failed)?;
        out::print(&shown(&answer, self.how.output, explained))?;
        exit_unless(answer.allowed)
    }
}
