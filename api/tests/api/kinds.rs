//! Laws over every kind and every route.
use mcpctl_api::server::openapi;
use mcpctl_core::kinds::Kind;
use mcpctl_core::resource::Scope;
use serde_json::{Map, Value, json};

use crate::house::{BASE, House, fields};

/// Answers that nobody needs a bearer for.
const OPEN: &[&str] = &[
    "/healthz",
    "/health",
    "/metrics",
    "/openapi.json",
    "/api/v1/auth/login",
    "/api/v1/auth/oidc",
    // Opened by the handles in its body, each of which a bearer was answered with.
    "/api/v1/gateways/stream",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_refuses_who_shows_no_bearer_and_says_its_revision() {
    let house = House::start().await;
    let document = openapi::document();
    for (path, item) in document["paths"].as_object().unwrap() {
        let address = path.replace("{name}", "x").replace("{object}", "y");
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let method = method.to_uppercase();
            let reply = house.by(None, &method, &address).send().await;
            assert!(reply.header("mcpctl-revision").parse::<u64>().is_ok(), "{method} {address}");
            if OPEN.contains(&address.as_str()) {
                assert_ne!(reply.status, 401, "{method} {address}");
                continue;
            }
            reply.problem(401);
            assert!(reply.header("www-authenticate").starts_with("Bearer"), "{method} {address}");
        }
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_addresses_and_methods_are_problems_with_a_revision() {
    let house = House::start().await;
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/api/v1", 404),
        ("GET", "/api/v1/colours", 404),
        ("GET", "/api/v1/servers/a/b", 404),
        ("POST", "/api/v1/servers/a", 405),
        ("DELETE", "/api/v1/servers", 405),
        ("PATCH", "/api/v1/servers/a", 405),
        ("POST", "/healthz", 405),
        ("GET", "/api/v1/servers/%ff", 400),
        ("GET", "/api/v1/audit/events?limit=many", 400),
    ] {
        let reply = house.by(Some(&house.admin), method, path).send().await;
        reply.problem(status);
        assert!(!reply.header("mcpctl-revision").is_empty(), "{method} {path}");
    }
    let behind = house.ask("GET", "/servers").header("mcpctl-at-least", "1000000").send().await;
    behind.problem(503);
    assert!(!behind.header("mcpctl-revision").is_empty());
    house.stop().await;
}

/// That each described method is served is part of `outside`: none of them is 405 there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_address_takes_a_method_that_is_not_described() {
    let house = House::start().await;
    let document = openapi::document();
    for (path, item) in document["paths"].as_object().unwrap() {
        let address = path.replace("{name}", "x").replace("{object}", "y");
        for method in ["get", "put", "post", "delete", "patch"] {
            if item.get(method).is_none() {
                house.by(Some(&house.admin), &method.to_uppercase(), &address).send().await.problem(405);
            }
        }
    }
    house.stop().await;
}

/// Where objects of a kind are, and one.
fn addresses(kind: Kind, example: &Map<String, Value>) -> (String, String) {
    let (plural, name) = (kind.names().plural, example["name"].as_str().unwrap());
    let collection = match kind.scope() {
        Scope::Global => format!("/{plural}"),
        Scope::Project => format!("/projects/{}/{plural}", example["project"].as_str().unwrap()),
    };
    let single = format!("{collection}/{name}");
    (collection, single)
}

/// The example with something changed in it.
fn changed(kind: Kind, example: &Map<String, Value>) -> Value {
    let mut fields = example.clone();
    match kind {
        Kind::User => drop(fields.insert("displayName".into(), "Somebody else".into())),
        Kind::Rbac => drop(fields.insert("roleBindings".into(), json!([{ "role": "view", "resource": "projects" }]))),
        _ => drop(fields.insert("description".into(), "Something else".into())),
    }
    fields.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_is_made_once_changed_only_by_changes_and_gone_when_deleted() {
    let house = House::start().await;
    house.apply(BASE).await;
    for kind in Kind::ALL {
        let example = fields(kind.untyped().example());
        let (collection, single) = addresses(*kind, &example);
        let body = Value::Object(example.clone());
        house.get(&single).await.problem(404);
        let made = house.post(&collection, body.clone()).await.is(201);
        assert_eq!(made.outcome(), "created", "{kind}");
        assert_eq!(made.json().get("token").is_some(), *kind == Kind::McpToken);
        house.post(&collection, body.clone()).await.problem(409);
        let before = house.seq().await;
        let same = house.put(&single, body).await.is(200);
        assert_eq!((same.outcome(), house.seq().await), ("unchanged", before), "{kind}");
        assert_eq!(same.json().get("token"), None);
        let other = house.put(&single, changed(*kind, &example)).await.is(200);
        if kind.untyped().immutable() {
            assert_eq!((other.outcome(), house.seq().await), ("unchanged", before), "{kind}");
        } else {
            assert_eq!((other.outcome(), house.seq().await), ("changed", before + 1), "{kind}");
            assert_eq!(other.json()["metadata"]["resourceVersion"], before + 1, "{kind}");
        }
        let gone = house.delete(&single).await.is(200);
        assert_eq!((gone.outcome(), &gone.json()["outcome"]), ("deleted", &json!("deleted")), "{kind}");
        house.get(&single).await.problem(404);
        house.delete(&single).await.problem(404);
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_says_what_would_happen_and_nothing_does() {
    let house = House::start().await;
    house.apply(BASE).await;
    for kind in Kind::ALL {
        let example = fields(kind.untyped().example());
        let (collection, single) = addresses(*kind, &example);
        let before = house.seq().await;
        let would = house.post(&format!("{collection}?dryRun=true"), example.clone().into()).await.is(201);
        assert_eq!((would.outcome(), house.seq().await), ("created", before), "{kind}");
        assert_eq!(would.json().get("token"), None, "a token that is not made is not shown");
        house.get(&single).await.problem(404);
        house.post(&collection, example.clone().into()).await.is(201);
        let before = house.seq().await;
        let would = house.put(&format!("{single}?dryRun=true"), changed(*kind, &example)).await.is(200);
        let outcome = if kind.untyped().immutable() { "unchanged" } else { "changed" };
        assert_eq!((would.outcome(), house.seq().await), (outcome, before), "{kind}");
        let would = house.delete(&format!("{single}?dryRun=true")).await.is(200);
        assert_eq!((would.outcome(), house.seq().await), ("deleted", before), "{kind}");
        house.get(&single).await.is(200);
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_is_what_apply_takes_and_tables_are_rectangles() {
    let house = House::start().await;
    house.apply(BASE).await;
    for kind in Kind::ALL {
        house.apply(kind.untyped().example()).await;
    }
    let mut lists = Vec::new();
    for kind in Kind::ALL {
        let plural = kind.names().plural;
        let list = house.get(&format!("/{plural}")).await.is(200).json();
        lists.push((*kind, list["items"].clone()));
        let items = list["items"].as_array().unwrap();
        assert!(!items.is_empty(), "{kind}");
        for item in items {
            let (_, single) = addresses(*kind, item.as_object().unwrap());
            let one = house.get(&single).await.is(200).json();
            for read in [item, &one] {
                let again = house.put(&single, read.clone()).await.is(200);
                assert_eq!(again.outcome(), "unchanged", "{kind}: {read}");
            }
            let uid = one["metadata"]["uid"].as_str().unwrap();
            assert_eq!(house.get(&format!("/{plural}/{uid}")).await.is(200).json(), one);
            house.get(&format!("{single}/history")).await.is(200);
        }
        let table = house.get(&format!("/{plural}?view=table")).await.is(200).json();
        let columns = table["columns"].as_array().unwrap().len();
        assert_eq!(table["rows"].as_array().unwrap().len(), items.len());
        for row in table["rows"].as_array().unwrap() {
            assert_eq!(row["cells"].as_array().unwrap().len(), columns, "{kind}");
        }
    }
    // The control plane itself tells of servers that can't be started meanwhile; of the rest nothing changed.
    for (kind, items) in lists.into_iter().filter(|(kind, _)| *kind != Kind::Server) {
        let again = house.get(&format!("/{}", kind.names().plural)).await.is(200).json();
        assert_eq!(again["items"], items, "{kind}");
    }
    let columns = house.get("/mcptokens?view=table").await.json()["columns"].clone();
    assert_eq!(columns, json!(["NAME", "PROJECT", "PREFIX", "CREATED", "LAST-USED", "EXPIRES", "STATUS"]));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_is_shown_with_all_its_access_direct_and_inherited() {
    let house = House::start().await;
    house
        .apply(
            "kind: user\nname: ann@example.com\n---\nkind: group\nname: devs\nmembers: [ann@example.com]\n---\n\
             kind: rbac\nname: own\nsubjects: [{kind: User, name: ann@example.com}]\nroleBindings: [{role: run, action: logs}]\n---\n\
             kind: rbac\nname: of-devs\nsubjects: [{kind: Group, name: devs}]\nroleBindings: [{role: edit, resource: servers}]\n---\n\
             kind: serviceaccount\nname: ci\n",
        )
        .await;
    let access = async |path| house.get(path).await.is(200).json()["status"]["access"].clone();
    let of_user = access("/users/ann@example.com").await;
    let rights: Vec<(&str, &str)> = (of_user.as_array().unwrap().iter())
        .map(|row| (row["right"].as_str().unwrap(), row["via"].as_str().unwrap()))
        .collect();
    assert_eq!(rights, [("run:logs", "rbac/own"), ("edit servers", "group/devs, rbac/of-devs")]);
    assert!(of_user[0]["seq"].as_u64().is_some());
    assert_eq!(access("/groups/devs").await[0]["right"], "edit servers");
    assert_eq!(access("/serviceaccounts/ci").await, json!([]));
    assert_eq!(access("/projects/default").await, Value::Null);
    // One who may see the user and not what gives the rights learns the rights alone.
    let bob = house.person("bob@example.com").await;
    house
        .put(
            "/rbac/lookers",
            json!({ "subjects": [{ "kind": "User", "name": "bob@example.com" }],
            "roleBindings": [{ "role": "view", "resource": "users" }] }),
        )
        .await
        .is(201);
    let seen = house.by(Some(&bob), "GET", "/api/v1/users/ann@example.com").send().await.is(200).json();
    assert_eq!(seen["status"]["access"][0]["via"], "a rbac that you may not see");
    house.stop().await;
}
