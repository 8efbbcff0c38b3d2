//! `mcpctl audit`: what agents called, and what was refused.
use mcpctl_api::client::AuditItem;

use super::audit_erase::Erase;
use super::audit_export::Export;
use super::audit_filters::Filters;
use super::audit_replay::Replay;
use super::audit_sessions::Sessions;
use super::audit_tail::Tail;
use crate::failure::Done;
use crate::format::{self, Plain};
use crate::out;
use crate::session::Global;
use crate::table::Table;

/// Events of a page when nothing is said.
const PAGE: u32 = 100;

/// Shows what agents called, and what was refused
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  mcpctl audit events -p web --from 1h
  mcpctl audit prove mcptoken/ci -p web -o proof.tar
  mcpctl audit prove grant User:alice@example.com role:edit,resource:servers --at 7d -o grant.tar
  mcpctl audit verify proof.tar
  mcpctl audit events --user alice@example.com --tool echo -o json
  mcpctl audit tail -f --outcome denied
  mcpctl audit sessions -p web --from 24h
  mcpctl audit replay --from 7d")]
pub enum Audit {
    /// Lists calls, refusals and logins, newest last
    Events(Box<Events>),
    Tail(Box<Tail>),
    Sessions(Box<Sessions>),
    Export(Box<Export>),
    Erase(Erase),
    /// Writes a proof of an event, a call, or a grant at a point, which anybody can check without this program
    Prove(super::audit_prove::Prove),
    /// Checks such a proof, without asking anybody
    Verify(super::audit_prove::Verify),
    Replay(Box<Replay>),
}

/// Which events, and how many.
#[derive(clap::Args)]
pub struct Events {
    #[command(flatten)]
    filters: Filters,
    /// Goes on where another page ended
    #[arg(long, value_name = "POSITION", conflicts_with = "before")]
    position: Option<String>,
    /// The newest in front of this position
    #[arg(long, value_name = "POSITION")]
    before: Option<String>,
    /// Most events to show
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Plain,
}

impl Audit {
    pub async fn run(self, global: &Global) -> Done {
        match self {
            Self::Events(events) => events.run(global).await,
            Self::Tail(tail) => tail.run(global).await,
            Self::Sessions(sessions) => sessions.run(global).await,
            Self::Export(export) => export.run(global).await,
            Self::Erase(erase) => erase.run(global).await,
            Self::Replay(replay) => replay.run(global).await,
            Self::Prove(prove) => prove.run(global).await,
            Self::Verify(verify) => verify.run(),
        }
    }
}

impl Events {
    async fn run(&self, global: &Global) -> Done {
        let mut filter = self.filters.of(format::now())?;
        filter.position.clone_from(&self.position);
        filter.fields.extend(self.before.clone().map(|before| ("before", before)));
        filter.limit = self.limit;
        let list = global.session()?.client.audit_events(&filter).await?;
        let text = match self.output {
            Plain::Json => format::json(&list),
            Plain::Yaml => format::yaml(&list),
            Plain::Table => table(&list.items).render(),
        };
        if list.items.is_empty() && self.output == Plain::Table {
            out::note("No events found.");
            return Ok(());
        }
        out::print(&text)?;
        if self.output != Plain::Table {
            return Ok(());
        }
        // A page of the newest is full when there may be older ones in front of it.
        let full = self.limit.unwrap_or(PAGE) as usize <= list.items.len();
        match (&list.next, list.items.first()) {
            (Some(next), _) => out::note(&format!("There may be more: --position {next}")),
            (None, Some(first)) if self.position.is_none() && full => {
                out::note(&format!("There may be older ones: --before {}", first.position));
            }
            _ => {}
        }
        Ok(())
    }
}

fn table(items: &[AuditItem]) -> Table {
    let mut table =
        Table::new(["WHEN", "WHO", "PROJECT", "METHOD", "SERVER", "TOOL", "ALLOWED", "OUTCOME", "MS", "REASON"]);
    for AuditItem { entry, .. } in items {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let method = if entry.method.is_empty() { entry.kind.clone() } else { entry.method.clone() };
        table.row(vec![
            format::moment(entry.at),
            entry.actor.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            or_dash(&entry.project),
            method,
            or_dash(&entry.server),
            or_dash(&entry.tool),
            if entry.allowed { "yes" } else { "no" }.to_owned(),
            entry.outcome.clone(),
            format!("{}.{:03}", entry.duration_us / 1000, entry.duration_us % 1000),
            entry.reason.clone().unwrap_or_default(),
        ]);
    }
    table
}
