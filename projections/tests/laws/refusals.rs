//! What is refused, to whom, and in which words: nobody is let through by a rule that was meant for somebody else, and
//! nobody learns what is there.
use mcpctl_core::actor::Actor;
use mcpctl_core::command::{Command, Decided, Deed, Mode};
use mcpctl_core::erased::AnyAction;
use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::kinds::{Kind, PasswordVersion, UserAction};
use mcpctl_core::manifest;
use mcpctl_core::refusal::Refusal;
use mcpctl_core::world::World as _;

use crate::town::{BASE, Town};

const PEOPLE: &str = "
kind: user
name: ann@example.com
---
kind: user
name: bob@example.com
---
kind: rbac
name: bob
subjects: [{kind: User, name: bob@example.com}]
roleBindings: [{role: view, resource: servers}, {role: delete, resource: servers}]
---
kind: rbac
name: ann
subjects: [{kind: User, name: ann@example.com}]
roleBindings: [{role: edit, resource: servers}]
";

fn town() -> Town {
    let mut town = Town::given(BASE);
    town.apply_all(&Actor::system("test"), PEOPLE).unwrap();
    town
}

fn password() -> AnyAction {
    Box::new(UserAction::SetPassword(PasswordVersion { version: 1, commitment: Digest::default() }))
}

/// An apply of one manifest with what is done besides.
fn applied(town: &mut Town, who: &Actor, yaml: &str, then: Vec<AnyAction>) -> Result<Decided, Refusal> {
    let manifest = manifest::read(manifest::documents(yaml).unwrap().remove(0)).unwrap();
    let deed = Deed::Apply { body: manifest.body, mode: Mode::Upsert, expected: None, then };
    town.command(who, Command { kind: manifest.kind, name: manifest.name, project: manifest.project, deed })
}

#[track_caller]
fn missing(result: Result<Decided, Refusal>) -> String {
    match result {
        Err(Refusal::Forbidden { missing, .. }) => missing,
        other => panic!("expected a refusal, got {:?}", other.map(|decided| decided.drafts.len())),
    }
}

#[test]
fn an_own_password_takes_no_right_and_brings_nothing_else_along() {
    let mut town = town();
    let bob = town.user("bob@example.com");
    let (own, renamed) = ("kind: user\nname: bob@example.com\n", "kind: user\nname: bob@example.com\ndisplayName: B\n");
    assert_eq!(applied(&mut town, &bob, own, vec![password()]).unwrap().drafts.len(), 1);
    for (manifest, then) in
        [(renamed, vec![password()]), (own, Vec::new()), ("kind: user\nname: ann@example.com\n", vec![password()])]
    {
        let told = missing(applied(&mut town, &bob, manifest, then));
        assert!(told.starts_with("edit users/"), "{told}");
    }
}

#[test]
fn what_only_the_control_plane_does_nobody_else_does() {
    let mut town = town();
    let expires_at = town.now.plus_millis(60_000);
    let open = || Box::new(UserAction::OpenLogin { digest: Digest::default(), expires_at, checked: None });
    let admin = "kind: rbac\nname: all\nsubjects: [{kind: User, name: ann@example.com}]\nroleBindings: [{role: edit, resource: '*'}, {role: run, action: '*'}]\n";
    town.apply_all(&Actor::system("test"), admin).unwrap();
    let ann = town.user("ann@example.com");
    for person in ["ann@example.com", "bob@example.com"] {
        let told = missing(town.act(&ann, Kind::User, None, person, open()));
        assert!(told.contains("only the control plane"), "{told}");
    }
}

#[test]
fn who_may_not_use_a_secret_is_not_told_whether_it_is_there() {
    let mut town = town();
    let server = |secret: &str| {
        format!(
            "kind: server\nname: new\ncommand: [x]\nenv: [{{name: K, valueFrom: {{secretRef: {{name: {secret}, key: k}}}}}}]\n"
        )
    };
    let ann = town.user("ann@example.com");
    for secret in ["base", "absent"] {
        let told = missing(applied(&mut town, &ann, &server(secret), Vec::new()));
        assert_eq!(told, format!("run secrets/{secret}"));
    }
    let may = "kind: rbac\nname: more\nsubjects: [{kind: User, name: ann@example.com}]\nroleBindings: [{role: run, resource: secrets}]\n";
    town.apply_all(&Actor::system("test"), may).unwrap();
    match applied(&mut town, &ann, &server("absent"), Vec::new()).map(|decided| decided.drafts.len()) {
        Err(Refusal::Invalid(violations)) => assert!(format!("{violations:?}").contains("does not exist")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_there_is_told_to_who_may_see_it_and_hidden_from_the_rest() {
    let mut town = town();
    let (ann, bob) = (town.user("ann@example.com"), town.user("bob@example.com"));
    match town.delete(&bob, Kind::Server, None, "absent").map(|decided| decided.drafts.len()) {
        Err(Refusal::NotFound { object }) => assert_eq!(object, "server/absent"),
        other => panic!("{other:?}"),
    }
    for name in ["base", "absent"] {
        assert_eq!(missing(town.delete(&ann, Kind::Secret, None, name)), format!("delete secrets/{name}"));
    }
}

#[test]
fn a_change_of_a_version_that_was_seen_is_done_and_of_another_refused() {
    let mut town = town();
    let (ann, system) = (town.user("ann@example.com"), Actor::system("test"));
    town.apply_all(&system, "kind: server\nname: new\ncommand: [x]\n").unwrap();
    let seen = town.state.by_uid(town.uid(Kind::Server, None, "new")).unwrap().meta.resource_version;
    let command = |expected: u64| {
        let manifest =
            manifest::read(manifest::documents("kind: server\nname: new\ncommand: [y]\n").unwrap().remove(0));
        let manifest = manifest.unwrap();
        let deed =
            Deed::Apply { body: manifest.body, mode: Mode::Upsert, expected: Some(Seq(expected)), then: Vec::new() };
        Command { kind: manifest.kind, name: manifest.name, project: manifest.project, deed }
    };
    match town.command(&ann, command(seen.0 - 1)).map(|decided| decided.drafts.len()) {
        Err(Refusal::Conflict { object, expected, found }) => {
            assert_eq!((object.as_str(), expected, found), ("server/new", Seq(seen.0 - 1), seen));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(town.command(&ann, command(seen.0)).unwrap().drafts.len(), 1);
}

#[test]
fn what_still_uses_an_object_is_named_or_counted() {
    let mut town = town();
    let bob = town.user("bob@example.com");
    match town.delete(&bob, Kind::Server, None, "base").map(|decided| decided.drafts.len()) {
        Err(Refusal::InUse { object, by }) => {
            assert_eq!((object.as_str(), &by[..]), ("server/base", &["1 that you may not see".to_owned()][..]));
        }
        other => panic!("{other:?}"),
    }
    match town.delete(&Actor::system("test"), Kind::Server, None, "base").map(|decided| decided.drafts.len()) {
        Err(Refusal::InUse { by, .. }) => assert_eq!(by, ["project/base"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn whoever_goes_away_is_taken_out_of_what_names_them_and_nothing_else_is() {
    let mut town = town();
    let system = Actor::system("test");
    let more = "kind: serviceaccount\nname: ci\n---\nkind: group\nname: crew\n---\nkind: rbac\nname: both\nsubjects: [{kind: Group, name: crew}, {kind: ServiceAccount, name: ci}, {kind: User, name: bob@example.com}]\nroleBindings: [{role: view, resource: servers}]\n---\nkind: project\nname: base\nservers: [base]\nmembers: [bob@example.com]\n";
    town.apply_all(&system, more).unwrap();
    let refs = |town: &Town, kind, name: &str| {
        let object = town.state.by_uid(town.uid(kind, None, name)).unwrap();
        object.refs.iter().map(|used| (used.kind, used.name.to_string(), used.uid)).collect::<Vec<_>>()
    };
    let mut expected = [refs(&town, Kind::Rbac, "both"), refs(&town, Kind::Project, "base")];
    for (kind, name) in [(Kind::Group, "crew"), (Kind::ServiceAccount, "ci"), (Kind::User, "bob@example.com")] {
        let gone = town.uid(kind, None, name);
        town.delete(&system, kind, None, name).unwrap();
        expected.iter_mut().for_each(|refs| refs.retain(|(_, _, uid)| *uid != gone));
        assert_eq!([refs(&town, Kind::Rbac, "both"), refs(&town, Kind::Project, "base")], expected, "{name}");
    }
    assert!(!expected[1].is_empty(), "the project's server stays");
    assert_eq!(town.replayed().canonical(), town.state.canonical());
}
