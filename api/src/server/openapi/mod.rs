//! The OpenAPI 3.1 document: the routes of every kind from the same loop as the router, and the fixed ones by hand.
mod access;
mod audit;
mod fixed;
mod kinds;
mod parts;
mod past;
#[cfg(test)]
mod reference;
mod shapes;
#[cfg(test)]
mod tests;
mod tools;

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut paths = serde_json::Map::new();
    for (path, method, operation) in
        [kinds::operations(), fixed::operations(), access::operations(), past::operations(), tools::operations()]
            .concat()
    {
        let mut operation = operation;
        if takes_service_account(&path) {
            parameters_of(&mut operation).push(parts::shared("serviceAccount"));
            // The account may not be there.
            parts::refusals(&mut operation["responses"], &["404"]);
        }
        // The headers that any request may carry can be malformed.
        if operation["responses"].get("401").is_some() {
            parts::refusals(&mut operation["responses"], &["400"]);
        }
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "mcpctl control plane",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Users, rights, projects, servers, secrets and tokens, as an event log.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A login (mcpctl_login_…) or a project token (mcpctl_pat_…), which reaches its project only.",
                },
            },
            "parameters": parts::parameters(),
            "headers": parts::headers(),
            "responses": parts::responses(),
            "schemas": shapes::schemas(),
        },
    })
}

/// Everything that is asked by an identity, and not by a bearer alone or by nobody.
fn takes_service_account(path: &str) -> bool {
    let by_bearer = ["/view", "/watch", "/audit", "/mcp/proxy", "/introspect", "/auth/login", "/auth/logout"];
    path.starts_with("/api/v1/") && !by_bearer.iter().any(|end| path.ends_with(end))
}

fn parameters_of(operation: &mut Value) -> &mut Vec<Value> {
    if !operation["parameters"].is_array() {
        operation["parameters"] = json!([]);
    }
    operation["parameters"].as_array_mut().expect("made one above")
}

static TEXT: LazyLock<Bytes> = LazyLock::new(|| serde_json::to_vec_pretty(&document()).unwrap_or_default().into());

/// Answers `GET /openapi.json`.
pub(super) async fn page() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.clone()).into_response()
}
