//! Acting as a service account (C7): who may, and what that counts as.
//!
//! Whoever may act as an account counts as holding all that it holds, also what it may act as in turn. No token may,
//! whoever owns it.
use std::collections::BTreeSet;
use std::sync::Arc;

use super::decision::{Holding, holdings};
use crate::access::{Ask, Permission, ResourceName, Rule, Verb, Verdict, decide, within};
use crate::actor::{Actor, ActorKind};
use crate::ids::{Seq, Uid};
use crate::kinds::Kind;
use crate::object::Object;
use crate::time::Timestamp;
use crate::world::World;

/// The operation that lets one act as any service account; `run serviceaccounts/<name>` is that of one.
pub const IMPERSONATE: &str = "impersonate";

/// Whether a caller may act as a service account, and by which grants.
#[must_use]
pub fn impersonates(world: &dyn World, caller: &Actor, account: &Object, now: Timestamp) -> Verdict {
    if caller.kind == ActorKind::McpToken {
        return Verdict { allowed: false, rule: Rule::NotForTokens, at: world.seq(), via: Vec::new() };
    }
    let any = decide(world, caller, &Ask::Operation(IMPERSONATE), now);
    if any.allowed { any } else { decide(world, caller, &Ask::on(Verb::Run, account), now) }
}

/// What a subject counts as holding beyond its own grants, each with the grants that lead there.
pub(super) fn reached(world: &dyn World, subject: Uid) -> Vec<(Vec<Seq>, Holding<'_>)> {
    let (mut seen, mut found) = (BTreeSet::from([subject]), Vec::new());
    let mut waiting = vec![(subject, Vec::new())];
    while let Some((holder, path)) = waiting.pop() {
        for holding in holdings(world, holder) {
            let path = [&path[..], &holding.seqs()].concat();
            let accounts = accounts(world, &holding.grant.permission).into_iter();
            waiting.extend(accounts.filter(|account| seen.insert(*account)).map(|account| (account, path.clone())));
        }
        if holder != subject {
            found.extend(holdings(world, holder).map(|holding| (path.clone(), holding)));
        }
    }
    found
}

/// The service accounts that a permission lets one act as: a disabled one can do nothing, and so lends nothing.
fn accounts(world: &dyn World, permission: &Permission) -> Vec<Uid> {
    let enabled = |account: &&Arc<Object>| account.body.enabled();
    let all = || world.all(Kind::ServiceAccount).filter(enabled).map(|account| account.meta.uid).collect();
    let includes = |resource: &ResourceName| resource.includes(ResourceName::Kind(Kind::ServiceAccount));
    match permission {
        Permission::Operation { action, .. } if action == "*" || action == IMPERSONATE => all(),
        Permission::Resource { role, resource, name } if role.holds(Verb::Run) && includes(resource) => match name {
            None => all(),
            Some(name) => {
                let named = world.by_name(Kind::ServiceAccount, None, name).filter(enabled);
                named.map(|account| account.meta.uid).into_iter().collect()
            }
        },
        _ => Vec::new(),
    }
}

/// Whether a subject holds a permission when what it may act as is counted; answers the grants used.
pub(super) fn covers_through(world: &dyn World, subject: Uid, wanted: &Permission) -> Option<Vec<Seq>> {
    let own = holdings(world, subject).map(|holding| (Vec::new(), holding));
    let all: Vec<(Vec<Seq>, Holding<'_>)> = own.chain(reached(world, subject)).collect();
    let permissions: Vec<&Permission> = all.iter().map(|(_, holding)| &holding.grant.permission).collect();
    let used = within(&permissions, wanted)?;
    Some(used.into_iter().flat_map(|index| [&all[index].0[..], &all[index].1.seqs()].concat()).collect())
}
