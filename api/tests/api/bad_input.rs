//! Input that is wrong: always a problem that says where, never a 5xx, never a change.
use serde_json::{Value, json};

use crate::house::{BASE, House};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_can_not_be_read_are_refused_as_problems() {
    let house = House::start().await;
    let seq = house.seq().await;
    let deep = format!("{{\"command\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    let large = format!("{{\"description\":\"{}\"}}", "x".repeat(1 << 20));
    for (content_type, body, status) in [
        ("application/json", String::new(), 400),
        ("application/json", "{".to_owned(), 400),
        ("application/json", "[]".to_owned(), 400),
        ("application/json", "null".to_owned(), 400),
        ("application/json", "\"text\"".to_owned(), 400),
        ("application/json", "{\"replicas\":1e999}".to_owned(), 400),
        ("application/json", "{\"command\":[\"a\"],\"command\":[\"b\"]}".to_owned(), 400),
        ("application/json", "{\"env\":[{\"name\":\"A\",\"value\":\"1\",\"name\":\"B\"}]}".to_owned(), 400),
        ("application/json", deep, 400),
        ("application/json", large, 413),
        ("text/plain", "{}".to_owned(), 415),
        ("application/yaml", "command: [x]".to_owned(), 415),
        ("application/jsonx", "{}".to_owned(), 415),
        ("application/json; charset=utf-8", "{\"command\":[]}".to_owned(), 422),
    ] {
        let shown: String = body.chars().take(60).collect();
        let reply = house.ask("PUT", "/servers/a").body(content_type, body).send().await;
        assert_eq!(reply.status, status, "{content_type} {shown}: {}", reply.text);
        reply.problem(status);
    }
    let not_text = house.ask("PUT", "/servers/a").body("application/json", vec![b'{', 0xff, b'}']).send().await;
    not_text.problem(400);
    let twice = house
        .ask("POST", "/apply")
        .body("application/json", "{\"items\":[{\"kind\":\"user\",\"kind\":\"group\",\"name\":\"x\"}]}");
    twice.send().await.problem(400);
    house
        .ask("PUT", "/servers/a")
        .body("application/json", "{}")
        .header("content-encoding", "gzip")
        .send()
        .await
        .problem(422);
    assert_eq!(house.seq().await, seq);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_breaks_rules_is_told_where_and_what_to_do() {
    let house = House::start().await;
    house.apply(BASE).await;
    let seq = house.seq().await;
    let c = json!(["x"]);
    for (path, body, field, says) in [
        ("/servers/a", json!({ "name": "b", "command": c }), "name", "path"),
        ("/servers/a", json!({ "name": 7, "command": c }), "name", "path"),
        ("/servers/a", json!({ "kind": "user", "command": c }), "kind", "expected"),
        ("/servers/a", json!({ "kind": "colour", "command": c }), "kind", "expected"),
        ("/servers/a", json!({ "project": "base", "command": c }), "project", "no project"),
        ("/servers/a", json!({ "command": "x" }), "command", "expected a sequence"),
        ("/servers/a", json!({ "command": [1] }), "command[0]", "expected a string"),
        ("/servers/a", json!({ "command": c, "replicas": 18446744073709551615u64 }), "replicas", "u32"),
        ("/servers/a", json!({ "command": c, "replicas": -1 }), "replicas", "u32"),
        ("/servers/a", json!({ "command": c, "replicas": 65 }), "replicas", "0 to 64"),
        ("/servers/a", json!({ "command": c, "colour": "red" }), "colour", "unknown field"),
        ("/servers/a", json!({ "command": c, "metadata": [] }), "metadata", "mapping"),
        (
            "/servers/a",
            json!({ "command": c, "env": [{ "name": "A", "valueFrom": { "secretRef": { "name": "no", "key": "k" } } }] }),
            "env[0].valueFrom.secretRef.name",
            "does not exist",
        ),
        ("/projects/a", json!({ "servers": ["base", "no"] }), "servers[1]", "does not exist"),
        ("/groups/a", json!({ "members": ["nobody@example.com"] }), "members[0]", "does not exist"),
        ("/servers/UPPER", json!({ "command": c }), "name", "lower-case"),
        ("/servers/a_b", json!({ "command": c }), "name", "lower-case"),
        ("/users/not-an-address", json!({}), "name", "e-mail"),
        ("/users/a@b", json!({ "password": "short" }), "password", "8 to 256"),
        ("/secrets/s", json!({ "data": { "bad key": "v" } }), "data", "not a key"),
        ("/secrets/s", json!({ "data": { "k": "x".repeat(600 * 1024) } }), "data", "bytes together"),
        ("/projects/base/mcptokens/t", json!({ "project": "default" }), "project", "path"),
        ("/projects/base/mcptokens/t", json!({ "ttl": "soon" }), "ttl", "30d"),
        ("/projects/base/mcptokens/t", json!({ "ttl": "2001-01-01" }), "ttl", "past"),
    ] {
        let problem = house.put(path, body.clone()).await.problem(422);
        let error = &problem["errors"][0];
        assert_eq!(error["field"], field, "{body}: {problem}");
        assert!(error["message"].as_str().unwrap().contains(says), "{body}: {error}");
        if says == "does not exist" {
            assert!(problem["hint"].as_str().unwrap().contains("mcpctl get"), "{problem}");
        }
    }
    house.post("/servers", json!({ "command": c })).await.problem(422);
    house.post("/mcptokens", json!({ "name": "x" })).await.problem(422);
    house.post("/mcptokens", json!({ "name": "x", "project": "none" })).await.problem(404);
    assert_eq!(house.seq().await, seq);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_type_where_a_secret_was_meant_is_not_quoted() {
    let house = House::start().await;
    for (path, body) in [
        ("/secrets/a", json!({ "data": { "pin": 48151623 } })),
        ("/secrets/a", json!({ "data": "48151623" })),
        ("/secrets/a", json!({ "data": ["48151623"] })),
        ("/users/a@b", json!({ "password": 48151623 })),
        ("/users/a@b", json!({ "password": ["48151623"] })),
    ] {
        let reply = house.put(path, body.clone()).await;
        reply.problem(422);
        assert!(!reply.text.contains("48151623"), "{body}: {}", reply.text);
    }
    let login = house.ask("POST", "/auth/login").body("application/json", "{\"email\":\"a@b\",\"password\":48151623}");
    let reply = login.send().await;
    reply.problem(400);
    assert!(!reply.text.contains("48151623"), "{}", reply.text);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_used_is_not_deleted_and_says_by_whom() {
    let house = House::start().await;
    house.apply(BASE).await;
    let problem = house.delete("/servers/base").await.problem(409);
    assert_eq!(problem["type"], "urn:mcpctl:problem:in-use");
    assert!(problem["detail"].as_str().unwrap().contains("project/base"), "{problem}");
    assert_eq!(house.get("/servers/base").await.json()["metadata"]["usedBy"], json!(["project/base"]));
    // A user is a subject, and taken out of everything on the way.
    house.put("/groups/g", json!({ "members": ["base@example.com"] })).await.is(201);
    let done = house.delete("/users/base@example.com").await.is(200).json();
    assert!(done["also"].as_array().unwrap().contains(&Value::from("group/g applied")), "{done}");
    assert_eq!(house.get("/groups/g").await.json()["members"], json!([]));
    house.stop().await;
}
