//! What changed for whom between two seqs is exactly where the decision differs, and is told with the event of the turn.
use std::collections::BTreeSet;

use mcpctl_core::access::questions::{Difference, Held, Right, Subject, Then, acting, difference, who_can};
use mcpctl_core::access::{Ask, ResourceName, Rule, Verb, decide};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::Seq;
use mcpctl_core::kinds::{GroupAction, Kind};
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::world::World as _;
use mcpctl_projections::{AsOf, State};
use proptest::prelude::*;

use crate::asked::{Asked, actors, questions};
use crate::escalation::{step, town};
use crate::questions::lived;
use crate::town::Town;

fn between<'s>(state: &State, before: &'s AsOf<'_>, after: &'s AsOf<'_>) -> Vec<Difference<'s>> {
    let changed = state.changed_between(before.seq(), after.seq());
    let then = |view: &'s AsOf<'_>| Then { world: view, now: view.last_at() };
    difference(then(before), then(after), &changed)
}

fn verbs(right: &Right) -> Vec<Right> {
    match right {
        Right::Operation(_) => vec![right.clone()],
        Right::Objects { verbs, .. } => verbs.iter().map(|verb| right.with(vec![*verb])).collect(),
    }
}

/// Every right that is told is had on one side only, and turns at the event that is named.
fn assert_told_is_so(
    state: &State,
    told: &Difference<'_>,
    held: &[Held<'_>],
    [without, with]: [&AsOf<'_>; 2],
) -> Result<(), TestCaseError> {
    let actor = acting(told.subject);
    let may = |view: &AsOf<'_>, right: &Right| decide(view, &actor, &right.ask(), view.last_at()).allowed;
    for right in held.iter().flat_map(|held| verbs(&held.right)) {
        prop_assert!(may(with, &right) && !may(without, &right), "{} {}", actor, right);
        let (from, to) = (without.seq().min(with.seq()), without.seq().max(with.seq()));
        let turned = state.turned_at(&actor, &right.ask(), &told.by, from, to).expect("it differs");
        prop_assert!(from < turned && turned <= to);
        let at = |seq| may(&state.at(seq), &right);
        prop_assert_ne!(at(turned), at(Seq(turned.0 - 1)), "{} {} at {}", actor, right, turned);
        prop_assert_eq!(at(turned), at(to));
    }
    Ok(())
}

fn told_of<'a, 's>(told: &'a [Difference<'s>], actor: &Actor) -> Option<&'a Difference<'s>> {
    told.iter().find(|told| told.subject.meta.uid == actor.uid)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_told_is_where_the_decision_differs_and_nothing_else(
        steps in prop::collection::vec(step(), 1..25), bindings in any::<u8>(), subjects in any::<u8>(),
        from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(),
    ) {
        let town = lived(&steps, bindings, subjects);
        let last = town.records.len() as u64;
        let seqs = [from, to].map(|index| Seq(index.index(last as usize + 1) as u64));
        let (before, after) = (town.state.at(*seqs.iter().min().unwrap()), town.state.at(*seqs.iter().max().unwrap()));
        let told = between(&town.state, &before, &after);
        for one in &told {
            assert_told_is_so(&town.state, one, &one.gained, [&before, &after])?;
            assert_told_is_so(&town.state, one, &one.lost, [&after, &before])?;
        }
        let mut asked = questions(&before);
        asked.extend(questions(&after));
        let both = actors(&before).into_iter().chain(actors(&after)).collect::<std::collections::HashSet<_>>();
        for actor in &both {
            for question in &asked {
                if actor.kind == ActorKind::McpToken && matches!(question, Asked::Object { resource: ResourceName::Any, .. }) {
                    continue;
                }
                let ask = question.ask();
                let [had, has] = [&before, &after].map(|view| decide(view, actor, &ask, view.last_at()));
                if had.allowed == has.allowed || had.rule == Rule::Own || has.rule == Rule::Own {
                    continue;
                }
                let rows = told_of(&told, actor).map(|told| if has.allowed { &told.gained } else { &told.lost });
                let is_told = rows.is_some_and(|rows| rows.iter().any(|held| held.right.answers(&ask)));
                prop_assert!(is_told, "{} {}: {} → {}, told {:?}", actor, ask, had.allowed, has.allowed, told);
            }
        }
    }
}

fn lines(told: &[Difference<'_>]) -> BTreeSet<String> {
    let subject = |told: &Difference<'_>| Subject::of(told.subject).expect("a subject").to_string();
    let rows = |told: &Difference<'_>, sign: char, held: &[Held<'_>]| {
        held.iter().map(|held| format!("{} {sign}{}", subject(told), held.right)).collect::<Vec<_>>()
    };
    told.iter().flat_map(|told| [rows(told, '+', &told.gained), rows(told, '-', &told.lost)].concat()).collect()
}

fn system() -> Actor {
    Actor::system("test")
}

#[test]
fn a_binding_to_a_group_is_told_of_the_group_its_members_and_their_tokens() {
    let mut town = town();
    town.apply_all(&system(), "kind: project\nname: p\nservers: [s]\n---\nkind: group\nname: g\nmembers: [c@example.com]\n---\nkind: rbac\nname: c\nsubjects: [{kind: User, name: c@example.com}]\nroleBindings: [{role: create, resource: mcptokens}, {role: run, resource: projects}, {role: run, resource: servers}]\n").unwrap();
    town.apply_all(&town.user("c@example.com"), "kind: mcptoken\nname: t\nproject: p\nrbac: clone\n").unwrap();
    town.delete(&system(), Kind::Rbac, None, "c").unwrap();
    let from = town.state.seq();
    town.apply_all(&system(), "kind: rbac\nname: g\nsubjects: [{kind: Group, name: g}]\nroleBindings: [{role: run, resource: servers, name: s}]\n").unwrap();
    let told = between(&town.state, &town.state.at(from), &town.state.at(town.state.seq()))
        .iter()
        .map(|d| d.gained.len())
        .sum::<usize>();
    assert_eq!(told, 3);
    let (before, after) = (town.state.at(from), town.state.at(town.state.seq()));
    let expected = ["Group:g +run servers/s", "McpToken:p/t +run servers/s", "User:c@example.com +run servers/s"];
    assert_eq!(lines(&between(&town.state, &before, &after)), expected.map(str::to_owned).into());
}

#[test]
fn disabling_a_person_takes_everything_and_what_two_ways_give_is_lost_with_the_second() {
    let mut town = town();
    let from = town.state.seq();
    town.apply_all(&system(), "kind: user\nname: b@example.com\ndisabled: true\n").unwrap();
    let (before, after) = (town.state.at(from), town.state.at(town.state.seq()));
    let told = lines(&between(&town.state, &before, &after));
    assert_eq!(
        told,
        [
            "User:b@example.com -edit groups",
            "User:b@example.com -edit rbac",
            "User:b@example.com -run serviceaccounts/ci",
            "User:b@example.com -view servers",
        ]
        .map(str::to_owned)
        .into()
    );
    let mut town = crate::escalation::town();
    let more = "kind: rbac\nname: more\nsubjects: [{kind: User, name: b@example.com}]\nroleBindings: [{role: edit, resource: servers}]\n";
    town.apply_all(&system(), more).unwrap();
    let from = town.state.seq();
    town.delete(&system(), Kind::Rbac, None, "weak").unwrap();
    let (before, after) = (town.state.at(from), town.state.at(town.state.seq()));
    assert!(
        !lines(&between(&town.state, &before, &after)).iter().any(|line| line.contains("b@example.com -view servers"))
    );
}

#[test]
fn the_turn_is_the_last_one_also_when_a_right_came_and_went_several_times() {
    let mut town = town();
    let c = town.user("c@example.com");
    let from = town.state.seq();
    let give = |town: &mut Town, members: &str| {
        let yaml = format!("kind: group\nname: h\nmembers: [{members}]\n");
        town.apply_all(&system(), &yaml).unwrap();
        town.state.seq()
    };
    for _ in 0..5 {
        give(&mut town, "c@example.com");
        give(&mut town, "");
    }
    let last = give(&mut town, "c@example.com");
    give(&mut town, "c@example.com, a@example.com");
    let (before, after) = (town.state.at(from), town.state.at(town.state.seq()));
    let told = between(&town.state, &before, &after);
    let of_c = told_of(&told, &c).expect("c gained");
    assert_eq!(of_c.gained.len(), 3);
    for held in &of_c.gained {
        assert_eq!(town.state.turned_at(&c, &held.right.ask(), &of_c.by, from, town.state.seq()), Some(last));
    }
    let ask = of_c.gained[0].right.ask();
    // Even when it is not known which objects had a part in it.
    let turned = town.state.turned_at(&c, &ask, &BTreeSet::new(), from, town.state.seq()).unwrap();
    assert!(town.state.at(turned).seq() > from);
}

#[test]
fn a_server_that_a_project_lets_go_and_takes_in_again_is_a_right_of_its_tokens() {
    let mut town = town();
    let a = town.user("a@example.com");
    let with = "kind: project\nname: p\nservers: [s]\n";
    town.apply_all(&system(), with).unwrap();
    town.apply_all(&a, "kind: mcptoken\nname: t\nproject: p\nrbac: clone\n").unwrap();
    for (project, told) in [("kind: project\nname: p\n", "-"), (with, "+")] {
        let from = town.state.seq();
        town.apply_all(&system(), project).unwrap();
        let (before, after) = (town.state.at(from), town.state.at(town.state.seq()));
        assert_eq!(lines(&between(&town.state, &before, &after)), [format!("McpToken:p/t {told}run servers/s")].into());
    }
}

#[test]
fn a_member_by_claim_is_told_of_like_one_by_hand() {
    let mut town = town();
    let c = town.user("c@example.com");
    town.apply_all(&system(), "kind: group\nname: g\nclaims: [staff]\n---\nkind: rbac\nname: g\nsubjects: [{kind: Group, name: g}]\nroleBindings: [{role: view, resource: servers}]\n").unwrap();
    let from = town.state.seq();
    let level = |said: &[&str]| GroupAction::Level {
        user: c.uid,
        name: Name::parse(NameRule::Email, "c@example.com").unwrap(),
        said: said.iter().map(|claim| (*claim).to_owned()).collect(),
    };
    town.act(&Actor::system("oidc"), Kind::Group, None, "g", Box::new(level(&["staff"]))).unwrap();
    let signed_in = town.state.seq();
    let view = Ask::Object {
        verb: Verb::View,
        resource: ResourceName::Kind(Kind::Server),
        project: None,
        name: None,
        uid: None,
    };
    let able = who_can(&town.state, &view, town.now);
    assert!(able.iter().any(|proof| proof.subject.uid == c.uid), "{able:?}");
    let (before, after) = (town.state.at(from), town.state.at(signed_in));
    assert_eq!(lines(&between(&town.state, &before, &after)), ["User:c@example.com +view servers".to_owned()].into());
    town.act(&Actor::system("oidc"), Kind::Group, None, "g", Box::new(level(&[]))).unwrap();
    let (before, after) = (town.state.at(signed_in), town.state.at(town.state.seq()));
    assert_eq!(lines(&between(&town.state, &before, &after)), ["User:c@example.com -view servers".to_owned()].into());
}
