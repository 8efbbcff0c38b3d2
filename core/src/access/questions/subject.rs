//! Whom a question is about: a subject by the words that people use, found in the state that is asked.
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::actor::{Actor, ActorKind};
use crate::ids::Digest;
use crate::kinds::{Kind, SubjectRef};
use crate::name::{Name, NameRule};
use crate::object::Object;
use crate::reference::Ref;
use crate::world::World;

/// A subject as it is written: `alice@example.com`, `User:alice@example.com`, `ServiceAccount:ci`, `Group:team`,
/// `McpToken:<sha256>`, or `McpToken:PROJECT/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// By name or digest, as in bindings.
    Named(SubjectRef),
    /// A token by its project and name.
    Token {
        /// Its project.
        project: Name,
        /// Its name.
        name: Name,
    },
}

/// There is no such subject in the state that was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} does not exist in that state")]
pub struct UnknownSubject(pub String);

impl FromStr for Subject {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains(':') && text.contains('@') {
            return format!("User:{text}").parse().map(Self::Named);
        }
        let token = text.split_once(':').filter(|(kind, _)| matches!(*kind, "McpToken" | "mcptoken" | "token"));
        if let Some((project, name)) = token.and_then(|(_, rest)| rest.split_once('/')) {
            let label = |text| Name::parse(NameRule::Label, text).map_err(|error| error.to_string());
            return Ok(Self::Token { project: label(project)?, name: label(name)? });
        }
        text.parse().map(Self::Named)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(subject) => write!(f, "{subject}"),
            Self::Token { project, name } => write!(f, "McpToken:{project}/{name}"),
        }
    }
}

impl Subject {
    /// The object that it is in a state.
    ///
    /// # Errors
    /// When there is none.
    pub fn find<'w>(&self, world: &'w dyn World) -> Result<&'w Arc<Object>, UnknownSubject> {
        let by_name = |kind, name: &Name| world.by_name(kind, None, name);
        let found = match self {
            Self::Named(SubjectRef::User { name }) => by_name(Kind::User, name.name()),
            Self::Named(SubjectRef::Group { name }) => by_name(Kind::Group, name.name()),
            Self::Named(SubjectRef::ServiceAccount { name }) => by_name(Kind::ServiceAccount, name.name()),
            Self::Named(SubjectRef::McpToken { name }) => token_of(world, &name.0),
            Self::Token { project, name } => by_name(Kind::Project, project)
                .and_then(|project| world.by_name(Kind::McpToken, Some(project.meta.uid), name)),
        };
        found.ok_or_else(|| UnknownSubject(self.to_string()))
    }

    /// The subject that an object is, in the words of bindings.
    #[must_use]
    pub fn of(object: &Object) -> Option<Self> {
        let name = object.meta.name.clone();
        Some(match object.meta.kind {
            Kind::User => Self::Named(SubjectRef::User { name: Ref::to(name) }),
            Kind::Group => Self::Named(SubjectRef::Group { name: Ref::to(name) }),
            Kind::ServiceAccount => Self::Named(SubjectRef::ServiceAccount { name: Ref::to(name) }),
            Kind::McpToken => Self::Token { project: object.meta.project.clone()?.name, name },
            _ => return None,
        })
    }
}

/// A login's digest names no subject: only tokens are spoken of by theirs.
fn token_of<'w>(world: &'w dyn World, digest: &Digest) -> Option<&'w Arc<Object>> {
    world.by_uid(world.credential(digest)?).filter(|object| object.meta.kind == Kind::McpToken)
}

/// The identity under which an object acts; `None` for what never does, such as a group.
#[must_use]
pub fn actor_of(object: &Object) -> Option<Actor> {
    Some(Actor { kind: kind_of(object)?, uid: object.meta.uid, name: object.meta.name.to_string() })
}

/// As what an object acts; `None` for what never does.
pub(super) const fn kind_of(object: &Object) -> Option<ActorKind> {
    match object.meta.kind {
        Kind::User => Some(ActorKind::User),
        Kind::ServiceAccount => Some(ActorKind::ServiceAccount),
        Kind::McpToken => Some(ActorKind::McpToken),
        _ => None,
    }
}

/// The identity by which rights are looked up: a group never acts, and has a name and rights all the same.
#[must_use]
pub fn acting(object: &Object) -> Actor {
    let name = || object.meta.name.to_string();
    actor_of(object).unwrap_or_else(|| Actor { kind: ActorKind::User, uid: object.meta.uid, name: name() })
}
