//! Permissions: roles, verbs, resources and operations, as they are written in a binding.
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::actor::Actor;
use crate::ids::{Seq, Uid};
use crate::kinds::Kind;
use crate::name::Name;

/// The unit of permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Read it.
    View,
    /// Make it.
    Create,
    /// Remove it.
    Delete,
    /// Change it.
    Edit,
    /// Use it: call a server's tools, open a project's endpoint, have a secret used.
    Run,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 5] = [Self::View, Self::Create, Self::Delete, Self::Edit, Self::Run];
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::View => "view",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Edit => "edit",
            Self::Run => "run",
        })
    }
}

/// The text is not a verb.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0:?} is not a verb: use view, create, delete, edit or run")]
pub struct InvalidVerb(String);

impl FromStr for Verb {
    type Err = InvalidVerb;
    fn from_str(text: &str) -> Result<Self, InvalidVerb> {
        Self::ALL.into_iter().find(|verb| verb.to_string() == text).ok_or_else(|| InvalidVerb(text.to_owned()))
    }
}

/// A role of a binding. `edit` implies view, create and delete of that resource; the others are one verb each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read.
    View,
    /// Make.
    Create,
    /// Remove.
    Delete,
    /// Change, and all of the above.
    Edit,
    /// Use.
    Run,
}

impl Role {
    /// The verbs that the role holds.
    #[must_use]
    pub const fn verbs(self) -> &'static [Verb] {
        match self {
            Self::View => &[Verb::View],
            Self::Create => &[Verb::Create],
            Self::Delete => &[Verb::Delete],
            Self::Edit => &[Verb::View, Verb::Create, Verb::Delete, Verb::Edit],
            Self::Run => &[Verb::Run],
        }
    }

    /// Whether the role holds a verb.
    #[must_use]
    pub fn holds(self, verb: Verb) -> bool {
        self.verbs().contains(&verb)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::View => "view",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Edit => "edit",
            Self::Run => "run",
        })
    }
}

/// What a binding is about: the plural of a kind, `instances`, or `*` for every kind there is and will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceName {
    /// `*`.
    Any,
    /// `instances`: running copies, which are derived and so no kind of the log.
    Instances,
    /// Objects of a kind.
    Kind(Kind),
}

impl ResourceName {
    /// Whether this names everything that the other names.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self == Self::Any || self == other
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "*",
            Self::Instances => "instances",
            Self::Kind(kind) => kind.names().plural,
        })
    }
}

/// The text names no resource.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0:?} is not a resource: use the plural of a kind, such as servers, or *")]
pub struct InvalidResource(String);

impl FromStr for ResourceName {
    type Err = InvalidResource;
    fn from_str(text: &str) -> Result<Self, InvalidResource> {
        match text {
            "*" => Ok(Self::Any),
            "instances" | "instance" => Ok(Self::Instances),
            _ => Kind::from_noun(text).map(Self::Kind).ok_or_else(|| InvalidResource(text.to_owned())),
        }
    }
}

impl Serialize for ResourceName {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for ResourceName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
impl JsonSchema for ResourceName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ResourceName".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut names: Vec<&str> = vec!["*", "instances"];
        names.extend(Kind::ALL.iter().map(|kind| kind.names().plural));
        schemars::json_schema!({ "type": "string", "enum": names, "description": "The plural of a kind, or * for all." })
    }
    fn inline_schema() -> bool {
        true
    }
}

/// One line of a binding: a role on a resource (perhaps on one name of it), or an operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RoleBinding {
    /// `{role: run, action: logs}`.
    Operation {
        /// Always `run`.
        role: Role,
        /// Name of the operation, or `*`.
        action: String,
    },
    /// `{role: edit, resource: servers, name: my-ha}`.
    Resource {
        /// The role.
        role: Role,
        /// What it is about.
        resource: ResourceName,
        /// One object only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
    },
}

/// What a binding gives.
pub type Permission = RoleBinding;

/// The operations that a binding may name.
pub const OPERATIONS: &[&str] =
    &["logs", "backup", "restore", "impersonate", "migrate-secrets", "audit", "bind", "log", "attest", "erase"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBinding {
    role: Option<Role>,
    resource: Option<ResourceName>,
    name: Option<Name>,
    action: Option<String>,
}

impl TryFrom<RawBinding> for RoleBinding {
    type Error = String;
    fn try_from(raw: RawBinding) -> Result<Self, String> {
        match (raw.role, raw.resource, raw.name, raw.action) {
            (_, Some(_), _, Some(_)) => Err("`action` can't stand next to `resource`: write two bindings".to_owned()),
            (_, None, Some(_), Some(_)) => Err("`action` can't stand next to `name`".to_owned()),
            (None | Some(Role::Run), None, None, Some(action)) => {
                if action == "*" || OPERATIONS.contains(&action.as_str()) {
                    Ok(Self::Operation { role: Role::Run, action })
                } else {
                    Err(format!("{action:?} is not an operation: use one of {}", OPERATIONS.join(", ")))
                }
            }
            (Some(_), None, None, Some(_)) => Err("an `action` has the role run".to_owned()),
            (Some(role), Some(resource), name, None) => Ok(Self::Resource { role, resource, name }),
            (None, Some(_), _, None) => Err("`role` is missing: view, create, delete, edit or run".to_owned()),
            (_, None, _, None) => Err("give `resource` (the plural of a kind, or *) or `action`".to_owned()),
        }
    }
}

impl<'de> Deserialize<'de> for RoleBinding {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        RawBinding::deserialize(d)?.try_into().map_err(serde::de::Error::custom)
    }
}

impl RoleBinding {
    /// A role on one named object.
    #[must_use]
    pub const fn named(role: Role, kind: Kind, name: Name) -> Self {
        Self::Resource { role, resource: ResourceName::Kind(kind), name: Some(name) }
    }

    /// A role on every object of a resource.
    #[must_use]
    pub const fn every(role: Role, resource: ResourceName) -> Self {
        Self::Resource { role, resource, name: None }
    }

    /// An operation, or `*` for all.
    #[must_use]
    pub fn operation(action: &str) -> Self {
        Self::Operation { role: Role::Run, action: action.to_owned() }
    }
}

impl fmt::Display for RoleBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation { action, .. } => write!(f, "run:{action}"),
            Self::Resource { role, resource, name: Some(name) } => write!(f, "{role} {resource}/{name}"),
            Self::Resource { role, resource, name: None } => write!(f, "{role} {resource}"),
        }
    }
}

/// The short form of flags: `role:R,resource:X[,name:N]` or `action:A`.
impl FromStr for RoleBinding {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut fields = serde_json::Map::new();
        for part in text.split(',') {
            let (key, value) = part.split_once(':').ok_or_else(|| format!("{part:?} is not key:value"))?;
            if !matches!(key, "role" | "resource" | "name" | "action") {
                return Err(format!("unknown key {key:?}: use role, resource, name or action"));
            }
            if value.is_empty() {
                return Err(format!("the value of {key:?} is empty"));
            }
            if fields.insert(key.to_owned(), value.into()).is_some() {
                return Err(format!("{key:?} is given twice"));
            }
        }
        serde_json::from_value(fields.into()).map_err(|error| error.to_string())
    }
}

/// A permission that a subject holds, and the event that gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// What it gives.
    pub permission: Permission,
    /// The event that gave it.
    pub seq: Seq,
    /// The object that carries it (an rbac definition, a project, a token).
    pub source: Uid,
    /// Who gave it.
    pub grantor: Actor,
}

impl Grant {
    /// The order in which grants are looked at, and in which the oldest that answers is named.
    #[must_use]
    pub fn in_order(&self, other: &Self) -> std::cmp::Ordering {
        (self.seq, self.source, &self.permission).cmp(&(other.seq, other.source, &other.permission))
    }
}

/// That a subject belongs to a group, and the event that put it there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The group.
    pub group: Uid,
    /// The event that put the subject there.
    pub seq: Seq,
    /// Who put it there.
    pub grantor: Actor,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_says_what_is_wrong_with_it() {
        for (text, reason) in [
            ("role:edit,resource:servers,action:logs", "can't stand next to"),
            ("resource:servers", "`role` is missing"),
            ("role:edit,resource:", "is empty"),
            ("role:edit,colour:red", "unknown key"),
            ("role:own,resource:servers", "unknown variant"),
            ("role:edit,resource:serverz", "is not a resource"),
            ("action:fly", "is not an operation"),
            ("role:edit", "give `resource`"),
            ("role:view,role:edit,resource:servers", "given twice"),
            ("role", "not key:value"),
        ] {
            let error = text.parse::<RoleBinding>().expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn the_short_form_reads_what_it_should() {
        let binding: RoleBinding = "role:view,resource:servers,name:my-ha".parse().expect("valid");
        assert_eq!(binding.to_string(), "view servers/my-ha");
        let operation: RoleBinding = "action:logs".parse().expect("valid");
        assert_eq!(operation.to_string(), "run:logs");
    }
}
