//! The organisation's policy: how long tokens live, how far rights are passed on.
use mcpctl_core::actor::Actor;
use mcpctl_core::kinds::Kind;
use mcpctl_core::refusal::Refusal;
use mcpctl_core::world::World as _;

use crate::town::{BASE, Town};

const PEOPLE: &str = "
kind: user
name: root@example.com
---
kind: user
name: one@example.com
---
kind: user
name: two@example.com
---
kind: user
name: three@example.com
---
kind: group
name: g
---
kind: rbac
name: root
subjects: [{kind: User, name: root@example.com}]
roleBindings: [{role: edit, resource: '*'}, {role: run, resource: '*'}]
";

fn town(policy: &str) -> Town {
    let mut town = Town::given(BASE);
    town.apply_all(&Actor::system("test"), PEOPLE).unwrap();
    let root = town.user("root@example.com");
    if !policy.is_empty() {
        town.apply_all(&root, &format!("kind: policy\nname: organisation\n{policy}\n")).unwrap();
    }
    town
}

/// Gives somebody the right to give rights.
fn pass_on(town: &mut Town, from: &str, to: &str) -> Result<usize, Refusal> {
    let from = town.user(from);
    town.apply_all(&from, &format!("kind: rbac\nname: of-{}\nsubjects: [{{kind: User, name: {to}}}]\nroleBindings: [{{role: edit, resource: rbac}}, {{role: edit, resource: groups}}]\n", &to[..3]))
}

fn too_deep(result: Result<usize, Refusal>, depth: u32, allowed: u32) {
    match result {
        Err(Refusal::Impossible { what, .. }) => {
            assert!(
                what.contains(&format!("a chain of {depth} grants")) && what.ends_with(&format!("allows {allowed}")),
                "{what}"
            );
        }
        other => panic!("expected a refusal for depth {depth}, got {other:?}"),
    }
}

#[test]
fn rights_are_passed_on_as_far_as_the_policy_says_and_without_one_for_ever() {
    let mut free = town("");
    for (from, to) in [("root", "one"), ("one", "two"), ("two", "three")] {
        pass_on(&mut free, &format!("{from}@example.com"), &format!("{to}@example.com")).unwrap();
    }
    let depths: Vec<u32> = ["root", "one", "two", "three"]
        .map(|who| free.state.grants(free.user(&format!("{who}@example.com")).uid)[0].seq)
        .map(|seq| free.state.depth(seq))
        .into();
    assert_eq!(depths, [0, 1, 2, 3]);
    assert_eq!(free.replayed().canonical(), free.state.canonical());
    for allowed in 1..3 {
        let mut town = town(&format!("delegationDepth: {allowed}"));
        let people = ["root@example.com", "one@example.com", "two@example.com", "three@example.com"];
        for (index, pair) in (1u32..).zip(people.windows(2)) {
            let result = pass_on(&mut town, pair[0], pair[1]);
            if index <= allowed {
                result.unwrap();
            } else {
                too_deep(result, index, allowed);
                break;
            }
        }
    }
}

#[test]
fn a_membership_is_a_link_of_the_chain_like_a_binding() {
    let mut town = town("delegationDepth: 2");
    town.apply_all(
        &Actor::system("test"),
        "kind: rbac\nname: of-g\nsubjects: [{kind: Group, name: g}]\nroleBindings: [{role: edit, resource: groups}]\n",
    )
    .unwrap();
    let members = |list: &str| format!("kind: group\nname: g\nmembers: [{list}]\n");
    let root = town.user("root@example.com");
    town.apply_all(&root, &members("one@example.com")).unwrap();
    let one = town.user("one@example.com");
    town.apply_all(&one, &members("one@example.com, two@example.com")).unwrap();
    let two = town.user("two@example.com");
    too_deep(town.apply_all(&two, &members("one@example.com, two@example.com, three@example.com")), 3, 2);
    // Taking away gives nobody anything.
    town.apply_all(&two, &members("two@example.com")).unwrap();
}

#[test]
fn no_token_lives_longer_than_the_policy_says_whoever_owns_it() {
    let mut town = town("maxTtl: 30d");
    town.apply_all(&Actor::system("test"), "kind: serviceaccount\nname: ci\n---\nkind: rbac\nname: ci\nsubjects: [{kind: ServiceAccount, name: ci}]\nroleBindings: [{role: run, resource: projects}, {role: create, resource: mcptokens}]\n").unwrap();
    let ci = Actor {
        kind: mcpctl_core::actor::ActorKind::ServiceAccount,
        uid: town.uid(Kind::ServiceAccount, None, "ci"),
        name: "ci".to_owned(),
    };
    for owner in [town.user("root@example.com"), ci] {
        let name = format!("t{}", owner.uid).to_lowercase();
        for (ttl, about) in [
            ("", "is missing"),
            ("ttl: never\n", "is missing"),
            ("ttl: 31d\n", "is longer than"),
            ("ttl: '2099-01-01'\n", "is longer than"),
        ] {
            let refused = town.apply_all(&owner, &format!("kind: mcptoken\nname: {name}\nproject: base\n{ttl}"));
            let Err(Refusal::Invalid(violations)) = refused else { panic!("{ttl}: {refused:?}") };
            assert_eq!((violations.len(), violations[0].field.as_str()), (1, "ttl"));
            assert!(
                violations[0].message.contains(about) && violations[0].hint.as_ref().unwrap().contains("30d"),
                "{violations:?}"
            );
        }
        assert_eq!(
            town.apply_all(&owner, &format!("kind: mcptoken\nname: {name}\nproject: base\nttl: 30d\n")).unwrap(),
            2
        );
    }
    // What was made before lives on; what is made after the policy went, too.
    let root = town.user("root@example.com");
    town.delete(&root, Kind::Policy, None, "organisation").unwrap();
    assert_eq!(town.apply_all(&root, "kind: mcptoken\nname: for-ever\nproject: base\n").unwrap(), 2);
}

#[test]
fn there_is_one_policy_and_changing_it_takes_edit_on_it() {
    let mut town = town("maxTtl: 30d");
    let root = town.user("root@example.com");
    for (yaml, field) in [
        ("kind: policy\nname: other\nmaxTtl: 1d\n", "name"),
        ("kind: policy\nname: organisation\nmaxTtl: soon\n", "maxTtl"),
        ("kind: policy\nname: organisation\ndelegationDepth: 0\n", "delegationDepth"),
        ("kind: policy\nname: organisation\ndelegationDepth: 65\n", "delegationDepth"),
    ] {
        let Err(Refusal::Invalid(violations)) = town.apply_all(&root, yaml) else { panic!("{yaml}") };
        assert_eq!(violations[0].field, field);
    }
    let one = town.user("one@example.com");
    let change = "kind: policy\nname: organisation\nmaxTtl: 90d\n";
    assert!(matches!(town.apply_all(&one, change), Err(Refusal::Forbidden { .. })));
    let may = |role: &str| {
        format!(
            "kind: rbac\nname: p\nsubjects: [{{kind: User, name: one@example.com}}]\nroleBindings: [{{role: {role}, resource: policies}}]\n"
        )
    };
    town.apply_all(&root, &may("view")).unwrap();
    assert!(matches!(town.apply_all(&one, change), Err(Refusal::Forbidden { .. })));
    town.apply_all(&root, &may("edit")).unwrap();
    assert_eq!(town.apply_all(&one, change).unwrap(), 1);
}
