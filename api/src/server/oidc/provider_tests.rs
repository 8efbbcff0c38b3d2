//! A provider that changes its keys, lies about itself, or is not there.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use parking_lot::RwLock;
use serde_json::{Value, json};

use super::super::testing::{Signer, VERIFIER, claims, now, settings};
use super::*;

/// What the fake provider says, and how often it was asked for its keys.
#[derive(Default)]
struct Fake {
    discovery: RwLock<Value>,
    keys: RwLock<Value>,
    asked: AtomicUsize,
}

impl Fake {
    fn sign_with(&self, signers: &[&Signer]) {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
        *self.keys.write() = json!({ "keys": keys });
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn start() -> (Arc<Fake>, Provider) {
    let fake = Arc::new(Fake::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    *fake.discovery.write() = json!({ "issuer": issuer, "authorization_endpoint": format!("{issuer}/auth"),
        "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/jwks") });
    let (of_discovery, of_keys) = (fake.clone(), fake.clone());
    let keys = async move || {
        of_keys.asked.fetch_add(1, Ordering::Relaxed);
        axum::Json(of_keys.keys.read().clone())
    };
    let router = Router::new()
        .route(
            "/.well-known/openid-configuration",
            get(async move || axum::Json(of_discovery.discovery.read().clone())),
        )
        .route("/jwks", get(keys))
        .route("/elsewhere", get(async || Redirect::to("/jwks")))
        .route("/endless", get(async || "[".repeat(600 * 1024)))
        .route("/broken", get(async || (StatusCode::BAD_GATEWAY, "{}").into_response()));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let provider = Provider::new(Settings { issuer, ..settings() });
    (fake, provider)
}

fn token(provider: &Provider, signer: &Signer, subject: &str) -> String {
    signer.sign(&claims(json!({ "iss": provider.settings.issuer, "sub": subject })))
}

#[tokio::test]
async fn a_new_key_is_found_at_once_and_an_old_one_is_forgotten() {
    let (fake, provider) = start().await;
    let (one, two) = (Signer::ec("one"), Signer::ec("two"));
    fake.sign_with(&[&one]);
    assert!(provider.take(&token(&provider, &one, "a"), VERIFIER, now()).await.is_ok());
    assert!(provider.take(&token(&provider, &one, "b"), VERIFIER, now()).await.is_ok());
    assert_eq!(fake.asked(), 1, "keys are kept");
    fake.sign_with(&[&two]);
    assert!(provider.take(&token(&provider, &two, "a"), VERIFIER, now()).await.is_ok());
    let old = provider.take(&token(&provider, &one, "c"), VERIFIER, now()).await;
    assert!(matches!(old, Err(NotTaken::Refused(Refused::UnknownKey))));
}

#[tokio::test]
async fn inventing_keys_does_not_make_us_ask_the_provider_all_the_time() {
    let (fake, provider) = start().await;
    let good = Signer::ec("good");
    fake.sign_with(&[&good]);
    let forged = token(&provider, &Signer::ec("invented"), "a");
    for _ in 0..40 {
        let refused = provider.take(&forged, VERIFIER, now()).await;
        assert!(matches!(refused, Err(NotTaken::Refused(Refused::UnknownKey))));
    }
    assert_eq!(fake.asked(), REFETCHES.0);
    assert!(provider.take(&token(&provider, &good, "a"), VERIFIER, now()).await.is_ok(), "others go on");
}

#[tokio::test]
async fn a_token_opens_one_login() {
    let (fake, provider) = start().await;
    let signer = Signer::ec("one");
    fake.sign_with(&[&signer]);
    let token = token(&provider, &signer, "a");
    assert!(provider.take(&token, VERIFIER, now()).await.is_ok());
    assert!(matches!(provider.take(&token, VERIFIER, now()).await, Err(NotTaken::Again)));
}

#[tokio::test]
async fn a_provider_that_calls_itself_otherwise_is_not_believed() {
    let (fake, provider) = start().await;
    let with_slash = format!("{}/", provider.settings.issuer);
    fake.discovery.write()["issuer"] = with_slash.into();
    assert!(matches!(provider.discovery().await, Err(Unavailable::OtherIssuer)));
}

#[tokio::test]
async fn redirects_floods_and_failures_are_no_keys() {
    for (path, why) in [("/elsewhere", "303"), ("/endless", "more than"), ("/broken", "502"), ("/nowhere", "404")] {
        let (fake, provider) = start().await;
        let signer = Signer::ec("one");
        fake.sign_with(&[&signer]);
        fake.discovery.write()["jwks_uri"] = format!("{}{path}", provider.settings.issuer).into();
        let refused = provider.take(&token(&provider, &signer, "a"), VERIFIER, now()).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{path}: {refused}");
        assert!(!refused.contains("127.0.0.1"), "{refused}");
        assert_eq!(fake.asked(), 0);
    }
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_asked_again_after_a_while_only() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let provider = Provider::new(Settings { issuer, ..settings() });
    assert!(matches!(provider.discovery().await, Err(Unavailable::Fetch(FetchError::Unreachable(_)))));
    assert!(matches!(provider.discovery().await, Err(Unavailable::AMomentAgo)));
}

#[tokio::test]
async fn metadata_services_and_plain_http_elsewhere_are_never_asked() {
    for (issuer, why) in [
        ("http://169.254.169.254/latest", "no server may have"),
        ("http://10.0.0.1", "without TLS"),
        ("http://[::ffff:169.254.169.254]", "no server may have"),
    ] {
        let provider = Provider::new(Settings { issuer: issuer.to_owned(), ..settings() });
        let refused = provider.discovery().await.unwrap_err().to_string();
        assert!(refused.contains(why), "{issuer}: {refused}");
    }
    let keys = fetch::json(&"https://127.0.0.1:9/jwks".parse().unwrap(), false).await;
    assert!(matches!(keys, Err(FetchError::Address(_))), "a public provider does not send us to a private address");
}
