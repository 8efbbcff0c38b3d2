//! Subjects as a manifest names them: `{kind: User, name: alice@example.com}`.
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::Digest;
use crate::kinds::{Group, ServiceAccount, User};
use crate::name::{Name, NameRule};
use crate::reference::Ref;

/// Somebody who can be given rights.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", deny_unknown_fields)]
pub enum SubjectRef {
    /// A person.
    User {
        /// E-mail address.
        name: Ref<User>,
    },
    /// A set of persons.
    Group {
        /// Name of the group.
        name: Ref<Group>,
    },
    /// A machine.
    ServiceAccount {
        /// Name of the service account.
        name: Ref<ServiceAccount>,
    },
    /// A token, named by its SHA-256.
    McpToken {
        /// 64 hexadecimal digits.
        name: TokenSha,
    },
}

/// SHA-256 of a token, in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenSha(pub Digest);

impl TryFrom<String> for TokenSha {
    type Error = crate::ids::InvalidDigest;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}
impl From<TokenSha> for String {
    fn from(sha: TokenSha) -> Self {
        sha.0.to_string()
    }
}
impl JsonSchema for TokenSha {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TokenSha".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
    fn inline_schema() -> bool {
        true
    }
}

impl fmt::Display for SubjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { name } => write!(f, "User:{}", name.name()),
            Self::Group { name } => write!(f, "Group:{}", name.name()),
            Self::ServiceAccount { name } => write!(f, "ServiceAccount:{}", name.name()),
            Self::McpToken { name } => write!(f, "McpToken:{}", name.0),
        }
    }
}

/// The short form of flags: `User:alice@example.com`.
impl std::str::FromStr for SubjectRef {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text
            .split_once(':')
            .ok_or_else(|| format!("{text:?} is not a subject: write User:alice@example.com, Group:NAME, ServiceAccount:NAME or McpToken:SHA256"))?;
        let label = |rule| Name::parse(rule, name).map_err(|error| error.to_string());
        match kind.to_ascii_lowercase().as_str() {
            "user" => Ok(Self::User { name: Ref::to(label(NameRule::Email)?) }),
            "group" => Ok(Self::Group { name: Ref::to(label(NameRule::Label)?) }),
            "serviceaccount" | "sa" => Ok(Self::ServiceAccount { name: Ref::to(label(NameRule::Label)?) }),
            "mcptoken" | "token" => TokenSha::try_from(name.to_owned())
                .map(|name| Self::McpToken { name })
                .map_err(|error| error.to_string()),
            _ => Err(format!("{kind:?} is no kind of subject: use User, Group, ServiceAccount or McpToken")),
        }
    }
}
