//! `mcpctl restore`: brings an object back to what it was.
use mcpctl_api::client::Undo;

use super::InProject;
use super::undo::{self, How};
use crate::failure::{Done, Failure};
use crate::session::Global;
use crate::{completion, noun};

/// Brings an object back to what it was at a point of the past, a project with what lived in it
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl restore server/everything --at 1207 --dry-run
  mcpctl restore project/web --at \"2 days ago\"
  mcpctl restore rbac/developers --at 2026-11-21T09:30:00Z --yes

First it shows the objects, and who gains and who loses what. It is done by new events under your rights; an object that
is gone is made again with another identity.")]
pub struct Restore {
    /// KIND/NAME, or kind and name
    #[arg(required = true, value_name = "KIND/NAME", add = completion::objects())]
    words: Vec<String>,
    #[command(flatten)]
    project: InProject,
    /// The point: a seq, a moment, a date, or how long ago
    #[arg(long, required = true, value_name = "SEQ|TIME")]
    at: String,
    #[command(flatten)]
    how: How,
}

impl Restore {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let targets = noun::targets(&session, &self.words, self.project.name())?;
        let [target] = targets.as_slice() else {
            return Err(Failure::usage("one object is restored at a time"));
        };
        let undo = Undo::Object { target: target.clone(), at: self.at.clone() };
        undo::run(&session, undo, &self.how).await
    }
}
