//! `mcpctl tools show|history|diff`: definitions of a tool as they are and as they were.
use mcpctl_api::tools_wire::{ToolEvent, ToolRow};
use mcpctl_core::ids::Digest;
use similar::TextDiff;

use super::history::CHANGES_SHOWN;
use super::question::{exit_unless, failed};
use super::tools::{named, resolve, row, short};
use super::{AsOf, InProject};
use crate::failure::{Done, Failure};
use crate::format::{self, Plain};
use crate::out;
use crate::session::{Global, Session};
use crate::table::Table;

/// Shows a definition of a tool in full
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl tools show everything/echo -p web
  mcpctl tools show everything/echo -p web --definition 1f0c5a2b9d3e -o yaml")]
pub struct Show {
    /// SERVER/TOOL, with the server's own name for the tool
    #[arg(value_name = "SERVER/TOOL")]
    tool: String,
    #[command(flatten)]
    project: InProject,
    /// Its hash, or the beginning of it; without it, the newest
    #[arg(long, value_name = "HASH")]
    definition: Option<String>,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "json")]
    output: Plain,
}

/// Shows all events about a tool: what it was noticed to be, and what was decided about it
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl tools history everything/echo -p web
  mcpctl tools history everything/echo -p web --at \"30 days ago\" -o json")]
pub struct History {
    /// SERVER/TOOL, with the server's own name for the tool
    #[arg(value_name = "SERVER/TOOL")]
    tool: String,
    #[command(flatten)]
    project: InProject,
    #[command(flatten)]
    point: AsOf,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Plain,
}

/// Shows how two definitions of a tool differ; exits 1 when they do
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl tools diff everything/echo -p web
  mcpctl tools diff everything/echo -p web --from 1f0c5a2b9d3e --to 7a11c09be4f2

Without --from it begins at the newest approved definition, or the one before the newest; without --to it ends at the
newest.")]
pub struct Diff {
    /// SERVER/TOOL, with the server's own name for the tool
    #[arg(value_name = "SERVER/TOOL")]
    tool: String,
    #[command(flatten)]
    project: InProject,
    /// Hash of the earlier definition, or the beginning of it
    #[arg(long, value_name = "HASH")]
    from: Option<String>,
    /// Hash of the later definition, or the beginning of it
    #[arg(long, value_name = "HASH")]
    to: Option<String>,
}

/// Definitions that a tool was ever known by, oldest first.
async fn known(session: &Session, project: &str, word: &str) -> Done<Vec<Digest>> {
    let (server, tool) = named(word)?;
    let events = session.client.tool_history(project, (&server, &tool), None).await.map_err(failed)?;
    Ok(events.items.iter().flat_map(|event| event.old.into_iter().chain(event.definition)).collect())
}

/// The definition that a text names among those of a tool, or another.
pub async fn meant(
    session: &Session,
    project: &str,
    word: &str,
    text: Option<&String>,
    otherwise: Digest,
) -> Done<Digest> {
    match text {
        None => Ok(otherwise),
        Some(text) => resolve(text, &known(session, project, word).await?),
    }
}

/// A definition, indented.
async fn text(session: &Session, project: &str, word: &str, definition: Digest) -> Done<serde_json::Value> {
    let (server, tool) = named(word)?;
    let told = session.client.tool_definition(project, (&server, &tool), definition).await.map_err(failed)?;
    told.text.ok_or_else(|| {
        Failure::new(format!("the definition {} is not kept any more", short(&definition)))
            .hint("its hash and what changed in it are in the log: mcpctl tools history")
    })
}

impl Show {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let project = session.project(self.project.name())?;
        let newest = row(&session, &project, &self.tool).await?.definition;
        let definition = meant(&session, &project, &self.tool, self.definition.as_ref(), newest).await?;
        let value = text(&session, &project, &self.tool, definition).await?;
        out::print(&match self.output {
            Plain::Json | Plain::Table => format::json(&value),
            Plain::Yaml => format::yaml(&value),
        })?;
        out::note(&format!("definition {definition}"));
        Ok(())
    }
}

impl History {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let project = session.project(self.project.name())?;
        let (server, tool) = named(&self.tool)?;
        let point = self.point.point();
        let list = session.client.tool_history(&project, (&server, &tool), point).await.map_err(failed)?;
        if list.items.is_empty() && self.output == Plain::Table {
            out::note("Nothing was noticed of it, and nothing decided about it.");
            return Ok(());
        }
        out::print(&match self.output {
            Plain::Table => events(&list.items).render(),
            Plain::Json => format::json(&list),
            Plain::Yaml => format::yaml(&list),
        })
    }
}

fn events(items: &[ToolEvent]) -> Table {
    let mut table = Table::new(["SEQ", "WHEN", "EVENT", "WHO", "DEFINITION", "CHANGES"]);
    for item in items {
        let who = match &item.on_behalf_of {
            Some(other) => format!("{} for {other}", item.actor),
            None => item.actor.to_string(),
        };
        let changes = item.diff.iter().map(|change| {
            let (old, new) = (change.old.as_deref().unwrap_or("∅"), change.new.as_deref().unwrap_or("∅"));
            format!("{}: {old} → {new}", change.path)
        });
        let told: Vec<String> = item.note.iter().cloned().chain(changes).collect();
        table.row(vec![
            item.seq.to_string(),
            format::moment(item.at),
            item.event.clone(),
            who,
            item.definition.as_ref().map_or_else(|| "-".to_owned(), short),
            format::shortened(&told.join("; "), CHANGES_SHOWN),
        ]);
    }
    table
}

impl Diff {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let project = session.project(self.project.name())?;
        let row = row(&session, &project, &self.tool).await?;
        let to = meant(&session, &project, &self.tool, self.to.as_ref(), row.definition).await?;
        let before = self.before(&session, &project, &row, to).await?;
        let from = meant(&session, &project, &self.tool, self.from.as_ref(), before).await?;
        let (old, new) =
            (text(&session, &project, &self.tool, from).await?, text(&session, &project, &self.tool, to).await?);
        let (old, new) = (format::json(&old), format::json(&new));
        let titles = [from, to].map(|definition| format!("{} {}", self.tool, short(&definition)));
        let diff = TextDiff::from_lines(&old, &new);
        let diff = diff.unified_diff().context_radius(3).header(&titles[0], &titles[1]).to_string();
        out::print(&out::clean(&diff))?;
        exit_unless(from == to)
    }

    /// What the newest is compared with: what was approved last, or what was there before it.
    async fn before(&self, session: &Session, project: &str, row: &ToolRow, to: Digest) -> Done<Digest> {
        if let Some(approved) = row.approved.iter().rev().find(|one| **one != to) {
            return Ok(*approved);
        }
        let known = known(session, project, &self.tool).await?;
        Ok(known.into_iter().rev().find(|one| *one != to).unwrap_or(to))
    }
}
