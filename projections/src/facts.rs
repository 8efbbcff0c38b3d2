//! Facts about rights that hold in a state: who a name is, what is granted to whom, who belongs to which groups. The state
//! roots of the log are Merkle roots over them.
//!
//! - `subject User:alice@example.com` → `uid:…,enabled:true`
//! - `grant <uid of the holder> role:view,resource:servers` → `source:…,seq:…`, one for each object that gives it
//! - `groups <uid of the member>` → `group:…,seq:…`, for all of them: a proof of it shows that there are no others
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mcpctl_core::access::{Grant, Permission};
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::kinds::{Kind, McpToken, SubjectRef};
use mcpctl_core::object::Object;
use mcpctl_core::world::World;

use crate::grants::{held, member_uids};
use crate::state::State;

/// The fact of who a name is.
#[must_use]
pub fn subject_fact(subject: &SubjectRef) -> String {
    format!("subject {subject}")
}

/// The fact that a holder was granted something.
#[must_use]
pub fn grant_fact(holder: Uid, permission: &Permission) -> String {
    format!("grant {holder} {}", short_form(permission))
}

/// The fact of which groups a member belongs to.
#[must_use]
pub fn groups_fact(member: Uid) -> String {
    format!("groups {member}")
}

/// A permission as flags write it, in one spelling.
fn short_form(permission: &Permission) -> String {
    match permission {
        Permission::Operation { action, .. } => format!("action:{action}"),
        Permission::Resource { role, resource, name: Some(name) } => {
            format!("role:{role},resource:{resource},name:{name}")
        }
        Permission::Resource { role, resource, name: None } => format!("role:{role},resource:{resource}"),
    }
}

/// All facts about a holder's rights.
fn rights_of(world: &dyn World, holder: Uid) -> BTreeMap<String, String> {
    let mut facts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Grant { permission, seq, source, .. } in world.grants(holder) {
        facts.entry(grant_fact(holder, permission)).or_default().push(format!("source:{source},seq:{seq}"));
    }
    for member in world.memberships(holder) {
        facts.entry(groups_fact(holder)).or_default().push(format!("group:{},seq:{}", member.group, member.seq));
    }
    let joined = |mut values: Vec<String>| {
        values.sort();
        values.join(" ")
    };
    facts.into_iter().map(|(fact, values)| (fact, joined(values))).collect()
}

/// What a name means, for objects that can be subjects.
fn name_of(object: &Object) -> Option<(String, String)> {
    let Object { meta, body, .. } = object;
    let mut enabled = body.enabled();
    let name = match meta.kind {
        Kind::User => format!("User:{}", meta.name),
        Kind::Group => format!("Group:{}", meta.name),
        Kind::ServiceAccount => format!("ServiceAccount:{}", meta.name),
        Kind::McpToken => {
            let (_, status) = object.of::<McpToken>()?;
            enabled = status.revoked_at.is_none() && status.expired_at.is_none();
            format!("McpToken:{}", body.credentials().first()?.digest)
        }
        _ => return None,
    };
    Some((format!("subject {name}"), format!("uid:{},enabled:{enabled}", meta.uid)))
}

/// All facts that hold in a state.
#[must_use]
pub fn all(world: &dyn World) -> BTreeMap<String, String> {
    let mut holders: BTreeSet<Uid> = world.holding(&|_| true).into_iter().collect();
    holders.extend(world.all(Kind::Group).flat_map(member_uids));
    let rights = holders.into_iter().flat_map(|holder| rights_of(world, holder));
    let subjects = [Kind::User, Kind::Group, Kind::ServiceAccount, Kind::McpToken];
    let names = subjects.into_iter().flat_map(|kind| world.all(kind)).filter_map(|object| name_of(object));
    rights.chain(names).collect()
}

/// A fact that an event changed: its value from then on, `None` when it does not hold any more.
pub type Changed = (String, Option<String>);

impl State {
    /// The facts that the event of a seq changed, which was about that object. For every seq of the past.
    #[must_use]
    pub fn facts_changed(&self, seq: Seq, object: Uid) -> Vec<Changed> {
        let (before, after) = (self.at(Seq(seq.0.saturating_sub(1))), self.at(seq));
        let (was, is) = (before.by_uid(object), after.by_uid(object));
        let mut old: BTreeMap<String, String> = was.and_then(|was| name_of(was)).into_iter().collect();
        let mut new: BTreeMap<String, String> = is.and_then(|is| name_of(is)).into_iter().collect();
        let known = |digest: &Digest| after.credential(digest).or_else(|| before.credential(digest));
        for holder in touched(was, &known).union(&touched(is, &known)) {
            old.extend(rights_of(&before, *holder));
            new.extend(rights_of(&after, *holder));
        }
        let ended = old.keys().filter(|fact| !new.contains_key(*fact)).map(|fact| (fact.clone(), None));
        let begun = new.iter().filter(|(fact, value)| old.get(*fact) != Some(value));
        ended.chain(begun.map(|(fact, value)| (fact.clone(), Some(value.clone())))).collect()
    }
}

/// Whom an object gives rights to, or has as members.
fn touched(object: Option<&Arc<Object>>, credential: &dyn Fn(&Digest) -> Option<Uid>) -> BTreeSet<Uid> {
    let Some(object) = object else { return BTreeSet::new() };
    held(object, credential).into_iter().map(|(holder, _)| holder).chain(member_uids(object)).collect()
}
