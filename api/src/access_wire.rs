//! Shapes of the answers to questions about rights, which server and client share.
use mcpctl_core::access::Verb;
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One link of the chain by which somebody may do something. Each can be looked up in the log by its seq.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// `grant`, `membership`, `own`, `project` or `owner`.
    pub link: String,
    /// Who has it: the subject, its group, or the token's owner.
    pub holder: String,
    /// The permission, the group, the object, the project, or the owner.
    pub what: String,
    /// The event that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The object that carries the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Who gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
}

/// One thing that stands in the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Obstacle {
    /// `gone`, `disabled`, `revoked`, `expired`, `never-minted`, `no-project`, `outside-project`, `not-for-tokens` or `no-grant`.
    pub obstacle: String,
    /// The same in words.
    pub says: String,
}

/// A grant that is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// To whom, as a binding names it.
    pub subject: String,
    /// The smallest permission that would do, as a binding reads.
    pub permission: String,
    /// The same as a flag of `mcpctl create rbac`: `role:R,resource:X[,name:N]` or `action:A`.
    pub binding: String,
}

/// Answer to `can-i`, `why` and `why-not`: `can-i` leaves out the chain and the obstacles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Who was asked about.
    pub subject: String,
    /// What was asked, such as `edit servers/my-ha`.
    pub asked: String,
    /// Yes or no.
    pub allowed: bool,
    /// By which rule: `rbac`, `own`, `token`, `system`, `no-grant`, `not-for-tokens`, `outside-project` or `ended`.
    pub rule: String,
    /// The state that was asked.
    pub seq: Seq,
    /// Its moment: what has a time to live was looked at from there.
    pub at: Timestamp,
    /// Events that made the grants which were used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<Seq>,
    /// Link by link why it may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Link>,
    /// All that stands in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<Obstacle>,
    /// The grants that would turn it into yes; empty when grants alone can't.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
}

/// Somebody who may.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Able {
    /// Who.
    pub subject: String,
    /// By which rule.
    pub rule: String,
    /// Link by link why.
    pub chain: Vec<Link>,
}

/// Answer to `who-can`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhoCan {
    /// What was asked.
    pub asked: String,
    /// The state that was asked.
    pub seq: Seq,
    /// Its moment.
    pub at: Timestamp,
    /// Users, service accounts and tokens that may, as far as the caller may see them.
    pub items: Vec<Able>,
    /// Whether these are all: `false` when there are some whom the caller may not see.
    pub complete: bool,
}

/// One right of a subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Right {
    /// In words, such as `edit servers/my-ha`.
    pub right: String,
    /// The verbs; empty for an operation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verbs: Vec<Verb>,
    /// The resource, or the operation.
    pub resource: String,
    /// One name of it only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Inside this project only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// This one object only: it is the subject's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// Link by link why.
    pub chain: Vec<Link>,
}

/// Answer to `what-can`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhatCan {
    /// Who.
    pub subject: String,
    /// The state that was asked.
    pub seq: Seq,
    /// Its moment.
    pub at: Timestamp,
    /// Why it may nothing at all, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Obstacle>,
    /// What it may.
    pub items: Vec<Right>,
}

/// The event at which a right came or went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// Its seq; of a simulation, the one that it would have.
    pub seq: Seq,
    /// When it was.
    pub at: Timestamp,
    /// `<kind>.<event>`, such as `rbac.applied`.
    pub event: String,
    /// The object that it was about.
    pub object: String,
    /// Whose it was.
    pub by: Actor,
    /// On whose behalf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Actor>,
}

/// A right that came or went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnedRight {
    /// The right, and the chain by which it is held after, or was before.
    #[serde(flatten)]
    pub right: Right,
    /// The event at which it turned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
}

/// What one subject gained and lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubjectChange {
    /// Who.
    pub subject: String,
    /// What it may after and might not before.
    #[serde(default)]
    pub gained: Vec<TurnedRight>,
    /// What it might before and may not after.
    #[serde(default)]
    pub lost: Vec<TurnedRight>,
}

/// An object that differs between two points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectChange {
    /// `kind/name`.
    pub object: String,
    /// `created`, `changed`, `removed`, or `passed`: created and removed in between.
    pub change: String,
    /// The last event about it up to the later point.
    pub last: Turn,
    /// Fields that differ, each as `field: before → after`, secrets never.
    #[serde(default)]
    pub changes: Vec<String>,
}

/// Answer to `diff --from --to`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PointDiff {
    /// The earlier state.
    pub from: Seq,
    /// Its moment.
    pub from_at: Timestamp,
    /// The later state.
    pub to: Seq,
    /// Its moment.
    pub to_at: Timestamp,
    /// Objects that differ, as far as the caller may view them.
    pub objects: Vec<ObjectChange>,
    /// Who gained and lost what, as far as the caller may view them.
    pub access: Vec<SubjectChange>,
    /// Whether this is all: `false` when there is more than the caller may view, or than fits into an answer.
    pub complete: bool,
}

/// One manifest of a simulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SimulatedObject {
    /// `kind/name`.
    pub object: String,
    /// `created`, `changed` or `unchanged`.
    pub outcome: String,
    /// Fields that would differ, each as `field: before → after`, secrets never.
    #[serde(default)]
    pub changes: Vec<String>,
}

/// Answer to `simulate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Simulation {
    /// The state on which it was tried.
    pub seq: Seq,
    /// What would become of each manifest.
    pub objects: Vec<SimulatedObject>,
    /// Who would gain and lose what, as far as the caller may view them.
    pub access: Vec<SubjectChange>,
    /// Whether anybody would gain anything, also one whom the caller may not view.
    pub added: bool,
    /// Whether `access` is all of it.
    pub complete: bool,
    /// What it would mean for recorded calls, when that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<RecordedCalls>,
}

/// Recorded calls, decided again as things are and as they would be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedCalls {
    /// Since when.
    pub since: Timestamp,
    /// How many there were.
    pub calls: u64,
    /// How many different questions they were: by whom, where, of which tool.
    pub questions: u64,
    /// Those that would be answered otherwise, what would be allowed first.
    pub flips: Vec<Flip>,
    /// Whether any would be allowed that is not now.
    pub added: bool,
    /// How many did not fit.
    pub left_out: u64,
}

/// Calls that would be answered otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flip {
    /// Who called.
    pub subject: String,
    /// Whose rights bound the token that called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Server, when a tool was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The right that it takes, such as `run projects/web`.
    pub asked: String,
    /// Whether it would be allowed: then it is not now.
    pub allowed: bool,
    /// How often it was asked.
    pub count: u64,
    /// When it was asked last.
    pub last: Timestamp,
}

/// The last time that somebody said that an `rbac` is still right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attestation {
    /// Who.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// What they said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether it gives more than what was looked at.
    pub outdated: bool,
}

/// Something that a reviewer of rights should look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// `grantor-cannot`, `owner-lacks`, `never-used`, `no-expiry`, `disabled`, `not-attested` or `administrator`.
    pub finding: String,
    /// The subject, or the `rbac`, that it is about.
    pub subject: String,
    /// The rights that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<String>,
    /// The object that gives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The event that gave them, or the last one about the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Who gave them, who owns the token, or who changed the subject last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
    /// What about it.
    pub says: String,
    /// The last attestation of what gives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested: Option<Attestation>,
}

/// How far back it is known what was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageKnown {
    /// The first entry of the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_since: Option<Timestamp>,
    /// Position of the last entry that was looked at.
    pub audit_entries: u64,
    /// The last event that was looked at; the first is the first there was.
    pub events: Seq,
}

/// Answer to `review`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// The state that was reviewed.
    pub seq: Seq,
    /// Its moment.
    pub at: Timestamp,
    /// What to look at, as far as the caller may view it.
    pub findings: Vec<Finding>,
    /// Whether there is anything to mend: administrators are information.
    pub to_mend: bool,
    /// How far back it is known what was used; nothing when `never-used` was not looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageKnown>,
    /// Whether `findings` is all of it.
    pub complete: bool,
}
