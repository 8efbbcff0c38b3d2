//! What an attacker tries against the control plane's authority (docs/attacks.md), where no other file has it.
use mcpctl_api::server::app::{IdleLogins, LOGIN_IDLE_MS};
use mcpctl_api::server::bootstrap::ADMINISTRATOR;
use mcpctl_api::server::clock::{self, Clock};
use mcpctl_api::server::login;
use mcpctl_core::ids::Digest;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::time::Timestamp;
use serde_json::{Value, json};

use crate::house::{House, files};
use crate::start::until;

/// Every answer of the control plane to a caller, as text.
async fn all_answers(house: &House, bearer: &str) -> String {
    let mut text = String::new();
    let document = mcpctl_api::server::openapi::document();
    for (path, item) in document["paths"].as_object().unwrap() {
        // What streams has no end.
        if !item["get"].is_object() || path.ends_with("/watch") || path == "/api/v1/mcp/proxy" {
            continue;
        }
        let address = path.replace("{name}", "default").replace("{object}", "canary");
        let reply = house.by(Some(bearer), "GET", &address).send().await;
        text.push_str(&reply.text);
        text.push_str(&format!("{:?}", reply.headers));
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_token_is_refused_outside_its_project_is_kept_as_a_question_that_can_be_asked_again() {
    let house = House::start().await;
    let token = house.token("default", "canary").await;
    house.post("/projects", json!({ "name": "other" })).await.is(201);
    let asked = [
        ("GET", "/api/v1/servers", "servers", "view"),
        ("DELETE", "/api/v1/servers/some", "servers", "delete"),
        ("GET", "/api/v1/projects/other/mcptokens", "projects", "run"),
        ("POST", "/api/v1/mcp/proxy?project=other&server=some", "projects", "run"),
    ];
    for (method, path, resource, verb) in asked {
        house.by(Some(&token), method, path).json(&json!({})).send().await.problem(403);
        let kept = house.get("/audit/events?kind=refusal").await.is(200).json();
        let last = kept["items"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["method"], format!("{method} {}", path.split('?').next().unwrap()), "{last}");
        assert_eq!(
            (&last["rule"], &last["asked"]["resource"]),
            (&json!("outside-project"), &json!(resource)),
            "{last}"
        );
        assert_eq!(last["asked"]["verb"], verb, "{last}");
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_token_and_a_login_are_in_no_answer_but_their_own_and_in_no_file() {
    let house = House::start().await;
    let token = house.token("default", "canary").await;
    let login = house.person("eve@example.com").await;
    // Used, refused, revoked, listed, repeated: whatever is done with them, they are told once.
    house.by(Some(&token), "GET", "/api/v1/servers").send().await.problem(403);
    house.by(Some(&token), "POST", "/api/v1/mcptokens/introspect").send().await.is(200);
    house.by(Some(&login), "GET", "/api/v1/users").send().await.is(200);
    let wrong = format!("{}x", &token[..token.len() - 1]);
    let refused = house.by(Some(&wrong), "GET", "/api/v1/auth/me").send().await;
    assert!(!refused.text.contains(&wrong));
    let again = house.post("/projects/default/mcptokens", json!({ "name": "canary", "rbac": "clone" })).await;
    assert!(!again.text.contains("mcpctl_pat_") || !again.text.contains(&token));
    house.ask("POST", "/projects/default/mcptokens/canary/revoke").send().await.is(200);
    let mut said = all_answers(&house, &house.admin.clone()).await;
    said.push_str(&all_answers(&house, &login).await);
    said.push_str(&house.get("/audit/events").await.is(200).text);
    said.push_str(&house.by(None, "GET", "/metrics").send().await.text);
    assert!(said.contains("canary"), "the objects were looked at");
    let folder = house.stop().await;
    let kept = files(folder.path());
    // Without its prefix too: that one is shown in lists.
    for secret in [&token[16..], &login[20..]] {
        assert!(!said.contains(secret));
        for (path, bytes) in &kept {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{} holds a bearer", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_origin_is_refused_whatever_it_sends_along() {
    let house = House::start().await;
    let seq = house.seq().await;
    for origin in ["https://evil.example", "http://localhost.evil.example", "null", "http://10.0.0.1:3100"] {
        for (method, path) in [
            ("GET", "/api/v1/servers"),
            ("POST", "/api/v1/auth/login"),
            ("PUT", "/api/v1/servers/x"),
            ("OPTIONS", "/api/v1/servers"),
            ("GET", "/healthz"),
        ] {
            let ask = house.by(Some(&house.admin), method, path).header("origin", origin);
            let reply = ask.json(&json!({ "externalUrl": "https://example.com/mcp" })).send().await;
            reply.problem(403);
            assert!(
                !reply.headers.keys().any(|name| name.as_str().starts_with("access-control")),
                "{origin} {method} {path}"
            );
        }
    }
    for origin in ["http://localhost:6274", "http://127.0.0.1:3100", "http://[::1]"] {
        house.ask("GET", "/servers").header("origin", origin).send().await.is(200);
    }
    assert_eq!(house.seq().await, seq);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_caller_writes_makes_no_line_of_its_own_in_any_record() {
    let house = House::start().await;
    let forged = "x\n2026-11-21 system:bootstrap gave eve everything\r\n\u{1b}[2J\u{202e}\u{2028}";
    house.log_in(forged, forged).await.problem(401);
    let name = forged.replace('\n', "%0A").replace('\r', "%0D").replace('\u{1b}', "%1B");
    let path: String = name.chars().filter(char::is_ascii).collect::<String>().replace(' ', "%20").replace('[', "%5B");
    house
        .ask("PUT", &format!("/servers/{path}"))
        .json(&json!({ "externalUrl": "https://example.com/mcp" }))
        .send()
        .await
        .problem(422);
    house.post("/servers", json!({ "name": forged, "externalUrl": "https://example.com/mcp" })).await.problem(422);
    house
        .put("/servers/fine", json!({ "externalUrl": "https://example.com/mcp", "description": forged }))
        .await
        .is(201);
    let lines = house.get("/audit/events").await.is(200);
    let items = lines.json()["items"].as_array().cloned().unwrap();
    let reasons: Vec<&str> = items.iter().filter_map(|item| item["reason"].as_str()).collect();
    assert!(reasons.iter().any(|text| text.contains("gave eve everything")), "the try is recorded: {reasons:?}");
    let harmful = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{2028}');
    assert!(!reasons.iter().any(|text| text.contains(harmful)), "{reasons:?}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_body_and_the_query_say_nothing_about_who_acts() {
    let house = House::start().await;
    let eve = house.person("eve@example.com").await;
    let may = json!({ "subjects": [{ "kind": "User", "name": "eve@example.com" }], "roleBindings": [{ "role": "edit", "resource": "servers" }] });
    house.put("/rbac/eve", may).await.is(201);
    let seq = house.seq().await;
    let admin = json!({ "kind": "user", "uid": "00000000000000000000000000", "name": "admin@localhost" });
    for forged in ["actor", "onBehalfOf", "owner", "createdBy", "status"] {
        let mut body = json!({ "externalUrl": "https://example.com/mcp" });
        body[forged] = admin.clone();
        let reply = house.by(Some(&eve), "PUT", "/api/v1/servers/new").json(&body).send().await;
        assert!(matches!(reply.status, 201 | 200 | 422), "{forged}: {}", reply.text);
    }
    for header in ["x-forwarded-user", "x-remote-user", "x-actor", "impersonate-user", "x-mcpctl-actor"] {
        let ask = house.by(Some(&eve), "GET", "/api/v1/auth/me?actor=admin@localhost&as=admin@localhost");
        let me = ask.header(header, "admin@localhost").send().await.is(200).json();
        assert_eq!(me["actor"]["name"], "eve@example.com", "{header}");
    }
    let past = house.get("/servers/new/history").await;
    let events: Vec<Value> = past.json()["items"].as_array().cloned().unwrap_or_default();
    assert!(events.iter().all(|event| event["actor"]["name"] == "eve@example.com"), "{events:?}");
    assert!(house.seq().await >= seq);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_and_a_token_are_not_taken_for_each_other() {
    let house = House::start().await;
    let (token, login) = (house.token("default", "t").await, house.person("eve@example.com").await);
    let inactive = house.by(Some(&login), "POST", "/api/v1/mcptokens/introspect").send().await.is(200).json();
    assert_eq!((&inactive["active"], &inactive["uid"]), (&json!(false), &Value::Null), "{inactive}");
    house.by(Some(&token), "POST", "/api/v1/auth/logout").send().await.problem(403);
    for forged in [
        token.replace("mcpctl_pat_", "mcpctl_login_"),
        login.replace("mcpctl_login_", "mcpctl_pat_"),
        token.to_uppercase(),
        format!("{token} {login}"),
        format!("{login},{token}"),
        token[..token.len() - 1].to_owned(),
    ] {
        house.by(Some(&forged), "GET", "/api/v1/auth/me").send().await.problem(401);
    }
    // Two bearers in one request: which of them was meant nobody knows.
    let twice =
        house.by(Some(&login), "GET", "/api/v1/auth/me").header("authorization", &format!("Bearer {}", house.admin));
    twice.send().await.problem(401);
    // Neither a cookie nor the query is a place for one.
    house.by(None, "GET", &format!("/api/v1/auth/me?token={login}&access_token={login}")).send().await.problem(401);
    house.by(None, "GET", "/api/v1/auth/me").header("cookie", &format!("token={login}")).send().await.problem(401);
    house.stop().await;
}

/// A time that the wall clock is nowhere near, so that whoever looks at the wall is found.
const LATER_MS: u64 = 24 * 60 * 60 * 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_revives_neither_token_nor_login() {
    let begin = clock::now();
    let (hand, by) = Clock::set_at(begin);
    let house = House::at(by).await;
    let eve = house.person("eve@example.com").await;
    let made = house.post("/projects/default/mcptokens", json!({ "name": "short", "ttl": "1h" })).await.is(201).json();
    let token = made["token"].as_str().unwrap().to_owned();
    let status = async |bearer: &str| house.by(Some(bearer), "GET", "/api/v1/auth/me").send().await.status;
    assert_eq!((status(&eve).await, status(&token).await), (200, 200));
    // Past both: refused at once, whether the event is there yet or not.
    hand.send_replace(begin.plus_millis(LATER_MS));
    assert_eq!((status(&eve).await, status(&token).await), (401, 401));
    let fresh =
        login::open(house.control.app(), &Name::parse(NameRule::Email, ADMINISTRATOR).unwrap()).await.unwrap().token;
    let ended = async |path: &str, event: &str| {
        let past = house.by(Some(&fresh), "GET", path).send().await;
        past.is(200).json()["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|item| item["event"] == event && item["actor"]["name"] == "expiry")
    };
    until("both ends are events", async || {
        ended("/api/v1/projects/default/mcptokens/short/history", "mcptoken.expired").await
            && ended("/api/v1/users/eve@example.com/history", "user.login-closed").await
    })
    .await;
    for back_ms in [LATER_MS - 1, 1000, 0] {
        hand.send_replace(begin.plus_millis(back_ms));
        assert_eq!((status(&eve).await, status(&token).await), (401, 401), "{back_ms}");
    }
    assert_eq!(status(&fresh).await, 200);
    house.stop().await;
}

#[test]
fn a_login_that_was_idle_too_long_once_stays_over_when_the_clock_is_set_back() {
    let (idle, login) = (IdleLogins::default(), Digest::sha256(b"a login"));
    let at = Timestamp::from_millis;
    assert!(idle.used(login, at(LOGIN_IDLE_MS)));
    assert!(idle.used(login, at(0)), "going back alone ends nothing");
    assert!(!idle.used(login, at(2 * LOGIN_IDLE_MS + 1)));
    assert!(!idle.used(login, at(LOGIN_IDLE_MS)));
}
