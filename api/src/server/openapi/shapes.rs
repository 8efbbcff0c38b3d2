//! Schemas: of every kind from the kind, of the other shapes by hand, next to the types of `wire.rs` and `plane.rs`.
use mcpctl_core::kinds::Kind;
use serde_json::{Map, Value, json};

use super::parts::shape;

/// `components.schemas`.
pub(super) fn schemas() -> Map<String, Value> {
    let of_kinds = Kind::ALL.iter().map(|kind| (kind.names().singular.to_owned(), kind.untyped().schema()));
    of_kinds.chain(others()).collect()
}

/// Properties in short: a name, with `?` when it may be left out, and a schema.
pub(super) fn object(fields: &[(&str, Value)]) -> Value {
    let name = |field: &str| field.trim_end_matches('?').to_owned();
    let properties: Map<String, Value> = fields.iter().map(|(field, schema)| (name(field), schema.clone())).collect();
    let required: Vec<&str> = fields.iter().map(|(field, _)| *field).filter(|field| !field.ends_with('?')).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}
pub(super) fn number() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}
pub(super) fn boolean() -> Value {
    json!({ "type": "boolean" })
}
pub(super) fn moment() -> Value {
    json!({ "type": "string", "format": "date-time" })
}
pub(super) fn many(item: &Value) -> Value {
    json!({ "type": "array", "items": item })
}
fn one_of(values: &[&str]) -> Value {
    json!({ "type": "string", "enum": values })
}

fn others() -> impl Iterator<Item = (String, Value)> {
    [
        basics(),
        identity(),
        running(),
        gateways(),
        super::access::shapes(),
        super::audit::shapes(),
        super::past::shapes(),
        super::tools::shapes(),
    ]
    .into_iter()
    .flatten()
    .map(|(name, schema)| (name.to_owned(), schema))
}

fn basics() -> Vec<(&'static str, Value)> {
    let (seq, actor) = (shape("Seq"), shape("Actor"));
    let violation = object(&[("field", text()), ("message", text()), ("hint?", text())]);
    let authz =
        object(&[("at", seq.clone()), ("mode", one_of(&["rbac", "own", "system", "local"])), ("via", many(&seq))]);
    vec![
        (
            "Seq",
            json!({ "type": "integer", "minimum": 0, "description": "Position in the log, and version of an object." }),
        ),
        ("Digest", json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })),
        (
            "Actor",
            object(&[
                ("kind", one_of(&["system", "local", "user", "serviceaccount", "mcptoken"])),
                ("uid", text()),
                ("name", text()),
            ]),
        ),
        (
            "Problem",
            object(&[
                ("type", text()),
                ("title", text()),
                ("status", number()),
                ("detail", text()),
                ("hint?", text()),
                ("errors?", many(&violation)),
                ("seq?", seq.clone()),
            ]),
        ),
        (
            "Done",
            object(&[
                ("outcome", text()),
                ("seq", seq.clone()),
                ("revocation?", shape("Fenced")),
                ("also?", many(&text())),
            ]),
        ),
        (
            "HistoryItem",
            object(&[
                ("seq", seq),
                ("at", moment()),
                ("object", text()),
                ("event", text()),
                ("actor", actor.clone()),
                ("onBehalfOf?", actor),
                ("reason?", text()),
                ("authz", authz),
                ("changes", many(&text())),
                ("access?", many(&text())),
                ("hash", shape("Digest")),
            ]),
        ),
    ]
}

fn identity() -> Vec<(&'static str, Value)> {
    let (seq, actor) = (shape("Seq"), shape("Actor"));
    vec![
        ("LoginRequest", object(&[("email", text()), ("password", json!({ "type": "string", "format": "password" }))])),
        ("Identity", object(&[("issuer", text()), ("subject", text())])),
        (
            "OidcOffer",
            object(&[
                ("issuer", text()),
                ("clientId", text()),
                ("scopes", text()),
                ("authorizationEndpoint", text()),
                ("tokenEndpoint", text()),
                ("deviceAuthorizationEndpoint?", text()),
            ]),
        ),
        (
            "OidcSignIn",
            object(&[
                ("idToken", json!({ "type": "string", "format": "password" })),
                ("verifier", json!({ "type": "string", "format": "password" })),
            ]),
        ),
        ("LoginAnswer", object(&[("token", text()), ("expiresAt", moment()), ("user", text())])),
        (
            "Me",
            object(&[
                ("actor", actor.clone()),
                ("onBehalfOf?", actor.clone()),
                ("owner?", actor.clone()),
                ("project?", text()),
                ("identity?", shape("Identity")),
                ("groups?", many(&text())),
                ("rights", many(&text())),
                ("expiresAt?", moment()),
                ("seq", seq.clone()),
            ]),
        ),
        (
            "Introspection",
            object(&[
                ("active", boolean()),
                ("reason?", text()),
                ("uid?", text()),
                ("name?", text()),
                ("project?", text()),
                ("owner?", actor),
                ("expiresAt?", moment()),
                ("via?", many(&seq)),
                ("seq", seq),
            ]),
        ),
    ]
}

fn running() -> Vec<(&'static str, Value)> {
    let operation = object(&[("operation", text())]);
    let on_object =
        object(&[("verb", text()), ("resource", text()), ("project?", text()), ("name?", text()), ("uid?", text())]);
    let asked = json!({ "oneOf": [operation, on_object] });
    let entry = [
        ("id?", text()),
        ("at", moment()),
        ("kind", text()),
        ("method?", text()),
        ("actor?", shape("Actor")),
        ("onBehalfOf?", shape("Actor")),
        ("owner?", shape("Actor")),
        ("tokenSha?", shape("Digest")),
        ("project?", text()),
        ("session?", text()),
        ("server?", text()),
        ("tool?", text()),
        ("allowed", boolean()),
        ("seq", shape("Seq")),
        ("via?", many(&shape("Seq"))),
        ("asked?", asked),
        ("rule?", text()),
        ("outcome", text()),
        ("reason?", text()),
        ("durationUs", number()),
        ("requestBytes", number()),
        ("answerBytes", number()),
        ("definition?", shape("Digest")),
        ("arguments?", shape("Digest")),
        ("answer?", shape("Digest")),
        ("redacted?", many(&text())),
    ];
    let item: Vec<(&str, Value)> = [("position", number())].into_iter().chain(entry.clone()).collect();
    let instance = object(&[
        ("name", text()),
        ("server", text()),
        ("state", one_of(&["STARTING", "RUNNING", "BACKOFF", "FAILED", "STOPPED"])),
        ("pid?", number()),
        ("era?", one_of(&["legacy", "modern"])),
        ("since?", moment()),
        ("restarts", number()),
        ("lastError?", text()),
    ]);
    let objects = json!({ "type": "object", "additionalProperties": number() });
    let status = object(&[
        ("version", text()),
        ("seq", shape("Seq")),
        ("log", text()),
        ("objects", objects),
        ("servers", many(&shape("ServerHealth"))),
        ("instances", many(&shape("Instance"))),
    ]);
    let causes = one_of(&["unavailable", "timed-out", "gone", "protocol", "check-failed"]);
    let probe = object(&[("at", moment()), ("passed", json!({ "type": "boolean" })), ("tookMs", number())]);
    let health = object(&[
        ("server", text()),
        ("state", one_of(&["HEALTHY", "FAILING", "UNHEALTHY", "IDLE", "UNKNOWN"])),
        ("since?", moment()),
        ("failures", number()),
        ("cause?", causes),
        ("lastError?", text()),
        ("lastErrorAt?", moment()),
        ("check?", text()),
        ("lastProbe?", probe),
        ("nextProbeAt?", moment()),
    ]);
    let consistency = object(&[("checkpoint", text()), ("proof", many(&text()))]);
    let proved_root = object(&[("record", text()), ("proof", text())]);
    let grant_proof =
        object(&[("seq", shape("Seq")), ("root", proved_root.clone()), ("next?", proved_root), ("facts", text())]);
    vec![
        ("GrantProof", grant_proof),
        ("Consistency", consistency),
        ("AuditEntry", object(&entry)),
        ("AuditItem", object(&item)),
        ("Instance", instance),
        ("ServerHealth", health),
        ("Status", status),
    ]
}

fn gateways() -> Vec<(&'static str, Value)> {
    let shown = object(&[("name?", text()), ("description?", text())]);
    let overrides = json!({ "type": "object", "additionalProperties": shown });
    let filter = object(&[("allow?", many(&text())), ("deny?", many(&text())), ("overrides?", overrides)]);
    let server = object(&[
        ("uid", text()),
        ("name", text()),
        ("description?", json!({ "type": ["string", "null"] })),
        ("tools?", filter.clone()),
        ("projectTools?", filter),
        ("pins?", json!({ "type": "object", "additionalProperties": many(&shape("Digest")) })),
        ("version", shape("Seq")),
    ]);
    let caller = object(&[("actor", shape("Actor")), ("owner?", shape("Actor")), ("tokenSha?", shape("Digest"))]);
    let project = object(&[
        ("uid", text()),
        ("name", text()),
        ("instructions?", json!({ "type": ["string", "null"] })),
        ("toolNames", one_of(&["prefixed", "unprefixed"])),
        ("strict", boolean()),
        ("servers", many(&server)),
        ("version", shape("Seq")),
    ]);
    let anchor = object(&[("seq", shape("Seq")), ("hash", shape("Digest"))]);
    let view = object(&[
        ("project", project),
        ("caller", caller),
        ("via", many(&shape("Seq"))),
        ("seq", shape("Seq")),
        ("watchHandle", json!({ "type": "string", "pattern": "^[0-9a-f]{32}$" })),
        ("ticket", text()),
        ("held", boolean()),
        ("log?", anchor),
    ]);
    let fenced = object(&[
        ("seq", shape("Seq")),
        ("gateways", number()),
        ("acked", number()),
        ("ackedMs", number()),
        ("leaseExpired", number()),
        ("streamsClosed", number()),
        ("tookMs", number()),
    ]);
    let gateway = object(&[
        ("name", text()),
        ("version", text()),
        ("address", text()),
        ("state", one_of(&["OPEN", "LOST"])),
        ("since", moment()),
        ("head", shape("Seq")),
        ("leaseMs", number()),
        ("tokens", number()),
        ("lagMs", number()),
    ]);
    let rpc = object(&[
        ("jsonrpc", json!({ "const": "2.0" })),
        ("id?", json!({})),
        ("method?", text()),
        ("params?", json!({})),
        ("result?", json!({})),
        ("error?", json!({})),
    ]);
    vec![("AdmittedView", view), ("Fenced", fenced), ("Gateway", gateway), ("JsonRpc", rpc)]
}
