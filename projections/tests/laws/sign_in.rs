//! People who sign in at an identity provider: who they are, and the groups that its claims bring them into.
use std::collections::BTreeSet;

use mcpctl_core::access::{Ask, Verb};
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::{GroupAction, Identity, Kind, PasswordVersion, UserAction};
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::refusal::Refusal;
use mcpctl_core::world::World as _;

use crate::replay::replay;
use crate::town::Town;

const PEOPLE: &str = "
kind: user
name: alice@example.com
---
kind: user
name: ann@example.com
identity: {issuer: https://id.example.com, subject: ann-1}
---
kind: secret
name: s
---
kind: group
name: eng
claims: [engineers, ops]
---
kind: group
name: other
claims: [others]
---
kind: rbac
name: eng
subjects: [{kind: Group, name: eng}]
roleBindings: [{role: run, resource: secrets}]
---
kind: rbac
name: alice
subjects: [{kind: User, name: alice@example.com}]
roleBindings:
- {role: edit, resource: groups}
- {role: edit, resource: users}
";

const ANN: &str = "ann@example.com";

fn town() -> Town {
    Town::given(PEOPLE)
}

fn identity(subject: &str) -> Identity {
    Identity { issuer: "https://id.example.com".to_owned(), subject: subject.to_owned() }
}

/// What a sign-in does to one group; how many events it leaves.
fn says(town: &mut Town, group: &str, said: &[&str]) -> usize {
    let user = town.user(ANN);
    let name = Name::parse(NameRule::Email, ANN).unwrap();
    let said: BTreeSet<String> = said.iter().map(|&claim| claim.to_owned()).collect();
    let level = GroupAction::Level { user: user.uid, name, said };
    town.act(&Actor::system("oidc"), Kind::Group, None, group, Box::new(level)).unwrap().drafts.len()
}

fn ann_may_run(town: &Town) -> bool {
    let (ann, name) = (town.user(ANN), Name::parse(NameRule::Label, "s").unwrap());
    town.can(&ann, &Ask::named(Verb::Run, Kind::Secret, None, &name))
}

fn forbidden(result: Result<usize, Refusal>, about: &str) {
    match result {
        Err(Refusal::Forbidden { missing, .. }) => assert!(missing.contains(about), "{missing}"),
        other => panic!("expected a refusal about {about:?}, got {other:?}"),
    }
}

#[test]
fn a_claim_makes_a_member_and_its_absence_ends_that_each_as_an_event() {
    let mut town = town();
    assert!(!ann_may_run(&town));
    assert_eq!(says(&mut town, "eng", &["engineers", "more"]), 1);
    assert!(ann_may_run(&town));
    assert_eq!(says(&mut town, "eng", &["engineers"]), 0, "nothing new was said");
    let before = town.state.seq();
    assert_eq!(says(&mut town, "eng", &["others", "Engineers"]), 1);
    assert!(!ann_may_run(&town));
    assert_eq!(town.state.at(before).memberships(town.user(ANN).uid).len(), 1, "the past keeps it");
    assert_eq!(says(&mut town, "eng", &[]), 0);
    assert_eq!(town.replayed().canonical(), town.state.canonical());
}

#[test]
fn members_by_hand_and_by_claim_are_kept_apart() {
    let mut town = town();
    let system = Actor::system("test");
    says(&mut town, "eng", &["ops"]);
    let by_hand = "kind: group\nname: eng\nclaims: [engineers, ops]\nmembers: [ann@example.com]\n";
    town.apply_all(&system, by_hand).unwrap();
    says(&mut town, "eng", &[]);
    assert!(ann_may_run(&town), "who was put there by hand stays");
    says(&mut town, "eng", &["ops"]);
    town.apply_all(&system, "kind: group\nname: eng\nclaims: [engineers, ops]\n").unwrap();
    assert!(ann_may_run(&town), "who is there by claim stays");
    says(&mut town, "eng", &[]);
    assert!(!ann_may_run(&town));
    assert_eq!(town.replayed().canonical(), town.state.canonical());
}

#[test]
fn a_claim_that_a_group_is_no_longer_mapped_to_ends_membership_with_that_event() {
    let mut town = town();
    let system = Actor::system("test");
    says(&mut town, "eng", &["engineers", "ops"]);
    assert_eq!(town.apply_all(&system, "kind: group\nname: eng\nclaims: [ops]\n").unwrap(), 1);
    assert!(ann_may_run(&town), "the other claim still holds");
    assert_eq!(town.apply_all(&system, "kind: group\nname: eng\nclaims: [engineers]\n").unwrap(), 1);
    assert!(!ann_may_run(&town));
    town.apply_all(&system, "kind: group\nname: eng\nclaims: [engineers, ops]\n").unwrap();
    assert!(!ann_may_run(&town), "what was said long ago does not come back");
    assert_eq!(town.replayed().canonical(), town.state.canonical());
}

#[test]
fn c2_who_maps_a_claim_to_a_group_holds_what_the_group_has() {
    let mut town = town();
    let alice = town.user("alice@example.com");
    let mapped = |claims: &str| format!("kind: group\nname: eng\nclaims: [{claims}]\n");
    forbidden(town.apply_all(&alice, &mapped("engineers, ops, everybody")), "run secrets");
    forbidden(town.apply_all(&alice, &mapped("everybody")), "run secrets");
    assert_eq!(town.apply_all(&alice, &mapped("ops")).unwrap(), 1, "taking one away needs no more than edit");
    let empty = "kind: group\nname: other\nclaims: [others, everybody]\n";
    assert_eq!(town.apply_all(&alice, empty).unwrap(), 1, "a group without rights gives none");
}

#[test]
fn c7_who_gives_a_person_another_identity_holds_what_they_hold() {
    let mut town = town();
    let alice = town.user("alice@example.com");
    let named = |name: &str, subject: &str| {
        format!("kind: user\nname: {name}\nidentity: {{issuer: https://id.example.com, subject: {subject}}}\n")
    };
    says(&mut town, "eng", &["ops"]);
    forbidden(town.apply_all(&alice, &named(ANN, "alice-1")), "run secrets");
    says(&mut town, "eng", &[]);
    assert_eq!(town.apply_all(&alice, &named(ANN, "ann-2")).unwrap(), 1, "ann holds nothing now");
    assert_eq!(town.apply_all(&alice, &named("new@example.com", "new-1")).unwrap(), 1, "somebody new holds nothing");
    match town.apply_all(&alice, &named("other@example.com", "new-1")) {
        Err(Refusal::Invalid(violations)) => assert_eq!(violations[0].field, "identity"),
        other => panic!("one identity, two users: {other:?}"),
    }
}

#[test]
fn another_identity_ends_the_logins_that_the_first_one_opened() {
    let mut town = town();
    let (digest, expires_at) = (Digest::sha256(b"login"), town.now.plus_millis(1_000_000));
    let open = |town: &mut Town, subject: &str| {
        let open = UserAction::OpenLoginBy { digest, expires_at, identity: identity(subject) };
        town.act(&Actor::system("oidc"), Kind::User, None, ANN, Box::new(open)).map(|decided| decided.drafts.len())
    };
    assert!(matches!(open(&mut town, "ann-2"), Err(Refusal::Impossible { .. })));
    assert_eq!(open(&mut town, "ann-1").unwrap(), 1);
    assert!(town.state.credential(&digest).is_some());
    let other = "kind: user\nname: ann@example.com\nidentity: {issuer: https://id.example.com, subject: ann-2}\n";
    town.apply_all(&Actor::system("test"), other).unwrap();
    assert!(town.state.credential(&digest).is_none());
    town.apply_all(&Actor::system("test"), &format!("{other}disabled: true\n")).unwrap();
    assert!(matches!(open(&mut town, "ann-2"), Err(Refusal::Impossible { .. })), "disabled");
}

#[test]
fn who_signs_in_at_the_provider_gives_themselves_no_password() {
    let mut town = town();
    let (ann, alice) = (town.user(ANN), town.user("alice@example.com"));
    let set = || Box::new(UserAction::SetPassword(PasswordVersion { version: 0, commitment: Digest::default() }));
    assert!(matches!(town.act(&ann, Kind::User, None, ANN, set()), Err(Refusal::Impossible { .. })));
    assert_eq!(town.act(&alice, Kind::User, None, ANN, set()).unwrap().drafts.len(), 1);
}

#[test]
fn who_is_deleted_leaves_the_groups_and_comes_back_as_somebody_else() {
    let mut town = town();
    says(&mut town, "eng", &["ops"]);
    let before = town.user(ANN);
    town.delete(&Actor::system("test"), Kind::User, None, ANN).unwrap();
    assert!(town.state.memberships(before.uid).is_empty());
    let again = "kind: user\nname: ann@example.com\nidentity: {issuer: https://id.example.com, subject: ann-1}\n";
    town.apply_all(&Actor::system("oidc"), again).unwrap();
    assert_ne!(town.user(ANN).uid, before.uid);
    assert!(!ann_may_run(&town));
    assert_eq!(town.replayed().canonical(), town.state.canonical());
}

#[test]
fn sign_ins_can_be_decided_again_and_their_part_of_the_control_plane_does_no_more() {
    let mut town = town();
    let system = Actor::system("oidc");
    let new = "kind: user\nname: new@example.com\nidentity: {issuer: https://id.example.com, subject: new-1}\n";
    town.apply_all(&system, new).unwrap();
    says(&mut town, "eng", &["ops", "more"]);
    let (digest, expires_at) = (Digest::sha256(b"login"), town.now.plus_millis(1_000_000));
    let open = UserAction::OpenLoginBy { digest, expires_at, identity: identity("ann-1") };
    town.act(&system, Kind::User, None, ANN, Box::new(open)).unwrap();
    says(&mut town, "eng", &[]);
    says(&mut town, "eng", &["ops"]);
    town.delete(&Actor::system("test"), Kind::User, None, ANN).unwrap();
    assert_eq!(replay(&town.records).findings, []);
    for more in ["kind: group\nname: more\n", "kind: user\nname: new@example.com\ndisplayName: Other\n"] {
        let mut town = town.fork();
        town.apply_all(&system, more).unwrap();
        let findings = replay(&town.records).findings;
        assert!(findings[0].why.contains("no more than sign people in"), "{findings:?}");
    }
}
