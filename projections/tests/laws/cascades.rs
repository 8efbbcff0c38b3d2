//! What goes with an object when it goes.
use mcpctl_core::access::{Ask, Verb};
use mcpctl_core::actor::Actor;
use mcpctl_core::kinds::{Kind, McpToken, McpTokenAction, User, UserAction};
use mcpctl_core::refusal::Refusal;
use mcpctl_core::world::World as _;

use crate::town::{BASE, Town};

const PEOPLE: &str = "
kind: user
name: alice@example.com
---
kind: group
name: team
members: [alice@example.com]
---
kind: rbac
name: team
subjects: [{kind: Group, name: team}, {kind: User, name: alice@example.com}]
roleBindings: [{role: edit, resource: servers}, {role: run, resource: projects}, {role: create, resource: mcptokens}]
";

fn town() -> Town {
    let mut town = Town::given(BASE);
    town.apply_all(&Actor::system("test"), PEOPLE).unwrap();
    let alice = town.user("alice@example.com");
    town.apply_all(&alice, "kind: mcptoken\nname: ci\nproject: base\n").unwrap();
    town
}

#[test]
fn a_server_in_use_is_not_deleted_and_the_refusal_names_who_uses_it() {
    let mut town = town();
    let refused = town.delete(&Actor::system("test"), Kind::Server, None, "base");
    assert_eq!(refused.unwrap_err(), Refusal::InUse { object: "server/base".into(), by: vec!["project/base".into()] });
}

#[test]
fn a_deleted_user_leaves_groups_and_bindings_and_takes_the_tokens_along() {
    let mut town = town();
    let token = town.token("base", "ci");
    town.delete(&Actor::system("test"), Kind::User, None, "alice@example.com").unwrap();
    let (_, status) = town.state.by_uid(token.uid).unwrap().of::<McpToken>().unwrap();
    assert_eq!(status.ended(town.now), Some("revoked"));
    let team = town.state.by_uid(town.uid(Kind::Group, None, "team")).unwrap();
    assert!(team.body.members().is_empty());
}

#[test]
fn the_same_name_again_is_somebody_else_without_rights() {
    let mut town = town();
    town.delete(&Actor::system("test"), Kind::User, None, "alice@example.com").unwrap();
    town.apply_all(&Actor::system("test"), "kind: user\nname: alice@example.com\n").unwrap();
    let again = town.user("alice@example.com");
    let base = town.state.by_uid(town.uid(Kind::Server, None, "base")).unwrap().clone();
    assert!(!town.can(&again, &Ask::on(Verb::Edit, &base)));
    let token = town.token("base", "ci");
    let project = town.state.by_uid(town.uid(Kind::Project, None, "base")).unwrap().clone();
    assert!(!town.can(&token, &Ask::on(Verb::Run, &project)));
}

#[test]
fn a_deleted_project_takes_its_tokens_and_their_bindings_along() {
    let mut town = town();
    let token = town.token("base", "ci");
    let sha = town.state.by_uid(token.uid).unwrap().of::<McpToken>().unwrap().1.sha256.unwrap();
    let rbac = format!(
        "kind: rbac\nname: of-token\nsubjects: [{{kind: McpToken, name: {sha}}}]\nroleBindings: [{{role: view, resource: projects, name: base}}]\n"
    );
    town.apply_all(&Actor::system("test"), &rbac).unwrap();
    let events = town.delete(&Actor::system("test"), Kind::Project, None, "base").unwrap().drafts.len();
    assert_eq!(events, 3, "the binding, the token, the project");
    assert!(town.state.by_uid(token.uid).is_none());
    assert_eq!(town.replayed().canonical(), town.state.canonical());
}

#[test]
fn a_disabled_user_loses_logins_and_tokens_for_good() {
    let mut town = town();
    let digest = mcpctl_core::ids::Digest::sha256(b"login");
    let open = UserAction::OpenLogin { digest, expires_at: town.now.plus_millis(1_000_000), checked: None };
    town.act(&Actor::system("login"), Kind::User, None, "alice@example.com", Box::new(open)).unwrap();
    let alice = town.user("alice@example.com");
    town.apply_all(&Actor::system("test"), "kind: user\nname: alice@example.com\ndisabled: true\n").unwrap();
    town.apply_all(&Actor::system("test"), "kind: user\nname: alice@example.com\n").unwrap();
    assert!(town.state.by_uid(alice.uid).unwrap().of::<User>().unwrap().1.logins.is_empty());
    assert!(town.state.credential(&digest).is_none());
    let (_, status) = town.state.by_uid(town.token("base", "ci").uid).unwrap().of::<McpToken>().unwrap();
    assert!(status.revoked_at.is_some());
}

#[test]
fn a_revoked_token_stays_revoked() {
    let mut town = town();
    let alice = town.user("alice@example.com");
    town.act(&alice, Kind::McpToken, Some("base"), "ci", Box::new(McpTokenAction::Revoke)).unwrap();
    assert_eq!(
        town.act(&alice, Kind::McpToken, Some("base"), "ci", Box::new(McpTokenAction::Revoke)).unwrap().drafts.len(),
        0
    );
    assert_eq!(town.apply_all(&Actor::system("test"), "kind: mcptoken\nname: ci\nproject: base\n").unwrap(), 0);
    let (_, status) = town.state.by_uid(town.token("base", "ci").uid).unwrap().of::<McpToken>().unwrap();
    assert_eq!(status.ended(town.now), Some("revoked"));
}

#[test]
fn expiry_is_an_event_and_a_clock_set_back_revives_nothing() {
    let mut town = town();
    let alice = town.user("alice@example.com");
    town.apply_all(&alice, "kind: mcptoken\nname: short\nproject: base\nttl: 1s\n").unwrap();
    let (at, uid) = town.state.next_due().expect("an expiry is due");
    let object = town.state.by_uid(uid).unwrap().clone();
    assert!(mcpctl_core::command::due(&town.state, &object, at.plus_millis(0)).is_some());
    assert!(
        mcpctl_core::command::due(&town.state, &object, mcpctl_core::time::Timestamp::from_millis(at.as_millis() - 1))
            .is_none()
    );
}
