//! `mcpctl history`: who did what to an object, when.
use mcpctl_api::wire::HistoryItem;

use super::InProject;
use super::question::failed;
use crate::failure::Done;
use crate::format::{self, Plain};
use crate::session::Global;
use crate::table::Table;
use crate::{completion, noun, out};

/// Most characters of what changed in one line of the table; `-o json` has all.
pub const CHANGES_SHOWN: usize = 120;

/// Shows all events of an object, also of one that is gone
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl history mcptoken/ci -p web
  mcpctl history server/everything -o json
  mcpctl history user/alice@example.com --at \"30 days ago\"

Of a user, group or service account it also shows the events that changed what they may: +RIGHT gained, -RIGHT lost.")]
pub struct History {
    /// KIND/NAME, or kind and name
    #[arg(required = true, value_name = "KIND/NAME", add = completion::objects())]
    words: Vec<String>,
    #[command(flatten)]
    project: InProject,
    /// Only up to an event (its seq), or a moment: 2026-11-21T09:30:00Z, 2026-11-21, "2 days ago"
    #[arg(long, value_name = "SEQ|TIME")]
    at: Option<String>,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Plain,
}

impl History {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        for target in noun::targets(&session, &self.words, self.project.name())? {
            let list = session.client.history(&target, self.at.as_deref()).await.map_err(failed)?;
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
    // Of a subject there are events about other objects too, which are then named.
    let one = items.iter().all(|item| item.object == items[0].object);
    let mut table = Table::new(["SEQ", "WHEN", "WHO", "EVENT", "CHANGES"]);
    for item in items {
        let event = if one { item.event.clone() } else { format!("{} {}", item.event, item.object) };
        let told = item.reason.iter().chain(&item.access).chain(&item.changes);
        let changes: Vec<&str> = told.map(String::as_str).collect();
        let who = match &item.on_behalf_of {
            Some(other) => format!("{} for {other}", item.actor),
            None => item.actor.to_string(),
        };
        table.row(vec![
            item.seq.to_string(),
            format::moment(item.at),
            who,
            event,
            format::shortened(&changes.join("; "), CHANGES_SHOWN),
        ]);
    }
    table
}
