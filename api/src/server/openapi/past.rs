//! Operations that look at the whole past or bring it back: replay, revert; restore stands with each kind.
use serde_json::{Value, json};

use super::parts::{ALWAYS, Operation, in_path, json_answer, query, refusals, shape, shared};
use super::shapes::{boolean, many, moment, number, object, text};

/// All of them.
pub(super) fn operations() -> Vec<Operation> {
    let mut responses = json!({ "200": {
        "description": "Lines of JSON: progress, and at last the report or why there is none.",
        "content": { "application/x-ndjson": { "schema": shape("ReplayLine") } },
    } });
    refusals(&mut responses, &[ALWAYS, &["400", "413", "422"]].concat());
    let replay = json!({
        "operationId": "replay-audit",
        "tags": ["audit"],
        "summary": "Decides every mutation and every recorded decision again; takes the operation `audit`.",
        "parameters": [],
        "requestBody": { "required": false, "content": { "application/json": { "schema": shape("ReplayRequest") } } },
        "responses": responses,
    });
    let mut responses = json!({ "200": json_answer("What it comes to.", &shape("Undoing")) });
    refusals(&mut responses, &[ALWAYS, &["404", "409", "422"]].concat());
    let revert = json!({
        "operationId": "revert",
        "tags": ["history"],
        "summary": "Undoes an event, and those of the same command or request, by new events under the caller's rights.",
        "parameters": [in_path("seq", "Position of the event."), shared("dryRun"), force()],
        "responses": responses,
    });
    vec![
        ("/api/v1/audit/replay".to_owned(), "post", replay),
        ("/api/v1/history/{seq}/revert".to_owned(), "post", revert),
    ]
}

/// Also undoes what is in conflict.
pub(super) fn force() -> Value {
    query("force", "boolean", "Also undoes what later events did to the same objects.")
}

/// Schemas of bodies and answers.
pub(super) fn shapes() -> Vec<(&'static str, Value)> {
    let finding = object(&[
        ("position", shape("Seq")),
        ("seq", shape("Seq")),
        ("at", moment()),
        ("actor?", text()),
        ("what", text()),
        ("why", text()),
    ]);
    let replayed = object(&[
        ("read", number()),
        ("checked", number()),
        ("undecided", number()),
        ("notProved", number()),
        ("findings", many(&finding)),
    ]);
    let report = object(&[
        ("seq", shape("Seq")),
        ("mutations", shape("Replayed")),
        ("decisions", shape("Replayed")),
        ("mutationsMs", number()),
        ("decisionsMs", number()),
    ]);
    let progress = object(&[("phase", text()), ("done", number()), ("of", number())]);
    let line = object(&[("progress?", progress), ("report?", shape("ReplayReport")), ("failed?", text())]);
    let conflict = object(&[("object", text()), ("since?", many(&shape("Seq"))), ("why", text())]);
    let step = object(&[("object", text()), ("outcome", text()), ("changes", many(&text()))]);
    let undoing = object(&[
        ("reason", text()),
        ("done", boolean()),
        ("seq", shape("Seq")),
        ("objects", many(&step)),
        ("lost?", many(&text())),
        ("conflicts?", many(&conflict)),
        ("access", many(&shape("SubjectChange"))),
        ("complete", boolean()),
    ]);
    let flip = object(&[
        ("subject", text()),
        ("owner?", text()),
        ("project?", text()),
        ("server?", text()),
        ("tool?", text()),
        ("asked", text()),
        ("allowed", boolean()),
        ("count", number()),
        ("last", moment()),
    ]);
    let recorded = object(&[
        ("since", moment()),
        ("calls", number()),
        ("questions", number()),
        ("flips", many(&flip)),
        ("added", boolean()),
        ("leftOut", number()),
    ]);
    vec![
        ("RecordedCalls", recorded),
        ("Undoing", undoing),
        ("ReplayRequest", object(&[("from?", text()), ("to?", text())])),
        ("Replayed", replayed),
        ("ReplayReport", report),
        ("ReplayLine", line),
    ]
}
