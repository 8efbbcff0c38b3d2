//! What a subject may do, and where it comes from: given to it, or to a group that it is in.
use std::sync::Arc;

use mcpctl_core::ids::Uid;
use mcpctl_core::kinds::Kind;
use mcpctl_core::object::Object;
use mcpctl_core::world::World;
use mcpctl_projections::State;
use serde_json::{Value, json};

use super::auth::Authenticated;
use super::target::may_view;

/// All access of a user, group or service account in a state, as `[{right, via, seq}]`; nothing for other kinds. What the
/// caller may see is decided in the newest state.
pub(super) fn of(state: &State, world: &dyn World, caller: &Authenticated, subject: &Object) -> Option<Value> {
    if !matches!(subject.meta.kind, Kind::User | Kind::Group | Kind::ServiceAccount) {
        return None;
    }
    let mut rows = rows_of(state, world, caller, subject.meta.uid, None);
    for membership in world.memberships(subject.meta.uid) {
        let group = membership.group;
        rows.extend(rows_of(state, world, caller, group, Some(group)));
    }
    Some(Value::Array(rows))
}

fn rows_of(state: &State, world: &dyn World, caller: &Authenticated, holder: Uid, group: Option<Uid>) -> Vec<Value> {
    let grants = world.grants(holder).iter();
    grants
        .map(|grant| {
            let steps = group.into_iter().chain([grant.source]).map(|uid| named(state, world, caller, uid));
            let via: Vec<String> = steps.collect();
            json!({ "right": grant.permission.to_string(), "via": via.join(", "), "seq": grant.seq })
        })
        .collect()
}

/// The title of what gives a right; its kind only, for one who may not see it.
fn named(state: &State, world: &dyn World, caller: &Authenticated, uid: Uid) -> String {
    let object: Option<&Arc<Object>> = world.by_uid(uid);
    match object {
        Some(object) if may_view(state, caller, object) => object.title(),
        Some(object) => format!("a {} that you may not see", object.meta.kind),
        None => "an object that is gone".to_owned(),
    }
}
