//! Signing in, and everything that ends it.
use std::time::Duration;

use mcpctl_api::server::app::{IdleLogins, LOGIN_IDLE_MS};
use mcpctl_api::server::clock;
use mcpctl_core::actor::Actor;
use mcpctl_core::command::{Command, Deed};
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::{Kind, UserAction};
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::time::Timestamp;
use mcpctl_core::token::{LOGIN_PREFIX, encode};
use serde_json::json;

use crate::house::{House, PASSWORD};
use crate::start::until;

const ANN: &str = "ann@example.com";

async fn is_in(house: &House, bearer: &str) -> bool {
    let reply = house.by(Some(bearer), "GET", "/api/v1/auth/me").send().await;
    assert!(matches!(reply.status, 200 | 401), "{}", reply.text);
    reply.status == 200
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_an_unknown_person_and_a_disabled_one_are_refused_alike() {
    let house = House::start().await;
    house.person(ANN).await;
    house.put("/users/off@example.com", json!({ "password": PASSWORD, "disabled": true })).await.is(201);
    house.put("/users/none@example.com", json!({})).await.is(201);
    let mut answers = Vec::new();
    for (email, password) in [
        (ANN, "wrong password"),
        ("nobody@example.com", PASSWORD),
        ("off@example.com", PASSWORD),
        ("none@example.com", ""),
        ("not an address", PASSWORD),
        ("", ""),
    ] {
        let reply = house.log_in(email, password).await;
        reply.problem(401);
        answers.push((reply.text.clone(), reply.header("www-authenticate").to_owned()));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    house.log_in("Ann@Example.com ", PASSWORD).await.is(200);
    let form =
        house.by(None, "POST", "/api/v1/auth/login").body("application/x-www-form-urlencoded", "email=a&password=b");
    form.send().await.problem(415);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_are_limited_also_when_they_come_all_at_once() {
    let house = House::start().await;
    let ann = house.person(ANN).await;
    let guess = async |n: u32| house.log_in(ANN, &format!("guess number {n}")).await;
    let replies = futures::future::join_all((0..24).map(guess)).await;
    let refused = replies.iter().filter(|reply| reply.status == 401).count();
    assert!((5..=8).contains(&refused), "{refused} guesses were looked at");
    let limited = replies.iter().find(|reply| reply.status == 429).unwrap();
    limited.problem(429);
    assert!(limited.header("retry-after").parse::<u64>().unwrap() >= 1);
    house.log_in(ANN, PASSWORD).await.problem(429);
    assert!(is_in(&house, &ann).await, "who is in stays in");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_a_new_password_and_disabling_end_logins_for_good() {
    let house = House::start().await;
    let first = house.person(ANN).await;
    let second = house.log_in(ANN, PASSWORD).await.json()["token"].as_str().unwrap().to_owned();
    house.by(Some(&first), "POST", "/api/v1/auth/logout").send().await.is(200);
    assert!(!is_in(&house, &first).await && is_in(&house, &second).await);
    house.by(Some(&first), "POST", "/api/v1/auth/logout").send().await.problem(401);
    // A person may give themself another password, and nothing else.
    let own = |body| house.by(Some(&second), "PUT", "/api/v1/users/ann@example.com").json(&body).send();
    let (widened, changed) =
        (json!({ "displayName": "Queen" }), json!({ "displayName": "Queen", "password": "another password" }));
    own(widened).await.problem(403);
    own(changed).await.problem(403);
    own(json!({ "password": "another password" })).await.is(200);
    assert!(!is_in(&house, &second).await, "a new password ends every login");
    house.log_in(ANN, PASSWORD).await.problem(401);
    let third = house.log_in(ANN, "another password").await.is(200).json()["token"].as_str().unwrap().to_owned();
    house.put("/users/ann@example.com", json!({ "disabled": true })).await.is(200);
    assert!(!is_in(&house, &third).await, "at once");
    house.put("/users/ann@example.com", json!({ "disabled": false })).await.is(200);
    assert!(!is_in(&house, &third).await, "for good");
    house.log_in(ANN, "another password").await.is(200);
    let fourth = house.log_in(ANN, "another password").await.json()["token"].as_str().unwrap().to_owned();
    house.delete("/users/ann@example.com").await.is(200);
    assert!(!is_in(&house, &fourth).await);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_lives_over_a_restart_and_not_over_its_time() {
    let house = House::start().await;
    let ann = house.person(ANN).await;
    let house = house.restart().await;
    assert!(is_in(&house, &ann).await);
    // The control plane's own command opens one that ends soon: nobody can ask for that over REST.
    let raw = encode(LOGIN_PREFIX, &clock::random());
    let expires_at = clock::now().plus_millis(1500);
    let open = UserAction::OpenLogin { digest: Digest::sha256(raw.expose().as_bytes()), expires_at, checked: None };
    let name = Name::parse(NameRule::Email, ANN).unwrap();
    let command = Command { kind: Kind::User, name, project: None, deed: Deed::Act(Box::new(open)) };
    let caller = Actor::system("test");
    let submission = mcpctl_api::server::writer::Submission::of(caller, command);
    house.control.app().writer.submit(submission).await.unwrap();
    assert!(is_in(&house, raw.expose()).await);
    until("the login is over", async || !is_in(&house, raw.expose()).await).await;
    assert!(clock::now() >= expires_at);
    assert!(is_in(&house, &ann).await);
    house.stop().await;
}

#[test]
fn a_login_that_is_idle_for_half_an_hour_is_over() {
    let (idle, login) = (IdleLogins::default(), Digest::sha256(b"a login"));
    let at = Timestamp::from_millis;
    assert!(idle.used(login, at(0)));
    assert!(idle.used(login, at(LOGIN_IDLE_MS)));
    assert!(!idle.used(login, at(2 * LOGIN_IDLE_MS + 1)));
    assert!(!idle.used(login, at(2 * LOGIN_IDLE_MS + 2)), "coming again does not help");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_revoked_or_over_opens_nothing_and_says_which() {
    let house = House::start().await;
    let token = house.token("default", "t").await;
    let introspect =
        async |token: &str| house.by(Some(token), "POST", "/api/v1/mcptokens/introspect").send().await.is(200).json();
    assert_eq!(introspect(&token).await["active"], true);
    let short = json!({ "name": "short", "ttl": "1s" });
    let made = house.post("/projects/default/mcptokens", short).await.is(201).json();
    let short = made["token"].as_str().unwrap();
    house.ask("POST", "/projects/default/mcptokens/t/revoke").send().await.is(200);
    let seq = house.seq().await;
    let again = house.ask("POST", "/projects/default/mcptokens/t/revoke").send().await.is(200);
    assert_eq!((again.outcome(), house.seq().await >= seq), ("unchanged", true));
    let told = introspect(&token).await;
    assert_eq!((&told["active"], &told["reason"]), (&json!(false), &json!("revoked")));
    let detail = house.by(Some(&token), "GET", "/api/v1/auth/me").send().await.problem(401)["detail"].clone();
    assert_eq!(detail, "the token is revoked");
    until("the token is over", async || introspect(short).await["reason"] == "expired").await;
    until("its end is an event", async || {
        house.get("/projects/default/mcptokens/short").await.json()["status"]["expiredAt"].is_string()
    })
    .await;
    tokio::time::timeout(Duration::from_secs(5), house.stop()).await.unwrap();
}
