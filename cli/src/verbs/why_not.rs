//! `mcpctl why-not`: what stands in the way, and the smallest grant that would remove it.
use super::question::{How, What, exit_unless, explained, failed, shown};
use crate::failure::Done;
use crate::out;
use crate::session::Global;

/// Shows why somebody may not do something, and the smallest grant that is missing; exits 1 when they may after all
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl why-not alice@example.com edit servers/everything
  mcpctl why-not McpToken:web/ci run servers/files --at 2026-11-21T09:30:00Z")]
pub struct WhyNot {
    /// About whom: an e-mail address, User:…, ServiceAccount:…, McpToken:PROJECT/NAME or McpToken:SHA256
    #[arg(value_name = "SUBJECT", add = crate::completion::subjects())]
    subject: String,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    how: How,
}

impl WhyNot {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let question = self.what.question(&session, Some(self.subject), &self.how);
        let answer = session.client.why(&question).await.map_err(failed)?;
        out::print(&shown(&answer, self.how.output, explained))?;
        exit_unless(!answer.allowed)
    }
}
