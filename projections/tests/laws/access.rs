//! Lists, calls and explanations use the same decision, and every yes names the grant that made it.
use mcpctl_core::access::{Ask, Rule, Verb};
use mcpctl_core::actor::Actor;
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::world::World as _;

use crate::town::{BASE, Town};

const BINDINGS: &str = "
kind: user
name: alice@example.com
---
kind: rbac
name: alice
subjects: [{kind: User, name: alice@example.com}]
roleBindings: [{role: view, resource: servers, name: base}, {role: run, action: logs}]
";

#[test]
fn a_name_scoped_grant_reaches_that_name_only() {
    let mut town = Town::given(BASE);
    town.apply_all(&Actor::system("test"), BINDINGS).unwrap();
    town.apply_all(&Actor::system("test"), "kind: server\nname: other\ncommand: [x]\n").unwrap();
    let alice = town.user("alice@example.com");
    let name = |text| Name::parse(NameRule::Label, text).unwrap();
    assert!(town.can(&alice, &Ask::named(Verb::View, Kind::Server, None, &name("base"))));
    assert!(!town.can(&alice, &Ask::named(Verb::View, Kind::Server, None, &name("other"))));
    assert!(!town.can(&alice, &Ask::named(Verb::Edit, Kind::Server, None, &name("base"))));
    assert!(town.can(&alice, &Ask::Operation("logs")));
    assert!(!town.can(&alice, &Ask::Operation("audit")));
}

#[test]
fn a_yes_names_the_event_of_its_grant_and_keeps_it_through_unrelated_edits() {
    let mut town = Town::given(BASE);
    town.apply_all(&Actor::system("test"), BINDINGS).unwrap();
    let alice = town.user("alice@example.com");
    let base = Name::parse(NameRule::Label, "base").unwrap();
    let ask = Ask::named(Verb::View, Kind::Server, None, &base);
    let granted_at = town.state.seq();
    assert_eq!(town.ask(&alice, &ask).via, [granted_at]);
    town.apply_all(
        &Actor::system("test"),
        &BINDINGS.replace("{role: run, action: logs}", "{role: run, action: audit}"),
    )
    .unwrap();
    let verdict = town.ask(&alice, &ask);
    assert_eq!((verdict.via.as_slice(), verdict.rule), ([granted_at].as_slice(), Rule::Rbac));
    assert!(verdict.at > granted_at);
}

#[test]
fn a_disabled_user_may_nothing() {
    let mut town = Town::given(BASE);
    town.apply_all(&Actor::system("test"), BINDINGS).unwrap();
    let alice = town.user("alice@example.com");
    town.apply_all(&Actor::system("test"), "kind: user\nname: alice@example.com\ndisabled: true\n").unwrap();
    assert_eq!(town.ask(&alice, &Ask::Operation("logs")).rule, Rule::Ended);
}
