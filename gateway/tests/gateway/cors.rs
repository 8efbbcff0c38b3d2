//! Agents that run in web pages: those whose origin was named, and nobody else.
use mcpctl_api::upstream::Era;
use mcpctl_gateway::Options;
use serde_json::json;

use crate::fake_server::FakeServer;
use crate::house::{Answer, House, quick};

const PAGE: &str = "https://console.example.com";

async fn house(origins: &[&str]) -> House {
    let origins = origins.iter().map(|&origin| origin.to_owned()).collect();
    let options = Options { origins, ..quick() };
    House::with(vec![FakeServer::new("a", Era::Modern, &[])], Default::default(), options).await
}

/// What a browser asks before a page may send its request.
async fn asked(house: &House, origin: &str) -> Answer {
    let request = house.http.request("OPTIONS".parse().unwrap(), house.url()).header("origin", origin);
    let request = request.header("access-control-request-method", "POST");
    let wanted = "authorization, content-type,Mcp-Protocol-Version, mcp-param-city, cookie, x-evil";
    house.send(request.header("access-control-request-headers", wanted)).await
}

fn said<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_page_that_was_named_may_send_what_agents_send_and_read_the_answer() {
    let house = house(&[PAGE]).await;
    let may = asked(&house, PAGE).await;
    assert_eq!((may.status, said(&may, "access-control-allow-origin")), (204, Some(PAGE)));
    assert_eq!(said(&may, "access-control-allow-methods"), Some("POST, GET, DELETE"));
    let headers = "authorization, content-type, mcp-protocol-version, mcp-param-city";
    assert_eq!(said(&may, "access-control-allow-headers"), Some(headers));
    assert_eq!(said(&may, "access-control-allow-credentials"), None, "a page shows its token, and no cookie");
    let request = house.modern_request("tools/call", json!({"name": "echo"}));
    let answer = house.send(request.header("origin", PAGE)).await;
    assert_eq!((answer.status, said(&answer, "access-control-allow-origin")), (200, Some(PAGE)));
    assert!(said(&answer, "access-control-expose-headers").unwrap().contains("Mcp-Session-Id"));
    assert_eq!(said(&answer, "vary"), Some("Origin"));
    let refused = house.send(house.http.post(house.url()).header("origin", PAGE)).await;
    assert_eq!((refused.status, said(&refused, "access-control-allow-origin")), (401, Some(PAGE)), "it may read why");
    let program = house.modern("tools/list", json!({})).await;
    assert_eq!((said(&program, "access-control-allow-origin"), said(&program, "vary")), (None, Some("Origin")));
}

#[tokio::test]
async fn any_other_page_is_told_nothing() {
    let house = house(&[PAGE]).await;
    for origin in
        ["https://evil.example", "http://console.example.com", "https://console.example.com.evil.example", "null"]
    {
        let may = asked(&house, origin).await;
        assert_eq!((may.status, said(&may, "access-control-allow-origin")), (403, None), "{origin}");
        let request = house.modern_request("tools/call", json!({"name": "echo"}));
        let answer = house.send(request.header("origin", origin)).await;
        assert_eq!((answer.status, said(&answer, "access-control-allow-origin")), (403, None), "{origin}");
    }
    // A page of this machine may be there, and was not named.
    let local = asked(&house, "http://localhost:6274").await;
    assert_eq!((local.status, said(&local, "access-control-allow-origin")), (401, None));
    assert!(house.server("a").asked("tools/call").is_empty());
}

#[tokio::test]
async fn nobody_is_named_unless_somebody_is() {
    let house = house(&[]).await;
    let local = "http://localhost:6274";
    assert_eq!(said(&asked(&house, local).await, "access-control-allow-origin"), None);
    let answer = house.send(house.modern_request("tools/list", json!({})).header("origin", local)).await;
    assert_eq!((answer.status, said(&answer, "access-control-allow-origin"), said(&answer, "vary")), (200, None, None));
}
