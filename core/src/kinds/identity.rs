//! Who a person is at an OpenID Connect provider: issuer and subject, never the e-mail address.
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kinds::{Kind, User};
use crate::object::Object;
use crate::refusal::Violations;
use crate::world::World;

/// Most characters of an issuer.
const ISSUER_CHARS_MAX: usize = 512;
/// Most characters of a subject (OpenID Connect Core 1.0, section 2).
const SUBJECT_CHARS_MAX: usize = 255;

/// A person at an OpenID Connect provider. The provider never gives a subject to somebody else; an e-mail address it may.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    /// The provider, letter for letter as it calls itself in its tokens (`iss`).
    pub issuer: String,
    /// The person, as the provider calls it in its tokens (`sub`).
    pub subject: String,
}

impl Identity {
    /// Adds what is wrong with it.
    pub(super) fn validate(&self, violations: &mut Violations) {
        let printable = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
        let secure = self.issuer.starts_with("https://") || self.issuer.starts_with("http://");
        if !secure || self.issuer.len() > ISSUER_CHARS_MAX || !printable(&self.issuer) {
            violations.hint(
                "identity.issuer",
                format!("must be a URL of at most {ISSUER_CHARS_MAX} visible ASCII characters"),
                "copy it from the provider's /.well-known/openid-configuration",
            );
        }
        let subject = &self.subject;
        if subject.is_empty() || subject.len() > SUBJECT_CHARS_MAX || !subject.chars().all(|c| (' '..='~').contains(&c))
        {
            violations.add("identity.subject", format!("must have 1 to {SUBJECT_CHARS_MAX} ASCII characters"));
        }
    }
}

/// The user that an identity belongs to; there is at most one.
#[must_use]
pub fn user_of<'w>(world: &'w dyn World, identity: &Identity) -> Option<&'w Arc<Object>> {
    world
        .all(Kind::User)
        .find(|object| object.of::<User>().is_some_and(|(user, _)| user.identity.as_ref() == Some(identity)))
}
