//! The verbs: one file each.
mod apply;
mod attach;
mod attest;
mod audit;
mod audit_erase;
mod audit_export;
mod audit_filters;
mod audit_prove;
mod audit_replay;
mod audit_sessions;
mod audit_tail;
mod can_i;
mod completion;
mod config;
mod create;
mod delete;
mod describe;
mod diff;
mod edit;
mod get;
mod history;
mod log;
mod login;
mod logout;
mod logs;
mod mcp;
mod question;
mod recover;
mod restore;
mod revert;
mod review;
mod revoke;
mod secret;
mod session_definitions;
mod simulate;
mod status;
mod test;
mod tools;
mod tools_decide;
mod tools_past;
mod undo;
mod up;
mod what_can;
mod who_can;
mod why;
mod why_not;
mod witness;

use clap::builder::styling::{AnsiColor, Styles};

use crate::failure::Done;
use crate::session::Global;

/// Kubectl-style control of MCP servers, projects, people and tokens
#[derive(clap::Parser)]
#[command(name = "mcpctl", version, styles = STYLES, disable_help_subcommand = true, arg_required_else_help = true)]
#[command(after_help = AFTER_HELP)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER_HELP: &str = "\
Examples:
  mcpctl get servers
  mcpctl create server time --command uvx mcp-server-time
  mcpctl attach server time -p web
  mcpctl create mcptoken ci -p web --ttl 30d

Environment: MCPCTL_TOKEN and MCPCTL_API stand in for the context's login and address, MCPCTL_HOME for ~/.mcpctl.
Exit codes: 0 done, 1 failed (`diff`: there are differences, `can-i`: no, `simulate`:
access would be added), 2 wrong usage.";

/// What can be done.
#[derive(clap::Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum Verb {
    Up(Box<up::Up>),
    Get(get::Get),
    Describe(describe::Describe),
    #[command(subcommand)]
    Create(create::Create),
    Apply(apply::Apply),
    Diff(diff::Diff),
    Simulate(simulate::Simulate),
    Review(review::Review),
    Attest(attest::Attest),
    Edit(edit::Edit),
    Delete(delete::Delete),
    Attach(attach::Attach),
    Detach(attach::Detach),
    Revoke(revoke::Revoke),
    Revert(revert::Revert),
    Restore(restore::Restore),
    History(history::History),
    CanI(can_i::CanI),
    Why(why::Why),
    WhyNot(why_not::WhyNot),
    WhoCan(who_can::WhoCan),
    WhatCan(what_can::WhatCan),
    Logs(logs::Logs),
    #[command(subcommand)]
    Recover(recover::Recover),
    Status(status::Status),
    Login(login::Login),
    Logout(logout::Logout),
    #[command(subcommand)]
    Config(config::Config),
    #[command(subcommand)]
    Test(test::Test),
    #[command(subcommand)]
    Audit(audit::Audit),
    #[command(subcommand)]
    Session(audit_sessions::SessionVerb),
    #[command(subcommand)]
    Log(log::Log),
    #[command(subcommand)]
    Witness(witness::Witness),
    #[command(subcommand)]
    Secret(secret::Secret),
    #[command(subcommand)]
    Tools(tools::Tools),
    Mcp(mcp::Mcp),
    Completion(completion::Completion),
}

impl Verb {
    /// Whether it winds up by itself after Ctrl-C.
    pub const fn ends_itself(&self) -> bool {
        matches!(self, Self::Mcp(_) | Self::Up(_) | Self::Witness(_))
    }

    /// Does it.
    pub async fn run(self, global: &Global) -> Done {
        match self {
            Self::Up(verb) => verb.run().await,
            Self::Get(verb) => verb.run(global).await,
            Self::Describe(verb) => verb.run(global).await,
            Self::Create(verb) => verb.run(global).await,
            Self::Apply(verb) => verb.run(global).await,
            Self::Diff(verb) => verb.run(global).await,
            Self::Simulate(verb) => verb.run(global).await,
            Self::Review(verb) => verb.run(global).await,
            Self::Attest(verb) => verb.run(global).await,
            Self::Edit(verb) => verb.run(global).await,
            Self::Delete(verb) => verb.run(global).await,
            Self::Attach(verb) => verb.run(global).await,
            Self::Detach(verb) => verb.run(global).await,
            Self::Revoke(verb) => verb.run(global).await,
            Self::Revert(verb) => verb.run(global).await,
            Self::Restore(verb) => verb.run(global).await,
            Self::History(verb) => verb.run(global).await,
            Self::CanI(verb) => verb.run(global).await,
            Self::Why(verb) => verb.run(global).await,
            Self::WhyNot(verb) => verb.run(global).await,
            Self::WhoCan(verb) => verb.run(global).await,
            Self::WhatCan(verb) => verb.run(global).await,
            Self::Logs(verb) => verb.run(global).await,
            Self::Recover(verb) => verb.run().await,
            Self::Status(verb) => verb.run(global).await,
            Self::Login(verb) => verb.run(global).await,
            Self::Logout(verb) => verb.run(global).await,
            Self::Config(verb) => verb.run(global),
            Self::Test(verb) => verb.run().await,
            Self::Mcp(verb) => verb.run(global).await,
            Self::Audit(verb) => verb.run(global).await,
            Self::Session(verb) => verb.run(global).await,
            Self::Log(verb) => verb.run(global).await,
            Self::Witness(verb) => verb.run().await,
            Self::Secret(verb) => verb.run(),
            Self::Tools(verb) => verb.run(global).await,
            Self::Completion(verb) => verb.run(),
        }
    }
}

/// `-p`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct InProject {
    /// Project, for kinds that live in one
    #[arg(short = 'p', long, value_name = "PROJECT", add = crate::completion::names_of(mcpctl_core::kinds::Kind::Project))]
    pub project: Option<String>,
}

impl InProject {
    /// The flag's value.
    pub fn name(&self) -> Option<&str> {
        self.project.as_deref()
    }
}

/// `--at`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct AsOf {
    /// As it was after an event (its seq), or at a moment: 2026-11-21T09:30:00Z, 2026-11-21, "2 days ago"
    #[arg(long, value_name = "SEQ|TIME")]
    pub at: Option<String>,
}

impl AsOf {
    /// The flag's value.
    pub fn point(&self) -> Option<&str> {
        self.at.as_deref()
    }
}
