use std::collections::BTreeSet;
use std::path::PathBuf;

use mcpctl_core::kinds::Kind;
use serde_json::Value;

use super::{document, reference};
use crate::server::control_plane::ControlPlane;
use crate::server::router::router;

fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (format!("{method} {path}"), operation.clone()))
    });
    all.collect()
}

fn refs<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| refs(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| refs(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut found = Vec::new();
    refs(&document, &mut found);
    assert!(found.len() > 100, "{}", found.len());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leaves the document"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn every_operation_has_an_id_of_its_own_its_answers_and_its_parameters() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{name} has no id"));
        assert!(ids.insert(id.to_owned()), "{id} is used twice");
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with('2')), "{name} never succeeds");
        assert!(answers.keys().any(|status| !status.starts_with('2')), "{name} never fails");
        let in_path: Vec<&str> = name.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
        let parameters = operation["parameters"].as_array().unwrap();
        let declared: Vec<&str> =
            parameters.iter().filter(|p| p["in"] == "path").map(|p| p["name"].as_str().unwrap()).collect();
        assert_eq!(in_path, declared, "{name}");
    }
}

#[test]
fn only_what_is_meant_to_be_open_needs_no_bearer() {
    let document = document();
    assert_eq!(document["security"][0], serde_json::json!({ "bearer": [] }));
    let open: Vec<String> = operations(&document)
        .into_iter()
        .filter(|(_, operation)| operation["security"].as_array().is_some_and(Vec::is_empty))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        open,
        [
            "post /api/v1/auth/login",
            "get /api/v1/auth/oidc",
            "post /api/v1/auth/oidc",
            "post /api/v1/gateways/stream",
            "get /healthz",
            "get /health",
            "get /metrics",
            "get /openapi.json"
        ]
    );
}

#[test]
fn every_kind_has_every_route() {
    let document = document();
    for kind in Kind::ALL {
        let base = format!("/api/v1/{}", kind.names().plural);
        let one = format!("{base}/{{name}}");
        for (path, method) in [
            (&base, "get"),
            (&base, "post"),
            (&one, "get"),
            (&one, "put"),
            (&one, "delete"),
            (&format!("{one}/history"), "get"),
        ] {
            assert!(document["paths"][path][method].is_object(), "{method} {path}");
        }
    }
}

/// The router shows its paths in its `Debug` only.
fn paths_of(router: &axum::Router) -> BTreeSet<String> {
    let text = format!("{router:?}");
    let quoted = text.split('"').skip(1).step_by(2);
    // `/` is the fallback's.
    quoted
        .filter(|path| path.starts_with("/") && !path.contains("__private__") && *path != "/")
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn every_path_that_is_served_is_in_the_document_and_the_other_way_round() {
    let folder = tempfile::tempdir().unwrap();
    let control = ControlPlane::open(folder.path()).await.unwrap();
    let served = paths_of(&router(control.app().clone()));
    let document = document();
    let described: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    assert!(served.len() > 40, "{served:?}");
    assert_eq!(served.difference(&described).collect::<Vec<_>>(), Vec::<&String>::new(), "not described");
    assert_eq!(described.difference(&served).collect::<Vec<_>>(), Vec::<&String>::new(), "not served");
    control.shutdown().await;
}

/// Compares a generated file with the committed one, or writes it when asked to.
fn is_committed(path: &str, generated: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os("MCPCTL_REGENERATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, generated).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == generated, "{path} is not what the code says: run with MCPCTL_REGENERATE=1 and commit it");
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

#[test]
fn the_committed_document_is_the_one_that_is_served() {
    is_committed("schemas/openapi.json", &pretty(&document()));
}

#[test]
fn the_committed_schemas_are_those_of_the_kinds() {
    for kind in Kind::ALL {
        is_committed(&format!("schemas/{}.json", kind.names().singular), &pretty(&kind.untyped().schema()));
    }
}

#[test]
fn the_committed_reference_says_what_the_kinds_say() {
    is_committed("docs/reference/kinds.md", &reference::kinds());
}
