//! Operations that belong to no kind: signing in, running copies, the audit log, and what gateways ask.
use serde_json::{Value, json};

use super::parts::{ALWAYS, Operation, body, in_path, json_answer, list_of, query, refusals, shape, shared};
use crate::server::evidence::LogName;

/// All of them.
pub(super) fn operations() -> Vec<Operation> {
    [identity(), vec![batch()], running(), super::audit::operations(), evidence(), gateways(), open()].concat()
}

pub(super) fn operation(
    id: &str,
    tag: &str,
    summary: &str,
    parameters: Vec<Value>,
    good: Value,
    bad: &[&str],
) -> Value {
    let mut responses = json!({ "200": good });
    refusals(&mut responses, bad);
    json!({ "operationId": id, "tags": [tag], "summary": summary, "parameters": parameters, "responses": responses })
}

pub(super) fn with_body(mut operation: Value, schema: &Value) -> Value {
    operation["requestBody"] = body(schema);
    operation
}

pub(super) fn at(path: &str, method: &'static str, operation: Value) -> Operation {
    (format!("/api/v1{path}"), method, operation)
}

pub(super) fn text(description: &str, media: &str) -> Value {
    json!({ "description": description, "content": { media: { "schema": { "type": "string" } } } })
}

fn identity() -> Vec<Operation> {
    let mut login = operation(
        "login",
        "identity",
        "Signs a person in.",
        vec![],
        json_answer("The login's bearer, shown once.", &shape("LoginAnswer")),
        &["400", "401", "429", "503"],
    );
    login["security"] = json!([]);
    let mut offer = operation(
        "oidc-offer",
        "identity",
        "Tells where to sign in with OpenID Connect.",
        vec![],
        json_answer("The provider, and the client to be there.", &shape("OidcOffer")),
        &["404", "429", "503"],
    );
    let mut sign_in = operation(
        "oidc-sign-in",
        "identity",
        "Signs a person in with an ID token.",
        vec![],
        json_answer("The login's bearer, shown once.", &shape("LoginAnswer")),
        &["400", "401", "403", "404", "409", "429", "503"],
    );
    (offer["security"], sign_in["security"]) = (json!([]), json!([]));
    let me = json_answer("Who the bearer is.", &shape("Me"));
    let done = json_answer("The login has ended.", &shape("Done"));
    let introspection = json_answer("What the token is now.", &shape("Introspection"));
    vec![
        at("/auth/login", "post", with_body(login, &shape("LoginRequest"))),
        at("/auth/oidc", "get", offer),
        at("/auth/oidc", "post", with_body(sign_in, &shape("OidcSignIn"))),
        at(
            "/auth/logout",
            "post",
            operation("logout", "identity", "Ends the login that asks.", vec![], done, &[ALWAYS, &["400"]].concat()),
        ),
        at("/auth/me", "get", operation("me", "identity", "Tells who the caller is.", vec![], me, ALWAYS)),
        at(
            "/mcptokens/introspect",
            "post",
            operation(
                "introspect-mcptoken",
                "mcptokens",
                "Tells whoever holds a token what it is.",
                vec![],
                introspection,
                &["401", "429", "503"],
            ),
        ),
    ]
}

fn batch() -> Operation {
    let text = || json!({ "type": "string" });
    let items = json!({ "type": "object", "properties": { "items": { "type": "array", "items": { "type": "object" }, "maxItems": 1000 } }, "required": ["items"] });
    let row = json!({
        "type": "object",
        "properties": {
            "kind": text(), "name": text(), "project": text(),
            "outcome": { "enum": ["created", "changed", "unchanged"] },
            "token": { "type": "string", "description": "The token, when it was made just now: shown once." },
            "object": { "type": "object", "description": "The full manifest." },
        },
        "required": ["kind", "name", "outcome"],
    });
    let bad = [ALWAYS, &["400", "404", "409", "413", "422"]].concat();
    let good = json_answer("What became of each.", &list_of(&row));
    let parameters = vec![shared("dryRun"), shared("requestId")];
    let summary = "Applies many manifests as one batch: all of them, or nothing.";
    at("/apply", "post", with_body(operation("apply-all", "apply", summary, parameters, good, &bad), &items))
}

fn running() -> Vec<Operation> {
    let instances = json_answer("Running copies.", &list_of(&shape("Instance")));
    let values = json!({ "type": "object", "properties": { "data": { "type": "object", "additionalProperties": { "type": "string" } } }, "required": ["data"] });
    let logs = vec![
        in_path("name", "An instance, or a server."),
        query("tail", "integer", "Only the last lines."),
        query("follow", "boolean", "Goes on with each new line."),
    ];
    let status = json_answer("State.", &shape("Status"));
    let secret = vec![in_path("name", "Name or uid of the secret.")];
    vec![
        at("/status", "get", operation("status", "running", "State of the control plane.", vec![], status, ALWAYS)),
        at(
            "/instances",
            "get",
            operation(
                "list-instance",
                "running",
                "Lists running copies of servers.",
                vec![query("server", "string", "Of this server.")],
                instances,
                ALWAYS,
            ),
        ),
        at(
            "/instances/{name}/logs",
            "get",
            operation(
                "logs",
                "running",
                "What a server wrote to its standard error.",
                logs,
                text("Lines.", "text/plain"),
                &[ALWAYS, &["404"]].concat(),
            ),
        ),
        at(
            "/secrets/{name}/values",
            "get",
            operation(
                "values-secret",
                "secrets",
                "Values of a secret; audited.",
                secret,
                json_answer("Values.", &values),
                &[ALWAYS, &["404", "409"]].concat(),
            ),
        ),
    ]
}

fn evidence() -> Vec<Operation> {
    let refused = [ALWAYS, &["400", "404", "410"]].concat();
    let details = operation(
        "audit-log-details",
        "evidence",
        "What the header of an audit entry commits to: 16 bytes of nonce, then the details; takes run:audit.",
        vec![in_path("seq", "Position of an audit entry.")],
        json!({ "description": "Nonce and details.", "content": { "application/octet-stream": { "schema": { "type": "string", "format": "binary" } } } }),
        &refused,
    );
    let mut subject = query(
        "subject",
        "string",
        "Whose: `User:alice@example.com`, `Group:NAME`, `ServiceAccount:NAME`, `McpToken:SHA256`.",
    );
    subject["required"] = json!(true);
    let mut binding = query("grant", "string", "What, as flags write it: `role:edit,resource:servers`.");
    binding["required"] = json!(true);
    let grant = operation(
        "grant-proof",
        "evidence",
        "Whether a grant was in force at a point, with the proof; takes run:audit.",
        vec![subject, binding, super::access::at()],
        json_answer("The proof.", &shape("GrantProof")),
        &[ALWAYS, &["400", "422"]].concat(),
    );
    let more = [("/log/audit/details/{seq}".to_owned(), "get", details), ("/log/state/grant".to_owned(), "get", grant)];
    LogName::ALL.into_iter().flat_map(evidence_of).chain(more).collect()
}

fn evidence_of(log: LogName) -> Vec<Operation> {
    let prefix = if log == LogName::Config { "log".to_owned() } else { format!("{log}-log") };
    let consistency = json_answer("The proof, and the checkpoint it leads to.", &shape("Consistency"));
    let binary = |description: &str| json!({ "description": description, "content": { "application/octet-stream": { "schema": { "type": "string", "format": "binary" } } } });
    let refused = [ALWAYS, &["400", "404", "410"]].concat();
    let of = |path: &str, id: &str, summary: &str, parameters: Vec<Value>, good: Value| {
        let id = format!("{prefix}-{id}");
        (format!("/log/{log}{path}"), "get", operation(&id, "evidence", summary, parameters, good, &refused))
    };
    let seq = || vec![in_path("seq", "Seq of an event, or position of an audit entry.")];
    let mut all = vec![
        of("/checkpoint", "checkpoint", "The newest signed checkpoint.", vec![], text("A signed note.", "text/plain")),
        of(
            "/witnessed",
            "witnessed",
            "The newest checkpoint with the cosignatures that the policy asks for.",
            vec![],
            text("A signed note with cosignatures.", "text/plain"),
        ),
        of("/key", "key", "The public key of the log.", vec![], text("A verifier key of a note.", "text/plain")),
        of(
            "/consistency/{size}",
            "consistency",
            "The proof that the log goes on from an earlier size.",
            vec![in_path("size", "The earlier size.")],
            consistency,
        ),
        of(
            "/proof/{seq}",
            "proof",
            "The proof that an event, or an audit entry, is in the log; takes run:audit.",
            seq(),
            text("A tlog-proof@v1.", "text/plain"),
        ),
        of(
            "/event/{seq}",
            "event",
            "An event as it is stored, or the header of an audit entry; takes run:audit.",
            seq(),
            binary("The stored bytes."),
        ),
    ];
    let names = ["a", "b", "c", "d"];
    for count in 1..=names.len() {
        let path: String = names[..count].iter().map(|name| format!("/{{{name}}}")).collect();
        let part = |name: &&str| in_path(name, "A part of the tile's number: `x001`, `234`, `067.p`, `8`.");
        let level = in_path("level", "Level of the tile, or `entries`, which takes run:audit.");
        let parameters = [level].into_iter().chain(names[..count].iter().map(part)).collect();
        all.push(of(
            &format!("/tile/{{level}}{path}"),
            &format!("tile-{count}"),
            "A tile of hashes, or a bundle of entries (C2SP tlog-tiles).",
            parameters,
            binary("Hashes, or entries."),
        ));
    }
    all
}

fn gateways() -> Vec<Operation> {
    let project = || in_path("name", "Name of the project.");
    let view = json_answer("The project, as the caller may use it.", &shape("AdmittedView"));
    let entries =
        json!({ "oneOf": [shape("AuditEntry"), { "type": "array", "items": shape("AuditEntry"), "maxItems": 100 }] });
    let written = json_answer("They are written.", &shape("Done"));
    let both = json!({
        "description": "The answer; as a stream when messages come before it. 202 without a body for notifications and responses.",
        "content": { "application/json": { "schema": shape("JsonRpc") }, "text/event-stream": { "schema": { "type": "string" } } },
    });
    let of_proxy = || {
        let needed = |name, description| json!({ "name": name, "in": "query", "required": true, "description": description, "schema": { "type": "string" } });
        vec![needed("project", "Name of the project."), needed("server", "Name or uid of a server of the project.")]
    };
    let bad = [ALWAYS, &["400", "404", "413", "502", "504"]].concat();
    let streams = json_answer("Gateways, the longest open first.", &list_of(&shape("Gateway")));
    let lines = json!({ "required": true, "content": { "application/x-ndjson": { "schema": { "type": "string" } } } });
    let mut stream = operation(
        "gateway-stream",
        "gateways",
        "The stream of a gateway, both ways as long as it lives: it holds watch handles, pings, and is told what becomes of them.",
        vec![],
        text("Lines of JSON, numbered.", "application/x-ndjson"),
        &["400", "401", "413", "503"],
    );
    stream["requestBody"] = lines;
    // Whoever has handles learns what becomes of them, and nothing else.
    stream["security"] = json!([]);
    vec![
        at(
            "/projects/{name}/view",
            "get",
            operation(
                "view-project",
                "gateways",
                "Admits the caller to a project.",
                vec![project()],
                view,
                &[ALWAYS, &["404"]].concat(),
            ),
        ),
        at(
            "/gateways",
            "get",
            operation("list-gateways", "gateways", "Lists gateways that have a stream.", vec![], streams, ALWAYS),
        ),
        at("/gateways/stream", "post", stream),
        at(
            "/projects/{name}/audit",
            "post",
            with_body(
                operation(
                    "record-audit",
                    "gateways",
                    "Records what a gateway served; the actor is the bearer's.",
                    vec![project(), shared("auditTicket")],
                    written,
                    &[ALWAYS, &["400", "404", "413"]].concat(),
                ),
                &entries,
            ),
        ),
        at(
            "/mcp/proxy",
            "post",
            with_body(
                operation(
                    "proxy",
                    "gateways",
                    "One JSON-RPC message to one server of a project.",
                    of_proxy(),
                    both,
                    &bad,
                ),
                &shape("JsonRpc"),
            ),
        ),
        at(
            "/mcp/proxy",
            "get",
            operation(
                "proxy-messages",
                "gateways",
                "Messages of a server that belong to no request.",
                of_proxy(),
                text("Events.", "text/event-stream"),
                &bad,
            ),
        ),
        at(
            "/mcp/proxy",
            "delete",
            ended(operation("proxy-end", "gateways", "Ends the caller's conversation.", of_proxy(), json!({}), &bad)),
        ),
    ]
}

/// Success has nothing more to say.
fn ended(mut operation: Value) -> Value {
    if let Some(answers) = operation["responses"].as_object_mut() {
        answers.remove("200");
        answers.insert("204".to_owned(), json!({ "description": "It has ended." }));
    }
    operation
}

fn open() -> Vec<Operation> {
    let health = json!({ "type": "object", "properties": { "status": { "enum": ["ok", "read-only", "log-altered"] }, "seq": shape("Seq"), "version": { "type": "string" } }, "required": ["status", "seq", "version"] });
    let anybody = |id: &str, summary: &str, good: Value| {
        let mut operation = operation(id, "open", summary, vec![], good, &["503"]);
        operation["security"] = json!([]);
        operation
    };
    let document = json_answer("This document.", &json!({ "type": "object" }));
    vec![
        ("/healthz".to_owned(), "get", anybody("healthz", "Whether it is alive.", json_answer("Alive.", &health))),
        ("/health".to_owned(), "get", anybody("health", "The same.", json_answer("Alive.", &health))),
        (
            "/metrics".to_owned(),
            "get",
            anybody("metrics", "Figures.", text("OpenMetrics.", "application/openmetrics-text")),
        ),
        ("/openapi.json".to_owned(), "get", anybody("openapi", "This document.", document)),
    ]
}
