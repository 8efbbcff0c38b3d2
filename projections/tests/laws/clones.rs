//! `--rbac clone`, `--bind` and `--ttl`: what a token starts with, and each refusal.
use mcpctl_core::access::{Ask, Permission, Verb, effective};
use mcpctl_core::actor::Actor;
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::refusal::Refusal;
use mcpctl_core::world::World as _;
use proptest::prelude::*;

use crate::town::{BASE, Town};

/// `base` has the server `base`; `spare` is another one.
fn town(bindings: &str) -> Town {
    let mut town = Town::given(BASE);
    town.apply_all(
        &Actor::system("test"),
        &format!("kind: user\nname: ann@example.com\n---\nkind: server\nname: spare\ncommand: [x]\n---\nkind: serviceaccount\nname: ci\n---\nkind: rbac\nname: ann\nsubjects: [{{kind: User, name: ann@example.com}}]\nroleBindings: [{bindings}]\n"),
    )
    .unwrap();
    town
}

/// What a clone of ann's rights is given, as bindings read.
fn clone_of(town: &mut Town) -> Vec<String> {
    let ann = town.user("ann@example.com");
    town.apply_all(&ann, "kind: mcptoken\nname: t\nproject: base\nrbac: clone\nttl: 30d\n").unwrap();
    let token = town.token("base", "t");
    effective(&town.state, token.uid).into_iter().map(|grant| grant.permission.to_string()).collect()
}

const MAY: &str = "{role: create, resource: mcptokens}, {role: run, resource: projects}";

#[test]
fn a_clone_is_what_lies_inside_the_project_and_is_a_tokens_to_have() {
    for (held, given) in [
        ("", vec!["run projects/base"]),
        ("{role: edit, resource: projects}", vec!["edit projects/base", "run projects/base"]),
        ("{role: create, resource: projects}", vec!["run projects/base"]),
        ("{role: edit, resource: projects, name: other}", vec!["run projects/base"]),
        ("{role: edit, resource: servers}", vec!["run projects/base", "view servers/base"]),
        ("{role: run, resource: servers}", vec!["run projects/base", "run servers/base"]),
        ("{role: run, resource: servers, name: spare}", vec!["run projects/base"]),
        ("{role: edit, resource: mcptokens}", vec!["run projects/base", "delete mcptokens", "view mcptokens"]),
        (
            "{role: view, resource: secrets}, {role: edit, resource: rbac}, {role: edit, resource: users}",
            vec!["run projects/base"],
        ),
        ("{role: run, action: '*'}", vec!["run projects/base"]),
        ("{role: run, resource: serviceaccounts}", vec!["run projects/base"]),
        (
            "{role: view, resource: '*'}",
            vec![
                "run projects/base",
                "view projects/base",
                "view mcptokens",
                "view servers/base",
                "view instances/base",
            ],
        ),
    ] {
        let mut town = town(&[MAY, held].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", "));
        let (mut found, mut given) = (clone_of(&mut town), given);
        found.sort_unstable();
        given.sort_unstable();
        assert_eq!(found, given, "{held}");
    }
}

#[test]
fn a_clone_does_not_grow_with_its_owner_nor_with_its_project() {
    let mut town = town(&format!("{MAY}, {{role: run, resource: servers}}"));
    clone_of(&mut town);
    let token = town.token("base", "t");
    let spare = town.state.by_uid(town.uid(Kind::Server, None, "spare")).unwrap().clone();
    let base = town.state.by_uid(town.uid(Kind::Server, None, "base")).unwrap().clone();
    let system = Actor::system("test");
    town.apply_all(&system, "kind: project\nname: base\nservers: [base, spare]\n").unwrap();
    assert!(town.can(&token, &Ask::on(Verb::Run, &base)) && !town.can(&token, &Ask::on(Verb::Run, &spare)));
    town.apply_all(&system, "kind: rbac\nname: more\nsubjects: [{kind: User, name: ann@example.com}]\nroleBindings: [{role: edit, resource: '*'}, {role: run, action: '*'}]\n").unwrap();
    assert!(!town.can(&token, &Ask::on(Verb::View, &base)), "what the owner got later");
}

#[test]
fn each_binding_that_a_token_may_not_have_is_refused_and_says_why() {
    let all = "{role: edit, resource: '*'}, {role: run, resource: '*'}, {role: run, action: '*'}";
    for (binding, about) in [
        ("{role: view, resource: '*'}", "beyond its project"),
        ("{role: run, action: impersonate}", "beyond its project"),
        ("{role: run, action: bind}", "beyond its project"),
        ("{role: run, action: backup}", "beyond its project"),
        ("{role: run, action: restore}", "beyond its project"),
        ("{role: run, action: migrate-secrets}", "beyond its project"),
        ("{role: edit, resource: mcptokens}", "beyond its project"),
        ("{role: create, resource: mcptokens}", "beyond its project"),
        ("{role: create, resource: projects, name: base}", "beyond its project"),
        ("{role: edit, resource: projects, name: other}", "beyond its project"),
        ("{role: run, resource: servers}", "beyond its project"),
        ("{role: run, resource: servers, name: spare}", "beyond its project"),
        ("{role: edit, resource: servers, name: base}", "beyond its project"),
        ("{role: run, resource: serviceaccounts, name: ci}", "beyond its project"),
        ("{role: view, resource: policies}", "beyond its project"),
    ] {
        let mut town = town(all);
        let ann = town.user("ann@example.com");
        let refused = town.apply_all(&ann, &format!("kind: mcptoken\nname: t\nproject: base\nbindings: [{binding}]\n"));
        let Err(Refusal::Forbidden { missing, .. }) = refused else { panic!("{binding}: {refused:?}") };
        assert!(missing.contains(about), "{binding}: {missing}");
    }
    // Held through an account is not held by the person, and a token has nothing through an account.
    let mut town = town(&format!("{MAY}, {{role: run, resource: serviceaccounts}}"));
    town.apply_all(&Actor::system("test"), "kind: rbac\nname: ci\nsubjects: [{kind: ServiceAccount, name: ci}]\nroleBindings: [{role: run, resource: servers}]\n").unwrap();
    let ann = town.user("ann@example.com");
    let refused = town.apply_all(
        &ann,
        "kind: mcptoken\nname: t\nproject: base\nbindings: [{role: run, resource: servers, name: base}]\n",
    );
    assert!(
        matches!(&refused, Err(Refusal::Forbidden { missing, .. }) if missing.contains("without holding it")),
        "{refused:?}"
    );
}

#[test]
fn a_time_to_live_is_a_span_a_date_or_never_and_anything_else_is_refused() {
    let mut town = town(MAY);
    let ann = town.user("ann@example.com");
    for (index, (ttl, lives)) in
        [("30d", true), ("12h", true), ("never", false), ("2099-01-31", true)].into_iter().enumerate()
    {
        town.apply_all(&ann, &format!("kind: mcptoken\nname: t{index}\nproject: base\nttl: '{ttl}'\n")).unwrap();
        let token = town.token("base", &format!("t{index}"));
        let due = town.state.by_uid(token.uid).unwrap().body.due();
        assert_eq!(due.is_some(), lives, "{ttl}");
    }
    for ttl in ["soon", "0d", "-1d", "30", "30x", "2001-01-01", "1000000w", ""] {
        let refused = town.apply_all(&ann, &format!("kind: mcptoken\nname: bad\nproject: base\nttl: '{ttl}'\n"));
        let Err(Refusal::Invalid(violations)) = refused else { panic!("{ttl:?}: {refused:?}") };
        assert_eq!(violations[0].field, "ttl", "{ttl:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever the owner holds: a clone is given nothing that answers a question with yes which is not about its project.
    #[test]
    fn every_right_of_a_clone_is_inside_its_project_and_its_owners(
        roles in prop::collection::vec((0usize..5, 0usize..7, 0usize..3), 0..6),
    ) {
        let of = |(role, resource, name): &(usize, usize, usize)| {
            let role = ["view", "create", "delete", "edit", "run"][*role];
            let resource = ["'*'", "projects", "servers", "instances", "mcptokens", "secrets", "rbac"][*resource];
            let name = ["", ", name: base", ", name: spare"][*name];
            format!("{{role: {role}, resource: {resource}{name}}}")
        };
        let held: Vec<String> = [MAY.to_owned()].into_iter().chain(roles.iter().map(of)).collect();
        let mut town = town(&held.join(", "));
        clone_of(&mut town);
        let (token, ann) = (town.token("base", "t"), town.user("ann@example.com"));
        let project = town.uid(Kind::Project, None, "base");
        for grant in effective(&town.state, token.uid) {
            let Permission::Resource { role, resource, name } = &grant.permission else { panic!("{}", grant.permission) };
            let some = Name::parse(NameRule::Label, "some").unwrap();
            let lives_in = (resource.to_string() == "mcptokens").then_some(project);
            for verb in role.verbs() {
                let name = Some(name.as_ref().unwrap_or(&some));
                let ask = Ask::Object { verb: *verb, resource: *resource, project: lives_in, name, uid: None };
                let useless = *verb == Verb::Create && resource.to_string() == "projects";
                prop_assert!(useless || town.can(&token, &ask), "{} gives no {ask}", grant.permission);
                prop_assert!(town.can(&ann, &ask), "{} is not the owner's", grant.permission);
            }
        }
    }
}
