//! Who did something: an identity that comes from a credential, never from a request body.
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::Uid;

/// What sort of identity acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActorKind {
    /// The control plane itself.
    System,
    /// Somebody at the machine, who holds the data folder and its key file.
    Local,
    /// A person with a login.
    User,
    /// A machine subject.
    ServiceAccount,
    /// A bearer of a project-scoped token.
    McpToken,
}

impl ActorKind {
    /// Whether no grant bounds it: the control plane itself, or somebody who holds the machine that it runs on.
    #[must_use]
    pub const fn is_unbound(self) -> bool {
        matches!(self, Self::System | Self::Local)
    }
}

/// An identity as it is written into events. The name is for readers; decisions use the uid.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// Sort of identity.
    pub kind: ActorKind,
    /// The object that it is.
    pub uid: Uid,
    /// Its name at the time.
    pub name: String,
}

impl Actor {
    /// The control plane itself, in one of its parts (`bootstrap`, `expiry`, `cascade`).
    #[must_use]
    pub fn system(part: &str) -> Self {
        Self { kind: ActorKind::System, uid: Uid::fixed(0), name: part.to_owned() }
    }

    /// Somebody at the machine, by the user id that the system says.
    #[must_use]
    pub fn local(user_id: u32) -> Self {
        Self { kind: ActorKind::Local, uid: Uid::fixed(1), name: format!("uid-{user_id}") }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ActorKind::System => "system",
            ActorKind::Local => "local",
            ActorKind::User => "user",
            ActorKind::ServiceAccount => "serviceaccount",
            ActorKind::McpToken => "mcptoken",
        };
        write!(f, "{kind}:{}", self.name)
    }
}
