//! `/audit/…` over HTTP: what is stored, what is shown to whom, and what is erased.
use serde_json::{Value, json};

use crate::house::{House, files};
use crate::start::until;

const VALUE: &str = "correct/horse battery+staple";

/// Signs in as nobody; the name stands in the audit log.
async fn guess(house: &House, name: &str) {
    let status = house.log_in(name, "guessed wrong").await.status;
    assert_ne!(status, 200);
}

async fn reasons(house: &House) -> Vec<Value> {
    house.get("/audit/events?kind=login&outcome=denied").await.is(200).json()["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_secrets_and_what_looks_like_one_are_not_stored_and_it_is_said() {
    let house = House::start().await;
    house.put("/secrets/db", json!({ "data": { "password": VALUE } })).await.is(201);
    let encoded: String = format!("user:{VALUE}:x").bytes().map(|byte| format!("{byte:02x}")).collect();
    let token = format!("ghp_{}", "Ab0".repeat(12));
    until("the value is known", async || {
        guess(&house, &format!("{VALUE}@example.com")).await;
        let last = reasons(&house).await.pop().unwrap();
        last["redacted"] == json!(["reason: secret db/password"])
    })
    .await;
    let before = reasons(&house).await.len();
    guess(&house, &format!("{encoded}@example.com")).await;
    guess(&house, &format!("{token}@example.com")).await;
    let told: Vec<Value> =
        reasons(&house).await.split_off(before).iter().map(|entry| entry["redacted"].clone()).collect();
    assert_eq!(told, [json!(["reason: secret db/password"]), json!(["reason: GitHub token"])]);
    let data = house.data();
    let _folder = house.stop().await;
    for (path, bytes) in files(&data.join("audit")) {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(&token) && !text.contains(&encoded[8..24]), "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_erase_erases_after_a_look_and_nobody_else_does() {
    let house = House::start().await;
    let person = house.person("ann@example.com").await;
    guess(&house, "ann@example.com").await;
    let erase = |subject: &str, dry: bool| json!({ "subject": subject, "dryRun": dry });
    let by = |bearer: String, body: Value| {
        let house = &house;
        async move { house.by(Some(&bearer), "POST", "/api/v1/audit/erase").json(&body).send().await }
    };
    by(person, erase("User:ann@example.com", true)).await.problem(403);
    house.post("/audit/erase", erase("ann@example.com", false)).await.problem(422);
    house.post("/audit/erase", json!({ "subject": "User:a@b.c", "force": true })).await.problem(400);
    let count = async |query: &str| house.get(query).await.is(200).json()["items"].as_array().unwrap().len();
    let of_ann = "/audit/events?userName=ann@example.com";
    assert!(count(of_ann).await >= 1);
    let would = house.post("/audit/erase", erase("User:ann@example.com", true)).await.is(200).json();
    // The sign-in, the guess, the refusal above, and this look for them.
    assert!(would["entries"].as_u64().unwrap() >= 4 && would["position"].is_null(), "{would}");
    let done = house.post("/audit/erase", erase("User:ann@example.com", false)).await.is(200).json();
    assert_eq!(done["entries"], would["entries"]);
    assert_eq!(count(of_ann).await, 0);
    let said = house.get("/audit/events?kind=audit-erase").await.json()["items"][0].clone();
    assert_eq!(said["position"], done["position"]);
    assert_eq!((&said["actor"]["kind"], &said["allowed"]), (&json!("user"), &json!(true)));
    assert!(!said.to_string().contains("ann@example.com"));
    // The log is the same log to whoever remembers it: signed on, and every entry's place as before.
    until("the tree goes on", async || {
        let note = house.by(Some(&house.admin), "GET", "/log/audit/checkpoint").send().await;
        let size = note.text.lines().nth(1).and_then(|size| size.parse::<u64>().ok());
        note.status == 200 && size > done["position"].as_u64()
    })
    .await;
    let health = house.by(None, "GET", "/healthz").send().await.json();
    assert_eq!(health["status"], "ok");
    house.restart().await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_sessions_and_tails_refuse_what_they_can_not_do() {
    let house = House::start().await;
    for (path, status) in [
        ("/audit/events?position=1&before=2", 400),
        ("/audit/events?tokenname=x", 400),
        ("/audit/sessions?tool=echo", 400),
        ("/audit/sessions/nobody", 404),
        ("/audit/sessions/run-x", 404),
        ("/audit/tail?before=3", 400),
    ] {
        house.get(path).await.problem(status);
    }
    let lines = house.get("/audit/tail?limit=3").await.is(200);
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    let lines: Vec<Value> = lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["end"], "level");
    // Each look is an entry, and says what was looked for.
    let looks = house.get("/audit/events?kind=audit-read").await.json();
    let methods: Vec<&str> =
        looks["items"].as_array().unwrap().iter().map(|item| item["method"].as_str().unwrap()).collect();
    assert!(methods.contains(&"GET /audit/tail") && methods.contains(&"GET /audit/sessions/{id}"), "{methods:?}");
    house.stop().await;
}
