//! `mcpctl audit`: what agents called, and what was refused.
use mcpctl_api::client::{AuditFilter, AuditItem};
use mcpctl_core::time::{Timestamp, parse_span_ms};

use super::InProject;
use super::audit_replay::Replay;
use crate::failure::{Done, Failure};
use crate::format::{self, Plain};
use crate::session::Global;
use crate::table::Table;
use crate::{completion, out};

/// Shows what agents called, and what was refused
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  mcpctl audit events -p web --from 1h
  mcpctl audit prove mcptoken/ci -p web -o proof.tar
  mcpctl audit prove grant User:alice@example.com role:edit,resource:servers --at 7d -o grant.tar
  mcpctl audit verify proof.tar
  mcpctl audit events --user alice@example.com --tool echo -o json
  mcpctl audit replay --from 7d")]
pub enum Audit {
    /// Lists calls, refusals and logins, newest last
    Events(Box<Events>),
    /// Writes a proof of an event, a call, or a grant at a point, which anybody can check without this program
    Prove(super::audit_prove::Prove),
    /// Checks such a proof, without asking anybody
    Verify(super::audit_prove::Verify),
    Replay(Box<Replay>),
}

/// Which events.
#[derive(clap::Args)]
pub struct Events {
    #[command(flatten)]
    project: InProject,
    /// Sort of event: call, list, refusal, session, login, secret-read, audit-read, call.admitted, session.cut
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// E-mail address of who called
    #[arg(long, visible_alias = "user-name", value_name = "E-MAIL", add = completion::names_of(mcpctl_core::kinds::Kind::User))]
    user: Option<String>,
    /// Name of the token that called
    #[arg(long, visible_alias = "token-name", value_name = "NAME", add = completion::names_of(mcpctl_core::kinds::Kind::McpToken))]
    token: Option<String>,
    /// SHA-256 of the token that called
    #[arg(long, value_name = "SHA256")]
    token_sha: Option<String>,
    /// Server that was called
    #[arg(long, value_name = "NAME", add = completion::names_of(mcpctl_core::kinds::Kind::Server))]
    server: Option<String>,
    /// Tool that was called, under the server's own name
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Not before: a moment, a date, or how long ago, such as 1h
    #[arg(long, value_name = "WHEN")]
    from: Option<String>,
    /// Not after
    #[arg(long, value_name = "WHEN")]
    to: Option<String>,
    /// Goes on where another page ended
    #[arg(long, value_name = "POSITION")]
    position: Option<String>,
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
            Self::Replay(replay) => replay.run(global).await,
            Self::Prove(prove) => prove.run(global).await,
            Self::Verify(verify) => verify.run(),
        }
    }
}

impl Events {
    async fn run(&self, global: &Global) -> Done {
        let filter = self.filter(format::now())?;
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
        if let (Some(next), Plain::Table) = (&list.next, self.output) {
            out::note(&format!("There may be more: --position {next}"));
        }
        Ok(())
    }

    fn filter(&self, now: Timestamp) -> Done<AuditFilter> {
        let when = |text: &Option<String>| text.as_deref().map(|text| moment(text, now)).transpose();
        let fields = [
            ("project", self.project.project.clone()),
            ("kind", self.kind.clone()),
            ("userName", self.user.clone()),
            ("tokenName", self.token.clone()),
            ("tokenSha", self.token_sha.clone()),
            ("server", self.server.clone()),
            ("tool", self.tool.clone()),
            ("from", when(&self.from)?),
            ("to", when(&self.to)?),
        ];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        Ok(AuditFilter { fields, position: self.position.clone(), limit: self.limit })
    }
}

/// A moment, a date, or a span before now.
fn moment(text: &str, now: Timestamp) -> Done<String> {
    if let Ok(span) = parse_span_ms(text) {
        return Ok(Timestamp::from_millis(now.as_millis().saturating_sub(span)).to_string());
    }
    let parsed = text.parse::<Timestamp>();
    parsed
        .map(|at| at.to_string())
        .map_err(|error| Failure::usage(error.to_string()).hint("or how long ago, such as 30m or 7d"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_may_be_said_as_how_long_ago() {
        let now: Timestamp = "2026-11-21T09:30:00Z".parse().unwrap();
        assert_eq!(moment("30m", now).unwrap(), "2026-11-21T09:00:00.000Z");
        assert_eq!(moment("2026-11-20", now).unwrap(), "2026-11-20T00:00:00.000Z");
        assert!(moment("yesterday", now).is_err());
    }
}
