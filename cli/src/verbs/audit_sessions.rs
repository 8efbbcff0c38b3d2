//! `mcpctl audit sessions` and `mcpctl session show`: what agents did, put together.
use mcpctl_api::audit_wire::{AuditSession, SessionEnd, SessionShown};
use mcpctl_api::client::AuditItem;
use serde_json::json;

use super::audit_filters::{Span, Whose, of};
use super::session_definitions::{self, InForce, in_force};
use crate::failure::Done;
use crate::format::{self, Plain};
use crate::out;
use crate::session::Global;
use crate::table::Table;
use crate::tree::tree;

/// Lists sessions of agents, the newest first: who, where, from when to when, how much, and how each ended
#[derive(clap::Args)]
#[command(after_help = "\
A client of MCP before 2026-07-28 has sessions. Later ones have none: what one caller did in one project is then one
run, until nothing was heard for half an hour.

Examples:
  mcpctl audit sessions -p web
  mcpctl audit sessions --user alice@example.com --from 7d -o json
  mcpctl session show 1f3b9c2e")]
pub struct Sessions {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    span: Span,
    /// Goes on where another page ended
    #[arg(long, value_name = "POSITION")]
    before: Option<u64>,
    /// Most sessions to show
    #[arg(long, value_name = "N", default_value = "50")]
    limit: u32,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Plain,
}

impl Sessions {
    pub async fn run(self, global: &Global) -> Done {
        let mut filter = of(&self.whose, &self.span, format::now())?;
        filter.fields.extend(self.before.map(|before| ("before", before.to_string())));
        filter.limit = Some(self.limit);
        let list = global.session()?.client.audit_sessions(&filter).await?;
        match self.output {
            Plain::Json => return out::print(&format::json(&list)),
            Plain::Yaml => return out::print(&format::yaml(&list)),
            Plain::Table if list.items.is_empty() => out::note("No sessions found."),
            Plain::Table => out::print(&table(&list.items).render())?,
        }
        if let Some(next) = &list.next {
            out::note(&format!("There may be older ones: --before {next}"));
        }
        Ok(())
    }
}

fn table(sessions: &[AuditSession]) -> Table {
    let mut table = Table::new(["ID", "WHO", "PROJECT", "FROM", "TO", "CALLS", "REFUSALS", "ENDED"]);
    for session in sessions {
        let least = if session.partial { "≥" } else { "" };
        table.row(vec![
            session.id.clone(),
            session.actor.to_string(),
            session.project.clone(),
            format::moment(session.from),
            format::moment(session.to),
            format!("{least}{}", session.calls),
            format!("{least}{}", session.refusals),
            ended(session.ended).to_owned(),
        ]);
    }
    table
}

const fn ended(how: SessionEnd) -> &'static str {
    match how {
        SessionEnd::Open => "open",
        SessionEnd::Closed => "closed",
        SessionEnd::Cut => "cut",
        SessionEnd::Idle => "idle",
    }
}

/// Shows what an agent did, and what it saw, as far as the audit log says
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  mcpctl session show 1f3b9c2e
  mcpctl session show run-4711 -o json")]
pub enum SessionVerb {
    Show(Show),
}

/// Shows a session: its lists, calls and refusals in order, each with the digests of what was asked and answered
#[derive(clap::Args)]
#[command(after_help = "\
What was asked and answered is not in the audit log, but digests of it are, under a key of the control plane: two that
are the same say that the model was shown the same. DEFINITION is the hash by which a called tool had been shown;
--definitions adds which definitions the model saw with each list: `mcpctl tools show` prints them.

Examples:
  mcpctl session show 1f3b9c2e
  mcpctl session show 1f3b9c2e --definitions
  mcpctl session show run-4711 -o json")]
pub struct Show {
    /// Session, as `mcpctl audit sessions` lists it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    project: super::InProject,
    /// Goes on where another page ended
    #[arg(long, value_name = "POSITION")]
    position: Option<u64>,
    /// Also tells which definitions of tools each list of the session showed
    #[arg(long)]
    definitions: bool,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Plain,
}

impl SessionVerb {
    pub async fn run(self, global: &Global) -> Done {
        let Self::Show(show) = self;
        let fields = show.project.project.clone().map(|project| ("project", project)).into_iter().collect();
        let position = show.position.map(|position| position.to_string());
        let filter = mcpctl_api::client::AuditFilter { fields, position, limit: None };
        let session = global.session()?;
        let shown = session.client.audit_session(&show.id, &filter).await?;
        let definitions = if show.definitions { Some(in_force(&session, &shown).await?) } else { None };
        let whole = Whole { shown: &shown, definitions: definitions.as_deref() };
        match show.output {
            Plain::Json => return out::print(&format::json(&whole)),
            Plain::Yaml => return out::print(&format::yaml(&whole)),
            Plain::Table => out::print(&told(&shown))?,
        }
        if let Some(definitions) = &definitions {
            out::print(&session_definitions::told(definitions))?;
        }
        if let Some(next) = &shown.next {
            out::note(&format!("There is more: --position {next}"));
        }
        Ok(())
    }
}

/// A session, and what its lists showed.
#[derive(serde::Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    shown: &'a SessionShown,
    #[serde(skip_serializing_if = "Option::is_none")]
    definitions: Option<&'a [InForce]>,
}

fn told(shown: &SessionShown) -> String {
    let session = &shown.session;
    let head = json!({
        "Session": session.id, "Project": session.project, "Who": session.actor.to_string(),
        "Owner": session.owner.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        "From": session.from.to_string(), "To": session.to.to_string(),
        "Calls": session.calls, "Lists": session.lists, "Refusals": session.refusals, "Ended": ended(session.ended),
    });
    let mut table = Table::new([
        "POSITION",
        "WHEN",
        "METHOD",
        "TARGET",
        "OUTCOME",
        "DEFINITION",
        "ASKED",
        "ANSWERED",
        "BYTES",
        "REASON",
    ]);
    shown.items.iter().for_each(|item| table.row(row(item)));
    let head = tree(head.as_object().unwrap_or(&serde_json::Map::new()));
    format!("{head}\n{}", table.render())
}

fn row(AuditItem { position, entry }: &AuditItem) -> Vec<String> {
    let digest = |digest: Option<mcpctl_core::ids::Digest>| {
        digest.map_or_else(|| "-".to_owned(), |digest| digest.to_string().chars().take(12).collect())
    };
    let target: Vec<&str> = [entry.server.as_deref(), entry.tool.as_deref()].into_iter().flatten().collect();
    vec![
        position.to_string(),
        entry.at.to_string(),
        entry.method.clone(),
        if target.is_empty() { "-".to_owned() } else { target.join("/") },
        entry.outcome.clone(),
        digest(entry.definition),
        digest(entry.arguments),
        digest(entry.answer),
        entry.answer_bytes.to_string(),
        entry.reason.clone().unwrap_or_default(),
    ]
}
