//! `mcpctl revoke`: ends a token for good.
use mcpctl_core::kinds::Kind;

use super::InProject;
use crate::failure::{Done, Failure};
use crate::session::Global;
use crate::{completion, noun, out};

/// Ends tokens for good; their rows stay, and say when
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl revoke mcptoken ci -p web
  mcpctl revoke mcptoken/web/ci")]
pub struct Revoke {
    /// `mcptoken` and names, or mcptoken/NAME
    #[arg(required = true, value_name = "mcptoken NAME", add = completion::objects())]
    words: Vec<String>,
    #[command(flatten)]
    project: InProject,
}

impl Revoke {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let targets = noun::targets(&session, &self.words, self.project.name())?;
        if let Some(other) = targets.iter().find(|target| target.kind != Kind::McpToken) {
            let kind = other.kind;
            return Err(Failure::usage(format!("a {kind} can't be revoked"))
                .hint(format!("tokens can; see `mcpctl delete {kind}`")));
        }
        for target in targets {
            let done = session
                .client
                .revoke(&target)
                .await
                .map_err(|error| Failure::from(error).about(&target.to_string()))?;
            let what = if done.outcome == "unchanged" { "was revoked before" } else { "revoked" };
            out::print(&format!("{target} {what}\n"))?;
        }
        Ok(())
    }
}
