//! C9: somebody can always administer.
use mcpctl_core::access::{Ask, Verb};
use mcpctl_core::actor::Actor;
use mcpctl_core::command::is_administrator;
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::{Kind, PasswordVersion, User, UserAction};
use mcpctl_core::refusal::Refusal;
use mcpctl_core::world::World as _;
use proptest::prelude::*;

use crate::escalation::{USERS, step, take, town as escalating_town, user};
use crate::town::Town;

const ADMIN: &str = "a@example.com";

/// One administrator, `a`, by the binding `r0`, which the random steps reach too.
fn town() -> Town {
    let mut town = escalating_town();
    town.apply_all(
        &Actor::system("test"),
        "kind: rbac\nname: r0\nsubjects: [{kind: User, name: a@example.com}]\nroleBindings: [{role: edit, resource: '*'}, {role: run, resource: '*'}, {role: run, action: '*'}]\n",
    )
    .unwrap();
    for person in USERS {
        password(&mut town, person);
    }
    town
}

fn password(town: &mut Town, person: &str) {
    let set = UserAction::SetPassword(PasswordVersion { version: 1, commitment: Digest::default() });
    town.act(&Actor::system("test"), Kind::User, None, person, Box::new(set)).unwrap();
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>) {
    match result {
        Err(Refusal::Impossible { what, hint }) => {
            assert!(what.starts_with("nobody could administer after this"), "{what}");
            assert!(hint.contains("mcpctl recover admin"), "{hint}");
        }
        other => panic!("expected the guard's refusal, got {other:?}"),
    }
}

type Attempt = fn(&mut Town, &Actor) -> Result<usize, Refusal>;

/// The commands that would take away the one administrator, each of another kind.
fn attempts() -> Vec<(&'static str, Attempt)> {
    vec![
        ("disable the person", |town, by| town.apply_all(by, "kind: user\nname: a@example.com\ndisabled: true\n")),
        ("delete the person", |town, by| town.delete(by, Kind::User, None, ADMIN).map(|done| done.drafts.len())),
        ("delete the binding", |town, by| town.delete(by, Kind::Rbac, None, "r0").map(|done| done.drafts.len())),
        ("narrow the binding", |town, by| {
            town.apply_all(by, "kind: rbac\nname: r0\nsubjects: [{kind: User, name: a@example.com}]\nroleBindings: [{role: view, resource: '*'}]\n")
        }),
        ("bind it to somebody who can't sign in", |town, by| {
            town.apply_all(by, "kind: user\nname: new@example.com\n")?;
            town.apply_all(by, "kind: rbac\nname: r0\nsubjects: [{kind: User, name: new@example.com}]\nroleBindings: [{role: edit, resource: '*'}, {role: run, action: '*'}]\n")
        }),
        ("bind it to a machine", |town, by| {
            town.apply_all(by, "kind: serviceaccount\nname: ci\n")?;
            town.apply_all(by, "kind: rbac\nname: r0\nsubjects: [{kind: ServiceAccount, name: ci}]\nroleBindings: [{role: edit, resource: '*'}, {role: run, action: '*'}]\n")
        }),
        ("name an empty group", |town, by| {
            town.apply_all(by, "kind: group\nname: none\n")?;
            town.apply_all(by, "kind: rbac\nname: r0\nsubjects: [{kind: Group, name: none}]\nroleBindings: [{role: edit, resource: '*'}, {role: run, action: '*'}]\n")
        }),
    ]
}

#[test]
fn no_kind_of_command_takes_the_last_administrator_away_not_even_the_control_planes_own() {
    for (what, attempt) in attempts() {
        let mut town = town();
        let (admin, before) = (town.user(ADMIN), town.state.seq());
        eprintln!("{what}");
        refused(attempt(&mut town, &admin));
        let mut town = self::town();
        refused(attempt(&mut town, &Actor::system("test")));
        assert!(is_administrator(&town.state, admin.uid) || before > town.state.seq());
    }
}

#[test]
fn the_same_commands_are_fine_once_there_is_another_administrator() {
    for (what, attempt) in attempts() {
        let mut town = town();
        let admin = town.user(ADMIN);
        let other = "kind: rbac\nname: other\nsubjects: [{kind: User, name: b@example.com}]\nroleBindings: [{role: edit, resource: rbac}, {role: run, action: bind}]\n";
        assert!(!is_administrator(&town.state, town.user("b@example.com").uid));
        town.apply_all(&admin, other).unwrap();
        assert!(attempt(&mut town, &admin).is_ok(), "{what}");
        assert!(is_administrator(&town.state, town.user("b@example.com").uid));
    }
}

#[test]
fn the_last_way_through_a_group_is_kept_too() {
    let mut town = town();
    let admin = town.user(ADMIN);
    town.apply_all(&admin, "kind: group\nname: g\nmembers: [a@example.com, b@example.com]\n").unwrap();
    let by_group = "kind: rbac\nname: r0\nsubjects: [{kind: Group, name: g}]\nroleBindings: [{role: edit, resource: '*'}, {role: run, action: '*'}]\n";
    town.apply_all(&admin, by_group).unwrap();
    town.apply_all(&admin, "kind: group\nname: g\nmembers: [b@example.com]\n").unwrap();
    let b = town.user("b@example.com");
    refused(town.apply_all(&b, "kind: group\nname: g\nmembers: []\n"));
    refused(town.delete(&b, Kind::User, None, "b@example.com"));
    // A group that rights are bound to and that somebody still needs is refused by itself, whoever is in it.
    assert!(town.delete(&b, Kind::Group, None, "g").is_err());
    assert!(is_administrator(&town.state, b.uid));
}

#[test]
fn half_of_what_it_takes_makes_no_administrator_and_where_none_was_none_is_missed() {
    let mut town = town();
    let admin = town.user(ADMIN);
    for half in [
        "{role: edit, resource: '*'}, {role: run, resource: '*'}",
        "{role: run, action: '*'}, {role: edit, resource: rbac, name: r1}",
    ] {
        let yaml = format!(
            "kind: rbac\nname: half\nsubjects: [{{kind: User, name: c@example.com}}]\nroleBindings: [{half}]\n"
        );
        town.apply_all(&admin, &yaml).unwrap();
        refused(town.delete(&admin, Kind::User, None, ADMIN));
    }
    let mut none = escalating_town();
    assert!(none.delete(&Actor::system("test"), Kind::Rbac, None, "strong").is_ok());
    assert!(none.delete(&Actor::system("test"), Kind::User, None, ADMIN).is_ok());
}

/// Whether somebody can administer, said without the code under test: by asking the access decision about everybody.
fn somebody_administers(town: &Town) -> bool {
    let other = mcpctl_core::name::Name::parse(mcpctl_core::name::NameRule::Label, "any-other").unwrap();
    (0..3).filter_map(|index| user(town, index)).any(|person| {
        let object = town.state.by_uid(person.uid).unwrap();
        let (spec, status) = object.of::<User>().unwrap();
        !spec.disabled
            && status.password.is_some()
            && town.can(&person, &Ask::named(Verb::Edit, Kind::Rbac, None, &other))
            && town.can(&person, &Ask::Operation("bind"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn after_any_accepted_commands_there_is_an_administrator(steps in prop::collection::vec(step(), 1..40)) {
        let mut town = town();
        for step in &steps {
            take(&mut town, step);
            prop_assert!(somebody_administers(&town), "nobody after {step:?}");
        }
    }
}
