//! What a reviewer should look at: grants that nobody could make any more, tokens without an end, rights that outlive the
//! people. What was never used is not in here: the state does not know it.
use std::sync::Arc;

use super::proof::Proof;
use super::who_can::who_can;
use crate::access::{Ask, Grant, ResourceName, Verb, covers, decide};
use crate::ids::Uid;
use crate::kinds::{Kind, McpToken};
use crate::object::Object;
use crate::time::Timestamp;
use crate::world::World;

/// A grant, and who has it.
#[derive(Clone, Copy, Debug)]
pub struct Holding<'w> {
    /// Who has it itself.
    pub holder: &'w Arc<Object>,
    /// What.
    pub grant: &'w Grant,
}

/// Why a grantor could no longer make a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoLonger {
    /// The grantor does not exist any more.
    Gone,
    /// The grantor is disabled, or its token ended.
    Ended,
    /// The grantor may not change what carries the grant.
    MayNotEdit,
    /// The grantor holds neither what the grant gives nor the operation `bind` (C1).
    DoesNotHold,
}

/// Every grant there is, by holder.
#[must_use]
pub fn holdings(world: &dyn World) -> Vec<Holding<'_>> {
    let holders = world.holding(&|_| true).into_iter().filter_map(|uid| world.by_uid(uid));
    holders
        .flat_map(|holder| world.grants(holder.meta.uid).iter().map(move |grant| Holding { holder, grant }))
        .collect()
}

/// Whether whoever made a grant could not make it now. What a token was given at its making is not looked at here: its
/// owner's rights bound it at every moment (see [`owner_lacks`]).
#[must_use]
pub fn no_longer(world: &dyn World, holding: Holding<'_>, now: Timestamp) -> Option<NoLonger> {
    let Grant { grantor, permission, source, .. } = holding.grant;
    if grantor.kind.is_unbound() || *source == holding.holder.meta.uid {
        return None;
    }
    let Some(object) = world.by_uid(grantor.uid) else { return Some(NoLonger::Gone) };
    let ended = object.of::<McpToken>().is_some_and(|(_, status)| status.ended(now).is_some());
    if ended || !object.body.enabled() {
        return Some(NoLonger::Ended);
    }
    let edits = |source: &Arc<Object>| decide(world, grantor, &Ask::on(Verb::Edit, source), now).allowed;
    if !world.by_uid(*source).is_some_and(edits) {
        return Some(NoLonger::MayNotEdit);
    }
    let gives =
        covers(world, grantor, permission).is_some() || decide(world, grantor, &Ask::Operation("bind"), now).allowed;
    (!gives).then_some(NoLonger::DoesNotHold)
}

/// Whether a right of a living token lies idle because its owner has lost it.
#[must_use]
pub fn owner_lacks(world: &dyn World, holding: Holding<'_>, now: Timestamp) -> bool {
    let Some((_, status)) = holding.holder.of::<McpToken>() else { return false };
    let Some(owner) = status.owner.as_ref().filter(|_| status.ended(now).is_none()) else { return false };
    covers(world, owner, &holding.grant.permission).is_none()
}

/// Tokens that open their project and never end by themselves.
#[must_use]
pub fn without_expiry(world: &dyn World, now: Timestamp) -> Vec<&Arc<Object>> {
    let endless = |object: &&Arc<Object>| {
        let status = object.of::<McpToken>().map(|(_, status)| status);
        status.is_some_and(|s| s.owner.is_some() && s.expires_at.is_none() && s.ended(now).is_none())
    };
    world.all(Kind::McpToken).filter(endless).collect()
}

/// Subjects that are disabled and have grants or memberships that wait for them, each with how many.
#[must_use]
pub fn disabled_with_grants(world: &dyn World) -> Vec<(&Arc<Object>, usize)> {
    let kinds = [Kind::User, Kind::ServiceAccount];
    let disabled = kinds.iter().flat_map(|kind| world.all(*kind)).filter(|object| !object.body.enabled());
    let counted = disabled.map(|object| {
        let uid: Uid = object.meta.uid;
        (object, world.grants(uid).len() + world.memberships(uid).len())
    });
    counted.filter(|(_, count)| *count > 0).collect()
}

/// Everybody who may give rights to others: who may change every `rbac`.
#[must_use]
pub fn administrators(world: &dyn World, now: Timestamp) -> Vec<Proof<'_>> {
    let resource = ResourceName::Kind(Kind::Rbac);
    who_can(world, &Ask::Object { verb: Verb::Edit, resource, project: None, name: None, uid: None }, now)
}
