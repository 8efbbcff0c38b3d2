//! `mcpctl tools approve|reject`: lets agents see a definition of a tool, or takes it back.
use mcpctl_api::client::Write;
use mcpctl_api::tools_wire::{ToolAsked, ToolDecision, ToolList, ToolState};
use mcpctl_api::wire::Done as Answer;
use mcpctl_core::kinds::ToolPolicy;

use super::InProject;
use super::question::failed;
use super::tools::{find, named, short};
use super::tools_past::meant;
use crate::failure::{Done, Failure};
use crate::out;
use crate::session::{Global, Session};

/// Which tools, and what is said about it.
#[derive(clap::Args)]
struct Which {
    /// SERVER/TOOL, with the server's own name for the tool; repeatable
    #[arg(value_name = "SERVER/TOOL")]
    tools: Vec<String>,
    #[command(flatten)]
    project: InProject,
    /// Hash of the definition, or the beginning of it; without it, the newest
    #[arg(long, value_name = "HASH")]
    definition: Option<String>,
    /// What was checked, or by what request; it is kept for ever
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Only says what would be decided
    #[arg(long)]
    dry_run: bool,
}

/// Lets agents of the project see and call a tool as it is defined now
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl tools approve everything/echo -p web
  mcpctl tools approve everything/echo everything/add -p web --note \"checked with the team\"
  mcpctl tools approve --all -p web
  mcpctl tools approve --all --server everything -p web
  mcpctl tools approve everything/echo -p web --definition 1f0c5a2b9d3e

Look first: mcpctl tools show, mcpctl tools diff. What is approved is the definition, by its hash: a tool that changes
later waits again. It takes `edit` on the project.")]
pub struct Approve {
    #[command(flatten)]
    which: Which,
    /// Every tool that waits (new or drifted)
    #[arg(long, conflicts_with_all = ["tools", "definition"])]
    all: bool,
    /// With --all, only tools of this server
    #[arg(long, value_name = "SERVER", requires = "all", add = crate::completion::names_of(mcpctl_core::kinds::Kind::Server))]
    server: Option<String>,
}

/// Takes the approval of a tool back, or says that a definition is not wanted
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl tools reject everything/echo -p web
  mcpctl tools reject everything/echo -p web --definition 7a11c09be4f2 --note \"it reads files now\"

It answers when no agent can call the tool any more. Without --definition a served tool loses every approval; of one that
waits, the newest definition is rejected. It takes `edit` on the project.")]
pub struct Reject {
    #[command(flatten)]
    which: Which,
}

impl Approve {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let project = session.project(self.which.project.name())?;
        let told = session.client.tools(&project, None).await.map_err(failed)?;
        let tools = if self.all { self.waiting(&told) } else { self.which.newest(&session, &told).await? };
        if tools.is_empty() {
            out::note("No tool waits for approval.");
            return Ok(());
        }
        let asked = ToolDecision { tools, note: self.which.note.clone() };
        let done = session.client.approve_tools(&project, &asked, self.which.write()).await.map_err(failed)?;
        report(&asked, &done, "approved")
    }

    fn waiting(&self, told: &ToolList) -> Vec<ToolAsked> {
        let of_server = |server: &str| self.server.as_ref().is_none_or(|wanted| wanted == server);
        // Where nothing has to be approved, what nobody decided about may be approved all the same, for the day it has.
        let waits = |state: ToolState, undecided: bool| {
            state.waits() || (told.policy == ToolPolicy::Allow && state == ToolState::Served && undecided)
        };
        let rows = told.items.iter().filter(|row| of_server(&row.server));
        rows.filter(|row| waits(row.state, !row.approved.contains(&row.definition) && row.rejected.is_empty()))
            .map(|row| ToolAsked {
                server: row.server.clone(),
                tool: row.tool.clone(),
                definition: Some(row.definition),
            })
            .collect()
    }
}

impl Reject {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let project = session.project(self.which.project.name())?;
        let told = session.client.tools(&project, None).await.map_err(failed)?;
        let mut tools = self.which.newest(&session, &told).await?;
        if self.which.definition.is_none() {
            for tool in &mut tools {
                let row = find(&told, &tool.server, &tool.tool)?;
                if !row.approved.is_empty() && !row.state.waits() {
                    tool.definition = None;
                }
            }
        }
        let asked = ToolDecision { tools, note: self.which.note.clone() };
        let done = session.client.reject_tools(&project, &asked, self.which.write()).await.map_err(failed)?;
        report(&asked, &done, "rejected")?;
        if told.policy == ToolPolicy::Allow {
            out::note(&format!(
                "note: project {project} serves every tool (toolPolicy: allow); hide this one with tools.{}.deny, or set \
                 toolPolicy: quarantine",
                asked.tools[0].server
            ));
        }
        Ok(())
    }
}

impl Which {
    const fn write(&self) -> Write {
        if self.dry_run { Write::DryRun } else { Write::Real }
    }

    /// The tools that are named, each with the definition that is meant.
    async fn newest(&self, session: &Session, told: &ToolList) -> Done<Vec<ToolAsked>> {
        if self.tools.is_empty() {
            return Err(Failure::usage("no tool is named").hint("SERVER/TOOL, as `mcpctl tools list` shows them"));
        }
        if self.definition.is_some() && self.tools.len() > 1 {
            return Err(Failure::usage("--definition is of one tool").hint("name one tool with it"));
        }
        let mut all = Vec::with_capacity(self.tools.len());
        for word in &self.tools {
            let (server, tool) = named(word)?;
            let newest = find(told, &server, &tool)?.definition;
            let definition = meant(session, &told.project, word, self.definition.as_ref(), newest).await?;
            all.push(ToolAsked { server, tool, definition: Some(definition) });
        }
        Ok(all)
    }
}

fn report(asked: &ToolDecision, done: &Answer, word: &str) -> Done {
    let unchanged = if done.outcome == "unchanged" { "already " } else { "" };
    let mut text = String::new();
    for ToolAsked { server, tool, definition } in &asked.tools {
        let which = definition.as_ref().map(|definition| format!(" {}", short(definition))).unwrap_or_default();
        text.push_str(&out::clean(&format!("{server}/{tool}{which} {unchanged}{word} (seq {})", done.seq)));
        text.push('\n');
    }
    out::print(&text)
}
