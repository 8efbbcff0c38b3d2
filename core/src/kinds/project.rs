//! `project`: servers behind one endpoint, and who may open it.
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::project_tools::{self, ProjectAction, ProjectEvent, ProjectStatus};
use crate::access::{Permission, Role, Verb};
use crate::kinds::{Kind, Server, SubjectRef, ToolFilter, User};
use crate::name::Name;
use crate::reference::Ref;
use crate::refusal::{Refusal, Violations};
use crate::resource::{ActRight, Column, Deciding, Names, Resource, Row};
use crate::time::Timestamp;

/// Servers behind one MCP endpoint, `/projects/<name>/mcp`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Project {
    /// What the project is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Names of the servers that it aggregates, in the order in which their tools are listed.
    #[serde(default)]
    pub servers: Vec<Ref<Server>>,
    /// Persons who may see the project and open its endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Ref<User>>,
    /// What agents are told about the project when they connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// How the project's traffic is treated. Not available in this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_model: Option<String>,
    /// The model that the project uses. Not available in this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm: Option<String>,
    /// Whether tools are named `<server>/<tool>` or as the server names them.
    #[serde(default, skip_serializing_if = "ToolNames::is_default")]
    pub tool_names: ToolNames,
    /// Whether agents are served every tool, or only those whose definition somebody approved (`mcpctl tools approve`).
    #[serde(default, skip_serializing_if = "ToolPolicy::is_default")]
    pub tool_policy: ToolPolicy,
    /// Whether a call must be durably recorded (`call.admitted`) before it goes upstream. A call that can't be is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// Which tools of a server are served: by server, globs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, ToolFilter>,
}

/// How tools are named towards agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolNames {
    /// `<server>/<tool>`, or `<server>__<tool>` where a client can't take a slash.
    #[default]
    Prefixed,
    /// As the server names them; a name that two servers have is prefixed all the same.
    Unprefixed,
}
impl ToolNames {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What happens with new and changed tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolPolicy {
    /// They are served. A changed definition is an event all the same.
    #[default]
    Allow,
    /// They are neither shown nor callable until somebody approves their definition.
    Quarantine,
}
impl ToolPolicy {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Resource for Project {
    const KIND: Kind = Kind::Project;
    const NAMES: Names = Names { singular: "project", plural: "projects", short: &["proj"] };
    const SUMMARY: &'static str = "Servers behind one MCP endpoint, and who may open it.";
    const EXAMPLE: &'static str =
        "kind: project\nname: web\ndescription: The web team\nservers:\n- base\nmembers:\n- base@example.com\n";
    type Status = ProjectStatus;
    type Event = ProjectEvent;
    type Action = ProjectAction;

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                title: "SERVERS",
                cell: |row| row.spec.servers.iter().map(|s| s.name().to_string()).collect::<Vec<_>>().join(","),
            },
            Column { title: "MEMBERS", cell: |row| row.spec.members.len().to_string() },
            Column { title: "DESCRIPTION", cell: |row| row.spec.description.clone().unwrap_or_default() },
        ]
    }

    fn prepare(&mut self) {
        self.members.sort();
        self.members.dedup();
        let mut seen = std::collections::BTreeSet::new();
        self.servers.retain(|server| seen.insert(server.clone()));
    }

    fn validate(&self, _name: &Name, violations: &mut Violations) {
        const NOT_YET: &str = "is not available in this version";
        if self.proxy_model.is_some() {
            violations.hint("proxyModel", NOT_YET, "leave it out: traffic passes through untouched");
        }
        if self.llm.is_some() {
            violations.hint("llm", NOT_YET, "leave it out");
        }
        for (server, filter) in &self.tools {
            if !self.servers.iter().any(|attached| attached.name().as_str() == server) {
                violations.hint(
                    format!("tools.{server}"),
                    "names a server that the project does not have",
                    "add it to servers, or remove the entry",
                );
            }
            filter.validate(&format!("tools.{server}"), violations);
        }
    }

    /// Whoever may edit the project could also have it ask for no approval at all.
    fn right(_action: &ProjectAction) -> ActRight {
        ActRight::Verb(Verb::Edit)
    }

    fn decide(deciding: &Deciding<'_, Self>, action: &ProjectAction) -> Result<Vec<ProjectEvent>, Refusal> {
        project_tools::decide(deciding, action)
    }

    fn action_of(events: &[ProjectEvent]) -> Option<ProjectAction> {
        project_tools::action_of(events)
    }

    fn evolve(status: &mut ProjectStatus, event: &ProjectEvent, at: Timestamp) {
        status.evolve(event, at);
    }

    /// How many tools have an approved definition; which, `mcpctl tools list` tells.
    fn status_view(row: &Row<'_, Self>) -> serde_json::Value {
        let approved =
            row.status.tools.values().flat_map(BTreeMap::values).filter(|one| !one.approved.is_empty()).count();
        if approved == 0 { serde_json::json!({}) } else { serde_json::json!({ "approvedTools": approved }) }
    }

    fn grants(&self, name: &Name) -> Vec<(SubjectRef, Permission)> {
        let of_member = |member: &Ref<User>| {
            [Role::View, Role::Run].map(|role| {
                (SubjectRef::User { name: member.clone() }, Permission::named(role, Kind::Project, name.clone()))
            })
        };
        self.members.iter().flat_map(of_member).collect()
    }

    fn drop_subject(&mut self, subject: &SubjectRef) -> bool {
        let before = self.members.len();
        if let SubjectRef::User { name } = subject {
            self.members.retain(|member| member != name);
        }
        self.members.len() != before
    }
}
