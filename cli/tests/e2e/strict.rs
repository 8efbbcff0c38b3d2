//! A strict project: what its servers were called with is on record, whatever happens the moment they are.
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::modern;
use crate::support::small_server::small_server;
use crate::support::up::{Place, Up};
use crate::support::wait::wait_until;

#[test]
fn a_strict_call_is_on_record_when_the_control_plane_is_killed_the_moment_its_server_has_it() {
    let place = Place::new();
    let up = Up::start_in(Arc::clone(&place));
    let victim = place.path("victim");
    fs::write(&victim, up.pid().to_string()).unwrap();
    up.apply(&[
        small_server("small", &victim),
        json!({"kind": "project", "name": "sealed", "servers": ["small"], "strict": true}),
    ]);
    let token = up.create_token("agent", "sealed");
    let endpoint = up.endpoint_of("sealed");
    let call = |tool: &str| modern(&endpoint, &token, "tools/call", json!({"name": tool, "arguments": {"a": 1}}));
    let echoed = call("small__echo").unwrap();
    assert!(echoed.status == 200 && echoed.body.contains("\\\"a\\\": 1"), "{echoed:?}");
    assert!(call("small__strike").is_err(), "the control plane died of this call");
    let process = format!("/proc/{}/status", up.pid());
    wait_until("it is dead", Duration::from_secs(10), || {
        let status = fs::read_to_string(&process).unwrap_or_else(|_| "Z (zombie)".to_owned());
        status.contains("Z (zombie)").then_some(())
    });
    up.kill_9();

    let up = Up::start_in(place);
    let of_kind = |kind: &str| -> Vec<Value> {
        let events = up.mcpctl(&["audit", "events", "-p", "sealed", "--kind", kind, "-o", "json"]).ok().json();
        events["items"].as_array().unwrap().clone()
    };
    let tools =
        |kind: &str| of_kind(kind).iter().map(|one| one["tool"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(tools("call.admitted"), ["echo", "strike"], "both were on record before the server was called");
    assert_eq!(tools("call"), ["echo"], "what came of the other nobody was left to say");
    let struck = of_kind("call.admitted").pop().unwrap();
    assert_eq!((&struck["outcome"], &struck["server"]), (&json!("admitted"), &json!("small")));
    assert!(struck["seq"].as_u64().unwrap() > 0 && struck["actor"]["name"] == "agent", "{struck}");
    // The log itself shows that each was allowed where it was admitted.
    up.mcpctl(&["audit", "replay"]).ok();
}
