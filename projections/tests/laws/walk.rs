//! T1 to T6 over lives drawn from seeds. `MCPCTL_CASES` says how many, `MCPCTL_SEED` where to begin: `.ci/nightly` lives
//! a million. The judge is the second reading of the rules (`reference.rs`), not the code that decides.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use mcpctl_core::ids::Seq;
use mcpctl_core::record::Record;
use mcpctl_core::world::World as _;
use mcpctl_projections::replay::{Range, Replay};

use crate::asked::{actors, questions};
use crate::deeds::{Took, take};
use crate::life::{Dice, Step, beginning, draw, shortest};
use crate::limits::{Depths, somebody_still_administers, what_is_there_applies};
use crate::past::assert_told_as_it_was;
use crate::questions::assert_agreement;
use crate::reference::Reference;
use crate::theorems::{Taken, every_answer_agrees};
use crate::town::Town;

/// Cases of an ordinary run: a few seconds without optimisation.
const CASES: u64 = 300;
/// Most steps of one life.
const STEPS_MAX: usize = 16;
/// After each step one pair of subject and question in so many is compared; at the end of a thorough life all are.
const STRIDE: usize = 7;
/// One life in so many has all pairs, all five questions and a point of its past compared, which takes as long as the
/// rest of some twenty.
const THOROUGH: u64 = 32;

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

/// Where every life begins: what is known then, and its log decided again so far.
struct Start {
    town: Town,
    known: Reference,
    depths: Depths,
    replay: Replay,
}

impl Start {
    fn of(town: Town) -> Self {
        let mut start = Self {
            replay: Replay::of(Range::default()).trusting("test"),
            known: Reference::default(),
            depths: Depths::default(),
            town,
        };
        for record in &start.town.records {
            start.known.read(record);
            start.depths.read(record);
        }
        push(&mut start.replay, &start.town.records).expect("the beginning replays");
        start
    }
}

/// Lives these steps and checks the theorems at each.
fn live(start: &Start, steps: &[Step], thorough: bool) -> Result<Tally, String> {
    let (mut town, mut known, mut depths) = (start.town.fork(), start.known.clone(), start.depths.clone());
    let mut tally = Tally { steps: steps.len() as u64, ..Tally::default() };
    for (index, step) in steps.iter().enumerate() {
        let (len, state, now) = (town.records.len(), town.state.clone(), town.now);
        let took = take(&mut town, step);
        // The moment of the decision: the first millisecond after the last command.
        let now = now.plus_millis(1).as_millis();
        let failed = |why: String| format!("step {index} {step:?}: {why}");
        took.iter().try_for_each(|took| what_is_there_applies(&known, &state, took, now)).map_err(failed)?;
        let batch = &town.records[len..];
        if batch.is_empty() {
            continue;
        }
        let was = known.clone();
        batch.iter().for_each(|record| (known.read(record), depths.read(record)).1);
        (tally.accepted, tally.events) = (tally.accepted + 1, tally.events + batch.len() as u64);
        let all = questions(&town.state);
        if let Some(Took { caller: by, impersonator, .. }) = &took {
            let impersonator = impersonator.as_ref();
            let taken = Taken { was: &was, is: &known, state: &state, by, impersonator, batch, now };
            let subjects = actors(&town.state);
            let kept = taken.keeps_the_theorems(&subjects, &all);
            kept.and_then(|()| taken.keeps_the_limits(&depths, &subjects, &all)).map_err(failed)?;
        }
        somebody_still_administers(&was, &known).map_err(failed)?;
        tally.compared += every_answer_agrees(&town.state, &known, &all, town.now, index, STRIDE)
            .map_err(|why| format!("step {index}: {why}"))?;
    }
    all_is_allowed_again(start, &town)?;
    depths.are_those_of(&town.state)?;
    each_credential_is_of_what_was_minted(&town, &known)?;
    if thorough {
        tally.compared += every_answer_agrees(&town.state, &known, &questions(&town.state), town.now, 0, 1)?;
        assert_agreement(&town.state, town.now).map_err(|why| format!("T5: {why}"))?;
        let at = Seq(steps.len() as u64 * 7 % (town.records.len() as u64 + 1));
        assert_told_as_it_was(&town.records, &town.state, at).map_err(|why| format!("T6 at {at}: {why}"))?;
    }
    Ok(tally)
}

/// C8: a digest opens something by an event that put it in force, while that very token is there, and by nothing else.
fn each_credential_is_of_what_was_minted(town: &Town, known: &Reference) -> Result<(), String> {
    for header in town.records.iter().map(|record| &record.header).filter(|header| header.event == "minted") {
        let there = known.0.get(&header.object).map(|_| header.object);
        let minted = town.state.object_at(header.object, header.seq).ok_or("a token is not told as it was")?;
        for credential in minted.body.credentials() {
            if town.state.credential(&credential.digest) != there {
                return Err(format!("C8: the digest of {} opens something else", header.name));
            }
        }
    }
    Ok(())
}

fn push(replay: &mut Replay, records: &[Record]) -> Result<(), String> {
    for record in records {
        let stored = record.store().map_err(|error| error.to_string())?;
        replay.push(stored.seq, &stored.bytes).map_err(|error| format!("T6: {error}"))?;
    }
    Ok(())
}

/// T3 and T6: every event of the log is decided again as it was, and the replay gives the same state.
fn all_is_allowed_again(start: &Start, town: &Town) -> Result<(), String> {
    let mut replay = start.replay.clone();
    push(&mut replay, &town.records[start.town.records.len()..])?;
    let (state, tally) = replay.finish().map_err(|error| format!("T6: {error}"))?;
    match tally.findings.first() {
        Some(finding) => Err(format!("T3: {finding:?}")),
        None if tally.checked != tally.events => {
            Err(format!("T3: {} of {} events checked", tally.checked, tally.events))
        }
        None if state.canonical() != town.state.canonical() => Err("T6: the replay is another state".to_owned()),
        None => Ok(()),
    }
}

fn steps_of(seed: u64) -> Vec<Step> {
    let mut dice = Dice::of(seed);
    (0..=dice.below(STEPS_MAX)).map(|_| draw(&mut dice)).collect()
}

fn number(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

fn live_or_panic(start: &Start, seed: u64, thorough: bool) -> Tally {
    let steps = steps_of(seed);
    live(start, &steps, thorough).unwrap_or_else(|_| {
        let (steps, why) = shortest(steps, |steps| live(start, steps, true).err());
        panic!("seed {seed}: {why}\nby the steps {steps:#?}")
    })
}

#[test]
fn every_life_keeps_the_theorems() {
    let (cases, seed) = (number("MCPCTL_CASES", CASES), number("MCPCTL_SEED", 1));
    let (start, begun, next) = (Start::of(beginning()), Instant::now(), AtomicU64::new(0));
    let threads = number("MCPCTL_THREADS", 2);
    let worker = || {
        let mut tally = Tally::default();
        loop {
            let case = next.fetch_add(1, Ordering::Relaxed);
            if case >= cases {
                return tally;
            }
            tally.add(&live_or_panic(&start, seed + case, case % THOROUGH == 0));
            if (case + 1) % 50_000 == 0 {
                eprintln!("{} sequences, {:.0?}", case + 1, begun.elapsed());
            }
        }
    };
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().for_each(|worker| tally.add(&worker.join().expect("no law was broken")));
    });
    let Tally { steps, accepted, events, compared } = tally;
    eprintln!(
        "{cases} sequences from seed {seed}: {steps} commands, {accepted} accepted, {events} events, {compared} decisions compared, {:.0?}",
        begun.elapsed()
    );
    assert!(accepted * 4 > steps, "a life in which nothing happens shows nothing: {accepted} of {steps}");
}
