//! T6: the view of any seq is what a fresh fold of the events up to there gives, in every answer.
use std::collections::BTreeSet;

use mcpctl_core::actor::Actor;
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::kinds::{Kind, User, UserAction};
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::object::Object;
use mcpctl_core::record::Record;
use mcpctl_core::world::World;
use mcpctl_projections::State;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::asked::{actors, questions};
use crate::escalation::{USERS, step, take};
use crate::questions::{assert_agreement, lived};
use crate::town::Town;

/// All identities, names and digests that ever were, to ask about each.
#[derive(Default)]
pub(crate) struct Ever {
    uids: BTreeSet<Uid>,
    names: BTreeSet<(Kind, Option<Uid>, Name)>,
    digests: BTreeSet<String>,
}

impl Ever {
    pub(crate) fn in_log(records: &[Record]) -> Self {
        let (mut ever, mut state) = (Self::default(), State::default());
        for record in records {
            let header = &record.header;
            ever.uids.insert(header.object);
            ever.names.insert((header.kind, header.project, header.name.clone()));
            let fold = state.fold(record, Digest::default()).unwrap();
            let credentials = fold.after.iter().flat_map(|object| object.body.credentials());
            ever.digests.extend(credentials.map(|credential| credential.digest.to_string()));
        }
        ever
    }
}

fn whole(object: &Object) -> Value {
    json!([object.meta, object.body.canonical(), object.refs[..]])
}

/// Everything that a world answers.
pub(crate) fn told(world: &dyn World, ever: &Ever) -> Value {
    let uids = |objects: Vec<&std::sync::Arc<Object>>| objects.iter().map(|object| object.meta.uid).collect::<Vec<_>>();
    let of_uid = |uid: &Uid| {
        json!([
            uid,
            world.by_uid(*uid).map(|object| whole(object)),
            world.grants(*uid),
            world.memberships(*uid),
            uids(world.referrers(*uid)),
            uids(world.owned_by(*uid)),
        ])
    };
    let of_name =
        |(kind, project, name): &(Kind, Option<Uid>, Name)| world.by_name(*kind, *project, name).map(|o| o.meta.uid);
    json!({
        "seq": world.seq(),
        "all": Kind::ALL.iter().map(|kind| uids(world.all(*kind).collect())).collect::<Vec<_>>(),
        "by_uid": ever.uids.iter().map(of_uid).collect::<Vec<_>>(),
        "by_name": ever.names.iter().map(of_name).collect::<Vec<_>>(),
        "credentials": ever.digests.iter().map(|d| world.credential(&d.parse().unwrap())).collect::<Vec<_>>(),
        "holding": world.holding(&|_| true),
        "viewing": world.holding(&|permission| permission.to_string().starts_with("view")),
    })
}

/// What the last state says about one seq is what a fresh fold up to there says.
pub(crate) fn assert_told_as_it_was(records: &[Record], last: &State, at: Seq) -> Result<(), TestCaseError> {
    let ever = Ever::in_log(records);
    let mut fresh = State::default();
    for record in records.iter().take_while(|record| record.header.seq <= at) {
        fresh.fold(record, Digest::default()).unwrap();
    }
    prop_assert_eq!(told(&last.at(at), &ever), told(&fresh, &ever));
    Ok(())
}

/// Folds event after event, and compares each state with what the last one says about it.
fn assert_the_past_is_told_as_it_was(records: &[Record], last: &State) -> Result<(), TestCaseError> {
    let ever = Ever::in_log(records);
    let mut fresh = State::default();
    prop_assert_eq!(told(&last.at(Seq(0)), &ever), told(&fresh, &ever));
    for record in records {
        fresh.fold(record, Digest::default()).unwrap();
        let seq = record.header.seq;
        let view = last.at(seq);
        let (then, now) = (told(&fresh, &ever), told(&view, &ever));
        prop_assert!(then == now, "at {seq}:\n{then:#}\n{now:#}");
        prop_assert_eq!((view.last_at(), last.time_of(seq)), (fresh.last_at(), Some(record.header.at)));
        for uid in &ever.uids {
            let (then, now) = (fresh.by_uid(*uid), last.object_at(*uid, seq));
            prop_assert_eq!(then.map(|o| whole(o)), now.map(|o| whole(&o)));
        }
    }
    prop_assert_eq!(told(&last.at(Seq(u64::MAX)), &ever), told(last, &ever));
    Ok(())
}

/// Things that happen to the same few names again and again: logins, deletions, the same name as somebody else.
pub(crate) fn churn(town: &mut Town, steps: &[u8]) {
    let system = Actor::system("test");
    for step in steps {
        let email = USERS[usize::from(step % 3)];
        let known = town.state.by_name(Kind::User, None, &Name::parse(NameRule::Email, email).unwrap()).cloned();
        match (step / 3 % 7, known) {
            (6, _) if step / 3 % 2 == 0 => drop(town.delete(&system, Kind::McpToken, Some("p"), "t0")),
            (6, _) => drop(town.delete(&system, Kind::Project, None, "p")),
            (0, Some(_)) => drop(town.delete(&system, Kind::User, None, email)),
            (_, None) => drop(town.apply_all(&system, &format!("kind: user\nname: {email}\n"))),
            (1 | 2, Some(_)) => {
                let digest = Digest::sha256(&[*step, town.records.len() as u8]);
                let open = UserAction::OpenLogin { digest, expires_at: town.now.plus_millis(9), checked: None };
                drop(town.act(&system, Kind::User, None, email, Box::new(open)));
            }
            (3, Some(user)) => {
                let open = user.of::<User>().and_then(|(_, status)| status.logins.keys().next()?.parse().ok());
                let close = open.map(|digest| UserAction::CloseLogin { digest });
                drop(close.map(|close| town.act(&system, Kind::User, None, email, Box::new(close))));
            }
            (4, Some(_)) => drop(town.apply_all(&system, &format!("kind: project\nname: q\nmembers: [{email}]\n"))),
            (_, Some(_)) => drop(town.delete(&system, Kind::Project, None, "q")),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_view_of_every_seq_is_a_fresh_fold_of_the_events_up_to_there(
        steps in prop::collection::vec(step(), 1..20), bindings in any::<u8>(), subjects in any::<u8>(),
        churned in prop::collection::vec(0u8..42, 0..40), more in prop::collection::vec(step(), 0..10),
    ) {
        let mut town = lived(&steps, bindings, subjects);
        churn(&mut town, &churned);
        more.iter().for_each(|step| drop(take(&mut town, step)));
        assert_the_past_is_told_as_it_was(&town.records, &town.state)?;
    }

    #[test]
    fn all_questions_agree_in_the_past_too(
        steps in prop::collection::vec(step(), 1..15), bindings in any::<u8>(), subjects in any::<u8>(),
        churned in prop::collection::vec(0u8..42, 0..20), at in any::<prop::sample::Index>(),
    ) {
        let mut town = lived(&steps, bindings, subjects);
        churn(&mut town, &churned);
        let seq = Seq(at.index(town.records.len() + 1) as u64);
        let (view, mut fresh) = (town.state.at(seq), State::default());
        for record in &town.records[..seq.0 as usize] {
            fresh.fold(record, Digest::default()).unwrap();
        }
        assert_agreement(&view, view.last_at())?;
        for asked in questions(&fresh) {
            for actor in actors(&fresh) {
                use mcpctl_core::access::questions::explain;
                let (then, now) = (fresh.last_at(), view.last_at());
                prop_assert_eq!(explain(&fresh, &actor, &asked.ask(), then), explain(&view, &actor, &asked.ask(), now));
            }
        }
    }
}

#[test]
fn an_object_of_many_versions_is_told_at_each() {
    let mut town = Town::given("kind: group\nname: g\n");
    for version in 0..300 {
        let text = format!("kind: group\nname: g\ndescription: version {version}{}\n", "!".repeat(version % 7));
        town.apply_all(&Actor::system("test"), &text).unwrap();
    }
    assert_the_past_is_told_as_it_was(&town.records, &town.state).unwrap();
    town.delete(&Actor::system("test"), Kind::Group, None, "g").unwrap();
    assert_the_past_is_told_as_it_was(&town.records, &town.state).unwrap();
}
