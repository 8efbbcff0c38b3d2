//! T3: whatever the log of a town is, every event of it was allowed in the state before it; and an event that was put
//! into a log without the right is found, wherever it stands and whatever it says of itself.
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::command::{Asking, Command, Deed, Mode};
use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::kinds::{Kind, PasswordVersion, UserAction};
use mcpctl_core::manifest;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::record::{AuthzMode, Header, Record};
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::replay::{Finding, Range, Replay, Tally};
use proptest::prelude::*;

use crate::escalation::{USERS, step, take, town};
use crate::events::eventful;
use crate::town::{BASE, Town};

/// A replay of these records that believes the chain: each is chained to the one before it.
pub(crate) fn replay(records: &[Record]) -> Tally {
    replayed(records, Range::default())
}

fn replayed(records: &[Record], range: Range) -> Tally {
    let mut replay = Replay::of(range).trusting("test");
    let mut prev = Digest::default();
    for record in records {
        let mut record = record.clone();
        record.header.prev = prev;
        let stored = record.store().unwrap();
        replay.push(record.header.seq, &stored.bytes).unwrap();
        prev = stored.hash;
    }
    replay.finish().unwrap().1
}

fn first(tally: &Tally) -> &Finding {
    tally.findings.first().expect("something was not allowed")
}

/// A record at the end of a log: who, what, and by which right they say.
fn forged(town: &Town, actor: &Actor, like: &Record, mode: AuthzMode, via: Vec<Seq>) -> Record {
    let mut record = like.clone();
    let seq = town.state.seq();
    record.header = Header { seq: seq.next(), at: town.now, actor: actor.clone(), ..record.header };
    record.header.authz.at = seq;
    record.header.authz.mode = mode;
    record.header.authz.via = via;
    record
}

/// The event with which somebody who may do everything would give mallory everything, decided but not appended.
fn grab(town: &Town, name: &str, subject: &str) -> Record {
    let yaml = format!(
        "kind: rbac\nname: {name}\nsubjects: [{{kind: User, name: {subject}}}]\nroleBindings: [{{role: edit, resource: '*'}}]\n"
    );
    let mut other = town.fork();
    // Else the next object of the town would get the same uid.
    other.apply_all(&Actor::system("test"), "kind: group\nname: aside\n").unwrap();
    other.apply_all(&Actor::system("test"), &yaml).unwrap();
    other.records.last().unwrap().clone()
}

#[test]
fn every_event_there_is_can_be_decided_again() {
    let town = eventful();
    let tally = replay(&town.records);
    assert_eq!(tally.findings, []);
    assert_eq!((tally.not_allowed, tally.checked as usize), (0, town.records.len()));
}

#[test]
fn what_people_do_to_themselves_and_to_each_other_is_decided_again() {
    let mut town = Town::given(BASE);
    let system = Actor::system("test");
    let rbac = "kind: user\nname: ann@example.com\n---\nkind: rbac\nname: ann\nsubjects: [{kind: User, name: ann@example.com}]\nroleBindings: [{role: edit, resource: users}, {role: run, resource: projects}, {role: edit, resource: mcptokens}, {role: edit, resource: groups}]\n";
    town.apply_all(&system, rbac).unwrap();
    let (ann, base) = (town.user("ann@example.com"), town.user("base@example.com"));
    let password = |n: u8| PasswordVersion { version: 0, commitment: Digest::sha256(&[n]) };
    let login = |n: u8| UserAction::OpenLogin {
        digest: Digest::sha256(&[n]),
        expires_at: Timestamp::from_millis(1_900_000_000_000),
        checked: None,
    };
    for n in 0..40 {
        town.act(&Actor::system("login"), Kind::User, None, "base@example.com", Box::new(login(n))).unwrap();
    }
    town.act(&base, Kind::User, None, "base@example.com", Box::new(UserAction::SetPassword(password(1)))).unwrap();
    town.act(&ann, Kind::User, None, "base@example.com", Box::new(UserAction::SetPassword(password(2)))).unwrap();
    // A manifest that changes nothing but the password: by right, and for oneself without any.
    for (caller, who) in [(&ann, "base@example.com"), (&base, "base@example.com")] {
        let spec = town.state.by_uid(town.user(who).uid).unwrap().body.clone();
        let then: Vec<mcpctl_core::erased::AnyAction> = vec![Box::new(UserAction::SetPassword(password(3)))];
        let deed = Deed::Apply { body: spec, mode: Mode::Upsert, expected: None, then };
        let name = Name::parse(NameRule::Email, who).unwrap();
        town.command(caller, Command { kind: Kind::User, name, project: None, deed }).unwrap();
    }
    town.apply_all(&ann, "kind: mcptoken\nname: a\nproject: base\nrbac: clone\nttl: 30d\n").unwrap();
    town.act(&Actor::system("login"), Kind::User, None, "ann@example.com", Box::new(login(90))).unwrap();
    town.apply_all(&system, "kind: user\nname: ann@example.com\ndisabled: true\n").unwrap();
    town.delete(&system, Kind::Project, None, "base").unwrap();
    town.delete(&system, Kind::User, None, "ann@example.com").unwrap();
    assert_eq!(replay(&town.records).findings, []);
}

#[test]
fn a_grant_that_nobody_could_give_is_found_whatever_it_says_of_itself() {
    let mut town = town();
    town.apply_all(&Actor::system("test"), "kind: user\nname: mallory@example.com\n").unwrap();
    let mallory = town.user("mallory@example.com");
    let grab = grab(&town, "grab", "mallory@example.com");
    let strong = town.records.iter().find(|record| record.header.name.as_str() == "strong").unwrap().header.seq;
    let ghost = Actor { uid: mcpctl_core::ids::Uid::fixed(7), ..mallory.clone() };
    let renamed = Actor { uid: town.user(USERS[0]).uid, ..mallory.clone() };
    let as_token = Actor { kind: ActorKind::McpToken, ..mallory.clone() };
    for (actor, mode, via, why) in [
        (mallory.clone(), AuthzMode::Rbac, vec![], "may not"),
        (mallory.clone(), AuthzMode::Rbac, vec![strong], "may not"),
        (mallory.clone(), AuthzMode::Own, vec![], "may not"),
        (mallory.clone(), AuthzMode::System, vec![], "may not"),
        (mallory.clone(), AuthzMode::Local, vec![], "may not"),
        (ghost, AuthzMode::Rbac, vec![strong], "does not exist"),
        (renamed, AuthzMode::Rbac, vec![strong], "by that uid"),
        (as_token, AuthzMode::Rbac, vec![strong], "by that uid"),
        (town.user(USERS[0]), AuthzMode::Rbac, vec![strong], "may not give"),
        (Actor::system("helper"), AuthzMode::System, vec![], "no part of the control plane"),
        (Actor::system("bootstrap"), AuthzMode::System, vec![], "first start"),
        (Actor::system("login"), AuthzMode::System, vec![], "open and close logins"),
        (Actor::system("expiry"), AuthzMode::System, vec![], "not due"),
        (Actor::system("oidc"), AuthzMode::System, vec![], "sign people in"),
        (Actor::system("health"), AuthzMode::System, vec![], "how servers are"),
        (Actor::system("evidence"), AuthzMode::System, vec![], "where the audit log stands"),
    ] {
        let forged = forged(&town, &actor, &grab, mode, via);
        let mut records = town.records.clone();
        records.push(forged.clone());
        let tally = replay(&records);
        assert_eq!((tally.not_allowed, first(&tally).seq), (1, forged.header.seq), "{actor} {mode:?}");
        assert!(first(&tally).why.contains(why), "{actor} {mode:?}: {}", first(&tally).why);
        assert_eq!(first(&tally).object, "rbac/grab");
    }
}

/// What `a` really did, altered in one way each.
#[test]
fn an_event_that_was_altered_is_found() {
    let mut town = town();
    let a = town.user(USERS[0]);
    let given = "kind: rbac\nname: given\nsubjects: [{kind: User, name: c@example.com}]\nroleBindings: [{role: run, resource: projects}]\n";
    town.apply_all(&a, given).unwrap();
    let good = town.records.last().unwrap().clone();
    let before = &town.records[..town.records.len() - 1];
    let verdict = |altered: Record| {
        let tally = replay(&[before, &[altered]].concat());
        tally.findings.first().map(|finding| finding.why.clone())
    };
    assert_eq!(verdict(good.clone()), None);
    assert!(good.header.authz.via.len() == 1, "one grant set gave both: {:?}", good.header.authz.via);
    let alter = |change: &dyn Fn(&mut Record)| {
        let mut record = good.clone();
        change(&mut record);
        verdict(record).expect("it is found")
    };
    assert!(alter(&|r| r.header.authz.via = vec![]).contains("not enough"));
    assert!(alter(&|r| r.header.authz.via = vec![Seq(1)]).contains("nothing that was in force"));
    assert!(alter(&|r| r.header.authz.mode = AuthzMode::Own).contains("way of being allowed"));
    assert!(alter(&|r| r.header.authz.at = Seq(r.header.authz.at.0 - 1)).contains("decided together"));
    assert!(alter(&|r| r.header.authz.at = Seq(1)).contains("the state before it is that of"));
    assert!(alter(&|r| r.header.at = Timestamp::from_millis(5)).contains("before the event before it"));
    assert!(alter(&|r| r.header.object = mcpctl_core::ids::Uid::fixed(9)).contains("another uid"));
    assert!(alter(&|r| r.header.on_behalf_of = Some(town.user(USERS[1]))).contains("may not"));
}

#[test]
fn what_a_command_did_not_leave_is_found_beside_what_it_left() {
    let mut town = town();
    let a = town.user(USERS[0]);
    town.apply_all(&a, "kind: mcptoken\nname: t\nproject: p\n").unwrap();
    town.apply_all(&a, "kind: user\nname: a@example.com\ndisabled: true\n").unwrap();
    let events: Vec<&str> = town.records.iter().rev().take(2).map(|r| r.header.event.as_str()).collect();
    assert_eq!(events, ["revoked", "applied"], "the owner is disabled, and its token goes with it");
    assert_eq!(replay(&town.records).findings, []);
    // The token that should have gone stays.
    let without = &town.records[..town.records.len() - 1];
    assert!(first(&replay(without)).why.contains("number of events"));
    // Something rides along.
    let mut more = town.records.clone();
    let mut rider = grab(&town, "rider", "b@example.com");
    rider.header = Header { authz: more.last().unwrap().header.authz.clone(), actor: a, ..rider.header };
    (rider.header.at, rider.header.seq) = (town.now, town.state.seq().next());
    more.push(rider);
    let tally = replay(&more);
    assert_eq!(first(&tally).seq, more.last().unwrap().header.seq);
}

/// The uid of one object under the kind of another must not reach code that trusts the kind.
#[test]
fn an_event_about_an_object_of_another_kind_is_found_and_does_not_fold() {
    let town = town();
    let a = town.user(USERS[0]);
    let mut record = forged(&town, &a, &grab(&town, "grab", USERS[2]), AuthzMode::Rbac, vec![]);
    (record.header.object, record.header.prev) = (a.uid, town.state.head());
    let mut replay = Replay::of(Range::default()).trusting("test");
    for record in town.records.iter().chain([&record]) {
        replay.push(record.header.seq, &record.store().unwrap().bytes).unwrap();
    }
    assert!(replay.finish().is_err());
}

#[test]
fn a_log_whose_chain_does_not_hold_is_not_replayed() {
    let town = town();
    let mut replay = Replay::of(Range::default()).trusting("test");
    let mut second = town.records[1].clone();
    second.header.prev = Digest::sha256(b"other");
    replay.push(Seq(1), &town.records[0].store().unwrap().bytes).unwrap();
    assert!(replay.push(Seq(2), &second.store().unwrap().bytes).is_err());
    assert!(replay.push(Seq(3), &town.records[2].store().unwrap().bytes).is_err());
}

#[test]
fn a_range_is_judged_by_itself_in_the_states_that_the_whole_log_gives() {
    let mut town = town();
    let (a, mallory) = (town.user(USERS[0]), town.user(USERS[2]));
    let bad = forged(&town, &mallory, &grab(&town, "grab", USERS[2]), AuthzMode::Rbac, vec![]);
    let (seq, stored) = (bad.header.seq, bad.store().unwrap());
    town.state.fold(&bad, stored.hash).unwrap();
    town.records.push(bad);
    town.apply_all(&a, "kind: group\nname: later\n").unwrap();
    let of = |from: u64, to: u64| {
        let range = Range { from: Some(Seq(from)), to: Some(Seq(to)), ..Range::default() };
        let tally = replayed(&town.records, range);
        (tally.checked, tally.not_allowed)
    };
    assert_eq!(of(1, u64::MAX), (town.records.len() as u64, 1));
    assert_eq!(of(seq.0, seq.0), (1, 1));
    assert_eq!(of(seq.0 + 1, u64::MAX), (1, 0));
    assert_eq!(of(1, seq.0 - 1), (seq.0 - 1, 0));
}

#[test]
fn the_recorded_log_of_every_release_is_still_allowed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/log/v1.hex");
    let mut replay = Replay::of(Range::default()).trusting("test");
    for (index, line) in std::fs::read_to_string(path).unwrap().lines().enumerate() {
        let bytes: Vec<u8> =
            (0..line.len()).step_by(2).map(|i| u8::from_str_radix(&line[i..i + 2], 16).unwrap()).collect();
        replay.push(Seq(index as u64 + 1), &bytes).unwrap();
    }
    assert_eq!(replay.finish().unwrap().1.findings, []);
}

#[test]
fn each_part_does_its_own_and_no_more() {
    // The first objects are made by the bootstrap, and it acts no more once somebody else has.
    let mut town = Town::empty();
    town.apply_all(&Actor::system("bootstrap"), BASE).unwrap();
    assert_eq!(replay(&town.records).findings, []);
    let person = town.records.iter().find(|record| record.header.kind == Kind::User).unwrap().clone();
    let server = town.records.iter().find(|record| record.header.kind == Kind::Server).unwrap().clone();
    let local = Actor { kind: ActorKind::Local, ..Actor::system("uid-0") };
    for (actor, mode, like, why) in [
        (Actor::system("oidc"), AuthzMode::System, &person, "sign people in"),
        (local, AuthzMode::Local, &server, "make an administrator"),
    ] {
        let mut records = town.records.clone();
        records.push(forged(&town, &actor, like, mode, vec![]));
        let tally = replay(&records);
        assert_eq!(tally.not_allowed, 1);
        assert!(first(&tally).why.contains(why), "{actor}: {}", first(&tally).why);
    }
}

#[test]
fn nobody_but_the_clock_ends_what_is_due() {
    let mut town = town();
    let a = town.user(USERS[0]);
    town.apply_all(&a, "kind: mcptoken\nname: t\nproject: p\nttl: 1h\n").unwrap();
    town.expire();
    assert_eq!(replay(&town.records).findings, []);
    let mut records = town.records.clone();
    records.last_mut().unwrap().header.actor = a;
    assert_eq!(first(&replay(&records)).seq, records.last().unwrap().header.seq);
}

#[test]
fn events_that_were_decided_together_agree_in_who_asked_and_when() {
    let mut town = town();
    let (a, b) = (town.user(USERS[0]), town.user(USERS[1]));
    town.apply_all(&a, "kind: mcptoken\nname: t\nproject: p\n").unwrap();
    town.apply_all(&a, "kind: user\nname: a@example.com\ndisabled: true\n").unwrap();
    assert_eq!(replay(&town.records).findings, []);
    let changes: [&dyn Fn(&mut Header); 5] = [
        &|header| header.actor = b.clone(),
        &|header| header.on_behalf_of = Some(b.clone()),
        &|header| header.request = Some("another".to_owned().try_into().unwrap()),
        &|header| header.reason = Some("another".to_owned()),
        &|header| header.at = header.at.plus_millis(1),
    ];
    for change in changes {
        let mut records = town.records.clone();
        change(&mut records.last_mut().unwrap().header);
        assert!(first(&replay(&records)).why.contains("decided together"), "{}", first(&replay(&records)).why);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_event_of_a_random_log_was_allowed_in_the_state_before_it(steps in prop::collection::vec(step(), 1..40)) {
        let mut town = town();
        for step in &steps {
            take(&mut town, step);
        }
        let tally = replay(&town.records);
        prop_assert_eq!(tally.findings, vec![]);
        prop_assert_eq!(tally.checked as usize, town.records.len());
    }

    /// Somebody who never holds anything signs what others did.
    #[test]
    fn an_event_in_the_name_of_one_without_rights_is_found(steps in prop::collection::vec(step(), 1..20), which in any::<prop::sample::Index>()) {
        let mut town = town();
        town.apply_all(&Actor::system("test"), "kind: user\nname: mallory@example.com\n").unwrap();
        let mallory = town.user("mallory@example.com");
        let begun = town.records.len();
        for step in &steps {
            take(&mut town, step);
        }
        if town.records.len() > begun {
            let at = begun + which.index(town.records.len() - begun);
            let command = town.records[at].header.authz.at;
            let mut records = town.records.clone();
            records.iter_mut().filter(|record| record.header.authz.at == command).for_each(|record| record.header.actor = mallory.clone());
            let tally = replay(&records);
            prop_assert!(tally.not_allowed >= 1);
            prop_assert_eq!(first(&tally).seq, command.next());
        }
    }

    /// Somebody's command is decided rightly, and then one more right is written into it.
    #[test]
    fn a_right_that_was_written_into_an_event_is_found(steps in prop::collection::vec(step(), 1..20), which in any::<prop::sample::Index>()) {
        let mut town = town();
        let begun = town.records.len();
        for step in &steps {
            take(&mut town, step);
        }
        let bindings: Vec<usize> = (begun..town.records.len())
            .filter(|at| {
                let header = &town.records[*at].header;
                header.kind == Kind::Rbac && header.event == "applied" && header.authz.mode == AuthzMode::Rbac
            })
            .collect();
        if !bindings.is_empty() {
            let at = bindings[which.index(bindings.len())];
            let mut records = town.records.clone();
            let fields = manifest::documents("kind: rbac\nname: x\nsubjects: [{kind: User, name: c@example.com}]\nroleBindings: [{role: edit, resource: secrets}]\n").unwrap().remove(0);
            let body = manifest::read(fields).unwrap().body;
            let mut before = Town::empty();
            for record in &town.records[..at] {
                before.state.fold(record, Digest::default()).unwrap();
            }
            let name = Name::parse(NameRule::Email, "c@example.com").unwrap();
            if let Some(c) = before.state.by_name(Kind::User, None, &name) {
                let refs = [mcpctl_core::erased::ResolvedRef { kind: Kind::User, name, uid: c.meta.uid }];
                records[at].payload = Kind::Rbac.untyped().applied(&*body, &refs).payload;
                let tally = replay(&records[..=at]);
                prop_assert_eq!(first(&tally).seq, records[at].header.seq);
                prop_assert!(first(&tally).why.contains("may not give") || first(&tally).why.contains("may not"));
            }
        }
    }
}

#[test]
fn nobody_who_is_disabled_acts_not_even_on_what_is_their_own() {
    let mut town = town();
    town.apply_all(&Actor::system("test"), "kind: user\nname: c@example.com\ndisabled: true\n").unwrap();
    let c = town.user(USERS[2]);
    let password = PasswordVersion { version: 0, commitment: Digest::default() };
    let name = Name::parse(NameRule::Email, USERS[2]).unwrap();
    let deed = Deed::Act(Box::new(UserAction::SetPassword(password)));
    let command = Command { kind: Kind::User, name, project: None, deed };
    let asking = Asking::by(&c, town.now, 1);
    assert!(mcpctl_core::command::decide(&town.state, &asking, &command).is_err());
}
