//! `mcpctl revoke`: what it says, when it answers, and what has ended then.
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::{Answer, modern};
use crate::support::small_server::small_server;
use crate::support::up::Up;
use crate::support::wait::wait_until;

/// A project with the small server, and a token of it for each name.
struct House {
    up: Up,
    endpoint: String,
}

impl House {
    fn start() -> Self {
        let up = Up::start();
        let victim = up.place.path("victim");
        let project = json!({"kind": "project", "name": "web", "servers": ["small"]});
        up.apply(&[small_server("small", &victim), project]);
        let endpoint = up.endpoint_of("web");
        Self { up, endpoint }
    }

    fn call(&self, token: &str, tool: &str) -> Answer {
        modern(&self.endpoint, token, "tools/call", json!({"name": tool, "arguments": {}})).unwrap()
    }

    fn used(&self, name: &str) -> String {
        let token = self.up.create_token(name, "web");
        assert_eq!(self.call(&token, "small__echo").status, 200);
        token
    }

    /// The conversation that a waiting call runs on.
    fn server_process(&self) -> String {
        let file = self.up.place.path("victim.server");
        wait_until("the call has reached the server", Duration::from_secs(30), || fs::read_to_string(&file).ok())
    }

    fn cut(&self) -> Vec<Value> {
        let events = self.up.mcpctl(&["audit", "events", "--kind", "session.cut", "-o", "json"]).ok().json();
        events["items"].as_array().unwrap().clone()
    }
}

#[test]
fn a_revocation_says_in_one_line_who_was_waited_for_and_what_was_cut_and_the_audit_log_says_why() {
    let house = House::start();
    let token = house.used("ci");
    let waiting = std::thread::spawn({
        let (endpoint, token) = (house.endpoint.clone(), token.clone());
        move || modern(&endpoint, &token, "tools/call", json!({"name": "small__wait", "arguments": {}}))
    });
    let process = format!("/proc/{}", house.server_process());
    let said = house.up.mcpctl(&["revoke", "mcptoken", "ci", "-p", "web"]).ok().stdout;
    let line = said.trim_end();
    let (head, rest) = line.split_once(" · ").unwrap_or_else(|| panic!("{line}"));
    let seq: u64 = head.split_once(" revoked at seq ").unwrap_or_else(|| panic!("{line}")).1.parse().unwrap();
    assert!(head.contains("ci") && rest.starts_with("1 gateway: 1 acked in "), "{line}");
    assert!(rest.ends_with(" ms · 1 live stream cut"), "{line}");
    assert_eq!(house.call(&token, "small__echo").status, 401, "it answers when the token is dead");
    let cut = waiting.join().unwrap();
    assert!(cut.is_err() || cut.as_ref().is_ok_and(|answer| answer.status == 401), "{cut:?}");

    let lines = wait_until("call and conversation are on record", Duration::from_secs(20), || {
        Some(house.cut()).filter(|lines| lines.len() >= 2)
    });
    let of = |method: &str| lines.iter().find(|line| line["method"] == method).unwrap_or_else(|| panic!("{lines:?}"));
    for line in [of("tools/call"), of("conversation")] {
        assert_eq!((&line["rule"], &line["outcome"]), (&json!("token-revoked"), &json!("cut")), "{line}");
        assert_eq!((&line["seq"], &line["server"]), (&json!(seq), &json!("small")), "the event is named: {line}");
        assert_eq!(line["actor"]["name"], "ci");
    }
    assert_eq!(of("tools/call")["tool"], "wait");
    wait_until("its process has ended", Duration::from_secs(20), || (!fs::exists(&process).unwrap()).then_some(()));

    let again = house.up.mcpctl(&["revoke", "mcptoken", "ci", "-p", "web"]).ok().stdout;
    assert!(again.contains("was revoked before"), "{again}");
}

#[test]
fn a_revocation_for_programs_is_an_object_and_one_that_does_not_wait_says_no_more_than_its_seq() {
    let house = House::start();
    for name in ["json", "quick", "unused"] {
        house.up.create_token(name, "web");
    }
    let token = house.used("held");
    let said = house.up.mcpctl(&["revoke", "mcptoken", "held", "-p", "web", "-o", "json"]).ok().json();
    let revocation = &said["revocation"];
    assert_eq!((&said["kind"], &said["name"], &said["project"]), (&json!("mcptoken"), &json!("held"), &json!("web")));
    assert_eq!(
        (&revocation["gateways"], &revocation["acked"], &revocation["leaseExpired"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert!(revocation["seq"] == said["seq"] && revocation["tookMs"].is_u64(), "{said}");
    assert_eq!(house.call(&token, "small__echo").status, 401);

    let nobody = house.up.mcpctl(&["revoke", "mcptoken", "unused", "-p", "web"]).ok().stdout;
    assert!(nobody.trim_end().ends_with(" · no gateway held it"), "{nobody}");
    let quick = house.up.mcpctl(&["revoke", "mcptoken", "quick", "-p", "web", "--no-wait"]).ok().stdout;
    assert!(quick.contains(" revoked at seq ") && !quick.contains('·'), "{quick}");
    let both = house.up.mcpctl(&["revoke", "mcptoken", "json", "-p", "web", "--no-wait", "-o", "json"]).ok().json();
    assert!(both["outcome"] == "changed" && both["revocation"].is_null(), "{both}");
    house.up.mcpctl(&["revoke", "mcptoken", "json", "-p", "web", "--wait", "--no-wait"]).exits(2);
    house.up.mcpctl(&["revoke", "mcptoken", "none", "-p", "web"]).exits(1);
}
