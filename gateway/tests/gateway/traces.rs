//! Spans as a collector gets them, and the trace as servers get it.
use std::time::{Duration, Instant};

use mcpctl_api::otel::Traces;
use mcpctl_api::upstream::Era;
use mcpctl_core::token::{PAT_PREFIX, RANDOM_BYTES, encode};
use mcpctl_gateway::Options;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::collector::{Collector, Requests};
use crate::fake_plane::token;
use crate::fake_server::FakeServer;
use crate::house::{House, quick, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

async fn house(traces: &Traces) -> House {
    let servers = vec![FakeServer::new("a", Era::Legacy, &["fail"]), FakeServer::new("b", Era::Modern, &[])];
    let options = Options { tracer: Some(traces.tracer()), ..quick() };
    House::with(servers, Default::default(), options).await
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let all = span["attributes"].as_array().unwrap();
    all.iter().find(|one| one["key"] == key).map_or(&Value::Null, |one| &one["value"]["stringValue"])
}

fn find<'a>(spans: &'a [Value], name: &str, kind: u32) -> &'a Value {
    let found = spans.iter().find(|span| span["name"] == name && span["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {name} of kind {kind} in {spans:#?}"))
}

#[tokio::test]
async fn a_request_is_a_span_of_its_callers_trace_and_the_call_to_the_server_one_within_it() {
    let collector = Collector::start(&[]).await;
    let traces = collector.traces(&[]);
    let house = house(&traces).await;
    let parent = format!("00-{TRACE}-{PARENT}-01");
    for tool in ["a__fail", "b__echo"] {
        let arguments = json!({"secret": "canary-argument"});
        let request = house.modern_request("tools/call", json!({"name": tool, "arguments": arguments}));
        house.send(request.header("traceparent", &parent).header("tracestate", "x=1,y=2")).await;
    }
    traces.finish().await;
    let spans = collector.spans();
    for (server, tool, failed) in [("a", "fail", true), ("b", "echo", false)] {
        let name = format!("tools/call {tool}");
        let (outer, inner) = (find(&spans, &name, 2), find(&spans, &name, 3));
        assert_eq!((&outer["traceId"], &outer["parentSpanId"]), (&json!(TRACE), &json!(PARENT)));
        assert_eq!((&inner["traceId"], &inner["parentSpanId"]), (&json!(TRACE), &outer["spanId"]));
        assert_eq!((&outer["traceState"], &inner["traceState"]), (&json!("x=1,y=2"), &json!("x=1,y=2")));
        for span in [outer, inner] {
            assert_eq!(attribute(span, "mcp.method.name"), "tools/call");
            assert_eq!(attribute(span, "gen_ai.tool.name"), tool);
            assert_eq!(attribute(span, "gen_ai.operation.name"), "execute_tool");
            assert_eq!(attribute(span, "mcpctl.server"), server);
            assert_eq!(span["status"]["code"] == 2, failed, "{span}");
            assert_eq!(attribute(span, "error.type") == "tool_error", failed, "{span}");
        }
        assert_eq!(attribute(outer, "mcpctl.project"), "web");
        assert_eq!(attribute(outer, "mcp.protocol.version"), "2026-07-28");
        let time = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u128>().unwrap();
        assert!(time(outer, "startTimeUnixNano") <= time(inner, "startTimeUnixNano"));
        assert!(time(inner, "endTimeUnixNano") <= time(outer, "endTimeUnixNano"));
        // The server is told of the span that calls it, in both ways.
        let asked = house.server(server).asked("tools/call").remove(0);
        let wanted = format!("00-{TRACE}-{}-01", inner["spanId"].as_str().unwrap());
        assert_eq!(
            (&asked.params["_meta"]["traceparent"], &asked.params["_meta"]["tracestate"]),
            (&json!(wanted), &json!("x=1,y=2"))
        );
        assert_eq!(asked.params["arguments"]["secret"], "canary-argument", "the rest is as it was");
        let headers: Vec<_> = asked.headers.iter().filter(|(name, _)| name == "traceparent").collect();
        assert_eq!(headers, [&("traceparent".to_owned(), wanted)]);
    }
    let (head, body) = collector.requests.lock()[0].clone();
    assert!(head.starts_with("post /v1/traces ") && head.contains("api-key: of-the-collector"), "{head}");
    let said = body.to_string();
    assert!(!said.contains("canary") && !said.contains(&token(1)) && !said.contains("of-the-collector"), "{said}");
}

#[tokio::test]
async fn a_trace_begins_here_where_the_caller_has_none_and_one_in_meta_comes_before_that_of_the_headers() {
    let collector = Collector::start(&[]).await;
    let traces = collector.traces(&[]);
    let house = house(&traces).await;
    house.modern("tools/list", json!({})).await;
    let meta = json!({"name": "b__echo", "_meta": {"traceparent": format!("00-{TRACE}-{PARENT}-01"), "vendor": 1}});
    let request = house.modern_request("tools/call", meta);
    house.send(request.header("traceparent", "00-11111111111111111111111111111111-2222222222222222-01")).await;
    let session = house.session("2025-11-25", json!({})).await;
    session.ask("tools/call", json!({"name": "a__echo", "_meta": {"traceparent": "no context"}})).await;
    traces.finish().await;
    let spans = collector.spans();
    let list = find(&spans, "tools/list", 2);
    assert!(list["parentSpanId"].is_null() && list["traceId"].as_str().unwrap().len() == 32);
    let lists = spans.iter().filter(|span| span["parentSpanId"] == list["spanId"] && span["name"] == "tools/list");
    assert_eq!(lists.count(), 2, "one of each server");
    assert_eq!(spans.iter().filter(|span| span["traceId"] == TRACE).count(), 2);
    assert_eq!(house.server("b").asked("tools/call")[0].params["_meta"]["vendor"], 1);
    let of_session = spans
        .iter()
        .find(|span| attribute(span, "mcp.protocol.version") == "2025-11-25" && span["name"] == "tools/call echo")
        .unwrap();
    assert!(of_session["parentSpanId"].is_null(), "what is no context begins a trace");
    assert_eq!(
        attribute(of_session, "mcpctl.session"),
        &session.id[..8],
        "enough to find it in the audit log, too little to use it"
    );
}

#[tokio::test]
async fn what_is_not_kept_makes_no_span_and_passes_through_as_it_came() {
    let collector = Collector::start(&[]).await;
    let traces = collector.traces(&[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]);
    let house = house(&traces).await;
    let unkept = format!("00-{TRACE}-{PARENT}-00");
    let request = house.modern_request("tools/call", json!({"name": "b__echo"}));
    house.send(request.header("traceparent", &unkept)).await;
    let asked = house.server("b").asked("tools/call").remove(0);
    assert_eq!(asked.headers.iter().find(|(name, _)| name == "traceparent").unwrap().1, unkept);
    assert!(asked.params["_meta"]["traceparent"].is_null());
    // Where nobody decided before, servers are told what was decided here.
    house.modern("tools/call", json!({"name": "b__echo"})).await;
    let told = house.server("b").asked("tools/call").remove(1).params["_meta"]["traceparent"].clone();
    assert!(told.as_str().unwrap().ends_with("-00"), "{told}");
    traces.finish().await;
    assert!(collector.spans().is_empty());
}

#[tokio::test]
async fn who_has_no_access_joins_no_trace_and_nothing_that_a_client_made_up_is_told() {
    let collector = Collector::start(&[]).await;
    let traces = collector.traces(&[]);
    let house = house(&traces).await;
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let unknown = encode(PAT_PREFIX, &[77; RANDOM_BYTES]);
    let bearer = format!("Bearer {}", unknown.expose());
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "canary/method", "params": {"name": "canary"}});
    let denied = house.post(&[("authorization", &bearer), ("traceparent", &parent)], &body).await;
    assert_eq!(denied.status, 401);
    for (method, params) in [
        ("canary/method", json!({"name": "canary"})),
        ("tools/call", json!({"name": "canary-tool"})),
        ("tools/call", json!({"name": "a__canary"})),
        ("resources/read", json!({"uri": "dynamic:canary"})),
    ] {
        let request = house.modern_request(method, params);
        house
            .send(request.header("traceparent", &parent).header("baggage", "canary=1").header("cookie", "canary"))
            .await;
    }
    traces.finish().await;
    let spans = collector.spans();
    let refused = spans.iter().find(|span| attribute(span, "mcpctl.outcome") == "denied").unwrap();
    assert!(refused["traceId"] != TRACE && attribute(refused, "mcpctl.project").is_null());
    let said = Value::from(spans).to_string();
    assert!(!said.contains("canary") && !said.contains(unknown.expose()) && !said.contains(&token(1)), "{said}");
}

#[tokio::test]
async fn a_queue_that_is_full_holds_nobody_up_and_is_counted() {
    // Nobody ever answers there.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let collector = Collector { endpoint, requests: Requests::default() };
    let bounds = [("OTEL_BSP_MAX_QUEUE_SIZE", "4"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")];
    let traces = collector.traces(&bounds);
    let house = house(&traces).await;
    let began = Instant::now();
    for _ in 0..50 {
        assert_eq!(house.modern("tools/call", json!({"name": "b__echo"})).await.status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "the limit of a request to the collector is not waited for");
    let tracer = traces.tracer();
    let figures = tracer.figures();
    assert!(figures.crowded_out >= 100 - 4 - 2 - 2 && figures.exported == 0, "{figures:?}");
    let page = house.http.get(format!("http://{}/metrics", house.address)).send().await.unwrap().text().await.unwrap();
    let line = format!("mcpctl_gateway_spans_crowded_out_total {}", figures.crowded_out);
    assert!(page.contains(&line), "{line} is not in\n{page}");
    let began = Instant::now();
    traces.finish().await;
    assert!(began.elapsed() < Duration::from_secs(8), "it is flushed within a limit");
}

#[tokio::test]
async fn a_batch_is_offered_again_where_that_may_help_and_counted_as_lost_where_not() {
    let collector = Collector::start(&[503, 200, 400]).await;
    let traces = collector.traces(&[]);
    let tracer = traces.tracer();
    let house = house(&traces).await;
    house.modern("tools/call", json!({"name": "b__echo"})).await;
    until("the collector takes what it did not at first", || tracer.figures().exported == 2).await;
    house.modern("tools/call", json!({"name": "b__echo"})).await;
    until("what it refuses is lost", || tracer.figures().undelivered == 2).await;
    traces.finish().await;
    assert_eq!(collector.spans().len(), 2);
}
