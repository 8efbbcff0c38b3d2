//! Thousands of random requests: no 5xx, every refusal a problem, every answer with a revision.
use mcpctl_core::kinds::Kind;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use crate::house::{BASE, House, fields};

const REQUESTS: usize = 1_500;

fn junk() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        prop::sample::select(vec!["base", "base@example.com", "a", "never", "plaintext", "*", "servers", "../x"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-zA-Z]{1,10}", inner), 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// The example of a kind, with some fields replaced by junk, left out or added.
fn document(kind: Kind) -> impl Strategy<Value = Value> {
    let example = fields(kind.untyped().example());
    let names: Vec<String> = kind.untyped().schema()["properties"].as_object().unwrap().keys().cloned().collect();
    prop::collection::vec((prop::sample::select(names), junk()), 0..3).prop_map(move |changes| {
        let mut document: Map<String, Value> = example.clone();
        document.extend(changes);
        Value::Object(document)
    })
}

#[derive(Clone, Debug)]
struct Request {
    method: &'static str,
    path: String,
    body: String,
    header: Option<(&'static str, String)>,
}

fn request() -> impl Strategy<Value = Request> {
    let kind = prop::sample::select(Kind::ALL.to_vec());
    let document = kind.clone().prop_flat_map(|kind| document(kind).prop_map(move |document| (kind, document)));
    let body = prop_oneof![
        12 => document.prop_map(|(kind, document)| (kind.names().plural.to_owned(), document.to_string())),
        1 => (kind.prop_map(|kind| kind.names().plural.to_owned()), junk().prop_map(|junk| junk.to_string())),
        1 => (prop::sample::select(vec!["auth/login", "apply", "status", "instances", "audit/events", "mcptokens/introspect"])
            .prop_map(str::to_owned), junk().prop_map(|junk| json!({ "items": [junk] }).to_string())),
        1 => (Just("servers".to_owned()), ".{0,40}"),
    ];
    // `/=` stands for the name that the document says.
    let name = prop_oneof![
        4 => Just(String::new()),
        4 => Just("/=".to_owned()),
        2 => prop::sample::select(vec!["/base", "/base@example.com", "/my-ha", "/ci", "/web"]).prop_map(str::to_owned),
        1 => "/[a-z%/.;@A-Z0-9-]{0,12}",
    ];
    let tail = prop_oneof![
        8 => Just(""),
        1 => prop::sample::select(vec!["/history", "/revoke", "/values", "/logs", "/view", "/mcptokens", "/audit"]),
    ];
    let query = prop_oneof![
        3 => Just(String::new()),
        1 => "\\?(dryRun=true|project=base|view=table|project=no|limit=x|from=9|tail=-1|%ff=%00)",
    ];
    let header = prop::option::weighted(
        0.2,
        (prop::sample::select(vec!["if-match", "mcpctl-request-id", "mcpctl-at-least", "content-type"]), "[ -~]{0,20}"),
    );
    let method = prop::sample::select(vec!["GET", "POST", "POST", "PUT", "PUT", "DELETE", "PATCH"]);
    (method, body, name, tail, query, header).prop_map(|(method, (plural, body), name, tail, query, header)| {
        let said = serde_json::from_str::<Value>(&body).ok().and_then(|body| Some(body["name"].as_str()?.to_owned()));
        let name = if name == "/=" { format!("/{}", said.unwrap_or_default()) } else { name };
        let path = format!("/api/v1/{plural}{name}{tail}{query}");
        Request { method, path, body, header }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_the_answer_is_no_accident() {
    let house = House::start().await;
    house.apply(BASE).await;
    let mut runner = TestRunner::deterministic();
    let strategy = request();
    let mut statuses = std::collections::BTreeMap::<u16, u32>::new();
    for _ in 0..REQUESTS {
        let request = strategy.new_tree(&mut runner).unwrap().current();
        // An address that the client itself can't write is none that a server could get.
        if format!("http://x{}", request.path).parse::<http::Uri>().is_err() {
            continue;
        }
        let mut ask = house.by(Some(&house.admin), request.method, &request.path);
        let waits = request
            .header
            .as_ref()
            .is_some_and(|(name, value)| *name == "mcpctl-at-least" && value.trim().parse::<u64>().is_ok());
        ask = match &request.header {
            Some(("content-type", value)) => ask.body(value, request.body.clone()),
            Some((name, value)) => ask.header(name, value).body("application/json", request.body.clone()),
            None => ask.body("application/json", request.body.clone()),
        };
        let reply = ask.send().await;
        *statuses.entry(reply.status).or_default() += 1;
        assert!(reply.status < 500 || (waits && reply.status == 503), "{request:?}: {} {}", reply.status, reply.text);
        assert!(!reply.header("mcpctl-revision").is_empty(), "{request:?}");
        if reply.status >= 400 {
            reply.problem(reply.status);
        }
    }
    assert!([200, 201, 400, 404, 405, 409, 422].iter().all(|status| statuses.contains_key(status)), "{statuses:?}");
    // After all that, what is there is still what the log says.
    let seq = house.seq().await;
    let house = house.restart().await;
    assert!(house.seq().await >= seq);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_limited_for_each_bearer_and_health_never() {
    let house = House::start().await;
    let ann = house.person("ann@example.com").await;
    let mut limited = None;
    // On a slow machine requests come back while these are made; far more than a minute allows are always too many.
    for _ in 0..20_000 {
        let reply = house.by(Some(&ann), "GET", "/api/v1/auth/me").send().await;
        if reply.status == 429 {
            limited = Some(reply);
            break;
        }
        assert_eq!(reply.status, 200);
    }
    let limited = limited.expect("the limit is 2,000 a minute");
    limited.problem(429);
    assert!(!limited.header("retry-after").is_empty());
    house.get("/auth/me").await.is(200);
    house.by(Some(&ann), "GET", "/healthz").send().await.is(200);
    house.stop().await;
}
