//! `mcpctl audit tail`: the newest entries, and each new one as it is written.
use mcpctl_api::client::AuditItem;

use super::audit_filters::Filters;
use crate::audit_follow::follow;
use crate::failure::{Done, Failure};
use crate::format;
use crate::out;
use crate::session::Global;

/// Shows the newest entries of the audit log, and with -f each new one as it is written
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl audit tail
  mcpctl audit tail -f -p web
  mcpctl audit tail -f --since 1h --outcome denied -o json
  mcpctl audit tail -f --position 4711 -o json")]
pub struct Tail {
    #[command(flatten)]
    filters: Filters,
    /// Goes on with each new entry until Ctrl-C
    #[arg(short = 'f', long)]
    follow: bool,
    /// How many of the newest to begin with; with -f none
    #[arg(short = 'n', long, value_name = "N", conflicts_with_all = ["position", "from"])]
    lines: Option<u32>,
    /// From this position on
    #[arg(long, value_name = "POSITION")]
    position: Option<u64>,
    /// A line each, or JSON, one entry a line
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Lines,
}

/// How entries are printed as they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Lines {
    /// Columns
    #[default]
    Table,
    /// One JSON object a line
    Json,
}

impl Tail {
    pub async fn run(self, global: &Global) -> Done {
        let mut filter = self.filters.of(format::now())?;
        filter.limit = Some(self.lines.unwrap_or(if self.follow { 0 } else { 10 }));
        filter.position = self.position.map(|position| position.to_string());
        let session = global.session()?;
        let mut print = Print { how: self.output, begun: false };
        let result =
            follow(&session, filter, self.follow, async |items, _| items.iter().try_for_each(|item| print.one(item)))
                .await;
        if self.output == Lines::Table && !print.begun && result.is_ok() {
            out::note("No entries found.");
        }
        result
    }
}

/// Prints entries as they come: columns can't be measured first, so they have the widths that mostly do.
struct Print {
    how: Lines,
    begun: bool,
}

impl Print {
    fn one(&mut self, item: &AuditItem) -> Done {
        let begun = std::mem::replace(&mut self.begun, true);
        if self.how == Lines::Json {
            let text = serde_json::to_string(item).map_err(|error| Failure::new(error.to_string()))?;
            return out::print(&format!("{text}\n"));
        }
        if !begun {
            out::print(&row(["WHEN", "WHO", "PROJECT", "METHOD", "TARGET", "OUTCOME", "REASON"]))?;
        }
        let entry = &item.entry;
        let target: Vec<&str> = [entry.server.as_deref(), entry.tool.as_deref()].into_iter().flatten().collect();
        let who = entry.actor.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let method = if entry.method.is_empty() { &entry.kind } else { &entry.method };
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        out::print(&row([
            &entry.at.to_string(),
            &who,
            entry.project.as_deref().unwrap_or("-"),
            method,
            &or_dash(&target.join("/")),
            &entry.outcome,
            entry.reason.as_deref().unwrap_or_default(),
        ]))
    }
}

fn row(cells: [&str; 7]) -> String {
    let [at, who, project, method, target, outcome, reason] = cells.map(out::clean);
    let line = format!("{at:<24}  {who:<28}  {project:<12}  {method:<12}  {target:<24}  {outcome:<10}  {reason}");
    format!("{}\n", line.trim_end())
}
