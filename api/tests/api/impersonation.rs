//! `X-Service-Account`: who may act as a machine, what then counts, and where both names are found.
use serde_json::{Value, json};

use crate::house::{House, Reply};

const ANN: &str = "ann@example.com";
const HEADER: &str = "x-service-account";

/// Ann may act as `ci`, which may edit servers. Answers her login.
async fn house_with_ann() -> (House, String) {
    let house = House::start().await;
    house.put("/serviceaccounts/ci", json!({})).await.is(201);
    house.put("/serviceaccounts/other", json!({})).await.is(201);
    let ann = house.person(ANN).await;
    let of = |kind: &str, name: &str, role: &str, resource: &str, only: Option<&str>| json!({ "subjects": [{ "kind": kind, "name": name }], "roleBindings": [{ "role": role, "resource": resource, "name": only }] });
    house.put("/rbac/of-ann", of("User", ANN, "run", "serviceaccounts", Some("ci"))).await.is(201);
    house.put("/rbac/of-ci", of("ServiceAccount", "ci", "edit", "servers", None)).await.is(201);
    (house, ann)
}

async fn as_account(house: &House, bearer: &str, account: &str, method: &str, path: &str, body: Value) -> Reply {
    let ask = house.by(Some(bearer), method, &format!("/api/v1{path}")).header(HEADER, account);
    if body.is_null() { ask.send().await } else { ask.json(&body).send().await }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_acts_as_an_account_by_its_rights_and_both_names_are_in_history_and_me() {
    let (house, ann) = house_with_ann().await;
    let server = json!({ "externalUrl": "https://example.com/mcp" });
    house.by(Some(&ann), "PUT", "/api/v1/servers/s").json(&server).send().await.problem(403);
    as_account(&house, &ann, "ci", "PUT", "/servers/s", server).await.is(201);
    as_account(&house, &ann, "ci", "GET", "/servers/s", Value::Null).await.is(200);
    house.by(Some(&ann), "GET", "/api/v1/servers/s").send().await.problem(403);
    let past = house.get("/servers/s/history").await.is(200).json();
    let event = &past["items"][0];
    assert_eq!((&event["actor"]["name"], &event["actor"]["kind"]), (&json!(ANN), &json!("user")), "{event}");
    assert_eq!(event["onBehalfOf"]["name"], "ci");
    assert_eq!(event["authz"]["via"].as_array().unwrap().len(), 2, "{event}");
    let me = as_account(&house, &ann, "ci", "GET", "/auth/me", Value::Null).await.is(200).json();
    assert_eq!((&me["actor"]["name"], &me["onBehalfOf"]["name"]), (&json!(ANN), &json!("ci")));
    assert_eq!(me["rights"], json!(["edit servers"]));
    let plain = house.by(Some(&ann), "GET", "/api/v1/auth/me").send().await.json();
    assert_eq!((&plain["onBehalfOf"], &plain["rights"]), (&Value::Null, &json!(["run serviceaccounts/ci"])));
    // What an account looks at is recorded with both names as well.
    let reader = json!({ "subjects": [{ "kind": "ServiceAccount", "name": "ci" }], "roleBindings": [{ "role": "run", "action": "audit" }] });
    house.put("/rbac/reader", reader).await.is(201);
    as_account(&house, &ann, "ci", "GET", "/audit/events", Value::Null).await.is(200);
    let lines = house.get("/audit/events?kind=audit-read").await.is(200).json();
    let line = lines["items"].as_array().unwrap().iter().find(|line| line["onBehalfOf"]["name"] == "ci");
    assert_eq!(line.unwrap()["actor"]["name"], ANN);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_learns_of_an_account_or_acts_as_one_without_the_right_and_no_token_ever() {
    let (house, ann) = house_with_ann().await;
    let seq = house.seq().await;
    let me =
        async |bearer: &str, account: &str| as_account(&house, bearer, account, "GET", "/auth/me", Value::Null).await;
    let hidden = me(&ann, "other").await.problem(403).to_string();
    assert_eq!(hidden, me(&ann, "absent").await.problem(403).to_string().replace("absent", "other"));
    assert!(hidden.contains("may not run serviceaccounts/other"), "{hidden}");
    me(&house.admin, "absent").await.problem(404);
    let token = house.token("default", "t").await;
    assert!(me(&token, "ci").await.problem(403)["detail"].as_str().unwrap().contains("a token acts as nobody else"));
    for malformed in ["", "CI", "a b", "../ci", "ci,other", "user:ann@example.com"] {
        me(&ann, malformed).await.problem(400);
    }
    let twice = house.by(Some(&ann), "GET", "/api/v1/auth/me").header(HEADER, "ci").header(HEADER, "other");
    twice.send().await.problem(400);
    // Where it would be left unread it is refused.
    for (method, path) in [
        ("GET", "/projects/default/view"),
        ("POST", "/mcptokens/introspect"),
        ("POST", "/mcp/proxy?project=default&server=mcpctl"),
    ] {
        as_account(&house, &ann, "ci", method, path, Value::Null).await.problem(400);
    }
    // The right that goes ends it at once; so does disabling the account.
    house.put("/serviceaccounts/ci", json!({ "disabled": true })).await.is(200);
    me(&ann, "ci").await.problem(403);
    house.put("/serviceaccounts/ci", json!({})).await.is(200);
    me(&ann, "ci").await.is(200);
    house.delete("/rbac/of-ann").await.is(200);
    me(&ann, "ci").await.problem(403);
    assert!(house.seq().await > seq);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_made_as_an_account_outlives_the_person_who_made_it() {
    let (house, ann) = house_with_ann().await;
    let may = json!({ "subjects": [{ "kind": "ServiceAccount", "name": "ci" }],
        "roleBindings": [{ "role": "run", "resource": "projects" }, { "role": "create", "resource": "mcptokens" }] });
    house.put("/rbac/minter", may).await.is(201);
    let made = as_account(&house, &ann, "ci", "POST", "/projects/default/mcptokens", json!({ "name": "build" })).await;
    let token = made.is(201).json()["token"].as_str().unwrap().to_owned();
    house.delete(&format!("/users/{ANN}")).await.is(200);
    let told = house.by(Some(&token), "POST", "/api/v1/mcptokens/introspect").send().await.is(200).json();
    assert_eq!((&told["active"], &told["owner"]["name"]), (&json!(true), &json!("ci")), "{told}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seq_that_is_asked_for_is_waited_for_and_one_that_is_none_is_refused() {
    let house = House::start().await;
    let at_least = |value: &str| house.ask("GET", "/servers").header("mcpctl-at-least", value);
    let seq = house.seq().await;
    at_least(&seq.to_string()).send().await.is(200);
    for bad in ["", "soon", "-1", "1.5", "99999999999999999999999", "0x10"] {
        let problem = at_least(bad).send().await.problem(400);
        assert_eq!(problem["type"], "urn:mcpctl:problem:at-least", "{bad:?}");
    }
    at_least("1").header("mcpctl-at-least", "2").send().await.problem(400);
    let behind = at_least(&(seq + 1).to_string()).send().await;
    behind.problem(503);
    assert_eq!(behind.header("retry-after"), "1");
    // Asked for before it is there, and answered once it is.
    let wanted = (seq + 1).to_string();
    let (seen, _) = tokio::join!(at_least(&wanted).send(), house.put("/serviceaccounts/late", json!({})));
    let revision: u64 = seen.is(200).header("mcpctl-revision").parse().unwrap();
    assert!(revision > seq);
    house.stop().await;
}
