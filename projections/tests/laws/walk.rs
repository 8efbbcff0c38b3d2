//! T1 to T6 over lives drawn from seeds. `MCPCTL_CASES` says how many, `MCPCTL_SEED` where to begin: `.ci/nightly` lives
//! a million. The judge is the second reading of the rules (`reference.rs`), not the code that decides.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::record::{AuthzMode, Record};
use mcpctl_core::world::World as _;
use mcpctl_projections::State;

use crate::asked::Question;
use crate::life::{Dice, Step, beginning, draw, shortest, take};
use crate::past::assert_told_as_it_was;
use crate::questions::{Asked, actors, assert_agreement, questions};
use crate::reference::Reference;
use crate::town::Town;

/// Cases of an ordinary run: a few seconds without optimisation.
const CASES: u64 = 300;
/// Most steps of one life.
const STEPS_MAX: usize = 16;
/// After each step one pair of subject and question in so many is compared; at the end of a life all are.
const STRIDE: usize = 7;
/// One life in so many has all five questions and all of its past compared, which takes longer than all the rest.
const THOROUGH: u64 = 16;

/// What was looked at.
#[derive(Default)]
struct Tally {
    steps: u64,
    accepted: u64,
    events: u64,
    compared: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.accepted += other.accepted;
        self.events += other.events;
        self.compared += other.compared;
    }
}

fn read_all(records: &[Record]) -> Reference {
    let mut reference = Reference::default();
    records.iter().for_each(|record| reference.read(record));
    reference
}

/// Lives these steps and checks the theorems at each.
fn live(start: &Town, steps: &[Step], thorough: bool) -> Result<Tally, String> {
    let (mut town, mut known) = (start.fork(), read_all(&start.records));
    let mut tally = Tally { steps: steps.len() as u64, ..Tally::default() };
    for (index, step) in steps.iter().enumerate() {
        let (len, state, now) = (town.records.len(), town.state.clone(), town.now);
        let took = take(&mut town, step);
        let batch = &town.records[len..];
        if batch.is_empty() {
            continue;
        }
        let was = known.clone();
        batch.iter().for_each(|record| known.read(record));
        (tally.accepted, tally.events) = (tally.accepted + 1, tally.events + batch.len() as u64);
        let all = questions(&town.state);
        if let Some((caller, _)) = took {
            // The moment of the decision: the first millisecond after the last command.
            let now = now.plus_millis(1).as_millis();
            nobody_was_given_more_than_the_giver_held(&was, &known, &caller, &town.state, &all, now)
                .and_then(|()| each_event_was_allowed(&was, &state, &caller, batch, now))
                .map_err(|why| format!("step {index} {step:?}: {why}"))?;
        }
        tally.compared += agree(&town, &known, &all, index, STRIDE).map_err(|why| format!("step {index}: {why}"))?;
    }
    tally.compared += agree(&town, &known, &questions(&town.state), 0, 1)?;
    if town.replayed().canonical() != town.state.canonical() {
        return Err("T6: the replay of the log is another state".to_owned());
    }
    if thorough {
        assert_agreement(&town.state, town.now).map_err(|why| format!("T5: {why}"))?;
        let at = Seq(steps.len() as u64 * 7 % (town.records.len() as u64 + 1));
        assert_told_as_it_was(&town.records, &town.state, at).map_err(|why| format!("T6 at {at}: {why}"))?;
    }
    Ok(tally)
}

/// T1, and C1 to C4 by their effect.
fn nobody_was_given_more_than_the_giver_held(
    was: &Reference,
    is: &Reference,
    giver: &Actor,
    state: &State,
    all: &[Asked],
    now: u64,
) -> Result<(), String> {
    if giver.kind == ActorKind::System || was.may(giver.uid, &Question::Operation("bind"), now) {
        return Ok(());
    }
    for subject in actors(state) {
        for ask in all.iter().map(Asked::ask) {
            let asked = Question::of(&ask);
            let gained = is.granted(subject.uid, &asked) && !was.granted(subject.uid, &asked);
            if gained && !was.may(giver.uid, &asked, now) {
                return Err(format!("T1: {subject} was given {ask} by {giver}, who did not hold it"));
            }
        }
    }
    Ok(())
}

/// T3 by the second reading: whoever caused an event might do that, in the state before it.
fn each_event_was_allowed(
    was: &Reference,
    state: &State,
    caller: &Actor,
    batch: &[Record],
    now: u64,
) -> Result<(), String> {
    if caller.kind == ActorKind::System {
        return Ok(());
    }
    for Record { header, .. } in batch {
        let wrong = |what: String| format!("T3: {} {}.{}: {what}", header.seq, header.kind, header.event);
        if header.actor != *caller || header.authz.at != state.seq() {
            return Err(wrong("it says another actor or state".to_owned()));
        }
        let there = state.by_uid(header.object);
        let verb = match (header.authz.mode, header.event.as_str()) {
            (AuthzMode::System, _) => continue,
            // Whoever holds a token may end it with it.
            (AuthzMode::Own, "revoked") if header.object == caller.uid => continue,
            (_, "applied" | "minted") if there.is_none() => "create",
            (_, "applied" | "revoked") => "edit",
            (_, "deleted") => "delete",
            (mode, event) => return Err(wrong(format!("nobody does {event} by {mode:?}"))),
        };
        let (resource, project) = (header.kind.names().plural, header.project);
        let (name, uid) = (Some(header.name.as_str()), there.map(|object| object.meta.uid));
        if !was.may(caller.uid, &Question::Object { verb, resource, project, name, uid }, now) {
            return Err(wrong(format!("{caller} might not {verb}")));
        }
    }
    Ok(())
}

/// T2 and T4: what is decided is what the second reading says, and no token has what its owner has not.
fn agree(town: &Town, known: &Reference, all: &[Asked], from: usize, stride: usize) -> Result<u64, String> {
    let (actors, now) = (actors(&town.state), town.now.as_millis());
    let mut compared = 0;
    for pair in (from % stride..actors.len() * all.len()).step_by(stride) {
        let (actor, ask) = (&actors[pair % actors.len()], all[pair / actors.len()].ask());
        let (verdict, asked) = (town.ask(actor, &ask), Question::of(&ask));
        if verdict.allowed != known.may(actor.uid, &asked, now) {
            return Err(format!("T4: {actor} {ask}: decided {verdict:?}, and the reference says the opposite"));
        }
        if let Some(owner) = owner(town, actor.uid).filter(|_| verdict.allowed)
            && !town.can(&owner, &ask)
        {
            return Err(format!("T2: {actor} may {ask}, and its owner {owner} may not"));
        }
        compared += 1;
    }
    Ok(compared)
}

fn owner(town: &Town, token: Uid) -> Option<Actor> {
    let object = town.state.by_uid(token).filter(|object| object.meta.kind == Kind::McpToken)?;
    object.of::<mcpctl_core::kinds::McpToken>()?.1.owner.clone()
}

fn steps_of(seed: u64) -> Vec<Step> {
    let mut dice = Dice::of(seed);
    (0..=dice.below(STEPS_MAX)).map(|_| draw(&mut dice)).collect()
}

fn number(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

fn live_or_panic(start: &Town, seed: u64, thorough: bool) -> Tally {
    let steps = steps_of(seed);
    live(start, &steps, thorough).unwrap_or_else(|_| {
        let (steps, why) = shortest(steps, |steps| live(start, steps, true).err());
        panic!("seed {seed}: {why}\nby the steps {steps:#?}")
    })
}

#[test]
fn every_life_keeps_the_theorems() {
    let (cases, seed) = (number("MCPCTL_CASES", CASES), number("MCPCTL_SEED", 1));
    let (start, begun, next) = (beginning(), Instant::now(), AtomicU64::new(0));
    let worker = || {
        let mut tally = Tally::default();
        loop {
            let case = next.fetch_add(1, Ordering::Relaxed);
            if case >= cases {
                return tally;
            }
            tally.add(&live_or_panic(&start, seed + case, case % THOROUGH == 0));
        }
    };
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let workers = [scope.spawn(worker), scope.spawn(worker)];
        workers.into_iter().for_each(|worker| tally.add(&worker.join().expect("no law was broken")));
    });
    let Tally { steps, accepted, events, compared } = tally;
    eprintln!(
        "{cases} sequences from seed {seed}: {steps} commands, {accepted} accepted, {events} events, {compared} decisions compared, {:.0?}",
        begun.elapsed()
    );
    assert!(accepted * 4 > steps, "a life in which nothing happens shows nothing: {accepted} of {steps}");
}
