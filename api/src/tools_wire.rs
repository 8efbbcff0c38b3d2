//! What is told of the tools of a project, and what is decided about them.
use mcpctl_core::actor::Actor;
use mcpctl_core::definition::DefinitionChange;
use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::kinds::ToolPolicy;
use mcpctl_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Whether agents of the project see a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolState {
    /// They do.
    Served,
    /// An earlier definition is approved, and they see the tool where its server shows that one.
    Earlier,
    /// Its definition changed after it was approved.
    Drifted,
    /// Nobody approved it yet.
    New,
    /// Somebody looked at its newest definition and did not want it, or took the approval back.
    Rejected,
    /// A filter of the project or of the server hides it.
    Hidden,
}

impl ToolState {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Served, Self::Earlier, Self::Drifted, Self::New, Self::Rejected, Self::Hidden];

    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Earlier => "earlier",
            Self::Drifted => "drifted",
            Self::New => "new",
            Self::Rejected => "rejected",
            Self::Hidden => "hidden",
        }
    }

    /// Whether somebody has to look at it before agents see it.
    #[must_use]
    pub const fn waits(self) -> bool {
        matches!(self, Self::Drifted | Self::New)
    }
}

/// A tool of a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolRow {
    /// Its server.
    pub server: String,
    /// The server's own name for it.
    pub tool: String,
    /// Whether agents see it.
    pub state: ToolState,
    /// Hash of its newest definition.
    pub definition: Digest,
    /// How often a definition of it was noticed.
    pub noticed: u64,
    /// When the first was.
    pub first: Timestamp,
    /// When the newest was.
    pub last: Timestamp,
    /// Definitions that are approved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved: Vec<Digest>,
    /// Definitions that are not wanted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Digest>,
    /// Who decided last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
    /// What they said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Other tools of the project, as `server/tool`, whose names are the same or look alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confusable: Vec<String>,
    /// The beginning of what its newest definition says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Answer to `GET /projects/<p>/tools`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolList {
    /// The project.
    pub project: String,
    /// Whether it asks for approval.
    pub policy: ToolPolicy,
    /// The state that was asked.
    pub seq: Seq,
    /// Its tools, in the order of its servers and then of their names.
    pub items: Vec<ToolRow>,
}

/// One event about a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolEvent {
    /// Its place in the log.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
    /// `tool.seen`, `tool.drifted`, `tool.approved` or `tool.rejected`.
    pub event: String,
    /// Who: `system:tools` for what the control plane noticed.
    pub actor: Actor,
    /// Whom they stood for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Actor>,
    /// The definition; nothing when each that was approved is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Digest>,
    /// The definition before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Digest>,
    /// Where they differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<DefinitionChange>,
    /// What was said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Answer to `GET /projects/<p>/tools/definition`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolDefinition {
    /// The tool's server.
    pub server: String,
    /// The server's own name for it.
    pub tool: String,
    /// Its hash.
    pub definition: Digest,
    /// The definition itself, in canonical form; nothing when it is not kept any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<serde_json::Value>,
}

/// One tool in a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolAsked {
    /// Its server.
    pub server: String,
    /// The server's own name for it.
    pub tool: String,
    /// Hash of the definition that was looked at; to take back, without one, each that is approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Digest>,
}

/// Body of `POST /projects/<p>/tools/approve` and `…/reject`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolDecision {
    /// Which.
    pub tools: Vec<ToolAsked>,
    /// What was checked, or by what request; it is kept for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
