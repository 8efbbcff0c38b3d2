//! T5: who-can, what-can and can-i agree; a proof checks again; granting exactly what why-not names flips the answer.
use mcpctl_core::access::questions::{
    Obstacle, Proof, Subject, WhyNot, can_i, explain, smallest, what_can, who_can, why_not,
};
use mcpctl_core::access::{Ask, Permission, ResourceName, Rule, Verb};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::Uid;
use mcpctl_core::kinds::{Kind, McpToken};
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World;
use proptest::prelude::*;

use crate::asked::{Asked, actors, questions};
use crate::escalation::{Step, step, take, town};
use crate::town::Town;

const EXTRA: [&str; 8] = [
    "{role: view, resource: '*'}",
    "{role: edit, resource: projects, name: p}",
    "{role: view, resource: mcptokens, name: t0}",
    "{role: delete, resource: mcptokens}",
    "{role: run, action: logs}",
    "{role: run, action: '*'}",
    "{role: view, resource: instances}",
    "{role: run, resource: '*', name: s}",
];

/// After the steps, the control plane itself gives out what nobody in the town holds.
pub(crate) fn lived(steps: &[Step], bindings: u8, subjects: u8) -> Town {
    let mut town = town();
    town.apply_all(&Actor::system("test"), "kind: serviceaccount\nname: robot\n").unwrap();
    for step in steps {
        take(&mut town, step);
    }
    let mut chosen = actors(&town.state);
    chosen.retain({
        let mut index = 0;
        move |_| {
            index += 1;
            subjects & (1 << ((index - 1) % 8)) != 0
        }
    });
    let extra = EXTRA.iter().enumerate().filter(|(i, _)| bindings & (1 << i) != 0).map(|(_, text)| *text);
    let extra: Vec<&str> = extra.collect();
    if !extra.is_empty() && !chosen.is_empty() {
        give(&mut town, "extra", &chosen, &extra.join(", "));
    }
    town
}

fn subject_yaml(town: &Town, actor: &Actor) -> String {
    match actor.kind {
        ActorKind::User => format!("{{kind: User, name: {}}}", actor.name),
        ActorKind::ServiceAccount => format!("{{kind: ServiceAccount, name: {}}}", actor.name),
        ActorKind::McpToken => {
            let sha = town.state.by_uid(actor.uid).unwrap().of::<McpToken>().unwrap().1.sha256.unwrap();
            format!("{{kind: McpToken, name: {sha}}}")
        }
        ActorKind::System | ActorKind::Local => unreachable!("nothing is given to the control plane"),
    }
}

fn give(town: &mut Town, name: &str, to: &[Actor], bindings: &str) {
    let subjects: Vec<String> = to.iter().map(|actor| subject_yaml(town, actor)).collect();
    let yaml = format!("kind: rbac\nname: {name}\nsubjects: [{}]\nroleBindings: [{bindings}]\n", subjects.join(", "));
    town.apply_all(&Actor::system("test"), &yaml).unwrap();
}

fn binding_yaml(permission: &Permission) -> String {
    serde_json::to_string(permission).unwrap()
}

/// All five questions about everybody and everything, compared with the decision.
pub(crate) fn assert_agreement(world: &dyn World, now: Timestamp) -> Result<(), TestCaseError> {
    assert_agreement_on(world, now, &questions(world))
}

pub(crate) fn assert_agreement_on(world: &dyn World, now: Timestamp, questions: &[Asked]) -> Result<(), TestCaseError> {
    let actors = actors(world);
    let all_of: Vec<_> = actors.iter().map(|actor| what_can(world, actor, now)).collect();
    for asked in questions {
        let ask = asked.ask();
        let able = who_can(world, &ask, now);
        for proof in &able {
            prop_assert!(actors.contains(&proof.subject), "{} is nobody", proof.subject);
        }
        for (actor, what) in actors.iter().zip(&all_of) {
            let verdict = can_i(world, actor, &ask, now);
            let listed = able.iter().filter(|proof| proof.subject.uid == actor.uid).count();
            prop_assert_eq!(listed, usize::from(verdict.allowed), "who-can {} and {}", ask, actor);
            let held = what.held.iter().any(|held| held.right.answers(&ask));
            // A token's rights are told inside its project; nobody holds `*` there.
            let told = actor.kind != ActorKind::McpToken
                || !matches!(asked, Asked::Object { resource: ResourceName::Any, .. });
            prop_assert!(
                !told || held == verdict.allowed,
                "what-can {} says {}, and {}: {:?}",
                actor,
                held,
                ask,
                verdict
            );
            match explain(world, actor, &ask, now) {
                Ok(proof) => assert_proof(world, &proof, &ask, now, &verdict.via)?,
                Err(why) => {
                    prop_assert!(!verdict.allowed && !why.obstacles.is_empty(), "{} {}", actor, ask);
                    prop_assert_eq!((why.rule, why.at), (verdict.rule, verdict.at));
                }
            }
        }
    }
    Ok(())
}

fn assert_proof(
    world: &dyn World,
    proof: &Proof<'_>,
    ask: &Ask<'_>,
    now: Timestamp,
    via: &[mcpctl_core::ids::Seq],
) -> Result<(), TestCaseError> {
    let who = &proof.subject;
    prop_assert!(proof.holds(world, ask, now), "{who} {ask}: {proof:?}");
    let used = proof.via();
    prop_assert_eq!(used.as_slice(), via, "{} {}", who, ask);
    let mut stolen = proof.clone();
    stolen.subject = Actor { uid: Uid::fixed(7), ..who.clone() };
    prop_assert!(!stolen.holds(world, ask, now), "another one's proof holds: {stolen:?}");
    prop_assert!(!proof.holds(&mcpctl_projections::State::default(), ask, now), "it holds where nothing is");
    Ok(())
}

/// Gives exactly what is missing, and nothing else.
fn grant(town: &mut Town, why: &WhyNot) {
    for (index, missing) in why.missing().expect("grants are all that is missing").into_iter().enumerate() {
        give(town, &format!("granted{index}"), std::slice::from_ref(&missing.to), &binding_yaml(&missing.permission));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn all_questions_agree_with_the_decision(
        steps in prop::collection::vec(step(), 1..25), bindings in any::<u8>(), subjects in any::<u8>(),
    ) {
        let town = lived(&steps, bindings, subjects);
        assert_agreement(&town.state, town.now)?;
    }

    #[test]
    fn granting_exactly_what_why_not_names_flips_the_answer(
        steps in prop::collection::vec(step(), 1..25), bindings in any::<u8>(), subjects in any::<u8>(),
        chosen in prop::collection::vec(any::<prop::sample::Index>(), 12),
    ) {
        let town = lived(&steps, bindings, subjects);
        let (actors, questions) = (actors(&town.state), questions(&town.state));
        for index in chosen {
            let pair = index.index(actors.len() * questions.len());
            let (actor, ask) = (&actors[pair % actors.len()], questions[pair / actors.len()].ask());
            let why = why_not(&town.state, actor, &ask, town.now);
            prop_assert_eq!(why.obstacles.is_empty(), town.can(actor, &ask));
            let Some(missing) = why.missing() else { continue };
            // One of several is not enough.
            for left_out in 0..missing.len() {
                let mut partly = town.fork();
                let rest: Vec<Obstacle> =
                    why.obstacles.iter().enumerate().filter(|(i, _)| *i != left_out).map(|(_, o)| o.clone()).collect();
                if !rest.is_empty() {
                    grant(&mut partly, &WhyNot { obstacles: rest, ..why.clone() });
                }
                prop_assert!(!partly.can(actor, &ask), "{} may {} without all of {:?}", actor, ask, why);
            }
            let mut after = town.fork();
            grant(&mut after, &why);
            prop_assert!(after.can(actor, &ask), "{} still may not {}: {:?}", actor, ask, why);
            // And it is the smallest: what else became possible is about the same thing.
            for other in questions.iter().map(Asked::ask).filter(|other| !town.can(actor, other) && after.can(actor, other)) {
                prop_assert!(about(&other) == about(&ask) || !about(&ask).1, "{} opened {} too", ask, other);
            }
        }
    }
}

/// What a question is about, and whether that is one thing.
fn about(ask: &Ask<'_>) -> (String, bool) {
    match ask {
        Ask::Operation(action) => ((*action).to_owned(), true),
        Ask::Object { resource, name, .. } => (format!("{resource}/{name:?}"), name.is_some()),
    }
}

fn given() -> Town {
    let mut town = town();
    let yaml = "kind: group\nname: g\nmembers: [c@example.com]\n---\nkind: rbac\nname: g\nsubjects: [{kind: Group, name: g}]\nroleBindings: [{role: view, resource: servers, name: s}]\n---\nkind: project\nname: p\nservers: [s]\n";
    town.apply_all(&Actor::system("test"), yaml).unwrap();
    let a = town.user("a@example.com");
    town.apply_all(&a, "kind: mcptoken\nname: t0\nproject: p\nrbac: clone\nttl: 1h\n").unwrap();
    town
}

#[test]
fn who_lost_every_grant_may_still_look_at_themselves_and_end_their_tokens() {
    let mut town = given();
    let strong = "kind: rbac\nname: strong\nsubjects: []\nroleBindings: [{role: run, action: logs}]\n";
    town.apply_all(&Actor::system("test"), strong).unwrap();
    assert_agreement(&town.state, town.now).unwrap();
    let rights: Vec<String> = what_can(&town.state, &town.user("a@example.com"), town.now)
        .held
        .iter()
        .map(|held| held.right.to_string())
        .collect();
    assert_eq!(rights, ["view users/a@example.com", "view,edit,delete mcptokens/t0 in p"]);
}

fn name(text: &str) -> Name {
    Name::parse(NameRule::Label, text).unwrap()
}

#[test]
fn a_right_of_a_group_is_told_with_the_membership_and_who_made_it() {
    let town = given();
    let (c, s) = (town.user("c@example.com"), name("s"));
    let ask = Ask::named(Verb::View, Kind::Server, None, &s);
    let proof = explain(&town.state, &c, &ask, town.now).unwrap();
    let mcpctl_core::access::questions::Reason::Granted { grant, through: Some(member) } = proof.reason else {
        panic!("{proof:?}")
    };
    assert_eq!(member.group, town.uid(Kind::Group, None, "g"));
    assert_eq!((grant.source, grant.grantor.kind), (town.uid(Kind::Rbac, None, "g"), ActorKind::System));
    assert!(member.seq < grant.seq, "the member came before the binding");
}

#[test]
fn each_of_the_three_that_bound_a_token_is_named_when_it_fails() {
    let mut town = given();
    let (token, s) = (town.token("p", "t0"), name("s"));
    let run = Ask::named(Verb::Run, Kind::Server, None, &s);
    let why = |town: &Town, ask: &Ask<'_>| why_not(&town.state, &token, ask, town.now);
    assert!(why(&town, &run).obstacles.is_empty());
    let tokens_in_p = Some(town.uid(Kind::Project, None, "p"));
    let mint = Ask::Object {
        verb: Verb::Create,
        resource: ResourceName::Kind(Kind::McpToken),
        project: tokens_in_p,
        name: None,
        uid: None,
    };
    assert_eq!(why(&town, &mint).obstacles[0], Obstacle::NotForTokens);
    assert!(why(&town, &mint).missing().is_none(), "no grant would do");
    assert_eq!(why(&town, &Ask::Operation("logs")).rule, Rule::OutsideProject);
    town.apply_all(
        &Actor::system("test"),
        "kind: rbac\nname: strong\nsubjects: []\nroleBindings: [{role: run, action: logs}]\n",
    )
    .unwrap();
    let lost = why(&town, &run);
    assert!(
        matches!(&lost.obstacles[..], [Obstacle::NoGrant(missing)] if missing.to.name == "a@example.com"),
        "{lost:?}"
    );
    assert_eq!(lost.missing().unwrap()[0].permission, smallest(&run));
    town.apply_all(&Actor::system("test"), "kind: user\nname: a@example.com\ndisabled: true\n").unwrap();
    let ended = why(&town, &run);
    assert!(
        matches!(ended.obstacles[..], [Obstacle::Revoked { .. }, Obstacle::Disabled(_), Obstacle::NoGrant(_)]),
        "{ended:?}"
    );
    assert_eq!((ended.rule, ended.missing()), (Rule::Ended, None));
    assert!(what_can(&town.state, &token, town.now).held.is_empty());
}

#[test]
fn a_proof_with_another_owner_project_or_grant_does_not_hold() {
    use mcpctl_core::access::questions::Reason;
    let town = given();
    let (token, s) = (town.token("p", "t0"), name("s"));
    let ask = Ask::named(Verb::Run, Kind::Server, None, &s);
    let proof = explain(&town.state, &token, &ask, town.now).unwrap();
    assert!(proof.holds(&town.state, &ask, town.now));
    let Reason::Token { grant, project, owner } = proof.reason.clone() else { panic!("{proof:?}") };
    let with = |reason| Proof { subject: proof.subject.clone(), reason };
    let weak =
        explain(&town.state, &town.user("c@example.com"), &Ask::named(Verb::View, Kind::Server, None, &s), town.now);
    let Reason::Granted { grant: of_c, .. } = weak.unwrap().reason else { panic!("c has it from a group") };
    let system = Box::new(Proof { subject: Actor::system("x"), reason: Reason::System });
    for forged in [
        with(Reason::Token { grant, project, owner: system }),
        with(Reason::Token { grant: of_c, project, owner: owner.clone() }),
        with(Reason::Token { grant, project: town.state.by_uid(town.uid(Kind::Server, None, "s")).unwrap(), owner }),
        with(Reason::Granted { grant, through: None }),
    ] {
        assert!(!forged.holds(&town.state, &ask, town.now), "{forged:?}");
    }
}

#[test]
fn a_subject_is_found_by_the_words_that_people_use() {
    let town = given();
    let sha = town.state.by_uid(town.token("p", "t0").uid).unwrap().of::<McpToken>().unwrap().1.sha256.unwrap();
    let token = town.token("p", "t0").uid;
    for (text, uid) in [
        ("a@example.com", town.user("a@example.com").uid),
        ("User:a@example.com", town.user("a@example.com").uid),
        ("Group:g", town.uid(Kind::Group, None, "g")),
        ("McpToken:p/t0", token),
        (&format!("McpToken:{sha}"), token),
    ] {
        let subject: Subject = text.parse().unwrap();
        assert_eq!(subject.find(&town.state).unwrap().meta.uid, uid, "{text}");
    }
    assert!("a".parse::<Subject>().is_err());
    assert!("User:nobody@example.com".parse::<Subject>().unwrap().find(&town.state).is_err());
}
