//! The grants that an event or an entry names: enough when they are, whichever of several they are; and not enough when one
//! is missing, was not in force, or lies too deep.
use mcpctl_core::access::{Ask, Verb, decide};
use mcpctl_core::actor::Actor;
use mcpctl_core::command::allowed_by;
use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::kinds::{Kind, PasswordVersion, UserAction};
use mcpctl_core::record::{AuthzMode, Record};
use mcpctl_core::world::World as _;

use crate::replay::replay;
use crate::town::{BASE, Town};

/// Ann has everything twice: by one binding and its twin, and by a group of hers and its twin.
fn town() -> Town {
    let mut town = Town::given(BASE);
    let mut yaml = "kind: user\nname: ann@example.com\n---\nkind: user\nname: bob@example.com\n---\nkind: user\nname: cy@example.com\n---\nkind: group\nname: hers\nmembers: [ann@example.com]\n".to_owned();
    for twin in ["one", "two"] {
        for (subject, roles) in [
            (
                "{kind: User, name: ann@example.com}",
                "{role: edit, resource: servers}, {role: view, resource: '*'}, {role: edit, resource: rbac}, {role: edit, resource: users}, {role: create, resource: mcptokens}",
            ),
            (
                "{kind: Group, name: hers}",
                "{role: edit, resource: groups}, {role: delete, resource: users}, {role: delete, resource: servers}, {role: run, resource: projects}",
            ),
        ] {
            let whose = if subject.contains("User") { "ann" } else { "group" };
            yaml += &format!("---\nkind: rbac\nname: {whose}-{twin}\nsubjects: [{subject}]\nroleBindings: [{roles}]\n");
        }
    }
    town.apply_all(&Actor::system("test"), &yaml).unwrap();
    town
}

fn seq_of(town: &Town, binding: &str) -> Seq {
    town.state.by_uid(town.uid(Kind::Rbac, None, binding)).unwrap().meta.resource_version
}

/// All that ann did, with each grant that is named exchanged by its twin.
fn exchanged(town: &Town, ann: &Actor) -> (Vec<Record>, usize) {
    let twins =
        ["ann", "group"].map(|whose| (seq_of(town, &format!("{whose}-one")), seq_of(town, &format!("{whose}-two"))));
    let mut changed = 0;
    let mut records = town.records.clone();
    for record in records.iter_mut().filter(|record| record.header.actor == *ann) {
        let before = record.header.authz.via.clone();
        for seq in &mut record.header.authz.via {
            for (one, two) in twins {
                *seq = if *seq == one {
                    two
                } else if *seq == two {
                    one
                } else {
                    *seq
                };
            }
        }
        record.header.authz.via.sort_unstable();
        record.header.authz.via.dedup();
        changed += usize::from(before != record.header.authz.via);
    }
    (records, changed)
}

#[test]
fn an_event_may_name_any_grants_that_are_enough() {
    let mut town = town();
    let ann = town.user("ann@example.com");
    for yaml in [
        "kind: server\nname: new\ncommand: [x]\n",
        "kind: server\nname: new\ncommand: [y]\n",
        "kind: group\nname: theirs\nmembers: [bob@example.com]\n",
        "kind: rbac\nname: given\nsubjects: [{kind: User, name: bob@example.com}]\nroleBindings: [{role: view, resource: servers}]\n",
        "kind: mcptoken\nname: t\nproject: base\nrbac: clone\n",
    ] {
        assert!(town.apply_all(&ann, yaml).unwrap() > 0, "{yaml}");
    }
    let set = UserAction::SetPassword(PasswordVersion { version: 1, commitment: Digest::default() });
    town.act(&ann, Kind::User, None, "bob@example.com", Box::new(set)).unwrap();
    // Bob is named in a group and in a binding: they change with him.
    assert!(town.delete(&ann, Kind::User, None, "bob@example.com").unwrap().drafts.len() > 2);
    town.delete(&ann, Kind::Server, None, "new").unwrap();
    let (records, changed) = exchanged(&town, &ann);
    assert!(changed >= 8, "{changed} events name something else now");
    assert_eq!(replay(&records).findings, []);
}

#[test]
fn what_follows_from_a_command_names_what_that_stood_on_and_no_event_of_it_names_nothing() {
    let mut town = town();
    let (ann, other) = (town.user("ann@example.com"), seq_of(&town, "group-two"));
    town.apply_all(&ann, "kind: group\nname: theirs\nmembers: [bob@example.com]\n").unwrap();
    town.delete(&ann, Kind::User, None, "bob@example.com").unwrap();
    town.apply_all(&ann, "kind: mcptoken\nname: t\nproject: base\nrbac: clone\n").unwrap();
    assert_eq!(replay(&town.records).findings, []);
    let found = |event: &str, via: Vec<Seq>, why: &str| {
        let mut records = town.records.clone();
        let at = records.iter().rposition(|record| record.header.event == event).unwrap();
        records[at].header.authz.via = via;
        let tally = replay(&records);
        let finding = tally.findings.first().unwrap_or_else(|| panic!("{event} was believed"));
        assert!(finding.why.contains(why), "{event}: {}", finding.why);
    };
    let followed = town.records.iter().rfind(|record| record.header.name.as_str() == "theirs").unwrap();
    assert_eq!((followed.header.event.as_str(), followed.header.authz.mode), ("applied", AuthzMode::System));
    let at = usize::try_from(followed.header.seq.0).unwrap() - 1;
    let mut records = town.records.clone();
    records[at].header.authz.via = vec![other];
    assert!(replay(&records).findings[0].why.contains("none is needed"));
    found("minted", Vec::new(), "not enough");
    found("minted", vec![Seq(1)], "nothing that was in force");
}

#[test]
fn an_event_may_not_name_a_grant_that_lies_too_deep() {
    let mut town = town();
    let (ann, system) = (town.user("ann@example.com"), Actor::system("test"));
    let binding = |name: &str, who: &str, what: &str| {
        format!("kind: rbac\nname: {name}\nsubjects: [{{kind: User, name: {who}}}]\nroleBindings: [{what}]\n")
    };
    // Cy may edit rbac and groups by the control plane, and may edit rbac by ann as well: one link deeper.
    let mine = binding("mine", "cy@example.com", "{role: edit, resource: rbac}, {role: edit, resource: groups}");
    town.apply_all(&system, &mine).unwrap();
    town.apply_all(
        &ann,
        &binding("deeper", "cy@example.com", "{role: edit, resource: rbac}, {role: edit, resource: groups}"),
    )
    .unwrap();
    town.apply_all(&system, "kind: policy\nname: organisation\ndelegationDepth: 2\n").unwrap();
    let (cy, deep) = (town.user("cy@example.com"), seq_of(&town, "deeper"));
    town.apply_all(&cy, &binding("given", "bob@example.com", "{role: edit, resource: groups}")).unwrap();
    assert_eq!(town.records.last().unwrap().header.authz.via, [seq_of(&town, "mine")]);
    assert_eq!(replay(&town.records).findings, []);
    let depths = [seq_of(&town, "mine"), deep].map(|seq| town.state.depth(seq));
    assert!(depths[0] < depths[1], "{depths:?}");
    town.apply_all(&system, &format!("kind: policy\nname: organisation\ndelegationDepth: {}\n", depths[1])).unwrap();
    town.apply_all(&cy, &binding("again", "bob@example.com", "{role: edit, resource: groups}")).unwrap();
    let mut records = town.records.clone();
    records.last_mut().unwrap().header.authz.via = vec![deep];
    let tally = replay(&records);
    assert_eq!(tally.not_allowed, 1);
    assert!(tally.findings[0].why.contains("not enough"), "{}", tally.findings[0].why);
}

#[test]
fn a_question_is_answered_by_the_grants_that_it_names_and_by_none_that_were_not_in_force() {
    let mut town = town();
    let ann = town.user("ann@example.com");
    town.apply_all(&ann, "kind: mcptoken\nname: t\nproject: base\nrbac: clone\n").unwrap();
    let callers = [ann.clone(), town.token("base", "t"), town.user("bob@example.com")];
    let base = town.state.by_uid(town.uid(Kind::Project, None, "base")).unwrap().clone();
    let mut allowed = 0;
    for caller in &callers {
        for verb in Verb::ALL {
            for ask in
                [Ask::on(verb, &base), Ask::on(verb, town.state.by_uid(town.uid(Kind::Server, None, "base")).unwrap())]
            {
                let verdict = decide(&town.state, caller, &ask, town.now);
                let by = |via: &[Seq]| allowed_by(&town.state, caller, &ask, town.now, via);
                assert_eq!(by(&verdict.via), verdict.allowed, "{caller} {ask}");
                allowed += usize::from(verdict.allowed);
                let gives = |seq: &&Seq| {
                    town.state.by_uid(town.uid(Kind::Group, None, "hers")).unwrap().meta.resource_version != **seq
                };
                for missing in verdict.via.iter().filter(|_| verdict.allowed).filter(gives) {
                    let rest: Vec<Seq> = verdict.via.iter().copied().filter(|seq| seq != missing).collect();
                    assert!(!by(&rest), "{caller} {ask} without {missing}");
                }
                // The first event of the log gives nothing.
                assert!(!by(&[&verdict.via[..], &[Seq(1)]].concat()), "{caller} {ask}");
            }
        }
    }
    assert!(allowed >= 6, "{allowed}");
}
