//! Which definitions of tools a project lets its agents see and call: approvals and rejections, as events of people.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::server_tools::KnownTool;
use super::{Kind, Project, Server};
use crate::actor::Actor;
use crate::ids::{Digest, Uid};
use crate::object::Object;
use crate::refusal::{Refusal, Violation};
use crate::resource::{Deciding, NamedEvent};
use crate::time::Timestamp;

/// Definitions of one tool that are approved, or rejected, at once; the oldest give way.
pub const DEFINITIONS_MAX: usize = 16;
/// Tools of a project that anything was decided about at most.
pub const DECIDED_MAX: usize = 10_000;
/// Tools in one command.
pub const TOOLS_AT_ONCE_MAX: usize = 2_000;
/// Tools in one event: it has to fit into a record of the log.
const TOOLS_OF_EVENT_MAX: usize = 128;
/// Most bytes of a note.
const NOTE_BYTES_MAX: usize = 2_000;

/// What events leave of a project.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectStatus {
    /// What was decided about tools: by server, and by the tool's own name there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<Uid, BTreeMap<String, Approval>>,
}

/// What was decided about one tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Definitions that agents may see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved: Vec<Digest>,
    /// Definitions that somebody looked at and did not want.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Digest>,
    /// How often a definition of the tool had been noticed when one was approved last: whatever was noticed later was not
    /// looked at then.
    pub upto: u64,
    /// Who decided last.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// What they said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Approval {
    /// The definitions that may be seen and called: the approved ones, as long as the server was not noticed to show another
    /// since somebody looked. A tool that changed and changed back waits for a person too.
    #[must_use]
    pub fn served(&self, known: &KnownTool) -> &[Digest] {
        let since = usize::try_from(known.count.saturating_sub(self.upto)).unwrap_or(usize::MAX);
        let first = known.noticed.len().checked_sub(since);
        let settled = first.is_some_and(|first| known.noticed[first..].iter().all(|one| self.approved.contains(one)));
        if settled { &self.approved } else { &[] }
    }
}

/// A definition of a tool of one of the project's servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolChoice {
    /// The server's name.
    pub server: String,
    /// The tool's own name.
    pub tool: String,
    /// The definition; nothing means each that is approved, where one is taken back.
    pub definition: Option<Digest>,
}

/// What can be done with a project beyond apply and delete.
#[derive(Clone, Debug)]
pub enum ProjectAction {
    /// Lets agents see definitions.
    Approve {
        /// Which.
        tools: Vec<ToolChoice>,
        /// What was checked, or by what request.
        note: Option<String>,
    },
    /// Takes definitions back, or says that they are not wanted.
    Reject {
        /// Which.
        tools: Vec<ToolChoice>,
        /// Why.
        note: Option<String>,
    },
}

/// A definition that was approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovedTool {
    /// The server.
    pub server: Uid,
    /// Its name then.
    pub server_name: String,
    /// The tool's own name.
    pub tool: String,
    /// Hash of its definition.
    pub definition: Digest,
    /// How often a definition of it had been noticed.
    pub upto: u64,
}

/// A definition that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectedTool {
    /// The server.
    pub server: Uid,
    /// Its name then.
    pub server_name: String,
    /// The tool's own name.
    pub tool: String,
    /// Hash of its definition; nothing when each that was approved is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Digest>,
}

/// Facts about a project that can't be said in YAML.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ProjectEvent {
    /// Somebody looked at definitions and lets agents see them.
    #[serde(rename = "tool.approved")]
    Approved {
        /// Who.
        by: Actor,
        /// Which.
        tools: Vec<ApprovedTool>,
        /// What they said about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Somebody took definitions back, or does not want them.
    #[serde(rename = "tool.rejected")]
    Rejected {
        /// Who.
        by: Actor,
        /// Which.
        tools: Vec<RejectedTool>,
        /// What they said about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
}

impl NamedEvent for ProjectEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Approved { .. } => "tool.approved",
            Self::Rejected { .. } => "tool.rejected",
        }
    }
    const NAMES: &'static [&'static str] = &["tool.approved", "tool.rejected"];
}

impl ProjectStatus {
    /// What was decided about a tool.
    #[must_use]
    pub fn of(&self, server: Uid, tool: &str) -> Option<&Approval> {
        self.tools.get(&server)?.get(tool)
    }

    fn entry(
        &mut self,
        (server, tool): (Uid, &str),
        by: &Actor,
        at: Timestamp,
        note: Option<&String>,
    ) -> &mut Approval {
        let new = || Approval { approved: Vec::new(), rejected: Vec::new(), upto: 0, by: by.clone(), at, note: None };
        let entry = self.tools.entry(server).or_default().entry(tool.to_owned()).or_insert_with(new);
        (entry.by, entry.at, entry.note) = (by.clone(), at, note.cloned());
        entry
    }

    /// Folds an event.
    pub(super) fn evolve(&mut self, event: &ProjectEvent, at: Timestamp) {
        match event {
            ProjectEvent::Approved { by, tools, note } => {
                for one in tools {
                    let entry = self.entry((one.server, &one.tool), by, at, note.as_ref());
                    entry.rejected.retain(|other| *other != one.definition);
                    add(&mut entry.approved, one.definition);
                    entry.upto = one.upto;
                }
            }
            ProjectEvent::Rejected { by, tools, note } => {
                for one in tools {
                    let entry = self.entry((one.server, &one.tool), by, at, note.as_ref());
                    let gone = one.definition.map_or_else(|| entry.approved.clone(), |definition| vec![definition]);
                    entry.approved.retain(|other| !gone.contains(other));
                    gone.into_iter().for_each(|definition| add(&mut entry.rejected, definition));
                }
            }
        }
    }
}

/// Adds what is not there, as the newest; the oldest gives way.
fn add(all: &mut Vec<Digest>, definition: Digest) {
    all.retain(|other| *other != definition);
    all.push(definition);
    if all.len() > DEFINITIONS_MAX {
        all.remove(0);
    }
}

/// Decides an approval or a rejection.
pub(super) fn decide(deciding: &Deciding<'_, Project>, action: &ProjectAction) -> Result<Vec<ProjectEvent>, Refusal> {
    let (ProjectAction::Approve { tools, note } | ProjectAction::Reject { tools, note }) = action;
    let mut wrong = Vec::new();
    if note.as_ref().is_some_and(|note| note.len() > NOTE_BYTES_MAX) {
        wrong.push(violation("note", format!("has more than {NOTE_BYTES_MAX} bytes"), None));
    }
    if tools.is_empty() || tools.len() > TOOLS_AT_ONCE_MAX {
        wrong.push(violation("tools", format!("must name 1 to {TOOLS_AT_ONCE_MAX} tools"), None));
    }
    if !wrong.is_empty() {
        return Err(Refusal::Invalid(wrong));
    }
    let by = deciding.caller.clone();
    let note = note.clone().filter(|note| !note.is_empty());
    let chunks = TOOLS_OF_EVENT_MAX;
    Ok(match action {
        ProjectAction::Approve { .. } => {
            let approved = approvals(deciding, tools)?;
            let event = |tools: &[ApprovedTool]| ProjectEvent::Approved {
                by: by.clone(),
                tools: tools.to_vec(),
                note: note.clone(),
            };
            approved.chunks(chunks).map(event).collect()
        }
        ProjectAction::Reject { .. } => {
            let rejected = rejections(deciding, tools)?;
            let event = |tools: &[RejectedTool]| ProjectEvent::Rejected {
                by: by.clone(),
                tools: tools.to_vec(),
                note: note.clone(),
            };
            rejected.chunks(chunks).map(event).collect()
        }
    })
}

fn violation(field: impl Into<String>, message: impl Into<String>, hint: Option<&str>) -> Violation {
    Violation { field: field.into(), message: message.into(), hint: hint.map(str::to_owned) }
}

/// A server of the project, and what is known of one of its tools.
fn known<'d>(
    deciding: &Deciding<'d, Project>,
    index: usize,
    choice: &ToolChoice,
) -> Result<(&'d Object, &'d KnownTool), Violation> {
    let attached = deciding.spec.servers.iter().find(|server| server.name().as_str() == choice.server);
    let server = attached.and_then(|server| deciding.world.by_name(Kind::Server, None, server.name()));
    let Some((object, (_, status))) = server.and_then(|object| Some((&**object, object.of::<Server>()?))) else {
        let message = format!("{:?} is no server of the project", shown(&choice.server));
        return Err(violation(format!("tools[{index}].server"), message, Some("see `mcpctl describe project`")));
    };
    let known = status
        .tools
        .get(&choice.tool)
        .filter(|known| choice.definition.is_none_or(|definition| known.noticed.contains(&definition)));
    let message = || match choice.definition {
        Some(_) => format!("{}/{} was not noticed with this definition", choice.server, shown(&choice.tool)),
        None => format!("{} was never noticed to have {:?}", choice.server, shown(&choice.tool)),
    };
    let hint = "see `mcpctl tools list`: a tool is noticed when its server is listed";
    let at = if choice.definition.is_some() { "definition" } else { "tool" };
    known.map(|known| (object, known)).ok_or_else(|| violation(format!("tools[{index}].{at}"), message(), Some(hint)))
}

fn shown(text: &str) -> String {
    text.chars().take(128).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn approvals(deciding: &Deciding<'_, Project>, tools: &[ToolChoice]) -> Result<Vec<ApprovedTool>, Refusal> {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for (index, choice) in tools.iter().enumerate() {
        let Some(definition) = choice.definition else {
            let hint = "give the hash that `mcpctl tools list` shows: what is approved is what was looked at";
            wrong.push(violation(format!("tools[{index}].definition"), "is missing", Some(hint)));
            continue;
        };
        match known(deciding, index, choice) {
            Err(violation) => wrong.push(violation),
            Ok((server, known)) => {
                let approval = deciding.status.of(server.meta.uid, &choice.tool);
                let again = approval.is_some_and(|approval| approval.served(known).contains(&definition));
                if !again {
                    all.push(ApprovedTool {
                        server: server.meta.uid,
                        server_name: choice.server.clone(),
                        tool: choice.tool.clone(),
                        definition,
                        upto: known.count,
                    });
                }
            }
        }
    }
    let decided: usize = deciding.status.tools.values().map(BTreeMap::len).sum();
    if decided + all.len() > DECIDED_MAX {
        wrong.push(violation("tools", format!("would be more than {DECIDED_MAX} that were decided about"), None));
    }
    if wrong.is_empty() { Ok(all) } else { Err(Refusal::Invalid(wrong)) }
}

fn rejections(deciding: &Deciding<'_, Project>, tools: &[ToolChoice]) -> Result<Vec<RejectedTool>, Refusal> {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for (index, choice) in tools.iter().enumerate() {
        match known(deciding, index, choice) {
            Err(violation) => wrong.push(violation),
            Ok((server, _)) => {
                let approval = deciding.status.of(server.meta.uid, &choice.tool);
                let nothing_left = approval.is_some_and(|approval| match choice.definition {
                    Some(definition) => approval.rejected.contains(&definition),
                    None => approval.approved.is_empty(),
                });
                if !nothing_left {
                    all.push(RejectedTool {
                        server: server.meta.uid,
                        server_name: choice.server.clone(),
                        tool: choice.tool.clone(),
                        definition: choice.definition,
                    });
                }
            }
        }
    }
    if wrong.is_empty() { Ok(all) } else { Err(Refusal::Invalid(wrong)) }
}

/// The action that left these events.
pub(super) fn action_of(events: &[ProjectEvent]) -> Option<ProjectAction> {
    let first = events.first()?;
    let choice = |server: &String, tool: &String, definition: Option<Digest>| ToolChoice {
        server: server.clone(),
        tool: tool.clone(),
        definition,
    };
    let tools = events.iter().flat_map(|event| match event {
        ProjectEvent::Approved { tools, .. } => {
            tools.iter().map(|one| choice(&one.server_name, &one.tool, Some(one.definition))).collect::<Vec<_>>()
        }
        ProjectEvent::Rejected { tools, .. } => {
            tools.iter().map(|one| choice(&one.server_name, &one.tool, one.definition)).collect()
        }
    });
    let tools = tools.collect();
    Some(match first {
        ProjectEvent::Approved { note, .. } => ProjectAction::Approve { tools, note: note.clone() },
        ProjectEvent::Rejected { note, .. } => ProjectAction::Reject { tools, note: note.clone() },
    })
}
