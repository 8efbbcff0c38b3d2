//! C7: acting as a service account: by its rights, with both names, and as a right like any other.
use mcpctl_core::access::{Ask, Verb, covers, holds, impersonates};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::kinds::{Kind, McpToken};
use mcpctl_core::record::AuthzMode;
use mcpctl_core::refusal::Refusal;
use mcpctl_core::world::World as _;

use crate::town::{BASE, Town};

const PEOPLE: &str = "
kind: user
name: alice@example.com
---
kind: user
name: bob@example.com
---
kind: serviceaccount
name: ci
---
kind: serviceaccount
name: other
---
kind: rbac
name: of-ci
subjects: [{kind: ServiceAccount, name: ci}]
roleBindings: [{role: edit, resource: servers}, {role: run, resource: projects}, {role: create, resource: mcptokens}]
---
kind: rbac
name: of-alice
subjects: [{kind: User, name: alice@example.com}]
roleBindings: [{role: run, resource: serviceaccounts, name: ci}, {role: edit, resource: rbac}, {role: edit, resource: users}]
";
const SERVER: &str = "kind: server\nname: new\ncommand: [x]\n";

fn town() -> Town {
    let mut town = Town::given(BASE);
    town.apply_all(&Actor::system("test"), PEOPLE).unwrap();
    town
}

fn account(town: &Town, name: &str) -> Actor {
    let uid = town.uid(Kind::ServiceAccount, None, name);
    Actor { kind: ActorKind::ServiceAccount, uid, name: name.to_owned() }
}

fn apply_as(town: &mut Town, who: &Actor, account: &Actor, yaml: &str) -> Result<usize, Refusal> {
    town.apply_all_as(who, account, yaml)
}

fn forbidden(result: Result<usize, Refusal>, who: &Actor, about: &str) {
    match result {
        Err(Refusal::Forbidden { actor, missing, .. }) => {
            assert_eq!((actor, missing.contains(about)), (who.to_string(), true), "{missing}");
        }
        other => panic!("expected a refusal about {about:?}, got {other:?}"),
    }
}

#[test]
fn who_may_act_as_an_account_has_its_rights_and_the_event_has_both_names_and_both_grants() {
    let mut town = town();
    let (alice, ci) = (town.user("alice@example.com"), account(&town, "ci"));
    forbidden(town.apply_all(&alice, SERVER), &alice, "edit servers/new");
    assert_eq!(apply_as(&mut town, &alice, &ci, SERVER).unwrap(), 1);
    let header = &town.records.last().unwrap().header;
    assert_eq!((&header.actor, header.on_behalf_of.as_ref()), (&alice, Some(&ci)));
    let stands_on = |who: &Actor, what: &str| {
        town.state.grants(who.uid).iter().find(|grant| grant.permission.to_string() == what).unwrap().seq
    };
    let mut both = vec![stands_on(&alice, "run serviceaccounts/ci"), stands_on(&ci, "edit servers")];
    both.sort_unstable();
    assert_eq!((header.authz.mode, &header.authz.via), (AuthzMode::Rbac, &both));
    assert_eq!(town.replayed().canonical(), town.state.canonical());
}

#[test]
fn only_the_account_that_was_named_and_only_with_the_right_in_force_now() {
    let mut town = town();
    let (alice, bob) = (town.user("alice@example.com"), town.user("bob@example.com"));
    let (ci, other) = (account(&town, "ci"), account(&town, "other"));
    forbidden(apply_as(&mut town, &alice, &other, SERVER), &alice, "run serviceaccounts/other");
    forbidden(apply_as(&mut town, &bob, &ci, SERVER), &bob, "run serviceaccounts/ci");
    town.apply_all(&Actor::system("test"), "kind: rbac\nname: any\nsubjects: [{kind: User, name: bob@example.com}]\nroleBindings: [{role: run, action: impersonate}]\n").unwrap();
    assert_eq!(apply_as(&mut town, &bob, &ci, SERVER).unwrap(), 1);
    // What the account lacks the person behind it does not lend.
    forbidden(
        apply_as(
            &mut town,
            &alice,
            &ci,
            "kind: rbac\nname: x\nsubjects: []\nroleBindings: [{role: view, resource: servers}]\n",
        ),
        &ci,
        "edit rbac/x",
    );
    town.delete(&Actor::system("test"), Kind::Rbac, None, "of-alice").unwrap();
    forbidden(apply_as(&mut town, &alice, &ci, SERVER), &alice, "run serviceaccounts/ci");
    town.apply_all(&Actor::system("test"), "kind: serviceaccount\nname: ci\ndisabled: true\n").unwrap();
    assert!(apply_as(&mut town, &bob, &ci, "kind: server\nname: n2\ncommand: [x]\n").is_err());
}

#[test]
fn no_token_acts_as_an_account_and_nobody_as_a_person() {
    let mut town = town();
    town.apply_all(&Actor::system("test"), "kind: rbac\nname: all\nsubjects: [{kind: User, name: bob@example.com}]\nroleBindings: [{role: edit, resource: '*'}, {role: run, resource: '*'}, {role: run, action: '*'}]\n").unwrap();
    let bob = town.user("bob@example.com");
    town.apply_all(&bob, "kind: mcptoken\nname: t\nproject: base\nrbac: clone\n").unwrap();
    let (token, ci, alice) = (town.token("base", "t"), account(&town, "ci"), town.user("alice@example.com"));
    assert!(apply_as(&mut town, &bob, &ci, SERVER).is_ok());
    forbidden(
        apply_as(&mut town, &token, &ci, "kind: server\nname: n2\ncommand: [x]\n"),
        &token,
        "run serviceaccounts/ci",
    );
    let object = town.state.by_uid(ci.uid).unwrap();
    assert!(!impersonates(&town.state, &token, object, town.now).allowed);
    forbidden(
        apply_as(
            &mut town,
            &bob,
            &alice,
            "kind: rbac\nname: x\nsubjects: []\nroleBindings: [{role: run, action: logs}]\n",
        ),
        &bob,
        "serviceaccounts/alice",
    );
}

#[test]
fn what_the_account_holds_counts_as_held_when_rights_are_given_and_when_a_password_is_set() {
    let mut town = town();
    let alice = town.user("alice@example.com");
    let bind = |what: &str| {
        format!("kind: rbac\nname: more\nsubjects: [{{kind: User, name: bob@example.com}}]\nroleBindings: [{what}]\n")
    };
    forbidden(town.apply_all(&alice, &bind("{role: edit, resource: secrets}")), &alice, "edit secrets");
    assert_eq!(town.apply_all(&alice, &bind("{role: view, resource: servers}")).unwrap(), 1);
    let via = town.records.last().unwrap().header.authz.via.clone();
    let key = |what: &str| town.state.grants(alice.uid).iter().find(|g| g.permission.to_string() == what).unwrap().seq;
    assert!(via.contains(&key("run serviceaccounts/ci")), "it stands on the right to act as the account: {via:?}");
    // To give the right to act as an account, one holds it.
    forbidden(town.apply_all(&alice, &bind("{role: run, resource: serviceaccounts}")), &alice, "run serviceaccounts");
    assert_eq!(town.apply_all(&alice, &bind("{role: run, resource: serviceaccounts, name: ci}")).unwrap(), 1);
    let bob = town.user("bob@example.com");
    let servers = "role:edit,resource:servers".parse().unwrap();
    assert!(covers(&town.state, &bob, &servers).is_some() && holds(&town.state, bob.uid, &servers).is_none());
    // And whoever may act as it can't be taken over by one who may not.
    town.apply_all(&Actor::system("test"), "kind: rbac\nname: of-alice\nsubjects: [{kind: User, name: alice@example.com}]\nroleBindings: [{role: edit, resource: users}]\n").unwrap();
    let set = mcpctl_core::kinds::UserAction::SetPassword(mcpctl_core::kinds::PasswordVersion {
        version: 1,
        commitment: mcpctl_core::ids::Digest::default(),
    });
    let refused = town.act(&alice, Kind::User, None, "bob@example.com", Box::new(set)).map(|done| done.drafts.len());
    forbidden(refused, &alice, "set the password");
}

#[test]
fn the_operation_that_acts_as_any_account_lends_what_they_hold_and_no_other_operation_does() {
    let servers = "role:edit,resource:servers".parse().unwrap();
    for (action, lends) in [("impersonate", true), ("'*'", true), ("logs", false), ("bind", false), ("audit", false)] {
        let mut town = town();
        let of_bob = format!(
            "kind: rbac\nname: of-bob\nsubjects: [{{kind: User, name: bob@example.com}}]\nroleBindings: [{{role: run, action: {action}}}]\n"
        );
        town.apply_all(&Actor::system("test"), &of_bob).unwrap();
        let bob = town.user("bob@example.com");
        assert_eq!(covers(&town.state, &bob, &servers).is_some(), lends, "{action}");
        assert!(holds(&town.state, bob.uid, &servers).is_none());
    }
}

#[test]
fn a_disabled_account_lends_nothing_to_who_may_act_as_it() {
    let mut town = town();
    let alice = town.user("alice@example.com");
    town.apply_all(&Actor::system("test"), "kind: serviceaccount\nname: ci\ndisabled: true\n").unwrap();
    let give = "kind: rbac\nname: more\nsubjects: [{kind: User, name: bob@example.com}]\nroleBindings: [{role: view, resource: servers}]\n";
    forbidden(town.apply_all(&alice, give), &alice, "view servers");
    town.apply_all(&Actor::system("test"), "kind: serviceaccount\nname: ci\n").unwrap();
    assert_eq!(town.apply_all(&alice, give).unwrap(), 1);
}

#[test]
fn a_token_made_as_an_account_is_the_accounts_and_outlives_the_person() {
    let mut town = town();
    let (alice, ci) = (town.user("alice@example.com"), account(&town, "ci"));
    assert_eq!(apply_as(&mut town, &alice, &ci, "kind: mcptoken\nname: t\nproject: base\n").unwrap(), 2);
    let token = town.token("base", "t");
    let project = town.state.by_uid(town.uid(Kind::Project, None, "base")).unwrap().clone();
    assert!(town.can(&token, &Ask::on(Verb::Run, &project)));
    let owner = town.state.by_uid(token.uid).unwrap().of::<McpToken>().unwrap().1.owner.clone();
    assert_eq!(owner.as_ref(), Some(&ci));
    town.delete(&Actor::system("test"), Kind::User, None, "alice@example.com").unwrap();
    assert!(town.can(&token, &Ask::on(Verb::Run, &project)));
    town.apply_all(&Actor::system("test"), "kind: serviceaccount\nname: ci\ndisabled: true\n").unwrap();
    assert!(!town.can(&token, &Ask::on(Verb::Run, &project)));
}
