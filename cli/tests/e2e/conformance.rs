//! The official conformance suite: the fixture scores in full when it is reached directly, and through the gateway in all
//! four cells of client era × upstream era.
//!
//! `cargo bench -p mcpctl-cli --bench conformance --profile dev` prints all scores: docs/conformance.md.
use crate::support::conformance::cell::{Cell, direct, through_gateway};
use crate::support::conformance::fixture::Era;
use crate::support::conformance::suite::Set;

/// Checks of the set 2025-11-25.
const LEGACY: usize = 83;

/// Checks of the set 2026-07-28.
const MODERN: usize = 197;

/// Checks of a set that look at event streams where the gateway answers in JSON, and so are not made.
const LEGACY_STREAMS: usize = 3;
const MODERN_STREAMS: usize = 1;

/// The one check that the protocol makes impossible: it wants the key that the fixture gives its question in the modern era,
/// and a legacy server's question has no key (docs/conformance.md, Impossible).
const IMPOSSIBLE: &str = "input-required-result-basic-elicitation: sep-2322-elicitation-incomplete";
/// Checks that the suite makes only after the impossible one has passed, and the SHOULD that presumes the same key.
const AFTER_IT: usize = 2;

/// Methods that a modern server does not have: the gateway listens in their place.
const OF_LEGACY_ONLY: [&str; 2] = ["resources/subscribe", "resources/unsubscribe"];

#[test]
fn the_fixture_scores_in_full_when_reached_directly() {
    direct(Set::Legacy, Era::Dual).score.in_full(LEGACY);
    direct(Set::Modern, Era::Dual).score.in_full(MODERN);
}

#[test]
fn the_suite_finds_fault_with_a_fixture_of_the_other_era() {
    let cell = direct(Set::Modern, Era::Legacy);
    // A third passes although nothing is answered: hence `Cell::missing`.
    assert!(cell.score.failed > cell.score.passed, "{} and yet the fixture refuses this era", cell.score);
    assert!(!cell.calls.keys().any(|call| call.starts_with("tools/call")), "{:?}", cell.calls);
}

#[test]
fn a_legacy_client_of_a_legacy_server_finds_everything() {
    let (reference, cell) = (direct(Set::Legacy, Era::Legacy), through_gateway(Set::Legacy, Era::Legacy));
    reference.score.in_full(LEGACY);
    cell.score.in_full(LEGACY - LEGACY_STREAMS);
    arrived(&cell, &reference, &[]);
}

#[test]
fn a_modern_client_of_a_modern_server_finds_everything() {
    let (reference, cell) = (direct(Set::Modern, Era::Modern), through_gateway(Set::Modern, Era::Modern));
    reference.score.in_full(MODERN);
    cell.score.in_full(MODERN - MODERN_STREAMS);
    arrived(&cell, &reference, &[]);
}

#[test]
fn a_legacy_client_of_a_modern_server_finds_everything() {
    let (reference, cell) = (direct(Set::Legacy, Era::Legacy), through_gateway(Set::Legacy, Era::Modern));
    cell.score.in_full(LEGACY - LEGACY_STREAMS);
    arrived(&cell, &reference, &OF_LEGACY_ONLY);
}

#[test]
fn a_modern_client_of_a_legacy_server_finds_all_that_is_possible() {
    let (reference, cell) = (direct(Set::Modern, Era::Modern), through_gateway(Set::Modern, Era::Legacy));
    let failures: Vec<String> =
        cell.score.failures.iter().map(|failure| format!("{}: {}", failure.scenario, failure.check)).collect();
    assert_eq!(failures, [IMPOSSIBLE], "{:?}", cell.score.failures);
    assert_eq!(cell.score.passed, MODERN - MODERN_STREAMS - 1 - AFTER_IT);
    arrived(&cell, &reference, &[]);
}

/// Whatever arrives at the fixture directly has arrived through the gateway too.
fn arrived(cell: &Cell, reference: &Cell, but: &[&str]) {
    let missing = cell.missing(reference);
    let missing: Vec<&&str> =
        missing.iter().filter(|call| !but.iter().any(|method| call.starts_with(method))).collect();
    assert!(missing.is_empty(), "these did not arrive at the fixture: {missing:?}");
}
