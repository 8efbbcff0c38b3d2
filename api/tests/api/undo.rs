//! Revert, restore and what-if over the API: shown first, done as new events under the caller's rights, refused with reasons.
use serde_json::{Value, json};

use crate::house::{BASE, House, PASSWORD};

async fn revert(house: &House, seq: u64, query: &str) -> crate::house::Reply {
    house.ask("POST", &format!("/history/{seq}/revert{query}")).send().await
}

fn words(value: &Value, field: &str, of: &str) -> Vec<String> {
    let word = |item: &Value| item[of].as_str().unwrap().to_owned();
    value[field].as_array().map(|items| items.iter().map(word).collect()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_is_reverted_after_its_blast_radius_was_seen() {
    let house = House::start().await;
    house.apply(BASE).await;
    let rights = json!({ "subjects": [{ "kind": "User", "name": "base@example.com" }], "roleBindings": [{ "role": "edit", "resource": "servers" }] });
    house.put("/rbac/some", rights).await.is(201);
    let seq = house.seq().await;
    let seen = revert(&house, seq, "?dryRun=true").await.is(200).json();
    assert_eq!((words(&seen, "objects", "object"), &seen["done"]), (vec!["rbac/some".to_owned()], &json!(false)));
    assert_eq!(seen["access"][0]["subject"], "User:base@example.com");
    assert!(seen["access"][0]["lost"][0]["right"].as_str().unwrap().contains("servers"), "{seen}");
    assert_eq!(house.seq().await, seq, "nothing was done");
    let done = revert(&house, seq, "").await.is(200).json();
    assert_eq!((&done["done"], &done["reason"]), (&json!(true), &json!(format!("reverts seq {seq}"))));
    house.get("/rbac/some").await.problem(404);
    let history = house.get("/rbac/some/history").await.is(200).json();
    let last = history["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["event"], &last["reason"]), (&json!("rbac.deleted"), &done["reason"]));
    assert!(revert(&house, seq, "").await.is(200).json()["objects"] == json!([]), "it is undone already");
    // And back again: the revert is an event like any other.
    revert(&house, house.seq().await, "").await.is(200);
    assert_eq!(house.get("/rbac/some").await.is(200).json()["roleBindings"][0]["resource"], "servers");
    assert!(house.post("/audit/replay", json!({})).await.text.contains("\"notProved\":0"));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_that_were_applied_together_are_reverted_together() {
    let house = House::start().await;
    let yaml = "kind: server\nname: s\ncommand: [x]\n---\nkind: project\nname: p\nservers: [s]\n";
    let items = mcpctl_core::manifest::documents(yaml).unwrap();
    let ask = house.ask("POST", "/apply").header("mcpctl-request-id", "one-request");
    ask.json(&json!({ "items": items })).send().await.is(200);
    let seq = house.seq().await;
    let done = revert(&house, seq - 1, "").await.is(200).json();
    assert_eq!(words(&done, "objects", "object"), ["project/p", "server/s"]);
    assert_eq!(done["reason"], format!("reverts seq {} to {seq}", seq - 1));
    house.get("/servers/s").await.problem(404);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_are_named_and_what_can_not_be_undone_is_refused() {
    let house = House::start().await;
    house.apply(BASE).await;
    let group = |text: &str| json!({ "description": text });
    house.put("/groups/g", group("one")).await.is(201);
    house.put("/groups/g", group("two")).await.is(200);
    let seq = house.seq().await;
    house.put("/groups/g", group("three")).await.is(200);
    let problem = revert(&house, seq, "").await.problem(409);
    assert!(problem["detail"].as_str().unwrap().contains(&format!("(seq {})", seq + 1)), "{problem}");
    assert_eq!(revert(&house, seq, "?dryRun=true").await.is(200).json()["conflicts"][0]["since"], json!([seq + 1]));
    revert(&house, seq, "?force=true").await.is(200);
    assert_eq!(house.get("/groups/g").await.json()["description"], "one");
    house.token("default", "ci").await;
    house.ask("POST", "/projects/default/mcptokens/ci/revoke").send().await.is(200);
    let problem = revert(&house, house.seq().await, "").await.problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("stays ended"), "{problem}");
    house.put("/secrets/gone", json!({ "data": { "k": "v" } })).await.is(201);
    house.delete("/secrets/gone").await.is(200);
    let problem = revert(&house, house.seq().await, "").await.problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("shredded"), "{problem}");
    revert(&house, 999_999, "").await.problem(404);
    house.ask("POST", "/history/x/revert").send().await.problem(404);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reverts_into_rights_that_they_can_not_give_nor_sees_what_they_may_not() {
    let house = House::start().await;
    house.apply(BASE).await;
    let nobody = house.person("nobody@example.com").await;
    let rights = |of: &str| json!({ "subjects": [{ "kind": "User", "name": "nobody@example.com" }], "roleBindings": [{ "role": "edit", "resource": "rbac" }, { "role": "view", "resource": of }] });
    house.put("/rbac/some", rights("secrets")).await.is(201);
    house.put("/rbac/some", rights("groups")).await.is(200);
    let seq = house.seq().await;
    let path = format!("/api/v1/history/{seq}/revert");
    let problem = house.by(Some(&nobody), "POST", &path).send().await.problem(403);
    assert!(problem["detail"].as_str().unwrap().contains("view secrets"), "{problem}");
    let path = "/api/v1/rbac/some/restore?at=1h".to_owned();
    house.by(Some(&nobody), "POST", &path).send().await.problem(404);
    house.put("/servers/hidden", json!({ "command": ["x"] })).await.is(201);
    let path = format!("/api/v1/history/{}/revert?dryRun=true", house.seq().await);
    let problem = house.by(Some(&nobody), "POST", &path).send().await.problem(403);
    assert!(!problem.to_string().contains("hidden"), "{problem}");
    house.log_in("nobody@example.com", PASSWORD).await.is(200);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_restored_to_what_it_was_and_made_again_when_it_is_gone() {
    let house = House::start().await;
    house.put("/servers/s", json!({ "command": ["one"] })).await.is(201);
    let then = house.seq().await;
    let restore = |query: String| house.ask("POST", &format!("/servers/s/restore?{query}")).send();
    assert_eq!(restore(format!("at={then}")).await.is(200).json()["objects"], json!([]));
    house.put("/servers/s", json!({ "command": ["two"] })).await.is(200);
    restore(format!("at={then}")).await.is(200);
    let first = house.get("/servers/s").await.json();
    assert_eq!(first["command"], json!(["one"]));
    house.delete("/servers/s").await.is(200);
    let seen = restore(format!("at={then}&dryRun=true")).await.is(200).json();
    assert!(seen["lost"][0].as_str().unwrap().contains("made again with another"), "{seen}");
    restore(format!("at={then}")).await.is(200);
    let again = house.get("/servers/s").await.is(200).json();
    assert_eq!(again["command"], json!(["one"]));
    assert_ne!(again["metadata"]["uid"], first["metadata"]["uid"]);
    restore("at=1".to_owned()).await.problem(404);
    restore("dryRun=true".to_owned()).await.problem(422);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_policy_is_tried_on_recorded_calls() {
    let house = House::start().await;
    house.apply(BASE).await;
    let nobody = house.person("nobody@example.com").await;
    let token = house.token("default", "ci").await;
    let call =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "whoami", "arguments": {} } });
    let proxy = "/api/v1/mcp/proxy?project=default&server=mcpctl";
    for _ in 0..3 {
        house.by(Some(&token), "POST", proxy).json(&call).send().await.is(200);
        house.by(Some(&nobody), "GET", "/api/v1/servers/base").send().await.problem(403);
    }
    let try_out = async |bearer: &str, manifest: Value, query: &str| {
        let path = format!("/api/v1/access/simulate{query}");
        house.by(Some(bearer), "POST", &path).json(&json!({ "items": [manifest] })).send().await
    };
    let filter = json!({ "kind": "project", "name": "default", "description": "The first project", "servers": ["mcpctl"], "tools": { "mcpctl": { "deny": ["whoami"] } } });
    let told = try_out(&house.admin, filter, "?replay=1h").await.is(200).json();
    let recorded = &told["recorded"];
    assert_eq!((&recorded["added"], &recorded["flips"][0]["count"]), (&json!(false), &json!(3)), "{recorded}");
    let flip = &recorded["flips"][0];
    assert_eq!((&flip["tool"], &flip["server"], &flip["allowed"]), (&json!("whoami"), &json!("mcpctl"), &json!(false)));
    assert_eq!(flip["subject"], "mcptoken:ci");
    let grant = json!({ "kind": "rbac", "name": "more", "subjects": [{ "kind": "User", "name": "nobody@example.com" }], "roleBindings": [{ "role": "view", "resource": "servers" }] });
    let told = try_out(&house.admin, grant.clone(), "?replay=1h").await.is(200).json();
    let flips = told["recorded"]["flips"].as_array().unwrap();
    assert_eq!((flips.len(), &flips[0]["asked"], &flips[0]["allowed"]), (1, &json!("view servers/base"), &json!(true)));
    assert_eq!((&told["recorded"]["added"], &flips[0]["count"]), (&json!(true), &json!(3)));
    let none = json!({ "kind": "group", "name": "g" });
    assert_eq!(try_out(&house.admin, none, "?replay=1h").await.json()["recorded"]["flips"], json!([]));
    assert!(try_out(&house.admin, grant.clone(), "").await.json().get("recorded").is_none());
    let later = try_out(&house.admin, grant.clone(), "?replay=2999-01-01").await.is(200).json();
    assert_eq!(later["recorded"]["calls"], 0);
    try_out(&nobody, grant.clone(), "?replay=1h").await.problem(403);
    try_out(&house.admin, grant, "?replay=yesterday").await.problem(422);
    house.stop().await;
}
