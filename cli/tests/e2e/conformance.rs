//! The official conformance suite: the fixture scores in full when it is reached directly, so that what a score through
//! the gateway lacks is the gateway's.
//!
//! `cargo bench -p mcpctl-cli --bench conformance --profile dev` prints all scores: docs/conformance.md.
use crate::support::conformance::cell::{direct, through_gateway};
use crate::support::conformance::fixture::{Era, Fixture};
use crate::support::conformance::suite::{Set, score};

/// Checks of the set 2025-11-25.
const LEGACY: usize = 83;

/// Checks of the set 2026-07-28.
const MODERN: usize = 197;

#[test]
fn the_fixture_scores_in_full_when_reached_directly() {
    let fixture = Fixture::start(Era::Dual);
    score(&fixture.url, Set::Legacy).in_full(LEGACY);
    score(&fixture.url, Set::Modern).in_full(MODERN);
}

#[test]
fn a_fixture_of_one_era_scores_in_full_in_its_own() {
    direct(Set::Legacy, Era::Legacy).score.in_full(LEGACY);
    direct(Set::Modern, Era::Modern).score.in_full(MODERN);
}

#[test]
fn the_suite_finds_fault_with_a_fixture_of_the_other_era() {
    let cell = direct(Set::Modern, Era::Legacy);
    // A third passes although nothing is answered: hence `Cell::missing`.
    assert!(cell.score.failed > cell.score.passed, "{} and yet the fixture refuses this era", cell.score);
    assert!(!cell.calls.keys().any(|call| call.starts_with("tools/call")), "{:?}", cell.calls);
}

/// The checks that are not scored look at event streams, and the gateway answers these requests as JSON: docs/conformance.md
/// names them.
#[test]
fn within_one_era_the_gateway_scores_as_the_fixture_does() {
    for (set, era, checks) in [(Set::Legacy, Era::Legacy, LEGACY - 3), (Set::Modern, Era::Modern, MODERN - 1)] {
        let (reference, cell) = (direct(set, era), through_gateway(set, era));
        cell.score.in_full(checks);
        assert_eq!(cell.missing(&reference), Vec::<&str>::new(), "these did not arrive at the fixture");
    }
}
