//! `mcpctl revert`: undoes an event by new ones.
use mcpctl_api::client::Undo;
use mcpctl_core::ids::Seq;

use super::undo::{self, How};
use crate::failure::{Done, Failure};
use crate::session::Global;

/// Undoes what an event did, and those of the same command, by new events under your rights
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl revert 1207 --dry-run
  mcpctl revert 1207
  mcpctl revert 1207 --yes -o json

First it shows the objects, and who gains and who loses what. Nothing is taken out of the log: the new events name the
one that they undo. An object that was deleted is made again with another identity. What can't be undone, such as the
revocation of a token, is refused with the reason. See `mcpctl history KIND/NAME` for the seqs of an object.")]
pub struct Revert {
    /// Position of the event in the log
    #[arg(value_name = "SEQ")]
    seq: String,
    #[command(flatten)]
    how: How,
}

impl Revert {
    pub async fn run(self, global: &Global) -> Done {
        let seq: Seq = self.seq.parse().map_err(|_| {
            Failure::usage(format!("{:?} is no seq", self.seq)).hint("a whole number; see `mcpctl history KIND/NAME`")
        })?;
        undo::run(&global.session()?, Undo::Event(seq), &self.how).await
    }
}
