//! The past over REST, for every kind: what was read then is what is told of then, also when the object is gone.
use mcpctl_core::kinds::Kind;
use mcpctl_core::resource::Scope;
use serde_json::{Map, Value, json};

use crate::house::{BASE, House, fields};

fn addresses(kind: Kind, example: &Map<String, Value>) -> (String, String) {
    let (plural, name) = (kind.names().plural, example["name"].as_str().unwrap());
    let collection = match kind.scope() {
        Scope::Global => format!("/{plural}"),
        Scope::Project => format!("/projects/{}/{plural}", example["project"].as_str().unwrap()),
    };
    let single = format!("{collection}/{name}");
    (collection, single)
}

/// What an object says of itself: not when it was looked at.
fn told(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.remove("asOf");
    // How a server is now is told of now alone.
    object.get_mut("status").and_then(Value::as_object_mut).map(|status| status.remove("health"));
    object
}

fn names(list: &Value, rows: &str) -> Vec<String> {
    list[rows].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_is_read_as_it_was_also_after_its_end() {
    let house = House::start().await;
    house.apply(BASE).await;
    for kind in Kind::ALL {
        let example = fields(kind.untyped().example());
        let (collection, single) = addresses(*kind, &example);
        let name = example["name"].as_str().unwrap().to_owned();
        let before = house.seq().await;
        house.post(&collection, example.clone().into()).await.is(201);
        let (then, was) = (house.seq().await, told(house.get(&single).await.is(200).json()));
        let table = house.get(&format!("{collection}?view=table")).await.is(200).json();
        house.delete(&single).await.is(200);
        let at = |path: &str, seq: u64| format!("{path}{}at={seq}", if path.contains('?') { '&' } else { '?' });
        assert_eq!(told(house.get(&at(&single, then)).await.is(200).json()), was, "{kind}");
        assert!(names(&house.get(&at(&collection, then)).await.is(200).json(), "items").contains(&name), "{kind}");
        let then_table = house.get(&at(&format!("{collection}?view=table"), then)).await.is(200).json();
        assert_eq!(names(&then_table, "rows"), names(&table, "rows"), "{kind}");
        assert_eq!(then_table["revision"], then, "{kind}");
        house.get(&at(&single, before)).await.problem(404);
        assert!(!names(&house.get(&at(&collection, before)).await.is(200).json(), "items").contains(&name), "{kind}");
        house.get(&at(&single, 1_000_000)).await.problem(422);
        let past = house.get(&at(&format!("{single}/history"), then)).await.is(200).json();
        let seqs: Vec<u64> =
            past["items"].as_array().unwrap().iter().map(|item| item["seq"].as_u64().unwrap()).collect();
        assert!(!seqs.is_empty() && seqs.iter().all(|seq| before < *seq && *seq <= then), "{kind}: {seqs:?}");
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_of_a_person_are_described_as_they_were() {
    let house = House::start().await;
    house.apply(BASE).await;
    let rights = async |path: &str| -> Vec<String> {
        let rows = house.get(path).await.is(200).json()["status"]["access"].clone();
        rows.as_array().unwrap().iter().map(|row| row["right"].as_str().unwrap().to_owned()).collect()
    };
    let bind = |binding: Value| json!({ "subjects": [{ "kind": "User", "name": "base@example.com" }], "roleBindings": [binding] });
    house.put("/rbac/past", bind(json!({ "role": "view", "resource": "groups" }))).await.is(201);
    let then = house.seq().await;
    house.put("/rbac/past", bind(json!({ "role": "edit", "resource": "users" }))).await.is(200);
    let now = rights("/users/base@example.com").await;
    assert!(now.contains(&"edit users".to_owned()) && !now.contains(&"view groups".to_owned()), "{now:?}");
    let was = rights(&format!("/users/base@example.com?at={then}")).await;
    assert!(was.contains(&"view groups".to_owned()) && !was.contains(&"edit users".to_owned()), "{was:?}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attestation_is_an_event_that_the_past_does_not_know() {
    let house = House::start().await;
    house.apply(BASE).await;
    house
        .put("/rbac/r", json!({ "subjects": [], "roleBindings": [{ "role": "view", "resource": "groups" }] }))
        .await
        .is(201);
    let before = house.seq().await;
    house.post("/rbac/r/attest", json!({ "note": "looked at" })).await.is(200);
    let now = house.get("/rbac/r").await.is(200).json()["status"]["attested"].clone();
    assert_eq!((&now["note"], &now["of"]), (&json!("looked at"), &json!(before)));
    assert!(house.get(&format!("/rbac/r?at={before}")).await.is(200).json()["status"].get("attested").is_none());
    for (body, status) in [
        (json!({ "note": 7 }), 422),
        (json!({ "notes": "x" }), 422),
        (json!({ "note": "x".repeat(3_000) }), 422),
        (json!([]), 400),
    ] {
        house.post("/rbac/r/attest", body).await.problem(status);
    }
    house.post("/rbac/none/attest", json!({})).await.problem(404);
    // The spec stays what it was: applying it again changes nothing.
    let same = house
        .put("/rbac/r", json!({ "subjects": [], "roleBindings": [{ "role": "view", "resource": "groups" }] }))
        .await;
    assert_eq!(same.is(200).outcome(), "unchanged");
    house.stop().await;
}
