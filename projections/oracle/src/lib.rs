//! The rights of a state as Cedar policies and entities: a program that is not ours then decides the same questions.
//!
//! Rights come from the specs of objects, not from the projected grants. A token's policy says in one condition what it
//! was given, what its owner may, and what lies inside its project (C5), so that one request decides.
mod entities;
mod policies;

use std::collections::HashMap;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression,
};
use mcpctl_core::access::Ask;
use mcpctl_core::ids::Uid;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World;

/// A state, translated, with everything that will be asked about.
pub struct Cedar {
    authorizer: Authorizer,
    policies: PolicySet,
    entities: Entities,
}

/// The translation is wrong: Cedar does not take it, or a policy fails.
#[derive(Debug)]
pub struct Untranslated(pub String);

pub(crate) fn wrong(error: impl std::fmt::Display) -> Untranslated {
    Untranslated(error.to_string())
}

impl Cedar {
    /// Translates a state. What is asked about may not be there, so every question is given, by its number.
    ///
    /// # Errors
    /// When Cedar does not take the translation.
    pub fn of(world: &dyn World, asked: &[Ask<'_>]) -> Result<Self, Untranslated> {
        let text = policies::text(world);
        let policies = text.parse().map_err(|error| Untranslated(format!("{error:?}\n{text}")))?;
        let entities = Entities::from_entities(entities::all(world, asked)?, None).map_err(wrong)?;
        Ok(Self { authorizer: Authorizer::new(), policies, entities })
    }

    /// Whether a subject may do what was asked under a number.
    ///
    /// # Errors
    /// When a policy fails on it: Cedar then leaves that policy out, which would hide a mistake.
    pub fn may(&self, subject: Uid, number: usize, ask: &Ask<'_>, now: Timestamp) -> Result<bool, Untranslated> {
        let now = RestrictedExpression::new_long(i64::try_from(now.as_millis()).map_err(wrong)?);
        let context = Context::from_pairs([("now".to_owned(), now)]).map_err(wrong)?;
        let (action, resource) = (entity("Action", &action_of(ask))?, thing(number)?);
        let request = Request::new(entity("Subject", &subject.to_string())?, action, resource, context, None);
        let answer = self.authorizer.is_authorized(&request.map_err(wrong)?, &self.policies, &self.entities);
        match answer.diagnostics().errors().next() {
            Some(error) => Err(wrong(error)),
            None => Ok(answer.decision() == Decision::Allow),
        }
    }

    /// How many policies the state has.
    #[must_use]
    pub fn policies(&self) -> usize {
        self.policies.policies().count()
    }
}

fn action_of(ask: &Ask<'_>) -> String {
    match ask {
        Ask::Operation(operation) => format!("run:{operation}"),
        Ask::Object { verb, .. } => verb.to_string(),
    }
}

pub(crate) fn entity(kind: &str, id: &str) -> Result<EntityUid, Untranslated> {
    let kind: EntityTypeName = kind.parse().map_err(|error| Untranslated(format!("{error:?}")))?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

pub(crate) fn thing(number: usize) -> Result<EntityUid, Untranslated> {
    entity("Thing", &number.to_string())
}

pub(crate) type Attributes = HashMap<String, RestrictedExpression>;
