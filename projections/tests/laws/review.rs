//! What a reviewer is shown: each grant that its grantor could not make any more and why, each right that lies idle, and
//! nothing besides.
use mcpctl_core::access::questions::review::{
    NoLonger, administrators, disabled_with_grants, holdings, no_longer, owner_lacks, without_expiry,
};
use mcpctl_core::access::questions::{Reason, Subject, actor_of, explain, what_can, why_not};
use mcpctl_core::access::{Ask, Verb};
use mcpctl_core::actor::Actor;
use mcpctl_core::kinds::Kind;
use mcpctl_core::world::World as _;

use crate::town::{BASE, Town};

/// Ann, Bob, Cy and Dan each gave Eve something; afterwards each lost something else.
fn town() -> Town {
    let mut town = Town::given(BASE);
    let system = Actor::system("test");
    let mut yaml = "kind: user\nname: eve@example.com\n---\nkind: serviceaccount\nname: ci\n".to_owned();
    for who in ["ann", "bob", "cy", "dan", "fay"] {
        yaml += &format!(
            "---\nkind: user\nname: {who}@example.com\n---\n{}",
            rights(who, true, "{role: view, resource: servers}")
        );
    }
    town.apply_all(&system, &yaml).unwrap();
    for who in ["ann", "bob", "cy", "dan", "fay"] {
        let giver = town.user(&format!("{who}@example.com"));
        let given = format!(
            "kind: rbac\nname: by-{who}\nsubjects: [{{kind: User, name: eve@example.com}}]\nroleBindings: [{{role: view, resource: servers}}]\n"
        );
        town.apply_all(&giver, &given).unwrap();
    }
    town.apply_all(&system, &rights("bob", false, "{role: view, resource: servers}")).unwrap();
    town.apply_all(&system, &rights("cy", true, "{role: view, resource: users}")).unwrap();
    town.apply_all(&system, &rights("fay", true, "{role: run, action: bind}")).unwrap();
    town.apply_all(&system, "kind: user\nname: dan@example.com\ndisabled: true\n").unwrap();
    town
}

fn rights(who: &str, edits: bool, more: &str) -> String {
    let edit = if edits { "{role: edit, resource: rbac}, " } else { "" };
    format!(
        "kind: rbac\nname: of-{who}\nsubjects: [{{kind: User, name: {who}@example.com}}]\nroleBindings: [{edit}{more}]\n"
    )
}

#[test]
fn a_grant_that_could_not_be_made_any_more_is_shown_with_the_reason() {
    let mut town = town();
    let told = |town: &Town| {
        let mut told: Vec<(String, String, NoLonger)> = holdings(&town.state)
            .into_iter()
            .filter_map(|held| {
                let why = no_longer(&town.state, held, town.now)?;
                Some((held.holder.meta.name.to_string(), held.grant.grantor.name.clone(), why))
            })
            .collect();
        told.sort_by(|a, b| a.1.cmp(&b.1));
        told
    };
    let eve = "eve@example.com".to_owned();
    let by = |who: &str, why| (eve.clone(), format!("{who}@example.com"), why);
    assert_eq!(
        told(&town),
        [by("bob", NoLonger::MayNotEdit), by("cy", NoLonger::DoesNotHold), by("dan", NoLonger::Ended)],
        "ann still could, and fay by the operation bind"
    );
    town.delete(&Actor::system("test"), Kind::User, None, "cy@example.com").unwrap();
    assert_eq!(told(&town)[1], by("cy", NoLonger::Gone));
}

#[test]
fn what_a_token_was_given_and_its_owner_lost_is_shown_and_so_are_tokens_without_an_end() {
    let mut town = Town::given(BASE);
    let system = Actor::system("test");
    let more = "{role: run, resource: projects}, {role: create, resource: mcptokens}, {role: view, resource: servers}";
    town.apply_all(&system, &format!("kind: user\nname: ann@example.com\n---\n{}", rights("ann", false, more)))
        .unwrap();
    let ann = town.user("ann@example.com");
    for (name, ttl) in [("endless", "never"), ("ending", "30d"), ("over", "never")] {
        town.apply_all(&ann, &format!("kind: mcptoken\nname: {name}\nproject: base\nrbac: clone\nttl: {ttl}\n"))
            .unwrap();
    }
    town.delete(&ann, Kind::McpToken, Some("base"), "over").unwrap();
    let endless: Vec<String> =
        without_expiry(&town.state, town.now).into_iter().map(|token| token.meta.name.to_string()).collect();
    assert_eq!(endless, ["endless"]);
    let idle = |town: &Town| {
        let all = holdings(&town.state).into_iter().filter(|held| owner_lacks(&town.state, *held, town.now));
        all.map(|held| held.grant.permission.to_string()).collect::<std::collections::BTreeSet<_>>()
    };
    assert!(idle(&town).is_empty(), "{:?}", idle(&town));
    let less = "{role: run, resource: projects}, {role: create, resource: mcptokens}";
    town.apply_all(&system, &rights("ann", false, less)).unwrap();
    assert_eq!(idle(&town), ["view servers/base".to_owned()].into());
    town.apply_all(&system, "kind: user\nname: ann@example.com\ndisabled: true\n").unwrap();
    assert!(
        idle(&town).is_empty() && without_expiry(&town.state, town.now).is_empty(),
        "tokens that ended are not shown"
    );
}

#[test]
fn who_is_disabled_and_still_has_something_is_counted_and_administrators_are_named() {
    let mut town = town();
    let yaml =
        "kind: group\nname: crew\nmembers: [dan@example.com]\n---\nkind: serviceaccount\nname: ci\ndisabled: true\n";
    town.apply_all(&Actor::system("test"), yaml).unwrap();
    let counted = |town: &Town| {
        let all = disabled_with_grants(&town.state).into_iter();
        all.map(|(object, count)| (object.meta.name.to_string(), count)).collect::<Vec<_>>()
    };
    // Two bindings and a group; the service account has nothing.
    assert_eq!(counted(&town), [("dan@example.com".to_owned(), 3)]);
    let yaml = "kind: rbac\nname: of-ci\nsubjects: [{kind: ServiceAccount, name: ci}]\nroleBindings: [{role: view, resource: servers}]\n";
    town.apply_all(&Actor::system("test"), yaml).unwrap();
    assert_eq!(counted(&town).len(), 2);
    let named: Vec<String> =
        administrators(&town.state, town.now).into_iter().map(|proof| proof.subject.name).collect();
    assert_eq!(named, ["ann@example.com", "cy@example.com", "fay@example.com"], "bob may not, and dan is disabled");
}

#[test]
fn a_proof_is_the_same_as_itself_and_as_no_other_and_holds_for_its_own_subject_and_state_only() {
    let mut town = Town::given(BASE);
    let system = Actor::system("test");
    let more = "{role: run, resource: projects}, {role: create, resource: mcptokens}, {role: view, resource: servers}";
    for who in ["ann", "bob"] {
        town.apply_all(&system, &format!("kind: user\nname: {who}@example.com\n---\n{}", rights(who, false, more)))
            .unwrap();
    }
    let (ann, bob) = (town.user("ann@example.com"), town.user("bob@example.com"));
    town.apply_all(&ann, "kind: mcptoken\nname: t\nproject: base\nrbac: clone\n").unwrap();
    let token = town.token("base", "t");
    let server = town.state.by_uid(town.uid(Kind::Server, None, "base")).unwrap().clone();
    let ask = Ask::on(Verb::View, &server);
    let of_self = |who: &Actor| town.state.by_uid(who.uid).unwrap().clone();
    let (ann_self, token_self) = (of_self(&ann), of_self(&token));
    let selves = [Ask::on(Verb::View, &ann_self), Ask::on(Verb::View, &token_self)];
    let proofs = [
        (explain(&town.state, &system, &ask, town.now).unwrap(), &ask),
        (explain(&town.state, &ann, &ask, town.now).unwrap(), &ask),
        (explain(&town.state, &bob, &ask, town.now).unwrap(), &ask),
        (explain(&town.state, &token, &ask, town.now).unwrap(), &ask),
        (explain(&town.state, &ann, &selves[0], town.now).unwrap(), &selves[0]),
    ];
    for (at, (proof, ask)) in proofs.iter().enumerate() {
        assert!(proof.holds(&town.state, ask, town.now));
        for (other_at, (other, _)) in proofs.iter().enumerate() {
            assert_eq!(proof.reason == other.reason, at == other_at, "{:?} {:?}", proof.reason, other.reason);
            let mut swapped = proof.clone();
            swapped.subject = other.subject.clone();
            assert_eq!(swapped.holds(&town.state, ask, town.now), proof.subject == other.subject, "{swapped:?}");
        }
    }
    // A token's proof stands on its owner's: somebody else's right is not enough.
    let mut borrowed = proofs[3].0.clone();
    let Reason::Token { owner, .. } = &mut borrowed.reason else { panic!("{:?}", borrowed.reason) };
    **owner = proofs[2].0.clone();
    assert!(!borrowed.holds(&town.state, &ask, town.now), "the owner is somebody else");
    let mut town = town.fork();
    town.apply_all(&system, &rights("ann", false, "{role: run, resource: projects}")).unwrap();
    assert!(explain(&town.state, &token, &ask, town.now).is_err());
}

#[test]
fn who_is_allowed_has_no_obstacle_and_a_subject_is_named_in_the_words_of_bindings() {
    let town = town();
    let (ann, eve) = (town.user("ann@example.com"), town.user("eve@example.com"));
    let name = town.state.by_uid(ann.uid).unwrap().meta.name.clone();
    let ask = Ask::named(Verb::Edit, Kind::Rbac, None, &name);
    assert!(why_not(&town.state, &ann, &ask, town.now).obstacles.is_empty());
    assert!(!why_not(&town.state, &eve, &ask, town.now).obstacles.is_empty());
    let account = town.state.by_uid(town.uid(Kind::ServiceAccount, None, "ci")).unwrap();
    let subject = Subject::of(account).unwrap();
    assert_eq!(subject.find(&town.state).unwrap().meta.uid, account.meta.uid);
    assert_eq!(actor_of(account).unwrap().name, "ci");
    assert!(Subject::of(town.state.by_uid(town.uid(Kind::Server, None, "base")).unwrap()).is_none());
}

#[test]
fn a_right_gives_what_lies_inside_it() {
    use mcpctl_core::access::questions::Right;
    let operation = |text: &str| Right::Operation(text.to_owned());
    for (has, wanted, gives) in
        [("*", "logs", true), ("logs", "logs", true), ("logs", "audit", false), ("logs", "*", false)]
    {
        assert_eq!(operation(has).gives(Verb::Run, &operation(wanted)), gives, "{has} {wanted}");
    }
}

#[test]
fn a_proof_through_a_group_ends_with_the_membership_and_with_the_person() {
    let system = Actor::system("test");
    let mut town = Town::given(BASE);
    town.apply_all(&system, "kind: user\nname: ann@example.com\n---\nkind: group\nname: crew\nmembers: [ann@example.com]\n---\nkind: rbac\nname: crew\nsubjects: [{kind: Group, name: crew}]\nroleBindings: [{role: view, resource: servers}]\n").unwrap();
    let (ann, server) =
        (town.user("ann@example.com"), town.state.by_uid(town.uid(Kind::Server, None, "base")).unwrap().clone());
    let ask = Ask::on(Verb::View, &server);
    let before = town.fork();
    let proof = explain(&before.state, &ann, &ask, before.now).unwrap();
    assert!(proof.holds(&before.state, &ask, before.now));
    for ending in ["kind: user\nname: ann@example.com\ndisabled: true\n", "kind: group\nname: crew\nmembers: []\n"] {
        let mut after = town.fork();
        after.apply_all(&system, ending).unwrap();
        assert!(!proof.holds(&after.state, &ask, after.now), "{ending}");
    }
}

#[test]
fn a_token_is_told_what_it_may_in_rows_by_what_they_stand_on() {
    let system = Actor::system("test");
    let mut town = Town::given(BASE);
    let held = "{role: edit, resource: projects}, {role: run, resource: projects}, {role: edit, resource: mcptokens}";
    town.apply_all(
        &system,
        &format!(
            "kind: user\nname: ann@example.com\n---\n{}\n---\nkind: project\nname: other\n",
            rights("ann", false, held)
        ),
    )
    .unwrap();
    let ann = town.user("ann@example.com");
    let bindings = "[{role: delete, resource: mcptokens}, {role: edit, resource: projects, name: base}, {role: view, resource: mcptokens, name: later}]";
    town.apply_all(&ann, &format!("kind: mcptoken\nname: t\nproject: base\nbindings: {bindings}\n")).unwrap();
    for (name, project) in [("sister", "base"), ("stranger", "other")] {
        town.apply_all(&ann, &format!("kind: mcptoken\nname: {name}\nproject: {project}\n")).unwrap();
    }
    let token = town.token("base", "t");
    let told: Vec<String> =
        what_can(&town.state, &token, town.now).held.into_iter().map(|held| held.right.to_string()).collect();
    let expected = [
        "view,delete,edit projects/base",
        "run projects/base",
        "delete mcptokens in base",
        "view mcptokens/later in base",
        "view mcptokens/t in base",
    ];
    assert_eq!(told, expected);
}
