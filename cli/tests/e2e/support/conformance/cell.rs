//! One cell of client era × upstream era: the suite through the gateway, with the fixture as the project's only server.
use std::collections::BTreeMap;

use serde_json::json;

use super::bearer::Bearer;
use super::fixture::{Era, Fixture};
use super::suite::{Score, Set, score};
use crate::support::up::Up;

/// The score of a cell, and what arrived at the fixture.
#[derive(Debug)]
pub struct Cell {
    pub score: Score,
    pub calls: BTreeMap<String, u64>,
}

/// Without the gateway.
pub fn direct(set: Set, upstream: Era) -> Cell {
    let fixture = Fixture::start(upstream);
    let score = score(&fixture.url, set);
    Cell { score, calls: fixture.calls() }
}

/// Through the gateway: names unprefixed, since the suite calls tools by their own names.
pub fn through_gateway(set: Set, upstream: Era) -> Cell {
    let fixture = Fixture::start(upstream);
    let up = Up::start();
    up.apply(&[
        json!({
            "kind": "server", "name": "fixture", "transport": "STREAMABLE_HTTP",
            "externalUrl": fixture.url, "allowPrivateAddress": true,
        }),
        json!({"kind": "project", "name": "conformance", "servers": ["fixture"], "toolNames": "unprefixed"}),
    ]);
    let token = up.create_token("suite", "conformance");
    let proxy = Bearer::start(&up.endpoint_of("conformance"), &token);
    let score = score(&proxy.url, set);
    Cell { score, calls: fixture.calls() }
}

impl Cell {
    /// Calls, prompts and resources that arrived in another cell and not in this one: some checks of the suite pass
    /// when nothing arrives.
    pub fn missing<'a>(&self, other: &'a Self) -> Vec<&'a str> {
        let named = other.calls.keys().filter(|call| call.contains(' '));
        named.filter(|call| !self.calls.contains_key(*call)).map(String::as_str).collect()
    }
}
