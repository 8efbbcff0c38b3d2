//! All conformance scores: each set against the fixture directly, and through the gateway in all four cells.
//!
//! `cargo bench -p mcpctl-cli --bench conformance --profile dev` prints Markdown for `docs/conformance.md`: a table of six
//! scores, then every check that failed and what the suite said. Build the fixture first: `cargo build -p mcpctl-cli --examples`.
//! `CONFORMANCE=legacy-modern` runs one cell: client era, then upstream era.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

#[allow(dead_code, reason = "the end-to-end tests use the rest of it")]
#[path = "../../tests/e2e/support/mod.rs"]
mod support;

use support::conformance::cell::{Cell, direct, through_gateway};
use support::conformance::fixture::Era;
use support::conformance::suite::Set;

const SETS: [(Set, &str); 2] = [(Set::Legacy, "legacy"), (Set::Modern, "modern")];
const UPSTREAMS: [(Era, &str); 2] = [(Era::Legacy, "legacy"), (Era::Modern, "modern")];

fn main() {
    let only = std::env::var("CONFORMANCE").ok();
    println!("| client | upstream | score | did not arrive | checks that failed |\n|---|---|---|---|---|");
    let mut details = String::new();
    for (set, client) in SETS {
        let reference = direct(set, Era::Dual);
        details += &row(client, "reached directly", &reference, &reference);
        for (era, upstream) in UPSTREAMS {
            if only.as_ref().is_none_or(|only| *only == format!("{client}-{upstream}")) {
                details += &row(client, upstream, &through_gateway(set, era), &reference);
            }
        }
    }
    println!("{details}");
}

/// Prints a row of the table and answers what the suite said about the failures.
fn row(client: &str, upstream: &str, cell: &Cell, reference: &Cell) -> String {
    let mut checks: Vec<String> = cell.score.failures.iter().map(|f| format!("`{}`", f.check)).collect();
    checks.dedup();
    let missing: Vec<String> = cell.missing(reference).iter().map(|call| format!("`{call}`")).collect();
    println!("| {client} | {upstream} | {} | {} | {} |", cell.score, missing.join(", "), checks.join(", "));
    let mut details = format!("\n## {client} client, upstream {upstream}: {}\n\n", cell.score);
    for failure in &cell.score.failures {
        details += &format!("- {failure}\n");
    }
    for warning in &cell.score.warnings {
        details += &format!("- (warning) {warning}\n");
    }
    for check in reference.score.scored.difference(&cell.score.scored) {
        details += &format!("- (not scored here) {check}\n");
    }
    details
}
