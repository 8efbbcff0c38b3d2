//! Entities: subjects in their groups, resources in their kinds, operations in `run:*`, and what is asked about.
use std::collections::HashSet;

use cedar_policy::{Entity, EntityUid, RestrictedExpression};
use mcpctl_core::access::{Ask, OPERATIONS, Verb};
use mcpctl_core::kinds::ServiceAccount;
use mcpctl_core::kinds::{Group, Kind, McpToken, User};
use mcpctl_core::object::Object;
use mcpctl_core::world::World;

use crate::{Attributes, Untranslated, entity, thing, wrong};

pub(crate) fn all(world: &dyn World, asked: &[Ask<'_>]) -> Result<Vec<Entity>, Untranslated> {
    let mut found = vec![
        new(entity("Kind", "*")?, Attributes::new(), [])?,
        new(entity("Action", "run:*")?, Attributes::new(), [])?,
    ];
    let plurals = Kind::ALL.iter().map(|kind| kind.names().plural).chain(["instances"]);
    for plural in plurals {
        found.push(new(entity("Kind", plural)?, Attributes::new(), [entity("Kind", "*")?])?);
    }
    for verb in Verb::ALL {
        found.push(new(entity("Action", &verb.to_string())?, Attributes::new(), [])?);
    }
    for operation in OPERATIONS {
        found.push(new(
            entity("Action", &format!("run:{operation}"))?,
            Attributes::new(),
            [entity("Action", "run:*")?],
        )?);
    }
    for kind in [Kind::User, Kind::ServiceAccount, Kind::Group, Kind::McpToken] {
        for object in world.all(kind) {
            found.push(subject(world, object)?);
        }
    }
    for (number, ask) in asked.iter().enumerate() {
        found.push(asked_about(world, number, ask)?);
    }
    Ok(found)
}

fn new<const N: usize>(
    uid: EntityUid,
    attributes: Attributes,
    parents: [EntityUid; N],
) -> Result<Entity, Untranslated> {
    Entity::new(uid, attributes, HashSet::from(parents)).map_err(wrong)
}

/// A subject is in the groups whose spec names it, by what the name meant then.
fn subject(world: &dyn World, object: &Object) -> Result<Entity, Untranslated> {
    let mut attributes = Attributes::new();
    let token = object.of::<McpToken>();
    let disabled = object.of::<User>().is_some_and(|(spec, _)| spec.disabled)
        || object.of::<ServiceAccount>().is_some_and(|(spec, _)| spec.disabled)
        || token.is_some_and(|(_, status)| status.revoked_at.is_some() || status.expired_at.is_some());
    attributes.insert("token".to_owned(), RestrictedExpression::new_bool(token.is_some()));
    attributes.insert("ended".to_owned(), RestrictedExpression::new_bool(disabled));
    if let Some(expires) = token.and_then(|(_, status)| status.expires_at) {
        let expires = RestrictedExpression::new_long(i64::try_from(expires.as_millis()).map_err(wrong)?);
        attributes.insert("expires".to_owned(), expires);
    }
    let mut groups = HashSet::new();
    for group in world.all(Kind::Group).filter(|group| is_member(group, object)) {
        groups.insert(entity("Subject", &group.meta.uid.to_string())?);
    }
    Entity::new(entity("Subject", &object.meta.uid.to_string())?, attributes, groups).map_err(wrong)
}

fn is_member(group: &Object, who: &Object) -> bool {
    let named =
        |name| group.of::<Group>().is_some_and(|(spec, _)| spec.members.iter().any(|member| member.name() == name));
    let by_hand =
        group.refs.iter().any(|meant| meant.kind == Kind::User && meant.uid == who.meta.uid && named(&meant.name));
    by_hand || group.of::<Group>().is_some_and(|(_, status)| status.claimed.contains_key(&who.meta.uid))
}

fn asked_about(world: &dyn World, number: usize, ask: &Ask<'_>) -> Result<Entity, Untranslated> {
    let Ask::Object { resource, project, name, uid, .. } = ask else {
        return new(thing(number)?, Attributes::new(), []);
    };
    let mut attributes = Attributes::new();
    if let Some(name) = name {
        attributes.insert("name".to_owned(), RestrictedExpression::new_string(name.to_string()));
    }
    if let Some(project) = project {
        let project = entity("Project", &project.to_string())?;
        attributes.insert("project".to_owned(), RestrictedExpression::new_entity_uid(project));
    }
    if let Some(object) = uid.and_then(|uid| world.by_uid(uid)) {
        let itself = entity("Subject", &object.meta.uid.to_string())?;
        attributes.insert("object".to_owned(), RestrictedExpression::new_entity_uid(itself));
        if let Some(owner) = object.of::<McpToken>().and_then(|(_, status)| status.owner.as_ref()) {
            let owner = entity("Subject", &owner.uid.to_string())?;
            attributes.insert("owner".to_owned(), RestrictedExpression::new_entity_uid(owner));
        }
    }
    new(thing(number)?, attributes, [entity("Kind", &resource.to_string())?])
}
