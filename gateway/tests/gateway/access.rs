//! Who may do what: denials, filters, and access that is taken away while something runs.
use std::time::Duration;

use mcpctl_api::plane::{AuditEntry, Denial};
use mcpctl_api::upstream::Era;
use mcpctl_core::ids::Seq;
use mcpctl_core::kinds::ToolNames;
use mcpctl_gateway::Options;
use serde_json::json;

use crate::fake_plane::token;
use crate::fake_server::FakeServer;
use crate::house::{House, Stream, names, quick};

fn two() -> Vec<FakeServer> {
    vec![
        FakeServer::new("a", Era::Modern, &["hang", "secret_x", "progress"]),
        FakeServer::new("b", Era::Legacy, &["hang", "ask"]),
    ]
}

#[tokio::test]
async fn each_denial_has_its_status_and_says_what_to_do() {
    let house = House::new(two()).await;
    for (denial, status, words) in [
        (Denial::Ended("revoked"), 401, "revoked"),
        (Denial::Ended("expired"), 401, "expired"),
        (Denial::OtherProject, 403, "another project"),
        (Denial::Forbidden("the owner may not run it".into()), 403, "the owner"),
        (Denial::NoProject("web".into()), 404, "get projects"),
        (Denial::Unavailable("no connection".into()), 503, "no connection"),
    ] {
        house.plane.revoke(&token(1), denial);
        let answer = house.modern("tools/call", json!({"name": "a__echo"})).await;
        assert_eq!(answer.status, status);
        assert!(answer.body.contains(words) && answer.json()["id"] == "m1", "{}", answer.body);
    }
    assert!(house.server("a").asked.lock().is_empty(), "nobody was asked anything");
    let lines = house.plane.lines("refusal");
    assert_eq!(lines.len(), 6);
    assert!(lines.iter().all(|line| !line.allowed && line.method == "tools/call" && line.token_sha.is_some()));
}

#[tokio::test]
async fn who_tries_again_without_a_pause_while_nobody_can_say_who_may_leaves_few_lines_and_none_is_forgotten() {
    let house =
        House::with(two(), ToolNames::Prefixed, Options { session_idle: Duration::from_millis(50), ..quick() }).await;
    house.plane.revoke(&token(1), Denial::Unavailable("no connection".into()));
    for _ in 0..100 {
        assert_eq!(house.modern("tools/call", json!({"name": "a__echo"})).await.status, 503);
    }
    let told = |line: &AuditEntry| {
        let more = line.reason.as_deref()?.strip_suffix(" more before)")?.rsplit_once('(')?.1.parse().ok();
        more.map(|more: usize| more + 1)
    };
    let lines = || house.plane.lines("refusal");
    house.until("all are told of", || lines().iter().map(|line| told(line).unwrap_or(1)).sum::<usize>() == 100).await;
    assert!(lines().len() < 50, "{}", lines().len());
    assert!(lines().iter().all(|line| line.outcome == "unavailable" && line.token_sha.is_some()));
}

#[tokio::test]
async fn a_tool_that_a_filter_hides_is_neither_listed_nor_called() {
    let house = House::new(two()).await;
    house.change(|project| project.servers[0].tools.deny.push("secret_*".into()));
    house.change(|project| project.servers[1].project_tools.allow.push("echo".into()));
    let listed = house.modern("tools/list", json!({})).await;
    assert_eq!(names(&listed, "tools", "name"), ["a__echo", "a__hang", "a__progress", "b__echo"]);
    for name in ["a__secret_x", "a/secret_x", "b__ask"] {
        let answer = house.modern("tools/call", json!({"name": name})).await;
        assert_eq!(answer.error(), (200, -32602));
        assert!(answer.body.contains("unknown tool"), "a hidden tool looks like none: {}", answer.body);
    }
    assert!(house.server("a").asked("tools/call").is_empty() && house.server("b").asked("tools/call").is_empty());
    let lines = house.plane.lines("refusal");
    assert_eq!(lines.len(), 3);
    assert_eq!((lines[0].tool.as_deref(), lines[0].outcome.as_str()), (Some("secret_x"), "denied"));
}

#[tokio::test]
async fn a_revocation_cuts_the_call_that_runs_and_withholds_its_answer() {
    let house = House::new(two()).await;
    for (name, server) in [("a__hang", "a"), ("b__hang", "b")] {
        house.plane.revoke(&token(2), Denial::Ended("x"));
        let _ = name;
        let running = tokio::spawn(house.modern_request("tools/call", json!({"name": name})).send());
        house.until("the call runs", || house.server(server).asked("tools/call").len() == 1).await;
        if server == "b" {
            house.plane.revoke(&token(1), Denial::Ended("revoked"));
            let answer = running.await.unwrap().unwrap();
            assert_eq!(answer.status(), 401);
            assert!(answer.text().await.unwrap().contains("revoked"));
            house
                .until("upstream is cancelled", || {
                    house.server(server).cancelled.load(std::sync::atomic::Ordering::SeqCst) == 1
                })
                .await;
            let of_b = || house.plane.lines("call").into_iter().find(|line| line.server.as_deref() == Some("b"));
            house.until("it is recorded", || of_b().is_some()).await;
            let line = of_b().unwrap();
            assert_eq!((line.outcome.as_str(), line.tool.as_deref()), ("cut", Some("hang")));
        } else {
            running.abort();
        }
    }
}

#[tokio::test]
async fn a_revocation_resets_streams_that_have_begun() {
    let house = House::new(two()).await;
    let client = house.session("2025-06-18", json!({"sampling": {}})).await;
    let mut stream = client.stream().await;
    let mut call = Stream::new(client.asking("tools/call", json!({"name": "b/ask"})).send().await.unwrap());
    assert_eq!(call.next().await.unwrap()["method"], "sampling/createMessage");
    house.plane.revoke(&token(1), Denial::Ended("revoked"));
    assert!(call.is_reset().await, "no answer and no error comes any more");
    assert!(stream.is_reset().await);
}

#[tokio::test]
async fn each_call_and_each_stream_that_is_cut_says_so_and_why() {
    let house = House::new(two()).await;
    let client = house.session("2025-06-18", json!({})).await;
    let mut stream = client.stream().await;
    let listen = json!({"notifications": {"toolsListChanged": true}});
    let mut listening = Stream::new(house.modern_request("subscriptions/listen", listen).send().await.unwrap());
    listening.next().await.expect("it is acknowledged");
    let running = tokio::spawn(client.asking("tools/call", json!({"name": "b/hang"})).send());
    house.until("the call runs", || house.server("b").asked("tools/call").len() == 1).await;
    assert!(house.plane.lines("session.cut").is_empty());
    house.plane.revoke(&token(1), Denial::Ended("revoked"));
    assert!(stream.is_reset().await && listening.is_reset().await);
    assert_eq!(running.await.unwrap().unwrap().status(), 401);
    house.until("all three are recorded", || house.plane.lines("session.cut").len() == 3).await;
    let mut lines = house.plane.lines("session.cut");
    lines.sort_by(|a, b| a.method.cmp(&b.method));
    assert_eq!(
        lines.iter().map(|line| &*line.method).collect::<Vec<_>>(),
        ["GET", "subscriptions/listen", "tools/call"]
    );
    for line in &lines {
        assert_eq!((line.rule.as_deref(), &*line.outcome, line.allowed), (Some("token-revoked"), "cut", false));
        assert_eq!((line.reason.as_deref(), line.seq), (Some("the token is revoked"), Seq(43)), "the event is named");
        assert!(line.actor.is_some() && line.project.as_deref() == Some("web"));
    }
    let session = Some(client.id[..8].to_owned());
    assert_eq!((&lines[0].session, &lines[2].session), (&session, &session));
    assert_eq!((lines[2].server.as_deref(), lines[2].tool.as_deref()), (Some("b"), Some("hang")));
}

#[tokio::test]
async fn an_answer_is_withheld_even_if_the_access_ends_while_its_line_is_written() {
    let house = House::new(two()).await;
    house.plane.revoke_when_recording(&token(1), Denial::Ended("revoked"));
    let answer = house.modern("tools/call", json!({"name": "a__echo", "arguments": {"x": "canary"}})).await;
    assert_eq!(answer.status, 401);
    assert!(!answer.body.contains("canary"), "{}", answer.body);
}

#[tokio::test]
async fn a_session_belongs_to_the_token_that_opened_it() {
    let house = House::new(two()).await;
    let client = house.session("2025-06-18", json!({})).await;
    assert!(client.id.len() >= 32);
    let other = format!("Bearer {}", token(2));
    let headers = [("authorization", other.as_str()), ("mcp-session-id", client.id.as_str())];
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    assert_eq!(house.post(&headers, &body).await.status, 404);
    assert_eq!(house.send(house.request("DELETE", &headers)).await.status, 404);
    assert_eq!(house.send(house.request("GET", &headers).header("accept", "text/event-stream")).await.status, 404);
    assert_eq!(client.ask("tools/list", json!({})).await.status, 200, "its owner still has it");
}

#[tokio::test]
async fn no_token_reaches_a_server_or_the_audit_log() {
    let house = House::new(two()).await;
    let request = house.modern_request("tools/call", json!({"name": "a__echo", "arguments": {"x": 1}}));
    let request = request.header("cookie", "c=1").header("mcp-param-region", "eu").header("traceparent", "00-1");
    assert_eq!(house.send(request).await.status, 200);
    let asked = house.server("a").asked("tools/call");
    assert_eq!(
        asked[0].headers,
        [("mcp-param-region".to_owned(), "eu".to_owned()), ("traceparent".into(), "00-1".into())]
    );
    let all = format!("{:?} {:?}", house.server("a").asked.lock(), house.plane.audit.lock());
    assert!(!all.contains(&token(1)) && !all.contains("mcpctl_pat_"));
}
