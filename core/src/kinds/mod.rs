//! The kinds. Adding one is a new file here, its `mod` line and its line in the list.
mod group;
mod identity;
mod mcp_token;
mod policy;
mod project;
mod project_tools;
mod rbac;
mod secret;
mod secret_backend;
mod server;
mod server_health;
mod server_tools;
mod service_account;
mod subject;
mod tool_filter;
mod user;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::erased::{Twin, Untyped};
use crate::resource::{Names, Resource, Scope};

pub use group::{Claimed, Group, GroupAction, GroupEvent, GroupStatus};
pub use identity::{Identity, user_of};
pub use mcp_token::{McpToken, McpTokenAction, McpTokenEvent, McpTokenStatus, RbacMode, TokenOwner, expires_at};
pub use policy::{ORGANISATION, Policy};
pub use project::{Project, ToolNames, ToolPolicy};
pub use project_tools::{
    Approval, ApprovedTool, ProjectAction, ProjectEvent, ProjectStatus, RejectedTool, TOOLS_AT_ONCE_MAX, ToolChoice,
};
pub use rbac::{Attested, Rbac, RbacAction, RbacEvent, RbacStatus};
pub use secret::{Secret, SecretAction, SecretEvent, SecretStatus, SecretVersion};
pub use secret_backend::{BackendType, SecretBackend};
pub use server::{Embedded, EnvVar, HealthCheck, Runtime, SecretKeyRef, Server, Transport, ValueFrom};
pub use server_health::{
    Answers, FAILED as SERVER_FAILED, Failing, FailureCause, HealthAction, RECOVERED as SERVER_RECOVERED, Unhealthy,
};
pub use server_tools::{
    DRIFTS_PER_HOUR_MAX, KnownTool, Noticed, SeenTool, ServerAction, ServerEvent, ServerStatus, TOOL_BYTES_MAX,
    TOOLS_MAX,
};
pub use service_account::ServiceAccount;
pub use subject::{SubjectRef, TokenSha};
pub use tool_filter::{ToolFilter, ToolOverride};
pub use user::{Login, PasswordVersion, User, UserAction, UserEvent, UserStatus};

/// **The one list**: kind, type, in the order of `apply`. Everything that exists per kind is a loop over it.
macro_rules! kinds {
    ($($variant:ident $mark:literal),* $(,)?) => {
        /// A kind of object.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $(
            #[doc = concat!("See [`struct@", stringify!($variant), "`].")]
            $variant
        ),* }

        impl Kind {
            /// Every kind, in the order in which manifests are applied.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The untyped face of the kind.
            #[must_use]
            pub fn untyped(self) -> &'static dyn Untyped {
                match self { $( Self::$variant => const { &Twin::<$variant>::NEW } ),* }
            }

            /// The words for the kind.
            #[must_use]
            pub const fn names(self) -> Names {
                match self { $( Self::$variant => <$variant as Resource>::NAMES ),* }
            }

            /// The name under which a reference to this kind is serialised, so that a walk finds it.
            #[must_use]
            pub const fn ref_mark(self) -> &'static str {
                match self { $( Self::$variant => $mark ),* }
            }
        }
    };
}

kinds! {
    Policy "$ref:policy",
    SecretBackend "$ref:secretbackend",
    Secret "$ref:secret",
    Server "$ref:server",
    User "$ref:user",
    Group "$ref:group",
    ServiceAccount "$ref:serviceaccount",
    Project "$ref:project",
    Rbac "$ref:rbac",
    McpToken "$ref:mcptoken",
}

impl Kind {
    /// The kind that a noun means: singular, plural or short, in any case.
    #[must_use]
    pub fn from_noun(noun: &str) -> Option<Self> {
        let noun = noun.to_ascii_lowercase();
        Self::ALL.iter().copied().find(|kind| {
            let names = kind.names();
            noun == names.singular || noun == names.plural || names.short.contains(&noun.as_str())
        })
    }

    /// Where its names are unique.
    #[must_use]
    pub fn scope(self) -> Scope {
        self.untyped().scope()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.names().singular)
    }
}

/// The word names no kind.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{word:?} is not a kind: use one of {}", Kind::ALL.iter().map(|k| k.names().singular).collect::<Vec<_>>().join(", "))]
pub struct UnknownKind {
    word: String,
}

impl FromStr for Kind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::from_noun(text).ok_or_else(|| UnknownKind { word: text.chars().take(60).collect() })
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.names().singular)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
