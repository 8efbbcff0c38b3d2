//! The circuit under any sequence of outcomes and waits, by a clock that is made up.
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const THRESHOLD: u32 = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    Ask(Asker),
    Succeed(Evidence),
    Fail(Evidence),
}

fn step() -> impl Strategy<Value = Step> {
    let evidence = || prop_oneof![3 => Just(Evidence::Traffic), 1 => Just(Evidence::Check)];
    prop_oneof![
        2 => (0u64..40_000).prop_map(Step::Wait),
        3 => prop_oneof![Just(Asker::Caller), Just(Asker::Probe)].prop_map(Step::Ask),
        1 => evidence().prop_map(Step::Succeed),
        3 => evidence().prop_map(Step::Fail),
    ]
}

/// What was seen of a circuit.
struct Watched {
    breaker: Breaker,
    now: Instant,
    /// Failures in a row, of each evidence.
    row: [u32; 2],
    /// When a trial was begun last.
    tried: Option<Instant>,
}

impl Watched {
    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let before = self.breaker.circuit();
        match step {
            Step::Wait(ms) => self.now += Duration::from_millis(ms),
            Step::Ask(asker) => self.ask(asker, before)?,
            Step::Succeed(evidence) => {
                self.row[evidence as usize] = 0;
                self.breaker.succeeded(evidence);
                if evidence == Evidence::Check {
                    self.row = [0; 2];
                    prop_assert_eq!(self.breaker.circuit(), Circuit::Closed, "the declared check passed");
                } else if before == Circuit::Closed {
                    prop_assert_eq!(self.breaker.circuit(), Circuit::Closed, "an answer never opens it");
                }
                if self.breaker.circuit() == Circuit::Closed && before != Circuit::Closed {
                    self.row = [0; 2];
                }
            }
            Step::Fail(evidence) => self.fail(evidence, before)?,
        }
        Ok(())
    }

    fn ask(&mut self, asker: Asker, before: Circuit) -> Result<(), TestCaseError> {
        match self.breaker.admit(asker, self.now) {
            Admitted::Yes => prop_assert_eq!(before, Circuit::Closed, "only of a closed one everybody may ask"),
            Admitted::NotFor(wait) => {
                prop_assert!(
                    before != Circuit::Closed && !wait.is_zero() && wait <= OPEN_MAX + PROBE_FIRST,
                    "{:?}",
                    wait
                )
            }
            Admitted::Trial => {
                prop_assert!(before != Circuit::Closed);
                let alone = self.tried.is_none_or(|tried| self.now - tried >= OPEN_FIRST);
                prop_assert!(alone, "two trials at once");
                self.tried = Some(self.now);
            }
        }
        Ok(())
    }

    fn fail(&mut self, evidence: Evidence, before: Circuit) -> Result<(), TestCaseError> {
        self.row[evidence as usize] += 1;
        self.breaker.failed(evidence, THRESHOLD, self.now);
        let after = self.breaker.circuit();
        match before {
            Circuit::Closed if self.row[evidence as usize] < THRESHOLD => prop_assert_eq!(after, Circuit::Closed),
            Circuit::Closed | Circuit::HalfOpen { .. } => {
                let Circuit::Open { until } = after else { return Err(TestCaseError::fail("it is not open")) };
                prop_assert!(until > self.now && until - self.now <= OPEN_MAX);
            }
            Circuit::Open { .. } => prop_assert_eq!(after, before, "a late failure changes nothing"),
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn it_opens_after_failures_in_a_row_tries_one_at_a_time_and_closes_when_it_is_answered(
        steps in prop::collection::vec(step(), 0..200)
    ) {
        let mut watched =
            Watched { breaker: Breaker::default(), now: Instant::now(), row: [0; 2], tried: None };
        for step in steps {
            watched.step(step)?;
        }
        // However it came to stand: after the longest wait somebody may try, and a success ends it.
        watched.now += OPEN_MAX.max(TRIAL);
        let admitted = watched.breaker.admit(Asker::Probe, watched.now);
        prop_assert!(!matches!(admitted, Admitted::NotFor(_)), "{:?}", admitted);
        watched.breaker.succeeded(Evidence::Check);
        prop_assert_eq!(watched.breaker.circuit(), Circuit::Closed);
        prop_assert_eq!(watched.breaker.failures(), 0);
    }
}

#[test]
fn each_trial_that_fails_doubles_the_wait_up_to_its_limit_and_an_answer_forgives() {
    let (mut breaker, mut now) = (Breaker::default(), Instant::now());
    let opens = |breaker: &mut Breaker, now: &mut Instant| {
        breaker.failed(Evidence::Traffic, 1, *now);
        let Circuit::Open { until } = breaker.circuit() else { panic!("{breaker:?}") };
        let wait = until - *now;
        *now = until;
        assert_eq!(breaker.admit(Asker::Probe, *now), Admitted::Trial);
        wait.as_secs()
    };
    let waits: Vec<u64> = (0..8).map(|_| opens(&mut breaker, &mut now)).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    breaker.succeeded(Evidence::Traffic);
    assert_eq!(breaker.admit(Asker::Caller, now), Admitted::Yes);
    assert_eq!(opens(&mut breaker, &mut now), 1);
}

#[test]
fn what_a_declared_check_has_opened_only_a_check_closes() {
    let (mut breaker, now) = (Breaker::default(), Instant::now());
    breaker.failed(Evidence::Check, 1, now);
    breaker.succeeded(Evidence::Traffic);
    let later = now + OPEN_MAX;
    assert!(matches!(breaker.admit(Asker::Caller, later), Admitted::NotFor(_)));
    assert_eq!(breaker.admit(Asker::Probe, later), Admitted::Trial);
    breaker.succeeded(Evidence::Check);
    assert_eq!(breaker.admit(Asker::Caller, later), Admitted::Yes);
}

#[test]
fn a_probe_comes_first_and_a_trial_that_nobody_ends_gives_way_to_another() {
    let (mut breaker, now) = (Breaker::default(), Instant::now());
    breaker.failed(Evidence::Traffic, 1, now);
    let tried = now + OPEN_FIRST;
    assert_eq!(breaker.admit(Asker::Caller, tried), Admitted::NotFor(PROBE_FIRST));
    assert_eq!(breaker.admit(Asker::Caller, tried + PROBE_FIRST), Admitted::Trial);
    let tried = tried + PROBE_FIRST;
    assert_eq!(breaker.admit(Asker::Probe, tried), Admitted::NotFor(TRIAL));
    assert_eq!(breaker.admit(Asker::Probe, tried + TRIAL), Admitted::Trial);
}
