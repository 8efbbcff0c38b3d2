//! The fenced lease as a model, explored exhaustively: what it promises holds in every reachable state, and each of the
//! mistakes that can be made in it is found.
//!
//! Small numbers stand for the real ones: a lease of 4 ticks for 800 ms, a drift of 25 % for 1 %. What matters is which of
//! two clocks runs out first, and that does not depend on the scale.
#![allow(clippy::unwrap_used, clippy::print_stdout)]
mod explore;
mod model;

use explore::explore;
use model::{Mistake, State, Variant};

/// The mistake breaks what is expected to break: looked for alone, so that the other promise may break too.
fn assert_found(mistake: Mistake, gateways: usize, expected: &'static str) {
    let variant = Variant { mistake: Some(mistake) };
    let only = |state: &State| state.broken().filter(|what| *what == expected);
    let found = explore(State::initial(gateways, 1), |state| state.next(variant), only);
    let (what, steps) =
        found.violation.unwrap_or_else(|| panic!("{mistake:?} was not found in {} states", found.states));
    println!("{mistake:?}: {what}, after {} steps of {} states:\n  {}", steps.len(), found.states, steps.join("\n  "));
    assert_eq!(what, expected, "{mistake:?}");
}

const AFTER_THE_ANSWER: &str = "a call is admitted after the revocation was answered";
const TOO_LATE: &str = "a call is admitted longer than a lease after the commit";

fn assert_holds(gateways: usize, faults: u8, states_min: usize) {
    let variant = Variant::default();
    let found = explore(State::initial(gateways, faults), |state| state.next(variant), State::broken);
    println!("{gateways} gateways, {faults} faults: {} states", found.states);
    assert_eq!(found.violation.map(|(what, steps)| format!("{what}:\n{}", steps.join("\n"))), None);
    assert!(found.states > states_min, "only {} states were reached: the model is stuck", found.states);
    assert!(found.answered, "no revocation was ever answered");
}

#[test]
fn with_two_gateways_nothing_is_admitted_after_the_answer_nor_a_lease_after_the_commit() {
    assert_holds(2, 2, 100_000);
}

#[test]
fn with_one_gateway_neither_however_often_things_break() {
    assert_holds(1, 2, 10_000);
}

#[test]
fn a_lease_counted_from_the_receipt_of_a_pong_is_found() {
    assert_found(Mistake::LeaseFromReceipt, 2, AFTER_THE_ANSWER);
}

#[test]
fn a_lease_without_a_margin_for_drift_is_found() {
    assert_found(Mistake::NoDriftMargin, 2, AFTER_THE_ANSWER);
}

#[test]
fn a_restart_that_forgets_leases_is_found() {
    assert_found(Mistake::RestartForgets, 2, AFTER_THE_ANSWER);
}

#[test]
fn a_clock_that_stops_in_suspend_is_found() {
    assert_found(Mistake::ClockStopsInSuspend, 2, AFTER_THE_ANSWER);
}

#[test]
fn an_answer_before_the_fence_is_found() {
    assert_found(Mistake::AnswerBeforeFence, 2, AFTER_THE_ANSWER);
}

#[test]
fn an_answer_that_overtook_a_reduction_and_is_believed_is_found() {
    assert_found(Mistake::OldAnswerBelieved, 1, AFTER_THE_ANSWER);
}

#[test]
fn without_a_fence_the_lease_alone_keeps_the_bound() {
    // The lease and the fence are two promises: with no fence, what is admitted is still bounded by the lease.
    let found = explore(
        State::initial(2, 1),
        |state| state.next(Variant { mistake: Some(Mistake::AnswerBeforeFence) }),
        |state| state.broken().filter(|what| *what == TOO_LATE),
    );
    assert_eq!(found.violation.map(|(what, _)| what), None);
}
