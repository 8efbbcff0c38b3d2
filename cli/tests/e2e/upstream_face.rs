//! The official conformance suite as a server behind the gateway: what it finds in a client it finds in the gateway too, with
//! clients of both eras before it. docs/conformance.md names the scenarios that are left out, and why.
use crate::support::conformance::faces::{Checks, Scenario, checks};
use crate::support::conformance::fixture::Era;
use crate::support::up::Up;

const LEGACY: Option<&str> = Some("2025-11-25");
const MODERN: Option<&str> = Some("2026-07-28");

/// Scenarios of servers of the legacy era, with how many checks there are.
const OF_LEGACY: [(Scenario, usize); 5] = [
    (Scenario { name: "initialize", revision: LEGACY }, 1),
    (Scenario { name: "tools_call", revision: LEGACY }, 2),
    (Scenario { name: "elicitation-sep1034-client-defaults", revision: LEGACY }, 5),
    (Scenario { name: "sse-retry", revision: LEGACY }, 3),
    (Scenario { name: "json-schema-2020-12-preservation", revision: LEGACY }, 9),
];

/// Scenarios of servers of the modern era.
const OF_MODERN: [(Scenario, usize); 12] = [
    (Scenario { name: "tools_call", revision: MODERN }, 2),
    (Scenario { name: "request-metadata", revision: MODERN }, 8),
    (Scenario { name: "sep-2322-client-request-state", revision: MODERN }, 5),
    (Scenario { name: "http-standard-headers", revision: MODERN }, 9),
    (Scenario { name: "http-custom-headers", revision: MODERN }, 18),
    (Scenario { name: "http-invalid-tool-headers", revision: MODERN }, 12),
    (Scenario { name: "json-schema-ref-no-deref", revision: MODERN }, 1),
    (Scenario { name: "json-schema-2020-12-preservation", revision: MODERN }, 9),
    (Scenario { name: "sep-2640-client-no-prefetch", revision: None }, 1),
    (Scenario { name: "sep-2640-client-verify-digest", revision: None }, 1),
    (Scenario { name: "sep-2640-client-verify-size", revision: None }, 1),
    (Scenario { name: "sep-2640-client-verify-frontmatter", revision: None }, 1),
];

/// How many checks there are; all of them pass.
fn passed(checks: &Checks, what: &str) -> usize {
    let other: Vec<_> = checks.iter().filter(|((_, status), _)| status != "SUCCESS").collect();
    assert!(other.is_empty(), "{what}: {other:#?}");
    checks.len()
}

/// A client of the server's own era, straight at the suite, gets the score that the gateway is measured by.
fn direct(scenarios: &[(Scenario, usize)], era: Era) {
    for (scenario, of) in scenarios {
        let what = format!("{} straight", scenario.name);
        assert_eq!(passed(&checks(*scenario, era, None), &what), *of, "{what}");
    }
}

fn through(scenarios: &[(Scenario, usize)], client: Era) {
    let up = Up::start();
    for (scenario, of) in scenarios {
        let what = format!("{} behind the gateway, {client:?} client", scenario.name);
        let found = passed(&checks(*scenario, client, Some(&up)), &what);
        // A gateway sends requests of its own too, such as those of a subscription, and they are looked at as well.
        assert!(found >= *of, "{what}: {found} of {of}");
    }
}

#[test]
fn our_clients_pass_every_scenario_straight_at_the_suite() {
    direct(&OF_LEGACY, Era::Legacy);
    direct(&OF_MODERN, Era::Modern);
}

#[test]
fn a_gateway_before_a_legacy_server_passes_with_a_legacy_client() {
    through(&OF_LEGACY, Era::Legacy);
}

#[test]
fn a_gateway_before_a_legacy_server_passes_with_a_modern_client() {
    through(&OF_LEGACY, Era::Modern);
}

#[test]
fn a_gateway_before_a_modern_server_passes_with_a_modern_client() {
    through(&OF_MODERN, Era::Modern);
}

#[test]
fn a_gateway_before_a_modern_server_passes_with_a_legacy_client() {
    through(&OF_MODERN, Era::Legacy);
}
