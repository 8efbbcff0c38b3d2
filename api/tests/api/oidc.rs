//! `/auth/oidc` as those see it who come without a provider, without a token, or with a bad one.
use axum::Router;
use axum::routing::get;
use mcpctl_api::server::oidc::OidcFlags;
use serde_json::json;

use crate::house::{House, PASSWORD};

const PATH: &str = "/api/v1/auth/oidc";
const CANARY: &str = "canary-in-a-token";

fn flags(issuer: String) -> OidcFlags {
    OidcFlags {
        oidc_issuer: Some(issuer),
        oidc_client_id: Some("mcpctl".to_owned()),
        oidc_scopes: "openid email".to_owned(),
        ..OidcFlags::default()
    }
}

/// A provider without any key.
async fn provider() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let said = json!({ "issuer": issuer, "authorization_endpoint": format!("{issuer}/auth"),
        "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/jwks") });
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(async move || axum::Json(said)))
        .route("/jwks", get(async || axum::Json(json!({ "keys": [] }))));
    tokio::spawn(async move { axum::serve(listener, router).await });
    issuer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_provider_the_way_in_is_a_password() {
    let house = House::start().await;
    for method in ["GET", "POST"] {
        let problem = house.by(None, method, PATH).json(&json!({})).send().await.problem(404);
        assert!(problem["hint"].as_str().unwrap().contains("--user"), "{problem}");
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_down_is_told_and_costs_passwords_nothing() {
    let house = House::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    house.control.sign_in_at(flags(issuer).settings().unwrap().unwrap());
    let reply = house.by(None, "GET", PATH).send().await;
    assert!(reply.problem(503)["hint"].as_str().unwrap().contains("--user"), "{}", reply.text);
    assert_eq!(reply.header("retry-after"), "5");
    house.person("ann@example.com").await;
    house.log_in("ann@example.com", PASSWORD).await.is(200);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_tokens_are_limited_audited_and_told_nowhere() {
    let house = House::start().await;
    house.control.sign_in_at(flags(provider().await).settings().unwrap().unwrap());
    let offer = house.by(None, "GET", PATH).send().await.is(200).json();
    assert_eq!((&offer["clientId"], &offer["scopes"]), (&json!("mcpctl"), &json!("openid email")));
    let present =
        async |body: &str| house.by(None, "POST", PATH).body("application/json", body.to_owned()).send().await;
    for body in [format!("{{\"idToken\": \"{CANARY}"), format!("{{\"idToken\": \"x\", \"{CANARY}\": 1}}"), "[]".into()]
    {
        let reply = present(&body).await;
        reply.problem(400);
        assert!(!reply.text.contains(CANARY), "{}", reply.text);
    }
    // {"alg":"ES256","kid":"k"} . {} : well-formed, of a key that is not there.
    let token = format!("eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.e30.{CANARY}");
    let body = json!({ "idToken": token, "verifier": CANARY }).to_string();
    let mut refused = 0;
    let limited = loop {
        let reply = present(&body).await;
        assert!(!reply.text.contains(CANARY), "{}", reply.text);
        match reply.status {
            401 if refused < 40 => refused += 1,
            _ => break reply,
        }
    };
    limited.problem(429);
    assert!((10..=30).contains(&refused), "{refused}");
    assert!(!limited.header("retry-after").is_empty());
    let audited = house.get("/audit/events?kind=login&limit=1000").await.is(200);
    assert!(
        audited.text.contains("the provider has no such key") && !audited.text.contains(CANARY),
        "{}",
        audited.text
    );
    house.stop().await;
}
