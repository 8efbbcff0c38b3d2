//! Secret values: given once, used where they are meant to be, and found nowhere else.
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::house::{House, files};
use crate::start::until;

const CANARY: &str = "canary\"Zq7-\\hunter2/ümläut";
const SECOND: &str = "second-canary-8f31c7d2";
const PASSWORD: &str = "canary pässword \"4711\"";

/// A value in every encoding in which it could have got out.
fn encodings(value: &str) -> Vec<Vec<u8>> {
    let json = serde_json::to_string(value).unwrap();
    let json_in_json = serde_json::to_string(&json).unwrap();
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let mut all = vec![
        value.as_bytes().to_vec(),
        json.trim_matches('"').as_bytes().to_vec(),
        json_in_json.trim_matches('"').trim_matches('\\').trim_matches('"').as_bytes().to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        percent.into_bytes(),
        format!("{value:?}").trim_matches('"').as_bytes().to_vec(),
    ];
    // Base64 depends on where in a longer text the value begins: what lies within whole groups is the same.
    for offset in 0..3 {
        let padded = [vec![0; offset], value.as_bytes().to_vec()].concat();
        for engine in [&base64::engine::general_purpose::STANDARD, &base64::engine::general_purpose::URL_SAFE] {
            let text = engine.encode(&padded);
            let whole = &text[if offset == 0 { 0 } else { 4 }..text.len() / 4 * 4 - 4];
            all.push(whole.as_bytes().to_vec());
        }
    }
    all
}

fn assert_clean(place: &str, bytes: &[u8]) {
    for canary in [CANARY, SECOND, PASSWORD] {
        for needle in encodings(canary) {
            assert!(memchr::memmem::find(bytes, &needle).is_none(), "{canary:?} is in {place} as {needle:?}");
        }
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A child that tells whether it has the value, without saying it: it names itself after the value's length and sum.
const PROVES: &str = "import os, sys\nv = os.environ.get('TOKEN', '').encode()\n\
    print('proof', len(v), sum(v), file=sys.stderr, flush=True)\nfor line in sys.stdin: pass";

fn proof(value: &str) -> String {
    format!("proof {} {}", value.len(), value.bytes().map(u64::from).sum::<u64>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_and_passwords_are_in_no_file_no_answer_and_no_line_of_the_log() {
    let lines = Lines::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(lines.clone()).finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
    let house = House::start().await;
    let mut answers = String::new();
    let mut say = |reply: crate::house::Reply| answers.push_str(&reply.text);
    say(house.put("/secrets/s", json!({ "data": { "token": CANARY } })).await.is(201));
    say(house.put("/users/eve@example.com", json!({ "password": PASSWORD })).await.is(201));
    say(house.log_in("eve@example.com", PASSWORD).await.is(200));
    say(house.log_in("eve@example.com", SECOND).await);
    let server = json!({ "command": ["python3", "-c", PROVES],
        "env": [{ "name": "TOKEN", "valueFrom": { "secretRef": { "name": "s", "key": "token" } } }] });
    say(house.put("/servers/child", server).await.is(201));
    let has = async |proof: String| house.get("/instances/child/logs").await.text.contains(&proof);
    until("the child has the value", async || has(proof(CANARY)).await).await;
    say(house.ask("PUT", "/secrets/s?dryRun=true").json(&json!({ "data": { "token": SECOND } })).send().await.is(200));
    say(house.put("/secrets/s", json!({ "data": { "token": SECOND } })).await.is(200));
    until("the child was started again with the new value", async || has(proof(SECOND)).await).await;
    say(house
        .post("/apply?dryRun=true", json!({ "items": [{ "kind": "secret", "name": "t", "data": { "k": CANARY } }] }))
        .await);
    say(house.put("/secrets/t", json!({ "data": { "bad key": CANARY } })).await);
    for path in [
        "/secrets",
        "/secrets/s",
        "/secrets/s/history",
        "/secrets?view=table",
        "/users",
        "/users/eve@example.com/history",
        "/servers",
        "/servers/child",
        "/servers/child/history",
        "/instances",
        "/instances/child/logs",
        "/status",
        "/audit/events",
    ] {
        say(house.get(path).await.is(200));
    }
    assert_clean("an answer", answers.as_bytes());
    for (path, bytes) in files(&house.data()) {
        assert_clean(&path.display().to_string(), &bytes);
    }
    assert_clean("the log of the process", &lines.0.lock().unwrap());
    let folder = house.stop().await;
    for (path, bytes) in files(folder.path()) {
        assert_clean(&path.display().to_string(), &bytes);
    }
}

#[test]
fn the_search_for_canaries_finds_them() {
    let planted = base64::engine::general_purpose::STANDARD.encode(format!("x{SECOND}yy"));
    for text in [SECOND.to_owned(), serde_json::to_string(CANARY).unwrap(), planted] {
        assert!(std::panic::catch_unwind(|| assert_clean("here", text.as_bytes())).is_err(), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_shown_to_who_holds_edit_and_run_and_the_look_is_recorded() {
    let house = House::start().await;
    house.put("/secrets/s", json!({ "data": { "k": CANARY } })).await.is(201);
    let ann = house.person("ann@example.com").await;
    let look = async || house.by(Some(&ann), "GET", "/api/v1/secrets/s/values").send().await;
    for (roles, status) in [
        (vec!["view"], 403),
        (vec!["edit"], 403),
        (vec!["view", "run"], 403),
        (vec!["run"], 403),
        (vec!["edit", "run"], 200),
    ] {
        let bindings: Vec<_> =
            roles.iter().map(|role| json!({ "role": role, "resource": "secrets", "name": "s" })).collect();
        let body = json!({ "subjects": [{ "kind": "User", "name": "ann@example.com" }], "roleBindings": bindings });
        assert!(house.put("/rbac/ann", body).await.status < 300);
        assert_eq!(look().await.status, status, "{roles:?}");
    }
    let shown = look().await;
    assert_eq!(shown.json(), json!({ "data": { "k": CANARY } }));
    assert_eq!(shown.header("cache-control"), "no-store");
    let audited = house.get("/audit/events?kind=secret-read").await.is(200).json();
    let entry = &audited["items"].as_array().unwrap()[0];
    assert_eq!((&entry["actor"]["name"], &entry["tool"]), (&json!("ann@example.com"), &json!("s")), "{entry}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_is_no_way_to_guess_a_value() {
    let house = House::start().await;
    house.put("/secrets/s", json!({ "data": { "pin": "4711" } })).await.is(201);
    let ann = house.person("ann@example.com").await;
    let edits = json!({ "subjects": [{ "kind": "User", "name": "ann@example.com" }],
        "roleBindings": [{ "role": "edit", "resource": "secrets" }] });
    house.put("/rbac/ann", edits).await.is(201);
    let right = json!({ "data": { "pin": "4711" } });
    let guess = |bearer: String| {
        let ask = house.by(Some(&bearer), "PUT", "/api/v1/secrets/s?dryRun=true").json(&right);
        async move { ask.send().await.is(200).outcome().to_owned() }
    };
    assert_eq!((guess(ann).await, guess(house.admin.clone()).await), ("changed".to_owned(), "unchanged".to_owned()));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sealed_and_needed_no_more_is_shredded() {
    let house = House::start().await;
    let sealed = |house: &House| std::fs::read_dir(house.data().join("sealed")).unwrap().count();
    let before = sealed(&house);
    house.put("/secrets/s", json!({ "data": { "k": "1" } })).await.is(201);
    house.put("/users/a@b.example", json!({ "password": "password one" })).await.is(201);
    assert_eq!(sealed(&house), before + 2);
    house.put("/secrets/s", json!({ "data": { "k": "2" } })).await.is(200);
    house.put("/users/a@b.example", json!({ "password": "password two" })).await.is(200);
    assert_eq!(sealed(&house), before + 2, "the versions before are shredded");
    let nobody = house.person("nobody@example.com").await;
    let refused = json!({ "data": { "k": "3" } });
    house.by(Some(&nobody), "PUT", "/api/v1/secrets/s").json(&refused).send().await.problem(403);
    house.ask("PUT", "/secrets/s").header("if-match", "1").json(&refused).send().await.problem(409);
    assert_eq!(sealed(&house), before + 3, "a refused change leaves nothing");
    for path in ["/secrets/s", "/users/a@b.example", "/users/nobody@example.com"] {
        house.delete(path).await.is(200);
    }
    assert_eq!(sealed(&house), before);
    let orphan = house.data().join("sealed").join("0".repeat(64));
    let folder = house.stop().await;
    std::fs::write(&orphan, b"left over by a kill").unwrap();
    let house = House::on(folder).await;
    assert_eq!((orphan.exists(), sealed(&house)), (false, before));
    house.stop().await;
}
