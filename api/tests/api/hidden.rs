//! Nobody learns from a refusal whether there is something that they may not see.
use serde_json::{Value, json};

use crate::house::House;

/// Everything but the name that was asked for.
fn shape(problem: &Value, name: &str) -> String {
    problem.to_string().replace(name, "NAME")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_the_same_whether_the_object_is_there_or_not() {
    let house = House::start().await;
    house.put("/servers/there", json!({ "externalUrl": "https://example.com/mcp" })).await.is(201);
    house.put("/secrets/there", json!({ "data": { "k": "v" } })).await.is(201);
    house.put("/projects/there", json!({ "servers": [] })).await.is(201);
    house.token("there", "there").await;
    house.token("there", "twice").await;
    house.token("default", "twice").await;
    let nobody = house.person("nobody@example.com").await;
    for (method, path) in [
        ("GET", "/servers/NAME"),
        ("PUT", "/servers/NAME"),
        ("DELETE", "/servers/NAME"),
        ("GET", "/servers/NAME/history"),
        ("GET", "/secrets/NAME/values"),
        ("PUT", "/secrets/NAME"),
        ("PUT", "/projects/NAME"),
        ("GET", "/projects/NAME/view"),
        ("GET", "/projects/NAME/mcptokens/x"),
        ("PUT", "/projects/NAME/mcptokens/x"),
        ("DELETE", "/projects/NAME/mcptokens/x"),
        ("POST", "/projects/NAME/mcptokens/x/revoke"),
        ("GET", "/projects/there/mcptokens/NAME"),
        ("PUT", "/projects/there/mcptokens/NAME"),
        ("DELETE", "/projects/there/mcptokens/NAME"),
        ("POST", "/projects/there/mcptokens/NAME/revoke"),
        ("POST", "/mcptokens/NAME/revoke"),
        ("DELETE", "/mcptokens/NAME"),
    ] {
        for version in [None, Some("3")] {
            let mut told = Vec::new();
            for name in ["there", "absent"] {
                let ask = house.by(Some(&nobody), method, &format!("/api/v1{}", path.replace("NAME", name)));
                let ask = if let Some(version) = version { ask.header("if-match", version) } else { ask };
                let body = json!({ "externalUrl": "https://example.com/mcp" });
                let ask = if path.starts_with("/servers") { ask.json(&body) } else { ask.json(&json!({})) };
                told.push(shape(&ask.send().await.problem(403), name));
            }
            assert_eq!(told[0], told[1], "{method} {path} {version:?}");
        }
    }
    let list = async |path: &str| house.by(Some(&nobody), "GET", path).send().await.is(200).json()["items"].clone();
    assert_eq!(list("/api/v1/projects/there/mcptokens").await, list("/api/v1/projects/absent/mcptokens").await);
    house.by(Some(&nobody), "DELETE", "/api/v1/mcptokens/twice").send().await.problem(403);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_does_not_tell_what_is_there_either() {
    let house = House::start().await;
    house.put("/secrets/there", json!({ "data": { "k": "v" } })).await.is(201);
    house.put("/servers/there", json!({ "externalUrl": "https://example.com/mcp" })).await.is(201);
    let maker = house.person("maker@example.com").await;
    house
        .put(
            "/rbac/makers",
            json!({ "subjects": [{ "kind": "User", "name": "maker@example.com" }],
            "roleBindings": [{ "role": "edit", "resource": "servers" }, { "role": "edit", "resource": "projects" }] }),
        )
        .await
        .is(201);
    let mut told = Vec::new();
    for name in ["there", "absent"] {
        let body = json!({ "command": ["x"], "env": [{ "name": "A", "valueFrom": { "secretRef": { "name": name, "key": "k" } } }] });
        let reply = house.by(Some(&maker), "PUT", "/api/v1/servers/new").json(&body).send().await;
        told.push(shape(&reply.problem(403), name));
        let reply =
            house.by(Some(&maker), "PUT", "/api/v1/projects/new").json(&json!({ "servers": [name] })).send().await;
        told.push(shape(&reply.problem(403), name));
    }
    assert_eq!(told[0], told[2]);
    assert_eq!(told[1], told[3]);
    // Those that stand in the way are counted for one who may not see them.
    house.put("/projects/uses", json!({ "servers": ["there"] })).await.is(201);
    house
        .put(
            "/rbac/makers",
            json!({ "subjects": [{ "kind": "User", "name": "maker@example.com" }],
            "roleBindings": [{ "role": "edit", "resource": "servers" }] }),
        )
        .await
        .is(200);
    let detail =
        house.by(Some(&maker), "DELETE", "/api/v1/servers/there").send().await.problem(409)["detail"].to_string();
    assert!(detail.contains("1 that you may not see") && !detail.contains("uses"), "{detail}");
    house.stop().await;
}
