//! The evidence over HTTP: who may read what of it, and that it proves what was answered.
use mcpctl_tlog::{LogKey, Proof, Tree, bundle, record_hash};
use serde_json::json;

use crate::house::House;

/// The newest checkpoint that covers a seq.
async fn covering(house: &House, seq: u64) -> (Vec<u8>, u64) {
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let reply = house.by(Some(&house.admin), "GET", "/log/config/checkpoint").send().await;
        let size = reply.text.lines().nth(1).and_then(|size| size.parse::<u64>().ok()).unwrap_or(0);
        if reply.status == 200 && size >= seq {
            return (reply.text.into_bytes(), size);
        }
        assert!(tokio::time::Instant::now() < until, "no checkpoint covers {seq}: {}", reply.text);
        tokio::task::yield_now().await;
    }
}

async fn by_path(house: &House, path: &str) -> crate::house::Reply {
    house.by(Some(&house.admin), "GET", &format!("/log/config/{path}")).send().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_in_the_log_and_proved_to_be() {
    let house = House::start().await;
    let reply = house.put("/servers/a", json!({ "externalUrl": "https://example.com/mcp" })).await.is(201);
    let seq: u64 = reply.header("mcpctl-revision").parse().unwrap();
    let (note, size) = covering(&house, seq).await;
    let key = by_path(&house, "key").await.is(200).text;
    let key = LogKey::read(&key).unwrap();
    let checkpoint = key.open(&note).unwrap();
    let named = house.get("/status").await;
    let named: Vec<&str> = named.header("mcpctl-checkpoint").split(' ').collect();
    assert_eq!(named[0], key.origin());
    assert!(named[1].parse::<u64>().unwrap() >= size, "every answer names the newest checkpoint: {named:?}");
    let proof = Proof::read(by_path(&house, &format!("proof/{seq}")).await.is(200).text.as_bytes()).unwrap();
    let ask = |path: String| {
        let request = house.by(Some(&house.admin), "GET", &path);
        async move { request.send_bytes().await }
    };
    let event = ask(format!("/log/config/event/{seq}")).await;
    assert!(proof.verify(&event, &key).unwrap().size >= seq);
    let entries = ask(format!("/log/config/tile/entries/000.p/{size}")).await;
    let mut tree = Tree::default();
    bundle::entries(&entries).unwrap().iter().for_each(|entry| drop(tree.push(record_hash(entry))));
    assert_eq!((tree.size(), tree.root()), (checkpoint.size, checkpoint.root));
    for path in ["proof/0", "proof/100000", "tile/entries/009", "tile/0/000.p/0", "tile/8/0/000", "consistency/100000"]
    {
        by_path(&house, path).await.problem(404);
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashes_are_for_every_person_events_for_who_may_audit_and_tokens_reach_nothing() {
    let house = House::start().await;
    let (person, token) = (house.person("nobody@example.com").await, house.token("default", "t").await);
    let (_, size) = covering(&house, house.seq().await).await;
    let hashes =
        ["checkpoint".to_owned(), "key".to_owned(), format!("tile/0/000.p/{size}"), "consistency/1".to_owned()];
    let events = [format!("tile/entries/000.p/{size}"), "proof/1".to_owned(), "event/1".to_owned()];
    let ask =
        async |bearer: Option<&str>, path: &str| house.by(bearer, "GET", &format!("/log/config/{path}")).send().await;
    for path in hashes.iter().chain(&events) {
        assert_eq!(ask(None, path).await.status, 401, "{path}");
        assert_eq!(ask(Some(&token), path).await.status, 403, "{path}");
        // Entries are bytes, which a `Reply` can't hold: only the status matters here.
        assert_eq!(ask(Some(&house.admin), path).await.status, 200, "{path}");
    }
    for path in &hashes {
        assert_eq!(ask(Some(&person), path).await.status, 200, "{path}");
    }
    for path in &events {
        let problem = ask(Some(&person), path).await.problem(403);
        assert!(problem["detail"].as_str().unwrap().contains("audit"), "{problem}");
    }
    let audited = house.get("/audit/events?kind=audit-read&userName=nobody@example.com").await.json();
    assert_eq!(audited["items"].as_array().unwrap().len(), 3, "each look is audited, the refused ones too: {audited}");
    house.stop().await;
}
