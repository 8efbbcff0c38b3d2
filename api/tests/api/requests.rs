//! Retries, and edits that meet.
use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::house::House;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_repeated_is_done_once_and_answered_the_same() {
    let house = House::start().await;
    let body = json!({ "name": "ci", "description": "x" });
    let make = || house.ask("POST", "/projects/default/mcptokens").header("mcpctl-request-id", "r1").json(&body).send();
    let before = house.seq().await;
    let first = make().await.is(201);
    let after = house.seq().await;
    let again = make().await.is(201);
    assert_eq!((after, house.seq().await), (before + 2, before + 2), "applied and minted, once");
    let (mut first, again) = (first.json(), again.json());
    let token = first.as_object_mut().unwrap().remove("token").unwrap();
    assert!(token.as_str().unwrap().starts_with("mcpctl_pat_"));
    assert_eq!(first, again, "the same, but for the token, which is shown once");
    for (method, path, body) in [
        ("PUT", "/servers/a", Some(json!({ "command": ["true"], "replicas": 1 }))),
        ("PUT", "/servers/a", Some(json!({ "command": ["true"], "description": "changed" }))),
        ("DELETE", "/servers/a", None),
    ] {
        let id = format!("{method}-{}", house.seq().await);
        let send = async || {
            let ask = house.ask(method, path).header("mcpctl-request-id", &id);
            match &body {
                Some(body) => ask.json(body).send().await,
                None => ask.send().await,
            }
        };
        let (first, seq) = (send().await, house.seq().await);
        let second = send().await;
        assert_eq!((first.status, first.outcome()), (second.status, second.outcome()), "{method}: {}", second.text);
        assert_eq!(first.json()["metadata"], second.json()["metadata"]);
        assert_eq!(house.seq().await, seq);
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_at_once_with_one_request_id_make_one_event_and_one_token() {
    let house = House::start().await;
    let body = json!({ "name": "ci" });
    let before = house.seq().await;
    let sent = (0..16).map(|_| {
        house.ask("POST", "/projects/default/mcptokens").header("mcpctl-request-id", "once").json(&body).send()
    });
    let replies = join_all(sent).await;
    assert!(
        replies.iter().all(|reply| reply.status == 201),
        "{:?}",
        replies.iter().map(|r| r.status).collect::<Vec<_>>()
    );
    assert_eq!(replies.iter().filter(|reply| reply.json().get("token").is_some()).count(), 1);
    let uids: BTreeSet<String> = replies.iter().map(|reply| reply.json()["metadata"]["uid"].to_string()).collect();
    assert_eq!((uids.len(), house.seq().await), (1, before + 2));
    let secrets = (0..16).map(|_| {
        let body = json!({ "data": { "k": "v" } });
        house.ask("PUT", "/secrets/s").header("mcpctl-request-id", "secret").json(&body).send()
    });
    assert!(
        join_all(secrets)
            .await
            .iter()
            .all(|reply| reply.status == 201 && reply.json()["status"]["current"]["version"] == 1)
    );
    let sealed = std::fs::read_dir(house.data().join("sealed")).unwrap().count();
    assert_eq!(sealed, 2, "the administrator's password and one version of the secret");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_that_was_used_for_something_else_is_refused() {
    let house = House::start().await;
    let body = json!({ "command": ["true"] });
    house.ask("PUT", "/servers/a").header("mcpctl-request-id", "r").json(&body).send().await.is(201);
    house.put("/servers/b", body.clone()).await.is(201);
    let seq = house.seq().await;
    for (method, path, body) in [
        ("PUT", "/servers/b", json!({ "command": ["false"] })),
        ("PUT", "/servers/a", json!({ "command": ["false"] })),
        ("PUT", "/servers/c", body),
        ("DELETE", "/servers/b", Value::Null),
        ("DELETE", "/servers/a", Value::Null),
    ] {
        let refused = house.ask(method, path).header("mcpctl-request-id", "r").json(&body).send().await.problem(422);
        assert_eq!(refused["errors"][0]["field"], "mcpctl-request-id", "{method} {path}");
    }
    house.ask("DELETE", "/servers/nothing").header("mcpctl-request-id", "r").send().await.problem(404);
    house.ask("PUT", "/servers/a").header("mcpctl-request-id", "two words").json(&json!({})).send().await.problem(422);
    assert_eq!(house.seq().await, seq);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_of_another_version_is_refused_with_both() {
    let house = House::start().await;
    let made = house.put("/servers/a", json!({ "command": ["true"] })).await.is(201).json();
    let version = made["metadata"]["resourceVersion"].as_u64().unwrap();
    house.put("/servers/a", json!({ "command": ["true"], "description": "1" })).await.is(200);
    let newer = version + 1;
    let body = json!({ "command": ["true"], "description": "2", "metadata": { "resourceVersion": version } });
    let by_header =
        house.ask("PUT", "/servers/a").header("if-match", &version.to_string()).json(&json!({ "command": ["x"] }));
    let deleted = house.ask("DELETE", "/servers/a").header("if-match", &format!("\"{version}\""));
    for reply in [house.put("/servers/a", body).await, by_header.send().await, deleted.send().await] {
        let problem = reply.problem(409);
        assert_eq!(problem["type"], "urn:mcpctl:problem:conflict");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains(&format!("version {version}")) && detail.contains(&format!("version {newer}")),
            "{detail}"
        );
        assert_eq!(problem["seq"], newer);
    }
    for text in ["\"1\"", "{}", "-1", "1.5"] {
        let body = format!("{{\"command\":[\"x\"],\"metadata\":{{\"resourceVersion\":{text}}}}}");
        let problem = house.ask("PUT", "/servers/a").body("application/json", body).send().await.problem(422);
        assert_eq!(problem["errors"][0]["field"], "metadata.resourceVersion", "{text}");
    }
    house
        .ask("PUT", "/servers/new")
        .header("if-match", "7")
        .json(&json!({ "command": ["x"] }))
        .send()
        .await
        .problem(409);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_edits_of_one_version_one_wins() {
    let house = House::start().await;
    let made = house.put("/servers/a", json!({ "command": ["true"] })).await.is(201).json();
    let version = made["metadata"]["resourceVersion"].to_string();
    let edits = (0..12).map(|n| {
        let body = json!({ "command": ["true"], "description": format!("edit {n}") });
        house.ask("PUT", "/servers/a").header("if-match", &version).json(&body).send()
    });
    let replies = join_all(edits).await;
    let won: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
    assert_eq!(won.len(), 1);
    assert!(replies.iter().all(|reply| matches!(reply.status, 200 | 409)));
    assert_eq!(house.get("/servers/a").await.json()["description"], won[0].json()["description"]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_that_are_written_at_once_are_numbered_one_after_the_other() {
    let house = House::start().await;
    house.put("/secrets/s", json!({ "data": { "k": "0" } })).await.is(201);
    let writes = (1..=8).map(|n| house.put("/secrets/s", json!({ "data": { "k": n.to_string() } })));
    let mut versions: Vec<u64> = Vec::new();
    for reply in join_all(writes).await {
        versions.push(reply.is(200).json()["status"]["current"]["version"].as_u64().unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, (2..=9).collect::<Vec<_>>());
    house.get("/secrets/s/values").await.is(200);
    let sealed = std::fs::read_dir(house.data().join("sealed")).unwrap().count();
    assert_eq!(sealed, 2, "the administrator's password and the version in force");
    house.stop().await;
}
