//! `mcpctl tools`: which definitions of tools agents see, what changed in them, and who let that be.
use mcpctl_api::tools_wire::{ToolList, ToolRow, ToolState};
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::ToolPolicy;

use super::question::failed;
use super::tools_decide::{Approve, Reject};
use super::tools_past::{Diff, History, Show};
use super::{AsOf, InProject};
use crate::failure::{Done, Failure};
use crate::format::{self, Plain};
use crate::out;
use crate::session::{Global, Session};
use crate::table::Table;

/// Characters of a hash in a table; as many are enough to name a definition on the command line.
pub const HASH_SHOWN: usize = 12;
/// Fewest characters of a hash that name a definition.
const HASH_MIN: usize = 6;

/// Shows and approves the tools of a project's servers
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  mcpctl tools list -p web
  mcpctl tools diff everything/echo -p web
  mcpctl tools approve everything/echo -p web --note \"checked with the team\"
  mcpctl tools approve --all -p web
  mcpctl tools reject everything/echo -p web
  mcpctl tools history everything/echo -p web

A project with `toolPolicy: quarantine` shows its agents approved definitions only; see docs/guides/tool-approval.md.")]
pub enum Tools {
    List(List),
    Show(Show),
    History(History),
    Diff(Diff),
    Approve(Approve),
    Reject(Reject),
}

/// Lists tools that servers were noticed to have, and whether agents of the project see them
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl tools list -p web
  mcpctl tools list -p web --state new,drifted
  mcpctl tools list -p web --at \"2 days ago\" -o json

States: served, earlier (an earlier definition is approved, not the newest), drifted (changed after it was approved),
new (nobody approved it yet), rejected, hidden (by a filter). A tool is noticed when somebody lists its server.
CONFUSABLE names other tools of the project whose names are the same or look alike.")]
pub struct List {
    #[command(flatten)]
    project: InProject,
    /// Only tools of this server
    #[arg(long, value_name = "SERVER", add = crate::completion::names_of(mcpctl_core::kinds::Kind::Server))]
    server: Option<String>,
    /// Only these states
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = state)]
    state: Vec<ToolState>,
    #[command(flatten)]
    point: AsOf,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Plain,
}

fn state(text: &str) -> Result<ToolState, String> {
    let words: Vec<&str> = ToolState::ALL.iter().map(|state| state.word()).collect();
    let known = ToolState::ALL.into_iter().find(|state| state.word() == text);
    known.ok_or_else(|| format!("use one of {}", words.join(", ")))
}

impl Tools {
    pub async fn run(self, global: &Global) -> Done {
        match self {
            Self::List(list) => list.run(global).await,
            Self::Show(show) => show.run(global).await,
            Self::History(history) => history.run(global).await,
            Self::Diff(diff) => diff.run(global).await,
            Self::Approve(approve) => approve.run(global).await,
            Self::Reject(reject) => reject.run(global).await,
        }
    }
}

impl List {
    async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let project = session.project(self.project.name())?;
        let mut told = session.client.tools(&project, self.point.point()).await.map_err(failed)?;
        told.items.retain(|row| self.server.as_ref().is_none_or(|server| row.server == *server));
        told.items.retain(|row| self.state.is_empty() || self.state.contains(&row.state));
        if told.items.is_empty() && self.output == Plain::Table {
            out::note("No tools found: a tool is noticed when somebody lists its server.");
            return Ok(());
        }
        out::print(&match self.output {
            Plain::Table => table(&told).render(),
            Plain::Json => format::json(&told),
            Plain::Yaml => format::yaml(&told),
        })?;
        if self.output == Plain::Table && self.point.point().is_none() {
            note(&told);
        }
        Ok(())
    }
}

fn table(told: &ToolList) -> Table {
    let mut table =
        Table::new(["SERVER", "TOOL", "STATE", "DEFINITION", "CHANGED", "DECIDED BY", "CONFUSABLE", "DESCRIPTION"]);
    for row in &told.items {
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        table.row(vec![
            row.server.clone(),
            row.tool.clone(),
            row.state.word().to_owned(),
            short(&row.definition),
            format::moment(row.last),
            or_dash(row.by.as_ref().map(ToString::to_string).unwrap_or_default()),
            or_dash(row.confusable.join(", ")),
            format::shortened(row.description.as_deref().unwrap_or_default(), 60),
        ]);
    }
    table
}

fn note(told: &ToolList) {
    let waiting = told.items.iter().filter(|row| row.state.waits()).count();
    match told.policy {
        ToolPolicy::Allow => out::note("note: the project serves every tool (toolPolicy: allow)"),
        ToolPolicy::Quarantine if waiting > 0 => {
            let project = &told.project;
            out::note(&format!(
                "note: {waiting} wait for approval: mcpctl tools show SERVER/TOOL -p {project}, then mcpctl tools approve"
            ));
        }
        ToolPolicy::Quarantine => {}
    }
}

/// The beginning of a hash.
pub fn short(definition: &Digest) -> String {
    definition.to_string().chars().take(HASH_SHOWN).collect()
}

/// `SERVER/TOOL`; names of servers have no slash, those of tools may.
pub fn named(word: &str) -> Done<(String, String)> {
    match word.split_once('/') {
        Some((server, tool)) if !server.is_empty() && !tool.is_empty() => Ok((server.to_owned(), tool.to_owned())),
        _ => {
            let shown: String = word.chars().take(80).collect();
            Err(Failure::usage(format!("{shown:?} is not SERVER/TOOL")).hint("see `mcpctl tools list`"))
        }
    }
}

/// The row of a tool.
pub async fn row(session: &Session, project: &str, word: &str) -> Done<ToolRow> {
    let (server, tool) = named(word)?;
    let told = session.client.tools(project, None).await.map_err(failed)?;
    find(&told, &server, &tool)
}

/// The same of a list that was asked for.
pub fn find(told: &ToolList, server: &str, tool: &str) -> Done<ToolRow> {
    let found = told.items.iter().find(|row| row.server == server && row.tool == tool).cloned();
    found.ok_or_else(|| {
        let shown: String = format!("{server}/{tool}").chars().take(160).collect();
        Failure::new(format!("no tool {shown:?} was noticed in project {}", told.project))
            .hint("see `mcpctl tools list`: a tool is noticed when somebody lists its server")
    })
}

/// A definition that the beginning of a hash names, among those that are known.
pub fn resolve(text: &str, known: &[Digest]) -> Done<Digest> {
    if let Ok(whole) = text.parse() {
        return Ok(whole);
    }
    let digits = text.len() >= HASH_MIN && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut found: Vec<Digest> = Vec::new();
    for one in known {
        if one.to_string().starts_with(&text.to_ascii_lowercase()) && !found.contains(one) {
            found.push(*one);
        }
    }
    match (digits, found.as_slice()) {
        (true, [one]) => Ok(*one),
        (true, []) => Err(Failure::new(format!("no definition of the tool begins with {text}"))
            .hint("`mcpctl tools history` shows them")),
        (true, _) => Err(Failure::usage(format!("several definitions begin with {text}")).hint("give more digits")),
        (false, _) => Err(Failure::usage("a definition is named by its hash, or by 6 or more of its first digits")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_named_by_the_beginning_of_its_hash() {
        let (one, other) = (Digest([0xab; 32]), Digest([0xac; 32]));
        let known = [one, other, one];
        assert_eq!(resolve("ababab", &known).unwrap(), one);
        assert_eq!(resolve(&other.to_string(), &[]).unwrap(), other);
        for bad in ["abab", "cdcdcd", "nothex", ""] {
            assert!(resolve(bad, &known).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tool_is_named_with_its_server_and_may_have_a_slash_itself() {
        assert_eq!(named("a/b/c").unwrap(), ("a".to_owned(), "b/c".to_owned()));
        for bad in ["", "a", "a/", "/b"] {
            assert!(named(bad).is_err(), "{bad}");
        }
    }
}
