//! T4: what is decided is what Cedar decides about the same state, on random lives: single questions, who may act as which
//! service account (C7), and who administers (C9). `MCPCTL_CEDAR_CASES` says how many.
#![allow(missing_docs, clippy::unwrap_used, dead_code, reason = "parts of the laws' small world are used here")]
#[path = "../../tests/laws/asked.rs"]
mod asked;
#[path = "../../tests/laws/deeds.rs"]
mod deeds;
#[path = "../../tests/laws/life.rs"]
mod life;
#[path = "../../tests/laws/town.rs"]
mod town;

use std::collections::BTreeSet;

use asked::{Asked, actors, questions};
use deeds::take;
use life::{Dice, Step, beginning, draw, shortest};
use mcpctl_core::access::{Ask, ResourceName, Verb, impersonates};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::command::is_administrator;
use mcpctl_core::kinds::Kind;
use mcpctl_core::world::World as _;
use mcpctl_oracle::Cedar;
use town::Town;

/// Lives of an ordinary run, and pairs of subject and question that are compared at the end of each.
const CASES: u64 = 60;
const PAIRS: usize = 150;
const STEPS_MAX: usize = 24;

#[derive(Default)]
struct Tally {
    compared: usize,
    allowed: usize,
}

/// Compares at the end of a life, with pairs drawn from the seed: half of them such that the decision is yes.
fn compare(start: &Town, steps: &[Step], seed: u64) -> Result<Tally, String> {
    let mut town = start.fork();
    for step in steps {
        drop(take(&mut town, step));
    }
    let (asked, actors) = (questions(&town.state), actors(&town.state));
    let asks: Vec<Ask<'_>> = asked.iter().map(Asked::ask).collect();
    let cedar = Cedar::of(&town.state, &asks).map_err(|error| error.0)?;
    let (mut dice, mut tally) = (Dice::of(seed ^ 0x5eed), Tally::default());
    let yes: Vec<usize> = (0..asks.len() * actors.len())
        .filter(|pair| town.can(&actors[pair % actors.len()], &asks[pair / actors.len()]))
        .collect();
    let mut pairs: BTreeSet<usize> = (0..PAIRS / 2).map(|_| dice.below(asks.len() * actors.len())).collect();
    pairs.extend((0..PAIRS / 2).filter(|_| !yes.is_empty()).map(|_| yes[dice.below(yes.len())]));
    for pair in pairs {
        let (actor, number) = (&actors[pair % actors.len()], pair / actors.len());
        let verdict = town.ask(actor, &asks[number]);
        let said = cedar.may(actor.uid, number, &asks[number], town.now).map_err(|error| error.0)?;
        if said != verdict.allowed {
            return Err(format!("{actor} {}: decided {verdict:?}, and Cedar says {said}", asks[number]));
        }
        tally.compared += 1;
        tally.allowed += usize::from(said);
    }
    let asked = Whole { town: &town, cedar: &cedar, asks: &asks };
    tally.compared += asked.who_acts_as_whom(&actors)? + asked.who_administers(&actors)?;
    Ok(tally)
}

/// What is asked about a state beside single questions.
struct Whole<'a> {
    town: &'a Town,
    cedar: &'a Cedar,
    asks: &'a [Ask<'a>],
}

impl Whole<'_> {
    fn may(&self, actor: &Actor, wanted: &dyn Fn(&Ask<'_>) -> bool) -> Result<bool, String> {
        let number = self.asks.iter().position(wanted).ok_or("it was not asked")?;
        self.cedar.may(actor.uid, number, &self.asks[number], self.town.now).map_err(|error| error.0)
    }

    /// C7: `run` on the account, or the operation `impersonate`; and never a token.
    fn who_acts_as_whom(&self, actors: &[Actor]) -> Result<usize, String> {
        let accounts: Vec<_> = self.town.state.all(Kind::ServiceAccount).cloned().collect();
        for (actor, account) in actors.iter().flat_map(|actor| accounts.iter().map(move |account| (actor, account))) {
            let run = Ask::on(Verb::Run, account);
            let any = self.may(actor, &|ask| *ask == Ask::Operation("impersonate"))?;
            let said = actor.kind != ActorKind::McpToken && (any || self.may(actor, &|ask| *ask == run)?);
            if said != impersonates(&self.town.state, actor, account, self.town.now).allowed {
                return Err(format!("{actor} as {}: Cedar says {said}", account.title()));
            }
        }
        Ok(actors.len() * accounts.len())
    }

    /// C9: a person who can sign in, with `edit` on every binding and the operation `bind`.
    fn who_administers(&self, actors: &[Actor]) -> Result<usize, String> {
        let (resource, people) =
            (ResourceName::Kind(Kind::Rbac), actors.iter().filter(|it| it.kind == ActorKind::User));
        let edit = Ask::Object { verb: Verb::Edit, resource, project: None, name: None, uid: None };
        for person in people.clone() {
            let comes_in = self.town.state.by_uid(person.uid).is_some_and(|object| object.body.can_sign_in());
            let bind = self.may(person, &|ask| *ask == Ask::Operation("bind"))?;
            let said = comes_in && bind && self.may(person, &|ask| *ask == edit)?;
            if said != is_administrator(&self.town.state, person.uid) {
                return Err(format!("{person}: Cedar says that they administer: {said}"));
            }
        }
        Ok(people.count())
    }
}

#[test]
fn cedar_decides_the_same_about_random_states() {
    let number = |name: &str, otherwise| std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"));
    let (cases, first) = (number("MCPCTL_CEDAR_CASES", CASES), number("MCPCTL_SEED", 1));
    let (start, begun) = (beginning(), std::time::Instant::now());
    let (mut compared, mut allowed) = (0, 0);
    for seed in first..first + cases {
        let mut dice = Dice::of(seed.wrapping_mul(0x9e37_79b9));
        let steps: Vec<Step> = (0..=dice.below(STEPS_MAX)).map(|_| draw(&mut dice)).collect();
        let tally = compare(&start, &steps, seed).unwrap_or_else(|_| {
            let (steps, why) = shortest(steps, |steps| compare(&start, steps, seed).err());
            panic!("seed {seed}: {why}\nby the steps {steps:#?}")
        });
        (compared, allowed) = (compared + tally.compared, allowed + tally.allowed);
    }
    eprintln!("{cases} states, {compared} decisions compared, {allowed} of them yes, {:.0?}", begun.elapsed());
    assert!(allowed * 5 > compared && allowed < compared, "{allowed} of {compared} are yes");
}
