//! `mcptoken`: a bearer token that opens one project.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::{Permission, ResourceName, Role, RoleBinding, Verb, holdings, holds, inside_project, opens};
use crate::actor::{Actor, ActorKind};
use crate::ids::{Digest, Seq, Uid};
use crate::kinds::{Kind, ORGANISATION, Policy, Project};
use crate::name::Name;
use crate::object::Meta;
use crate::reference::Ref;
use crate::refusal::{Refusal, Violations};
use crate::resource::{ActRight, Column, Credential, Deciding, NamedEvent, Names, Resource, Row, Scope};
use crate::time::{Timestamp, parse_span_ms};
use crate::world::World;

/// A bearer token that opens one project. Made once: what it may do can only shrink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpToken {
    /// What the token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How long it lives from its creation: `30d`, `12h`, a date, or `never`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Rights in the control plane that it starts with, inside its project: none, or those of its creator.
    #[serde(default, skip_serializing_if = "RbacMode::is_default")]
    pub rbac: RbacMode,
    /// Further rights, inside its project and inside those of its creator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<RoleBinding>,
}

/// Rights that a token starts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RbacMode {
    /// It opens its project's endpoint, and that is all.
    #[default]
    Empty,
    /// A snapshot of the creator's rights inside the project; it never grows.
    Clone,
}
impl RbacMode {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What events leave of a token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct McpTokenStatus {
    /// SHA-256 of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// First characters of the token, to tell tokens apart.
    #[serde(default)]
    pub prefix: String,
    /// Whose rights bound it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Actor>,
    /// What it was given.
    #[serde(default)]
    pub grants: Vec<Permission>,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// When its expiry was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired_at: Option<Timestamp>,
}

impl McpTokenStatus {
    /// Why the token opens nothing any more; `None` while it does.
    #[must_use]
    pub fn ended(&self, now: Timestamp) -> Option<&'static str> {
        if self.revoked_at.is_some() {
            Some("revoked")
        } else if self.expired_at.is_some() || self.expires_at.is_some_and(|at| at <= now) {
            Some("expired")
        } else {
            None
        }
    }
}

/// Whose rights bound a token.
pub type TokenOwner = Actor;

/// What can be done with a token beyond apply and delete.
#[derive(Clone, Debug)]
pub enum McpTokenAction {
    /// Put the drawn bytes in force, right after the token was applied.
    Mint {
        /// SHA-256 of the token.
        sha256: Digest,
        /// Its first characters.
        prefix: String,
    },
    /// End it for good.
    Revoke,
}

/// Facts about a token that can't be said in YAML.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum McpTokenEvent {
    /// Its bytes were drawn.
    #[serde(rename_all = "camelCase")]
    Minted {
        /// SHA-256 of the token.
        sha256: Digest,
        /// Its first characters.
        prefix: String,
        /// Whose rights bound it.
        owner: Actor,
        /// What it was given.
        grants: Vec<Permission>,
        /// When it expires.
        expires_at: Option<Timestamp>,
    },
    /// It was ended.
    #[serde(rename_all = "camelCase")]
    Revoked {
        /// Why.
        reason: String,
    },
    /// Its time was over.
    Expired {},
}

impl NamedEvent for McpTokenEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Minted { .. } => "minted",
            Self::Revoked { .. } => "revoked",
            Self::Expired {} => "expired",
        }
    }
    const NAMES: &'static [&'static str] = &["minted", "revoked", "expired"];
}

/// When a token of this `ttl` made now expires.
///
/// # Errors
/// Says what a `ttl` looks like.
pub fn expires_at(ttl: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, String> {
    match ttl {
        None | Some("never") => Ok(None),
        Some(text) => match (parse_span_ms(text), text.parse::<Timestamp>()) {
            (Ok(span), _) => Ok(Some(now.plus_millis(span))),
            (Err(_), Ok(moment)) if moment > now => Ok(Some(moment)),
            (Err(_), Ok(_)) => Err(format!("{text:?} is in the past")),
            (Err(_), Err(_)) => {
                Err(format!("{text:?} is no time to live: write 30d, 12h, a date such as 2027-01-31, or never"))
            }
        },
    }
}

impl Resource for McpToken {
    const KIND: Kind = Kind::McpToken;
    const NAMES: Names = Names { singular: "mcptoken", plural: "mcptokens", short: &["token", "tokens"] };
    const SCOPE: Scope = Scope::Project;
    const IMMUTABLE: bool = true;
    const SUMMARY: &'static str = "A bearer token that opens one project.";
    const EXAMPLE: &'static str = "kind: mcptoken\nname: ci\nproject: base\ndescription: The build machine\nttl: 30d\n";
    type Status = McpTokenStatus;
    type Event = McpTokenEvent;
    type Action = McpTokenAction;

    fn columns() -> &'static [Column<Self>] {
        &[
            Column { title: "PREFIX", cell: |row| row.status.prefix.clone() },
            Column { title: "CREATED", cell: |row| day(row.meta.created_at) },
            Column { title: "LAST-USED", cell: |_| "<unknown>".to_owned() },
            Column { title: "EXPIRES", cell: |row| row.status.expires_at.map_or_else(|| "never".to_owned(), day) },
            Column { title: "STATUS", cell: |row| state(row).to_owned() },
        ]
    }

    fn prepare(&mut self) {
        self.bindings.sort();
        self.bindings.dedup();
        if self.ttl.as_deref() == Some("never") {
            self.ttl = None;
        }
    }

    fn validate(&self, _name: &Name, violations: &mut Violations) {
        if let Some(ttl) = &self.ttl
            && let Err(what) = expires_at(Some(ttl), Timestamp::default())
        {
            violations.add("ttl", what);
        }
        if self.bindings.len() > 64 {
            violations.add("bindings", "has more than 64 entries");
        }
    }

    fn right(action: &McpTokenAction) -> ActRight {
        match action {
            McpTokenAction::Mint { .. } => ActRight::Verb(Verb::Create),
            McpTokenAction::Revoke => ActRight::OwnOr(Verb::Edit),
        }
    }

    fn decide(deciding: &Deciding<'_, Self>, action: &McpTokenAction) -> Result<Vec<McpTokenEvent>, Refusal> {
        match action {
            McpTokenAction::Mint { sha256, prefix } => mint(deciding, *sha256, prefix),
            McpTokenAction::Revoke if deciding.status.revoked_at.is_some() => Ok(Vec::new()),
            McpTokenAction::Revoke => Ok(vec![McpTokenEvent::Revoked { reason: "asked".to_owned() }]),
        }
    }

    fn action_of(events: &[McpTokenEvent]) -> Option<McpTokenAction> {
        match events {
            [McpTokenEvent::Minted { sha256, prefix, .. }] => {
                Some(McpTokenAction::Mint { sha256: *sha256, prefix: prefix.clone() })
            }
            [McpTokenEvent::Revoked { .. }] => Some(McpTokenAction::Revoke),
            _ => None,
        }
    }

    fn used(deciding: &Deciding<'_, Self>, action: &McpTokenAction) -> Vec<Seq> {
        let minted = matches!(action, McpTokenAction::Mint { .. }).then(|| given(deciding).ok()).flatten();
        minted.map(|(_, via)| via).unwrap_or_default()
    }

    fn evolve(status: &mut McpTokenStatus, event: &McpTokenEvent, at: Timestamp) {
        match event {
            McpTokenEvent::Minted { sha256, prefix, owner, grants, expires_at } => {
                *status = McpTokenStatus {
                    sha256: Some(*sha256),
                    prefix: prefix.clone(),
                    owner: Some(owner.clone()),
                    grants: grants.clone(),
                    expires_at: *expires_at,
                    revoked_at: None,
                    expired_at: None,
                };
            }
            McpTokenEvent::Revoked { .. } => status.revoked_at = Some(at),
            McpTokenEvent::Expired {} => status.expired_at = Some(at),
        }
    }

    fn own_grants(_meta: &Meta, status: &McpTokenStatus) -> Vec<Permission> {
        status.grants.clone()
    }

    fn owner(status: &McpTokenStatus) -> Option<Uid> {
        status.owner.as_ref().map(|owner| owner.uid)
    }

    fn end_with_owner(status: &McpTokenStatus) -> Option<McpTokenEvent> {
        status
            .revoked_at
            .is_none()
            .then(|| McpTokenEvent::Revoked { reason: "its owner was deleted or disabled".to_owned() })
    }

    fn credentials(&self, status: &McpTokenStatus) -> Vec<Credential> {
        let ended = if status.revoked_at.is_some() {
            Some("revoked")
        } else if status.expired_at.is_some() {
            Some("expired")
        } else {
            None
        };
        status.sha256.map(|digest| Credential { digest, expires_at: status.expires_at, ended }).into_iter().collect()
    }

    fn due(status: &McpTokenStatus) -> Option<(Timestamp, McpTokenEvent)> {
        let live = status.revoked_at.is_none() && status.expired_at.is_none();
        status.expires_at.filter(|_| live).map(|at| (at, McpTokenEvent::Expired {}))
    }

    fn status_view(row: &Row<'_, Self>) -> serde_json::Value {
        let mut view = serde_json::to_value(row.status).unwrap_or_default();
        view["state"] = state(row).into();
        view
    }
}

fn state(row: &Row<'_, McpToken>) -> &'static str {
    row.status.ended(row.now).unwrap_or("active")
}

fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

/// C4: the creator holds what opening the project takes, and all that the bindings give, inside the project.
fn mint(deciding: &Deciding<'_, McpToken>, sha256: Digest, prefix: &str) -> Result<Vec<McpTokenEvent>, Refusal> {
    if deciding.status.sha256.is_some() {
        return Err(Refusal::AlreadyExists { object: format!("mcptoken/{}", deciding.meta.name) });
    }
    let owner = deciding.caller.clone();
    if owner.kind == ActorKind::McpToken {
        return Err(refused(deciding, "create mcptokens, which no token may".to_owned()));
    }
    let (grants, _) = given(deciding)?;
    let expires_at = expires_at(deciding.spec.ttl.as_deref(), deciding.now).map_err(of_ttl)?;
    check_ttl(deciding, expires_at)?;
    Ok(vec![McpTokenEvent::Minted { sha256, prefix: prefix.to_owned(), owner, grants, expires_at }])
}

/// What a new token is given, and the grants of its creator that stand behind it.
fn given(deciding: &Deciding<'_, McpToken>) -> Result<(Vec<Permission>, Vec<Seq>), Refusal> {
    let project = deciding.meta.project.as_ref().map(|project| project.name.clone());
    let Some(project) = project else { return Err(Refusal::NotFound { object: "project".to_owned() }) };
    let (mut grants, mut via) = (vec![opens(project.clone())], Vec::new());
    for binding in &deciding.spec.bindings {
        if !fits_in_project(deciding, &project, binding) {
            return Err(refused(
                deciding,
                format!("give a token {:?}, which reaches beyond its project", binding.to_string()),
            ));
        }
        grants.push(binding.clone());
    }
    for grant in grants.iter().filter(|_| !deciding.caller.kind.is_unbound()) {
        let Some(used) = holds(deciding.world, deciding.caller.uid, grant) else {
            return Err(refused(deciding, format!("give a token {:?} without holding it", grant.to_string())));
        };
        via.extend(used);
    }
    if deciding.spec.rbac == RbacMode::Clone {
        let servers = servers_of(deciding.world, &project);
        for holding in holdings(deciding.world, deciding.caller.uid) {
            let inside = inside_project(&holding.grant.permission, &project, &servers);
            if !inside.is_empty() {
                via.extend(holding.seqs());
            }
            grants.extend(inside);
        }
    }
    grants.sort();
    grants.dedup();
    Ok((grants, via))
}

/// The organisation's policy on how long a token lives.
fn check_ttl(deciding: &Deciding<'_, McpToken>, expires_at: Option<Timestamp>) -> Result<(), Refusal> {
    let policy = Policy::of(deciding.world);
    let Some((max_ms, max)) = policy.and_then(|policy| Some((policy.max_ttl_ms()?, policy.max_ttl.clone()?))) else {
        return Ok(());
    };
    let message = match expires_at {
        None => format!("is missing: the organisation's policy lets a token live {max} at most"),
        Some(at) if at.since(deciding.now) > max_ms => {
            format!("is longer than the {max} that the organisation's policy allows")
        }
        Some(_) => return Ok(()),
    };
    let mut violations = Violations::default();
    violations.hint("ttl", message, format!("give --ttl {max} or less; see `mcpctl describe policy {ORGANISATION}`"));
    violations.check()
}

fn of_ttl(what: String) -> Refusal {
    let mut violations = Violations::default();
    violations.add("ttl", what);
    Refusal::Invalid(violations.0)
}

fn refused(deciding: &Deciding<'_, McpToken>, missing: String) -> Refusal {
    Refusal::Forbidden { actor: deciding.caller.to_string(), missing, at: deciding.world.seq() }
}

fn servers_of<'w>(world: &'w dyn World, project: &Name) -> Vec<&'w Name> {
    let spec = world.by_name(Kind::Project, None, project).and_then(|object| object.of::<Project>());
    spec.map(|(spec, _)| spec.servers.iter().map(Ref::name).collect()).unwrap_or_default()
}

/// Inside the project: the project itself, what lives in it, and its servers to view and run.
fn fits_in_project(deciding: &Deciding<'_, McpToken>, project: &Name, binding: &RoleBinding) -> bool {
    let RoleBinding::Resource { role, resource, name } = binding else { return false };
    let makes_tokens = |verb: &Verb| matches!(verb, Verb::Create | Verb::Edit);
    match resource {
        ResourceName::Kind(Kind::Project) => name.as_ref() == Some(project) && *role != Role::Create,
        ResourceName::Kind(Kind::McpToken) => !role.verbs().iter().any(makes_tokens),
        ResourceName::Kind(Kind::Server) | ResourceName::Instances => {
            let attached = |name: &Name| servers_of(deciding.world, project).contains(&name);
            name.as_ref().is_some_and(attached)
                && role.verbs().iter().all(|verb| matches!(verb, Verb::View | Verb::Run))
        }
        ResourceName::Kind(kind) => kind.scope() == Scope::Project,
        ResourceName::Any => false,
    }
}
