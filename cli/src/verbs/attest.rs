//! `mcpctl attest`: a reviewer says that what an `rbac` gives is still right.
use mcpctl_core::kinds::Kind;

use crate::failure::{Done, Failure};
use crate::session::Global;
use crate::{completion, noun, out};

/// Says that what an rbac gives is still right, as an event with your name; `review` shows it
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl attest rbac/developers
  mcpctl attest rbac developers --note \"checked with the team, Q4\"")]
pub struct Attest {
    /// `rbac` and names, or rbac/NAME
    #[arg(required = true, value_name = "rbac/NAME", add = completion::objects())]
    words: Vec<String>,
    /// What was checked, or by what request; it is kept for ever
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

impl Attest {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let targets = noun::targets(&session, &self.words, None)?;
        if let Some(other) = targets.iter().find(|target| target.kind != Kind::Rbac) {
            let kind = other.kind;
            return Err(Failure::usage(format!("a {kind} can't be attested")).hint("what gives rights can: rbac/NAME"));
        }
        for target in targets {
            let about = |error| Failure::from(error).about(&target.to_string());
            let done = session.client.attest(&target, self.note.as_deref()).await.map_err(about)?;
            out::print(&format!("{target} attested (seq {})\n", done.seq))?;
        }
        Ok(())
    }
}
