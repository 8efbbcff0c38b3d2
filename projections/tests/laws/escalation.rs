//! T1, T2 and T6 over random commands: nobody makes rights that they do not hold; a token never exceeds its owner;
//! the log replays to the same state.
use mcpctl_core::access::{Ask, Permission, ResourceName, Verb, covers, effective};
use mcpctl_core::actor::Actor;
use mcpctl_core::kinds::{Kind, McpTokenAction};
use mcpctl_core::world::World as _;
use proptest::prelude::*;

use crate::town::Town;

pub(crate) const USERS: [&str; 3] = ["a@example.com", "b@example.com", "c@example.com"];
const GROUPS: [&str; 2] = ["g", "h"];
const BINDINGS: [&str; 10] = [
    "{role: edit, resource: rbac}",
    "{role: edit, resource: groups}",
    "{role: edit, resource: projects}",
    "{role: view, resource: servers}",
    "{role: run, resource: projects}",
    "{role: edit, resource: mcptokens}",
    "{role: run, resource: servers, name: s}",
    "{role: edit, resource: users}",
    "{role: run, resource: serviceaccounts, name: ci}",
    "{role: run, action: impersonate}",
];

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Bind { by: usize, object: usize, subjects: u8, bindings: u16, acting: bool },
    Group { by: usize, group: usize, members: u8 },
    Members { by: usize, members: u8 },
    Attach { by: usize, attached: bool },
    Mint { by: usize, name: usize, clone: bool },
    Revoke { by: usize, name: usize },
    Unbind { by: usize, object: usize },
    Disable { by: usize, user: usize, disabled: bool },
    Forget { by: usize, user: usize },
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let by = 0usize..3;
    prop_oneof![
        4 => (by.clone(), 0usize..3, 0u8..64, 0u16..1024, prop::bool::weighted(0.3)).prop_map(|(by, object, subjects, bindings, acting)| Step::Bind { by, object, subjects, bindings, acting }),
        2 => (by.clone(), 0usize..2, 0u8..8).prop_map(|(by, group, members)| Step::Group { by, group, members }),
        1 => (by.clone(), 0u8..8).prop_map(|(by, members)| Step::Members { by, members }),
        1 => (by.clone(), any::<bool>()).prop_map(|(by, attached)| Step::Attach { by, attached }),
        2 => (by.clone(), 0usize..2, any::<bool>()).prop_map(|(by, name, clone)| Step::Mint { by, name, clone }),
        1 => (by.clone(), 0usize..2).prop_map(|(by, name)| Step::Revoke { by, name }),
        1 => (by.clone(), 0usize..3).prop_map(|(by, object)| Step::Unbind { by, object }),
        1 => (by.clone(), 0usize..3, any::<bool>()).prop_map(|(by, user, disabled)| Step::Disable { by, user, disabled }),
        1 => (by, 0usize..3).prop_map(|(by, user)| Step::Forget { by, user }),
    ]
}

fn list(names: &[&str], bits: impl Into<u16>) -> String {
    let bits = bits.into();
    let chosen: Vec<&str> =
        names.iter().enumerate().filter(|(i, _)| bits & (1 << i) != 0).map(|(_, name)| *name).collect();
    chosen.join(", ")
}

/// The starting town: `a` holds much, `b` some, `c` nothing.
pub(crate) fn town() -> Town {
    Town::given(
        "
kind: server
name: s
command: [s]
---
kind: user
name: a@example.com
---
kind: user
name: b@example.com
---
kind: user
name: c@example.com
---
kind: group
name: g
---
kind: group
name: h
---
kind: project
name: p
---
kind: rbac
name: strong
subjects: [{kind: User, name: a@example.com}]
roleBindings: [{role: edit, resource: rbac}, {role: edit, resource: groups}, {role: run, resource: projects}, {role: edit, resource: projects}, {role: edit, resource: mcptokens}, {role: run, resource: servers}, {role: edit, resource: users}]
---
kind: rbac
name: weak
subjects: [{kind: User, name: b@example.com}, {kind: Group, name: h}]
roleBindings: [{role: edit, resource: rbac}, {role: edit, resource: groups}, {role: view, resource: servers}]
---
kind: serviceaccount
name: ci
---
kind: rbac
name: of-ci
subjects: [{kind: ServiceAccount, name: ci}]
roleBindings: [{role: edit, resource: rbac}, {role: run, resource: servers, name: s}, {role: edit, resource: mcptokens}]
---
kind: rbac
name: impersonators
subjects: [{kind: User, name: b@example.com}]
roleBindings: [{role: run, resource: serviceaccounts, name: ci}]
",
    )
}

pub(crate) fn user(town: &Town, index: usize) -> Option<Actor> {
    let name = mcpctl_core::name::Name::parse(mcpctl_core::name::NameRule::Email, USERS[index]).unwrap();
    town.state.by_name(Kind::User, None, &name).map(|_| town.user(USERS[index]))
}

/// Does a step; `None` when it was refused or nobody is there to do it.
pub(crate) fn take(town: &mut Town, step: &Step) -> Option<Actor> {
    let by = match step {
        Step::Bind { by, .. }
        | Step::Group { by, .. }
        | Step::Members { by, .. }
        | Step::Attach { by, .. }
        | Step::Mint { by, .. }
        | Step::Revoke { by, .. }
        | Step::Unbind { by, .. }
        | Step::Disable { by, .. }
        | Step::Forget { by, .. } => *by,
    };
    let caller = user(town, by)?;
    let done = match step {
        Step::Bind { object, subjects, bindings, acting, .. } => {
            let mut who: Vec<String> = (0..3)
                .filter(|i| subjects & (1 << i) != 0)
                .map(|i| format!("{{kind: User, name: {}}}", USERS[i]))
                .collect();
            who.extend(
                (0..2).filter(|i| subjects & (8 << i) != 0).map(|i| format!("{{kind: Group, name: {}}}", GROUPS[i])),
            );
            who.extend((subjects & 32 != 0).then(|| "{kind: ServiceAccount, name: ci}".to_owned()));
            let yaml = format!(
                "kind: rbac\nname: r{object}\nsubjects: [{}]\nroleBindings: [{}]\n",
                who.join(", "),
                list(&BINDINGS, *bindings)
            );
            if *acting {
                let ci = account(town);
                town.apply_all_as(&caller, &ci, &yaml).is_ok()
            } else {
                town.apply_all(&caller, &yaml).is_ok()
            }
        }
        Step::Group { group, members, .. } => town
            .apply_all(
                &caller,
                &format!("kind: group\nname: {}\nmembers: [{}]\n", GROUPS[*group], list(&USERS, *members)),
            )
            .is_ok(),
        Step::Members { members, .. } => {
            town.apply_all(&caller, &format!("kind: project\nname: p\nmembers: [{}]\n", list(&USERS, *members))).is_ok()
        }
        Step::Attach { attached, .. } => {
            let servers = if *attached { "s" } else { "" };
            town.apply_all(&caller, &format!("kind: project\nname: p\nservers: [{servers}]\n")).is_ok()
        }
        Step::Mint { name, clone, .. } => {
            let rbac = if *clone { "clone" } else { "empty" };
            town.apply_all(&caller, &format!("kind: mcptoken\nname: t{name}\nproject: p\nrbac: {rbac}\n")).is_ok()
        }
        Step::Revoke { name, .. } => {
            town.act(&caller, Kind::McpToken, Some("p"), &format!("t{name}"), Box::new(McpTokenAction::Revoke)).is_ok()
        }
        Step::Unbind { object, .. } => town.delete(&caller, Kind::Rbac, None, &format!("r{object}")).is_ok(),
        Step::Disable { user, disabled, .. } => {
            town.apply_all(&caller, &format!("kind: user\nname: {}\ndisabled: {disabled}\n", USERS[*user])).is_ok()
        }
        Step::Forget { user, .. } => town.delete(&caller, Kind::User, None, USERS[*user]).is_ok(),
    };
    done.then_some(caller)
}

/// The service account of this small world.
pub(crate) fn account(town: &Town) -> Actor {
    let uid = town.uid(Kind::ServiceAccount, None, "ci");
    Actor { kind: mcpctl_core::actor::ActorKind::ServiceAccount, uid, name: "ci".to_owned() }
}

/// Every permission that everybody holds, counting what the account holds for those who may act as it (C7).
pub(crate) fn holdings(town: &Town) -> Vec<(usize, Permission)> {
    let of = |actor: &Actor| effective(&town.state, actor.uid).into_iter().map(|grant| grant.permission);
    let ci = account(town);
    let reach = |index: usize| {
        let mut held: Vec<Permission> = user(town, index).iter().flat_map(of).collect();
        let acts = held
            .iter()
            .any(|permission| ["run:impersonate", "run serviceaccounts/ci"].contains(&permission.to_string().as_str()));
        held.extend(of(&ci).filter(|_| acts));
        held
    };
    let people = (0..3).flat_map(|index| reach(index).into_iter().map(move |permission| (index, permission)));
    people.chain(of(&ci).map(|permission| (3, permission))).collect()
}

/// All atoms of this small world.
fn asks(town: &Town) -> Vec<(Verb, ResourceName, bool)> {
    let resources = [Kind::Rbac, Kind::Group, Kind::Project, Kind::Server, Kind::McpToken, Kind::User, Kind::Secret];
    let all = resources
        .iter()
        .flat_map(|kind| Verb::ALL.map(|verb| (verb, ResourceName::Kind(*kind), *kind == Kind::McpToken)));
    let _ = town;
    all.collect()
}

fn assert_tokens_are_within_their_owners(town: &Town) -> Result<(), TestCaseError> {
    let project = town.state.by_uid(town.uid(Kind::Project, None, "p")).unwrap().clone();
    for token in town.state.all(Kind::McpToken).cloned().collect::<Vec<_>>() {
        let (_, status) = token.of::<mcpctl_core::kinds::McpToken>().unwrap();
        let actor = Actor {
            kind: mcpctl_core::actor::ActorKind::McpToken,
            uid: token.meta.uid,
            name: token.meta.name.to_string(),
        };
        let owner = status.owner.clone().unwrap();
        for (verb, resource, scoped) in asks(town) {
            for text in ["p", "s", "t0", "g"] {
                let name = mcpctl_core::name::Name::parse(mcpctl_core::name::NameRule::Label, text).unwrap();
                let ask = Ask::Object {
                    verb,
                    resource,
                    project: scoped.then_some(project.meta.uid),
                    name: Some(&name),
                    uid: None,
                };
                if town.can(&actor, &ask) {
                    prop_assert!(town.can(&owner, &ask), "{actor} may {ask} and {owner} may not");
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_accepted_command_gives_a_right_that_its_caller_did_not_hold(steps in prop::collection::vec(step(), 1..30)) {
        let mut town = town();
        for step in &steps {
            let before = holdings(&town);
            let held_by_caller = {
                let caller = match step { Step::Bind { by, .. } | Step::Group { by, .. } | Step::Members { by, .. } | Step::Attach { by, .. } | Step::Mint { by, .. } | Step::Revoke { by, .. } | Step::Unbind { by, .. } | Step::Disable { by, .. } | Step::Forget { by, .. } => user(&town, *by) };
                let state = town.state.clone();
                move |permission: &Permission| caller.as_ref().is_some_and(|caller| covers(&state, caller, permission).is_some())
            };
            take(&mut town, step);
            for (who, permission) in holdings(&town) {
                if !before.contains(&(who, permission.clone())) {
                    prop_assert!(held_by_caller(&permission), "{} gained {permission} by {step:?}", USERS.get(who).unwrap_or(&"ci"));
                }
            }
            assert_tokens_are_within_their_owners(&town)?;
        }
        prop_assert_eq!(town.replayed().canonical(), town.state.canonical());
    }
}
