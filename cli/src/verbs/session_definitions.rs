//! Which definitions of tools a session was shown: those that were in force when each of its lists was answered.
//!
//! What is new in a list is in the log before the list goes on, so the log tells what each one showed.
use mcpctl_api::audit_wire::SessionShown;
use mcpctl_api::tools_wire::{ToolRow, ToolState};
use mcpctl_core::ids::Digest;
use mcpctl_core::time::Timestamp;
use serde::Serialize;

use super::question::failed;
use super::tools::short;
use crate::failure::Done;
use crate::format;
use crate::session::Session;
use crate::table::Table;

/// Most lists of a session whose definitions are told.
const LISTS_MAX: usize = 50;

/// The definitions that one list showed.
#[derive(Clone, Debug, Serialize)]
pub struct InForce {
    /// Position of the list's entry in the audit log.
    position: serde_json::Value,
    /// When it was answered.
    at: Timestamp,
    /// Nothing when they are the same as with the list before.
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<Shown>>,
}

/// A tool as it was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Shown {
    server: String,
    tool: String,
    /// The definitions that might be shown; one, but where several are approved.
    definitions: Vec<Digest>,
}

/// What was in force with each list of a session.
pub async fn in_force(session: &Session, shown: &SessionShown) -> Done<Vec<InForce>> {
    let lists = shown.items.iter().filter(|item| item.entry.method == "tools/list" && item.entry.allowed);
    let (mut all, mut last) = (Vec::new(), None);
    for item in lists.take(LISTS_MAX) {
        let at = item.entry.at.plus_millis(item.entry.duration_us.div_ceil(1000)).min(format::now());
        let told = session.client.tools(&shown.session.project, Some(&at.to_string())).await.map_err(failed)?;
        let asks = told.policy == mcpctl_core::kinds::ToolPolicy::Quarantine;
        let tools: Vec<Shown> = told.items.iter().filter_map(|row| served(row, asks)).collect();
        let same = last.as_ref() == Some(&tools);
        last = Some(tools.clone());
        all.push(InForce { position: item.position.clone(), at, tools: (!same).then_some(tools) });
    }
    Ok(all)
}

fn served(row: &ToolRow, asks: bool) -> Option<Shown> {
    let definitions = match row.state {
        ToolState::Served | ToolState::Earlier if asks && !row.approved.is_empty() => row.approved.clone(),
        ToolState::Served => vec![row.definition],
        _ => return None,
    };
    Some(Shown { server: row.server.clone(), tool: row.tool.clone(), definitions })
}

/// For people.
pub fn told(all: &[InForce]) -> String {
    let mut text = String::new();
    for one in all {
        let when = format::moment(one.at);
        let Some(tools) = &one.tools else {
            text.push_str(&format!("\nList at {when} (position {}): the same definitions as before\n", one.position));
            continue;
        };
        let mut table = Table::new(["SERVER", "TOOL", "DEFINITION"]);
        for Shown { server, tool, definitions } in tools {
            let hashes: Vec<String> = definitions.iter().map(short).collect();
            table.row(vec![server.clone(), tool.clone(), hashes.join(" or ")]);
        }
        text.push_str(&format!("\nList at {when} (position {}):\n{}", one.position, table.render_with("  ")));
    }
    text
}
