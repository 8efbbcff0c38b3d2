//! What operations are put together from: parameters, headers, answers.
use serde_json::{Value, json};

/// A path, a method in lower case, and the operation there.
pub(super) type Operation = (String, &'static str, Value);

/// Schema of an answer: a reference to one of the shapes.
pub(super) fn shape(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A page of rows.
pub(super) fn list_of(row: &Value) -> Value {
    json!({
        "type": "object",
        "properties": {
            "items": { "type": "array", "items": row },
            "next": { "type": "string", "description": "Where to go on, when there is more." },
            "revision": shape("Seq"),
        },
        "required": ["items", "revision"],
    })
}

/// An answer in JSON.
pub(super) fn json_answer(description: &str, schema: &Value) -> Value {
    json!({
        "description": description,
        "headers": { "Mcpctl-Revision": { "$ref": "#/components/headers/Mcpctl-Revision" } },
        "content": { "application/json": { "schema": schema } },
    })
}

/// The same, of a mutation.
pub(super) fn outcome(description: &str, schema: &Value) -> Value {
    let mut answer = json_answer(description, schema);
    answer["headers"]["Mcpctl-Outcome"] = json!({ "$ref": "#/components/headers/Mcpctl-Outcome" });
    answer
}

/// A body in JSON.
pub(super) fn body(schema: &Value) -> Value {
    json!({ "required": true, "content": { "application/json": { "schema": schema } } })
}

/// A parameter of the query.
pub(super) fn query(name: &str, kind: &str, description: &str) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": { "type": kind } })
}

/// A parameter of the path.
pub(super) fn in_path(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": { "type": "string" } })
}

/// A parameter that several operations share.
pub(super) fn shared(name: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}

/// Adds to the answers of an operation the refusals that these statuses mean.
pub(super) fn refusals(answers: &mut Value, statuses: &[&str]) {
    for status in statuses {
        answers[*status] = json!({ "$ref": format!("#/components/responses/{status}") });
    }
}

/// What any operation behind a bearer may answer.
pub(super) const ALWAYS: &[&str] = &["401", "403", "429", "503"];

/// `components.parameters`.
pub(super) fn parameters() -> Value {
    json!({
        "project": query("project", "string", "Project, for kinds that live in one."),
        "dryRun": query("dryRun", "boolean", "Decides and changes nothing."),
        "wait": query("wait", "boolean", "`false` answers before what was taken away is dead everywhere; so does `Prefer: respond-async`."),
        "atLeast": { "name": "Mcpctl-At-Least", "in": "header", "description": "Answer from this seq or later; waits up to 500 ms, else 503.", "schema": { "type": "integer" } },
        "serviceAccount": { "name": "X-Service-Account", "in": "header", "description": "Acts as this service account, by its rights; takes `run` on it or the operation `impersonate`. No token may.", "schema": { "type": "string" } },
        "requestId": { "name": "Mcpctl-Request-Id", "in": "header", "description": "Makes a retry harmless: 1 to 64 visible ASCII characters.", "schema": { "type": "string", "maxLength": 64 } },
        "auditTicket": { "name": "Mcpctl-Audit-Ticket", "in": "header", "description": "In place of a bearer, for entries that are delivered late: whose they are, as `AdmittedView` said. Each entry needs an `id` then.", "schema": { "type": "string" } },
        "ifMatch": { "name": "If-Match", "in": "header", "description": "The resourceVersion that was read; 409 when it has changed.", "schema": { "type": "string" } },
    })
}

/// `components.headers`.
pub(super) fn headers() -> Value {
    json!({
        "Mcpctl-Revision": { "description": "Seq of the state that this was answered from.", "schema": { "type": "integer" } },
        "Mcpctl-Outcome": { "description": "What became of the object.", "schema": { "type": "string", "enum": ["created", "changed", "unchanged", "deleted"] } },
        "Retry-After": { "description": "Seconds.", "schema": { "type": "integer" } },
    })
}

/// `components.responses`: one for each status that is a refusal.
pub(super) fn responses() -> Value {
    let mut all = json!({});
    for (status, description) in [
        ("400", "The request or one of its headers can't be read."),
        ("401", "No bearer, or one that opens nothing; says which."),
        ("403", "The caller lacks a right; says the smallest one that is missing."),
        ("404", "There is no such object; told only to who might see it."),
        ("409", "It exists already, has changed in the meantime, or is in use."),
        ("410", "It was there, and was erased or dropped: only its hash is left."),
        ("413", "The body is too large."),
        ("422", "The document breaks rules: each field with what is wrong."),
        ("429", "Too many requests."),
        ("502", "The MCP server failed."),
        ("503", "The log takes no writes, or the state asked for is not there yet. Nothing was changed."),
        ("504", "The MCP server did not answer in time."),
    ] {
        all[status] = json!({
            "description": description,
            "content": { "application/problem+json": { "schema": shape("Problem") } },
        });
    }
    all["429"]["headers"] = json!({ "Retry-After": { "$ref": "#/components/headers/Retry-After" } });
    all
}
