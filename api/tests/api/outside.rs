//! A token of one project on every other route, with path tricks.
use mcpctl_api::server::openapi;
use serde_json::json;

use crate::house::House;

async fn two_projects() -> (House, String) {
    let house = House::start().await;
    house.put("/projects/web", json!({ "servers": [] })).await.is(201);
    house.put("/projects/api", json!({ "servers": [] })).await.is(201);
    house.token("api", "other").await;
    let token = house.token("web", "mine").await;
    (house, token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_reaches_its_own_project_and_no_other_route() {
    let (house, token) = two_projects().await;
    let mine = async |method: &str, path: &str| house.by(Some(&token), method, path).send().await.status;
    for (method, inside) in [
        ("GET", "/api/v1/projects/web/view"),
        ("GET", "/api/v1/projects/web/mcptokens"),
        ("GET", "/api/v1/projects/web/mcptokens/mine"),
        ("GET", "/api/v1/auth/me"),
        ("POST", "/api/v1/mcptokens/introspect"),
    ] {
        assert_eq!(mine(method, inside).await, 200, "{inside}");
    }
    let seq = house.seq().await;
    let document = openapi::document();
    for (path, item) in document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/api/")) {
        let open = ["/api/v1/auth/me", "/api/v1/auth/login", "/api/v1/mcptokens/introspect"];
        let address = path.replace("{name}", "api").replace("{object}", "other");
        // A gateway may record that it refused a bearer, whoever that is.
        // The stream of a gateway takes no bearer: handles open it.
        if ["/api/v1/projects/api/audit", "/api/v1/gateways/stream", "/api/v1/auth/oidc"].contains(&address.as_str()) {
            continue;
        }
        if open.contains(&address.as_str()) {
            continue;
        }
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let method = method.to_uppercase();
            let ask = house.by(Some(&token), &method, &format!("{address}?project=api&server=mcpctl"));
            let status = ask.json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" })).send().await.status;
            assert!(matches!(status, 401 | 403 | 404), "{method} {address}: {status}");
        }
    }
    assert_eq!(house.seq().await, seq);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_path_trick_leads_a_token_out() {
    let (house, token) = two_projects().await;
    let seq = house.seq().await;
    for trick in [
        "/api/v1/projects/web/../api/mcptokens",
        "/api/v1/projects/web/%2e%2e/api/mcptokens",
        "/api/v1/projects/web%2f..%2fapi/mcptokens",
        "/api/v1/projects/web/..%2fapi/mcptokens/other",
        "/api/v1/projects//api/mcptokens",
        "//api/v1/projects/api/mcptokens",
        "/api/v1//projects/api/mcptokens",
        "/api/v1/projects/api/",
        "/api/v1/projects/api/mcptokens/",
        "/api/v1/projects/API/mcptokens",
        "/API/V1/projects/api/mcptokens",
        "/api/v1/projects/web;/mcptokens",
        "/api/v1/projects/api;web/mcptokens",
        "/api/v1/projects/%61pi/mcptokens",
        "/api/v1/projects/web/mcptokens/..",
        "/api/v1/projects/web\\..\\api",
        "/api/v1/./projects/api/view",
        "/api/v1/projects/api/view?project=web",
        "/api/v1/mcptokens?project=web",
        "/api/v1/servers?project=web",
        "/api/v1/auth/me/../../projects/api",
        "/api/v1/mcptokens/introspect/../other",
        "/api/v1/projects/api#/projects/web",
        "http://127.0.0.1/api/v1/projects/api/mcptokens",
    ] {
        for method in ["GET", "PUT", "DELETE", "POST"] {
            let body = "{\"name\":\"x\",\"servers\":[]}";
            let head = format!(
                "{method} {trick} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                house.address,
                body.len()
            );
            let status = house.raw(&head).await;
            assert!(matches!(status, 400 | 401 | 403 | 404 | 405), "{method} {trick}: {status}");
        }
    }
    for query in ["project=web&project=api", "project=web&%70roject=api", "project=api", "%70roject=api", ""] {
        let path = format!("/api/v1/mcp/proxy?{query}&server=mcpctl");
        let ask = house.by(Some(&token), "POST", &path).json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }));
        let status = ask.send().await.status;
        assert!(matches!(status, 400 | 401 | 403 | 404), "{query}: {status}");
    }
    assert_eq!(house.seq().await, seq);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_too_large_or_has_too_many_headers_is_refused() {
    let house = House::start().await;
    let head = |headers: String| {
        format!("GET /healthz HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}\r\n", house.address)
    };
    let many = |count: usize| (0..count).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    assert_eq!(house.raw(&head(many(90))).await, 200);
    assert_eq!(house.raw(&head(many(100))).await, 431);
    assert_eq!(house.raw(&head(format!("x: {}\r\n", "y".repeat(64 << 10)))).await, 431);
    house.stop().await;
}
