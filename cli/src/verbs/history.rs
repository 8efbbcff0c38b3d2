//! `mcpctl history`: who did what to an object, when.
use mcpctl_api::wire::HistoryItem;

use super::InProject;
use crate::failure::Done;
use crate::format::{self, Plain};
use crate::session::Global;
use crate::table::Table;
use crate::{completion, noun, out};

/// Most characters of what changed in one line of the table; `-o json` has all.
const CHANGES_SHOWN: usize = 120;

/// Shows all events of an object, also of one that is gone
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl history mcptoken/ci -p web
  mcpctl history server/everything -o json")]
pub struct History {
    /// KIND/NAME, or kind and name
    #[arg(required = true, value_name = "KIND/NAME", add = completion::objects())]
    words: Vec<String>,
    #[command(flatten)]
    project: InProject,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Plain,
}

impl History {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        for target in noun::targets(&session, &self.words, self.project.name())? {
            let list = session.client.history(&target).await?;
            out::print(&match self.output {
                Plain::Table => events(&list.items).render(),
                Plain::Json => format::json(&list),
                Plain::Yaml => format::yaml(&list),
            })?;
        }
        Ok(())
    }
}

/// Events, oldest first.
pub fn events(items: &[HistoryItem]) -> Table {
    let mut table = Table::new(["SEQ", "WHEN", "WHO", "EVENT", "CHANGES"]);
    for item in items {
        let who = match &item.on_behalf_of {
            Some(other) => format!("{} for {other}", item.actor),
            None => item.actor.to_string(),
        };
        table.row(vec![
            item.seq.to_string(),
            format::moment(item.at),
            who,
            item.event.clone(),
            format::shortened(&item.changes.join("; "), CHANGES_SHOWN),
        ]);
    }
    table
}
