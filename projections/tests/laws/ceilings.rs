//! The ceilings C1 to C7, one scenario each way.
use mcpctl_core::access::{Ask, Verb};
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::{Kind, McpToken, PasswordVersion, UserAction};
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
kind: group
name: strong
---
kind: rbac
name: strong
subjects: [{kind: Group, name: strong}]
roleBindings: [{role: edit, resource: secrets}]
---
kind: rbac
name: alice
subjects: [{kind: User, name: alice@example.com}]
roleBindings:
- {role: edit, resource: rbac}
- {role: edit, resource: groups}
- {role: edit, resource: projects}
- {role: edit, resource: users}
- {role: view, resource: servers}
- {role: run, resource: projects}
- {role: create, resource: mcptokens}
";

fn town() -> Town {
    let mut town = Town::given(BASE);
    town.apply_all(&Actor::system("test"), PEOPLE).unwrap();
    town
}

fn forbidden(result: Result<usize, Refusal>, about: &str) {
    match result {
        Err(Refusal::Forbidden { missing, .. }) => assert!(missing.contains(about), "{missing}"),
        other => panic!("expected a refusal about {about:?}, got {other:?}"),
    }
}

fn binding(subject: &str, lines: &str) -> String {
    format!("kind: rbac\nname: more\nsubjects: [{{kind: User, name: {subject}}}]\nroleBindings: [{lines}]\n")
}

#[test]
fn c1_nobody_binds_what_they_do_not_hold() {
    let mut town = town();
    let alice = town.user("alice@example.com");
    forbidden(town.apply_all(&alice, &binding("bob@example.com", "{role: edit, resource: servers}")), "edit servers");
    forbidden(town.apply_all(&alice, &binding("alice@example.com", "{role: edit, resource: '*'}")), "edit *");
    forbidden(town.apply_all(&alice, &binding("alice@example.com", "{role: run, action: bind}")), "run:bind");
    assert_eq!(town.apply_all(&alice, &binding("bob@example.com", "{role: view, resource: servers}")).unwrap(), 1);
    assert_eq!(
        town.apply_all(&alice, &binding("bob@example.com", "{role: view, resource: servers, name: base}")).unwrap(),
        1
    );
}

#[test]
fn c1_the_operation_bind_lets_one_give_more_and_the_event_says_so() {
    let mut town = town();
    town.apply_all(&Actor::system("test"), "kind: rbac\nname: binder\nsubjects: [{kind: User, name: alice@example.com}]\nroleBindings: [{role: run, action: bind}]\n").unwrap();
    let alice = town.user("alice@example.com");
    town.apply_all(&alice, &binding("bob@example.com", "{role: edit, resource: servers}")).unwrap();
    let bind_grant =
        town.state.grants(alice.uid).iter().find(|grant| grant.permission.to_string() == "run:bind").unwrap().seq;
    assert!(town.records.last().unwrap().header.authz.via.contains(&bind_grant));
}

#[test]
fn c2_nobody_adds_a_member_to_a_group_that_holds_more_than_they_do() {
    let mut town = town();
    let alice = town.user("alice@example.com");
    forbidden(town.apply_all(&alice, "kind: group\nname: strong\nmembers: [alice@example.com]\n"), "edit secrets");
    assert_eq!(town.apply_all(&alice, "kind: group\nname: fresh\nmembers: [alice@example.com]\n").unwrap(), 1);
}

#[test]
fn c2_giving_a_group_that_one_is_in_more_than_one_holds_is_giving_it_to_oneself() {
    let mut town = town();
    let alice = town.user("alice@example.com");
    town.apply_all(&alice, "kind: group\nname: mine\nmembers: [alice@example.com]\n").unwrap();
    forbidden(
        town.apply_all(&alice, "kind: rbac\nname: mine\nsubjects: [{kind: Group, name: mine}]\nroleBindings: [{role: edit, resource: secrets}]\n"),
        "edit secrets",
    );
}

#[test]
fn c3_taking_away_needs_no_more_than_edit() {
    let mut town = town();
    let alice = town.user("alice@example.com");
    let narrower = "kind: rbac\nname: strong\nsubjects: [{kind: Group, name: strong}]\nroleBindings: [{role: view, resource: secrets}]\n";
    assert_eq!(town.apply_all(&alice, narrower).unwrap(), 1);
    forbidden(town.apply_all(&alice, &narrower.replace("view", "edit")), "edit secrets");
    let gone = "kind: rbac\nname: strong\nsubjects: []\nroleBindings: [{role: edit, resource: secrets}]\n";
    assert_eq!(town.apply_all(&alice, gone).unwrap(), 1);
}

#[test]
fn c3_a_project_member_is_given_view_and_run_and_so_the_giver_must_hold_them() {
    let mut town = town();
    town.apply_all(&Actor::system("test"), "kind: rbac\nname: bob\nsubjects: [{kind: User, name: bob@example.com}]\nroleBindings: [{role: edit, resource: projects}]\n").unwrap();
    let bob = town.user("bob@example.com");
    forbidden(
        town.apply_all(&bob, "kind: project\nname: base\nservers: [base]\nmembers: [bob@example.com]\n"),
        "run projects/base",
    );
    let alice = town.user("alice@example.com");
    assert_eq!(
        town.apply_all(&alice, "kind: project\nname: base\nservers: [base]\nmembers: [bob@example.com]\n").unwrap(),
        1
    );
    let project = town.state.by_uid(town.uid(Kind::Project, None, "base")).unwrap().clone();
    assert!(town.can(&bob, &Ask::on(Verb::Run, &project)));
}

#[test]
fn c4_a_token_is_given_only_what_its_creator_holds_inside_the_project() {
    let mut town = town();
    let alice = town.user("alice@example.com");
    let token = |bindings: &str| format!("kind: mcptoken\nname: t\nproject: base\nbindings: [{bindings}]\n");
    forbidden(town.apply_all(&alice, &token("{role: view, resource: secrets}")), "beyond its project");
    forbidden(town.apply_all(&alice, &token("{role: run, action: logs}")), "beyond its project");
    forbidden(town.apply_all(&alice, &token("{role: create, resource: mcptokens}")), "beyond its project");
    forbidden(town.apply_all(&alice, &token("{role: run, resource: servers, name: base}")), "without holding it");
    forbidden(town.apply_all(&alice, &token("{role: view, resource: projects}")), "beyond its project");
    assert!(town.apply_all(&alice, &token("{role: view, resource: projects, name: base}")).unwrap() > 0);
}

#[test]
fn c4_who_may_not_run_a_project_makes_no_token_for_it() {
    let mut town = town();
    town.apply_all(&Actor::system("test"), "kind: rbac\nname: bob\nsubjects: [{kind: User, name: bob@example.com}]\nroleBindings: [{role: edit, resource: mcptokens}]\n").unwrap();
    let bob = town.user("bob@example.com");
    forbidden(town.apply_all(&bob, "kind: mcptoken\nname: t\nproject: base\n"), "run projects/base");
}

#[test]
fn c4_a_clone_never_grows_and_leaves_out_what_is_not_delegable() {
    let mut town = town();
    let alice = town.user("alice@example.com");
    town.apply_all(&alice, "kind: mcptoken\nname: clone\nproject: base\nrbac: clone\n").unwrap();
    let clone = town.token("base", "clone");
    let project = town.state.by_uid(town.uid(Kind::Project, None, "base")).unwrap().clone();
    let server = town.state.by_uid(town.uid(Kind::Server, None, "base")).unwrap().clone();
    assert!(town.can(&clone, &Ask::on(Verb::Edit, &project)));
    assert!(town.can(&clone, &Ask::on(Verb::View, &server)));
    assert!(!town.can(&clone, &Ask::on(Verb::Run, &server)), "alice does not hold it");
    let other = mcpctl_core::name::Name::parse(mcpctl_core::name::NameRule::Label, "t2").unwrap();
    assert!(!town.can(&clone, &Ask::named(Verb::Create, Kind::McpToken, Some(project.meta.uid), &other)));
    town.apply_all(&Actor::system("test"), "kind: rbac\nname: later\nsubjects: [{kind: User, name: alice@example.com}]\nroleBindings: [{role: run, resource: servers}]\n").unwrap();
    assert!(!town.can(&clone, &Ask::on(Verb::Run, &server)), "a clone is a snapshot");
}

#[test]
fn c5_what_an_owner_loses_every_token_loses_at_the_same_seq_and_regains_with_it() {
    let mut town = town();
    let alice = town.user("alice@example.com");
    town.apply_all(&alice, "kind: mcptoken\nname: t\nproject: base\n").unwrap();
    let token = town.token("base", "t");
    let project = town.state.by_uid(town.uid(Kind::Project, None, "base")).unwrap().clone();
    let open = Ask::on(Verb::Run, &project);
    let verdict = town.ask(&token, &open);
    assert!(verdict.allowed && verdict.via.len() == 2, "{verdict:?}");
    let without = PEOPLE.split("---").last().unwrap().replace("- {role: run, resource: projects}\n", "");
    town.apply_all(&Actor::system("test"), &without).unwrap();
    assert!(!town.can(&token, &open));
    town.apply_all(&Actor::system("test"), PEOPLE.split("---").last().unwrap()).unwrap();
    assert!(town.can(&token, &open));
}

#[test]
fn c5_a_token_opens_its_own_project_and_no_other() {
    let mut town = town();
    town.apply_all(&Actor::system("test"), "kind: project\nname: other\n").unwrap();
    let alice = town.user("alice@example.com");
    town.apply_all(&alice, "kind: mcptoken\nname: t\nproject: base\nrbac: clone\n").unwrap();
    let token = town.token("base", "t");
    let other = town.state.by_uid(town.uid(Kind::Project, None, "other")).unwrap().clone();
    for verb in Verb::ALL {
        assert!(!town.can(&token, &Ask::on(verb, &other)), "{verb}");
    }
    for operation in mcpctl_core::access::OPERATIONS {
        assert!(!town.can(&token, &Ask::Operation(operation)), "{operation}");
    }
    assert!(
        town.state
            .by_uid(token.uid)
            .unwrap()
            .of::<McpToken>()
            .unwrap()
            .1
            .grants
            .iter()
            .all(|g| g.to_string() != "run:bind")
    );
}

#[test]
fn c6_using_a_secret_takes_run_on_it_and_so_does_changing_what_uses_it() {
    let mut town = town();
    town.apply_all(&Actor::system("test"), "kind: rbac\nname: bob\nsubjects: [{kind: User, name: bob@example.com}]\nroleBindings: [{role: edit, resource: servers}]\n").unwrap();
    let bob = town.user("bob@example.com");
    let thief = "kind: server\nname: thief\ncommand: [env]\nenv: [{name: X, valueFrom: {secretRef: {name: base, key: token}}}]\n";
    forbidden(town.apply_all(&bob, thief), "run secrets/base");
    town.apply_all(&Actor::system("test"), &thief.replace("thief", "honest")).unwrap();
    forbidden(town.apply_all(&bob, &thief.replace("thief", "honest").replace("[env]", "[curl]")), "run secrets/base");
    assert_eq!(town.apply_all(&bob, &format!("{}description: fine\n", thief.replace("thief", "honest"))).unwrap(), 1);
}

#[test]
fn c7_setting_somebody_elses_password_takes_holding_all_that_they_hold() {
    let mut town = town();
    town.apply_all(&Actor::system("test"), "kind: rbac\nname: bob\nsubjects: [{kind: User, name: bob@example.com}]\nroleBindings: [{role: edit, resource: secrets}]\n").unwrap();
    let alice = town.user("alice@example.com");
    let set = || Box::new(UserAction::SetPassword(PasswordVersion { version: 1, commitment: Digest::default() }));
    let refused = town.act(&alice, Kind::User, None, "bob@example.com", set()).map(|decided| decided.drafts.len());
    forbidden(refused, "set the password");
    assert!(town.act(&alice, Kind::User, None, "alice@example.com", set()).is_ok());
    assert!(town.act(&alice, Kind::User, None, "base@example.com", set()).is_ok());
}

#[test]
fn c5_a_token_gives_nobody_what_its_owner_lost_since_it_was_made() {
    let mut town = town();
    let alice = town.user("alice@example.com");
    town.apply_all(&alice, "kind: mcptoken\nname: clone\nproject: base\nrbac: clone\n").unwrap();
    let clone = town.token("base", "clone");
    let member = "kind: project\nname: base\nservers: [base]\nmembers: [bob@example.com]\n";
    let mut before = town.fork();
    assert_eq!(before.apply_all(&clone, member).unwrap(), 1, "while its owner may, so may the token");
    let without = PEOPLE.split("---").last().unwrap().replace("- {role: run, resource: projects}\n", "");
    town.apply_all(&Actor::system("test"), &without).unwrap();
    forbidden(town.apply_all(&clone, member), "run projects/base");
}
