//! Names of objects: what they may look like, checked once at the edge.
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most characters a name may have.
pub const NAME_CHARS_MAX: usize = 63;
/// Most characters an e-mail address used as a name may have.
pub const EMAIL_CHARS_MAX: usize = 254;

/// The grammar that the names of a kind follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// Lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit, at most 63.
    Label,
    /// An e-mail address in lower case.
    Email,
}

/// A checked name. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// A name that breaks its rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid name: {rule}")]
pub struct InvalidName {
    /// What was given, shortened.
    pub text: String,
    /// The rule in words.
    pub rule: &'static str,
}

const LABEL_RULE: &str =
    "use at most 63 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit";
const EMAIL_RULE: &str = "use an e-mail address in lower case, such as alice@example.com";

impl Name {
    /// Checks a name by the rule of its kind.
    ///
    /// # Errors
    /// When the text breaks the rule.
    pub fn parse(rule: NameRule, text: &str) -> Result<Self, InvalidName> {
        let (good, words) = match rule {
            NameRule::Label => (is_label(text), LABEL_RULE),
            NameRule::Email => (is_email(text), EMAIL_RULE),
        };
        if good {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName { text: text.chars().take(80).collect(), rule: words })
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= NAME_CHARS_MAX
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let local_ok = (1..=64).contains(&local.len())
        && local.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._%+-".contains(&b));
    text.len() <= EMAIL_CHARS_MAX && local_ok && domain.split('.').all(|part| !part.is_empty() && is_label(part))
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

/// Accepts every grammar; the rule of the kind is checked by validation, which knows the field.
impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Self::parse(NameRule::Label, &text)
            .or_else(|as_label| {
                Self::parse(NameRule::Email, &text)
                    .map_err(|as_email| if text.contains('@') { as_email } else { as_label })
            })
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Name {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "minLength": 1, "maxLength": EMAIL_CHARS_MAX })
    }
    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_addresses_follow_their_grammar() {
        for good in ["a", "web", "my-ha", "a.b-c", "0"] {
            assert!(Name::parse(NameRule::Label, good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a/b", "a b", "ä", "a_b", &"x".repeat(64), "..", "a\n"] {
            assert!(Name::parse(NameRule::Label, bad).is_err(), "{bad}");
        }
        for good in ["admin@localhost", "alice+x@example.com"] {
            assert!(Name::parse(NameRule::Email, good).is_ok(), "{good}");
        }
        for bad in ["alice", "@x", "a@", "a@b..c", "A@b", "a@b/c", "a@b@c"] {
            assert!(Name::parse(NameRule::Email, bad).is_err(), "{bad}");
        }
    }
}
