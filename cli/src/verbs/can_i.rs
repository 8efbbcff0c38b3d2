//! `mcpctl can-i`: yes or no.
use super::question::{How, What, exit_unless, failed, shown};
use crate::failure::Done;
use crate::out;
use crate::session::Global;

/// Says whether you, or somebody else, may do something; exits 0 for yes and 1 for no
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl can-i edit servers/everything
  mcpctl can-i create mcptokens -p web --as alice@example.com
  mcpctl can-i run logs --as ServiceAccount:ci --at \"2 days ago\"
  mcpctl can-i run projects/web --as McpToken:web/ci || echo no")]
pub struct CanI {
    #[command(flatten)]
    what: What,
    /// About whom: an e-mail address, User:…, ServiceAccount:…, McpToken:PROJECT/NAME or McpToken:SHA256
    #[arg(long = "as", value_name = "SUBJECT", add = crate::completion::subjects())]
    subject: Option<String>,
    #[command(flatten)]
    how: How,
}

impl CanI {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let question = self.what.question(&session, self.subject, &self.how);
        let answer = session.client.can_i(&question).await.map_err(failed)?;
        let word = if answer.allowed { "yes\n" } else { "no\n" };
        out::print(&shown(&answer, self.how.output, |_| word.to_owned()))?;
        exit_unless(answer.allowed)
    }
}
