//! Everything that a control plane did and refused is decided again: over the API, and in a copy of its folder.
use mcpctl_api::replay_wire::{ReplayLine, ReplayReport, ReplayRequest};
use mcpctl_api::server::replay::offline;
use serde_json::{Value, json};

use crate::house::{BASE, House, PASSWORD, files};

/// Mutations, refusals and looks of many sorts. Answers a bearer without rights.
async fn busy(house: &House) -> String {
    house.apply(BASE).await;
    let nobody = house.person("nobody@example.com").await;
    let token = house.token("default", "ci").await;
    house.by(Some(&token), "GET", "/api/v1/projects/default/view").send().await.is(200);
    for (bearer, method, path) in [
        (&nobody, "GET", "/api/v1/servers/base"),
        (&nobody, "GET", "/api/v1/audit/events"),
        (&nobody, "POST", "/api/v1/audit/replay"),
        (&nobody, "DELETE", "/api/v1/users/base@example.com"),
        (&nobody, "GET", "/api/v1/secrets/base/values"),
        (&token, "GET", "/api/v1/servers/base"),
        (&token, "GET", "/api/v1/users"),
    ] {
        house.by(Some(bearer), method, path).send().await.problem(403);
    }
    house.put("/secrets/mine", json!({ "data": { "k": "v" } })).await.is(201);
    house.get("/secrets/mine/values").await.is(200);
    house.get("/audit/events").await.is(200);
    house.log_in("nobody@example.com", "wrong").await.problem(401);
    house.by(Some(&nobody), "POST", "/api/v1/auth/logout").send().await.is(200);
    let rights = json!({ "subjects": [{ "kind": "User", "name": "nobody@example.com" }], "roleBindings": [{ "role": "edit", "resource": "rbac" }] });
    house.put("/rbac/some", rights).await.is(201);
    let nobody =
        house.log_in("nobody@example.com", PASSWORD).await.is(200).json()["token"].as_str().unwrap().to_owned();
    let more = json!({ "subjects": [{ "kind": "User", "name": "nobody@example.com" }], "roleBindings": [{ "role": "edit", "resource": "servers" }] });
    house.by(Some(&nobody), "PUT", "/api/v1/rbac/more").json(&more).send().await.problem(403);
    house.delete("/projects/default").await.is(200);
    nobody
}

fn lines(text: &str) -> Vec<ReplayLine> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn replayed(house: &House, body: Value) -> ReplayReport {
    let reply = house.post("/audit/replay", body).await.is(200);
    assert_eq!(reply.header("content-type"), "application/x-ndjson");
    match lines(&reply.text).pop() {
        Some(ReplayLine::Report(report)) => *report,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_was_done_and_refused_is_proved_here_and_in_a_copy() {
    let house = House::start().await;
    busy(&house).await;
    let report = replayed(&house, json!({})).await;
    assert!(report.proved(), "{:?} {:?}", report.mutations.findings, report.decisions.findings);
    assert_eq!(report.mutations.checked, house.seq().await);
    assert!(report.decisions.checked >= 9, "{report:?}");
    let later = replayed(&house, json!({ "from": report.seq.to_string() })).await;
    assert_eq!(later.mutations.checked, 1);
    house.post("/audit/replay", json!({ "from": "yesterday" })).await.problem(422);
    house.post("/audit/replay", json!({ "frm": "1" })).await.problem(422);
    let data = house.data();
    let folder = house.stop().await;
    let before: Vec<_> = files(&data);
    let copied = offline(&data, &ReplayRequest::default(), &mut |_| true).unwrap();
    assert!(copied.proved(), "{:?}", copied.decisions.findings);
    assert_eq!((copied.seq, copied.mutations.checked), (report.seq, report.mutations.checked));
    assert!(copied.decisions.read > report.decisions.read, "the looks of this test are in it");
    assert_eq!(files(&data), before, "nothing in the folder was changed");
    drop(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_the_api_is_recorded_with_what_was_asked() {
    let house = House::start().await;
    busy(&house).await;
    let listed = house.get("/audit/events?kind=refusal&limit=100").await.is(200).json();
    let all: Vec<String> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            assert!(entry["seq"].as_u64().unwrap() > 0 && entry["allowed"] == false, "{entry}");
            let text = |field: &str| entry[field].as_str().unwrap_or("-").to_owned();
            let verb = entry["asked"]["verb"].as_str().or(entry["asked"]["operation"].as_str()).unwrap_or("-");
            format!("{} {} {verb}", text("method"), text("rule"))
        })
        .collect();
    for expected in [
        "GET /api/v1/servers/base no-grant view",
        "POST /api/v1/audit/replay no-grant audit",
        "DELETE /api/v1/users/base@example.com no-grant delete",
        "GET /api/v1/servers/base outside-project view",
        "GET /api/v1/users outside-project view",
        "PUT /api/v1/rbac/more ceiling -",
    ] {
        assert!(all.iter().any(|line| line == expected), "{expected}: {all:#?}");
    }
    house.stop().await;
}
