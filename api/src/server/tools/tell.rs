//! What is told of a project's tools: whether agents see them, what was decided about them, and what they could be taken for.
use std::collections::HashMap;
use std::sync::Arc;

use mcpctl_core::confusable::skeleton;
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::kinds::{Approval, Kind, KnownTool, Project, ProjectStatus, Server, ServerStatus};
use mcpctl_core::object::Object;
use mcpctl_core::pins;
use mcpctl_core::world::World;
use serde_json::{Value, json};

use super::kept::KeptDefinitions;
use crate::tools_wire::{ToolList, ToolRow, ToolState};

/// Most characters of a description in a row.
const DESCRIPTION_CHARS_MAX: usize = 200;
/// Most names that a tool is told to be confusable with.
const CONFUSABLE_MAX: usize = 8;
/// Most tools that the summary of a project names.
const NAMED_MAX: usize = 20;

/// The tools of a project in a state.
pub(super) fn list(world: &dyn World, project: &Object, seq: Seq) -> Option<ToolList> {
    let (spec, decided) = project.of::<Project>()?;
    let mut items = Vec::new();
    for (server, object) in servers(world, project) {
        let Some((server_spec, known)) = object.of::<Server>() else { continue };
        let row = |(tool, one): (&String, &KnownTool)| {
            let approval = decided.of(object.meta.uid, tool);
            let filters = spec.tools.get(&server);
            let passes = server_spec.tools.serves(tool) && filters.is_none_or(|filter| filter.serves(tool));
            let state = state_of(passes, pins::are_asked(spec, server_spec), one, approval);
            row(&server, tool, one, approval, state)
        };
        items.extend(known.tools.iter().map(row));
    }
    flag(&mut items);
    Some(ToolList { project: project.meta.name.to_string(), policy: spec.tool_policy, seq, items })
}

/// The project's servers with their names, in its order.
pub(super) fn servers<'w>(world: &'w dyn World, project: &Object) -> Vec<(String, &'w Arc<Object>)> {
    let Some((spec, _)) = project.of::<Project>() else { return Vec::new() };
    let of = |server: &mcpctl_core::reference::Ref<Server>| {
        Some((server.name().to_string(), world.by_name(Kind::Server, None, server.name())?))
    };
    spec.servers.iter().filter_map(of).collect()
}

fn state_of(passes: bool, asked: bool, known: &KnownTool, approval: Option<&Approval>) -> ToolState {
    let newest = known.newest();
    match approval {
        _ if !passes => ToolState::Hidden,
        _ if !asked => ToolState::Served,
        None => ToolState::New,
        Some(approval) => {
            let served = approval.served(known);
            if served.contains(&newest) {
                ToolState::Served
            } else if !served.is_empty() {
                ToolState::Earlier
            } else if approval.rejected.contains(&newest) || approval.approved.is_empty() {
                ToolState::Rejected
            } else {
                ToolState::Drifted
            }
        }
    }
}

fn row(server: &str, tool: &str, known: &KnownTool, approval: Option<&Approval>, state: ToolState) -> ToolRow {
    ToolRow {
        server: server.to_owned(),
        tool: tool.to_owned(),
        state,
        definition: known.newest(),
        noticed: known.count,
        first: known.first,
        last: known.last,
        approved: approval.map(|approval| approval.approved.clone()).unwrap_or_default(),
        rejected: approval.map(|approval| approval.rejected.clone()).unwrap_or_default(),
        by: approval.map(|approval| approval.by.clone()),
        decided_at: approval.map(|approval| approval.at),
        note: approval.and_then(|approval| approval.note.clone()),
        confusable: Vec::new(),
        description: None,
    }
}

/// Flags tools whose names are the same or look alike, those that a filter hides aside.
fn flag(items: &mut [ToolRow]) {
    let mut alike: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, row) in items.iter().enumerate().filter(|(_, row)| row.state != ToolState::Hidden) {
        alike.entry(skeleton(&row.tool)).or_default().push(index);
    }
    let names: Vec<String> = items.iter().map(|row| format!("{}/{}", row.server, row.tool)).collect();
    for together in alike.values().filter(|together| together.len() > 1) {
        for index in together {
            let others = together.iter().filter(|other| *other != index).take(CONFUSABLE_MAX);
            items[*index].confusable = others.map(|other| names[*other].clone()).collect();
        }
    }
}

/// Adds what the newest definitions say of their tools, as far as they are kept.
pub(super) fn describe(list: &mut ToolList, uids: &HashMap<String, Uid>, kept: &KeptDefinitions) {
    for row in &mut list.items {
        let text = uids.get(&row.server).and_then(|server| kept.read(*server, row.definition));
        let definition: Option<Value> = text.and_then(|text| serde_json::from_str(&text).ok());
        let said = definition.as_ref().and_then(|definition| definition.get("description")?.as_str());
        row.description = said.map(|said| {
            let shown = said.chars().take(DESCRIPTION_CHARS_MAX);
            shown.map(|c| if c.is_control() { ' ' } else { c }).collect()
        });
    }
}

/// Whether a server of the project was noticed to show this definition of a tool, and which server that is.
pub(super) fn noticed(
    world: &dyn World,
    project: &Object,
    server: &str,
    tool: &str,
    definition: Digest,
) -> Option<Uid> {
    let (_, object) = servers(world, project).into_iter().find(|(name, _)| name == server)?;
    let (_, status): (_, &ServerStatus) = object.of::<Server>()?;
    let (_, decided): (_, &ProjectStatus) = project.of::<Project>()?;
    let uid = object.meta.uid;
    let was_noticed = status.tools.get(tool).is_some_and(|known| known.noticed.contains(&definition));
    let was_decided = decided
        .of(uid, tool)
        .is_some_and(|one| one.approved.contains(&definition) || one.rejected.contains(&definition));
    (was_noticed || was_decided).then_some(uid)
}

/// What `describe project` says of its tools: how many there are, which wait, and which could be taken for one another.
pub(in crate::server) fn summary(world: &dyn World, project: &Object) -> Option<Value> {
    let list = list(world, project, world.seq())?;
    if list.items.is_empty() {
        return None;
    }
    let name = |row: &ToolRow| format!("{}/{}", row.server, row.tool);
    let served = list.items.iter().filter(|row| matches!(row.state, ToolState::Served | ToolState::Earlier)).count();
    let waiting: Vec<String> = list.items.iter().filter(|row| row.state.waits()).take(NAMED_MAX).map(name).collect();
    let confusable: Vec<String> = list
        .items
        .iter()
        .filter(|row| !row.confusable.is_empty())
        .take(NAMED_MAX)
        .map(|row| format!("{} ~ {}", name(row), row.confusable.join(" ~ ")))
        .collect();
    Some(json!({ "known": list.items.len(), "served": served, "waiting": waiting, "confusable": confusable }))
}
