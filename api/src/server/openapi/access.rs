//! Operations and shapes of questions about rights, and the parameter that asks the past.
use serde_json::{Value, json};

use super::parts::{ALWAYS, Operation, body, json_answer, query, refusals, shape};
use crate::server::questions::{FINDINGS, Question};

/// All of them.
pub(super) fn operations() -> Vec<Operation> {
    let asked = Question::ALL
        .iter()
        .map(|(question, path)| (format!("/api/v1/access/{path}"), "get", operation(*question, path)));
    let differences = [
        ("/api/v1/access/diff".to_owned(), "get", difference()),
        ("/api/v1/access/simulate".to_owned(), "post", simulation()),
        ("/api/v1/access/review".to_owned(), "get", review()),
    ];
    asked.chain(differences).collect()
}

fn difference() -> Value {
    let mut responses = json!({ "200": json_answer("The difference.", &shape("PointDiff")) });
    refusals(&mut responses, &[ALWAYS, &["404", "422"]].concat());
    let mut from = query("from", "string", "The earlier point: a seq, a moment, a date, or `2 days ago`.");
    from["required"] = json!(true);
    let parameters = [
        from,
        query("to", "string", "The later point; without it, the newest state."),
        query("subject", "string", "Only the access of this subject, and objects that name it."),
        query("kind", "string", "Only objects of this kind, and rights on them."),
    ];
    json!({
        "operationId": "diff", "tags": ["access"],
        "summary": "What differs between two points: objects, and who gained and lost what by which event.",
        "parameters": parameters, "responses": responses,
    })
}

fn review() -> Value {
    let mut responses = json!({ "200": json_answer("The findings.", &shape("Review")) });
    refusals(&mut responses, &[ALWAYS, &["422"]].concat());
    let only = format!("Only these findings, with commas between them: {}.", FINDINGS.join(", "));
    let parameters = [
        query("only", "string", &only),
        query("notAttestedSince", "string", "Also every rbac that nobody attested since then: `90d`, or a moment."),
        at(),
    ];
    json!({
        "operationId": "review", "tags": ["access"],
        "summary": "What a reviewer of rights should look at. What was never used is told to who holds the operation audit.",
        "parameters": parameters, "responses": responses,
    })
}

/// `{"items": […]}`.
fn manifests() -> Value {
    let items = json!({ "type": "array", "items": { "type": "object" }, "description": "Manifests." });
    json!({ "type": "object", "properties": { "items": items }, "required": ["items"] })
}

fn simulation() -> Value {
    let mut responses = json!({ "200": json_answer("What would happen.", &shape("Simulation")) });
    refusals(&mut responses, &[ALWAYS, &["400", "404", "409", "413", "422"]].concat());
    json!({
        "operationId": "simulate", "tags": ["access"],
        "summary": "Who would gain and lose what by an apply: decided under the caller's rights, and done nowhere.",
        "parameters": [query("replay", "string", "Also decides recorded calls since then; takes the operation `audit`.")],
        "responses": responses,
        "requestBody": body(&manifests()),
    })
}

/// The point of the past that is asked.
pub(super) fn at() -> Value {
    query("at", "string", "Asks the state after an event (its seq), or at a moment: RFC 3339, a date, or `2 days ago`.")
}

fn operation(question: Question, id: &str) -> Value {
    let (summary, answer) = match question {
        Question::CanI => ("Whether a subject may.", "Explanation"),
        Question::Why => {
            ("Why a subject may: each grant, who gave it and when; or what stands in the way.", "Explanation")
        }
        Question::WhyNot => {
            ("What stands in the way of a subject, and the smallest grants that are missing.", "Explanation")
        }
        Question::WhoCan => ("Everybody who may, as far as the caller may view them.", "WhoCan"),
        Question::WhatCan => ("Everything that a subject may.", "WhatCan"),
    };
    let mut responses = json!({ "200": json_answer("The answer.", &shape(answer)) });
    refusals(&mut responses, &[ALWAYS, &["404", "422"]].concat());
    json!({ "operationId": id, "tags": ["access"], "summary": summary, "parameters": parameters(question), "responses": responses })
}

fn parameters(question: Question) -> Vec<Value> {
    let subject = query(
        "subject",
        "string",
        "About whom: User:…, ServiceAccount:…, McpToken:PROJECT/NAME, McpToken:SHA256, or Group:… of what-can; without it, the caller. Takes `view` on them.",
    );
    let what = [
        query("verb", "string", "view, create, delete, edit or run."),
        query("resource", "string", "Plural of a kind, instances, or *."),
        query("name", "string", "One of it; without it, all there are and will be."),
        query("project", "string", "The project that it lives in."),
        query("operation", "string", "An operation, instead of verb and resource."),
    ];
    let mut parameters = Vec::new();
    if question != Question::WhoCan {
        parameters.push(subject);
    }
    if question != Question::WhatCan {
        parameters.extend(what);
    }
    parameters.push(at());
    parameters
}

/// Schemas of the answers.
pub(super) fn shapes() -> Vec<(&'static str, Value)> {
    let (text, seq, many) =
        (|| json!({ "type": "string" }), || shape("Seq"), |of: Value| json!({ "type": "array", "items": of }));
    let moment = || json!({ "type": "string", "format": "date-time" });
    let object = |required: &[&str], properties: Value| json!({ "type": "object", "properties": properties, "required": required });
    let links = || many(shape("AccessLink"));
    let right = json!({
        "right": text(), "verbs": many(text()), "resource": text(), "name": text(), "project": text(), "uid": text(), "chain": links(),
    });
    let mut turned = right.clone();
    turned["turn"] = shape("AccessTurn");
    vec![
        (
            "AccessTurn",
            object(
                &["seq", "at", "event", "object", "by"],
                json!({ "seq": seq(), "at": moment(), "event": text(), "object": text(), "by": shape("Actor"), "onBehalfOf": shape("Actor") }),
            ),
        ),
        ("TurnedRight", object(&["right", "resource", "chain"], turned)),
        (
            "SubjectChange",
            object(
                &["subject", "gained", "lost"],
                json!({ "subject": text(), "gained": many(shape("TurnedRight")), "lost": many(shape("TurnedRight")) }),
            ),
        ),
        (
            "PointDiff",
            object(
                &["from", "fromAt", "to", "toAt", "objects", "access", "complete"],
                json!({
                    "from": seq(), "fromAt": moment(), "to": seq(), "toAt": moment(), "complete": { "type": "boolean" },
                    "access": many(shape("SubjectChange")),
                    "objects": many(object(&["object", "change", "last", "changes"], json!({
                        "object": text(), "change": { "enum": ["created", "changed", "removed", "passed"] },
                        "last": shape("AccessTurn"), "changes": many(text()),
                    }))),
                }),
            ),
        ),
        (
            "Finding",
            object(
                &["finding", "subject", "says"],
                json!({
                    "finding": { "enum": FINDINGS }, "subject": text(), "right": text(), "source": text(), "seq": seq(), "at": moment(),
                    "by": shape("Actor"), "says": text(),
                    "attested": object(&["by", "at", "outdated"], json!({
                        "by": shape("Actor"), "at": moment(), "note": text(), "outdated": { "type": "boolean" },
                    })),
                }),
            ),
        ),
        (
            "Review",
            object(
                &["seq", "at", "findings", "toMend", "complete"],
                json!({
                    "seq": seq(), "at": moment(), "findings": many(shape("Finding")),
                    "toMend": { "type": "boolean" }, "complete": { "type": "boolean" },
                    "usage": object(&["auditEntries", "events"], json!({
                        "auditSince": moment(), "auditEntries": { "type": "integer", "minimum": 0 }, "events": seq(),
                    })),
                }),
            ),
        ),
        (
            "Simulation",
            object(
                &["seq", "objects", "access", "added", "complete"],
                json!({
                    "seq": seq(), "added": { "type": "boolean" }, "complete": { "type": "boolean" },
                    "recorded": shape("RecordedCalls"),
                    "access": many(shape("SubjectChange")),
                    "objects": many(object(&["object", "outcome", "changes"], json!({
                        "object": text(), "outcome": { "enum": ["created", "changed", "unchanged"] }, "changes": many(text()),
                    }))),
                }),
            ),
        ),
        (
            "AccessLink",
            object(
                &["link", "holder", "what"],
                json!({
                    "link": { "enum": ["grant", "membership", "own", "project", "owner"] },
                    "holder": text(), "what": text(), "seq": seq(), "at": moment(), "source": text(), "by": shape("Actor"),
                }),
            ),
        ),
        ("AccessObstacle", object(&["obstacle", "says"], json!({ "obstacle": text(), "says": text() }))),
        (
            "Explanation",
            object(
                &["subject", "asked", "allowed", "rule", "seq", "at"],
                json!({
                    "subject": text(), "asked": text(), "allowed": { "type": "boolean" },
                    "rule": { "enum": ["system", "rbac", "own", "token", "no-grant", "not-for-tokens", "outside-project", "ended"] },
                    "seq": seq(), "at": moment(), "via": many(seq()), "chain": links(),
                    "obstacles": many(shape("AccessObstacle")),
                    "missing": many(object(&["subject", "permission", "binding"], json!({ "subject": text(), "permission": text(), "binding": text() }))),
                }),
            ),
        ),
        (
            "WhoCan",
            object(
                &["asked", "seq", "at", "items", "complete"],
                json!({
                    "asked": text(), "seq": seq(), "at": moment(), "complete": { "type": "boolean" },
                    "items": many(object(&["subject", "rule", "chain"], json!({ "subject": text(), "rule": text(), "chain": links() }))),
                }),
            ),
        ),
        (
            "WhatCan",
            object(
                &["subject", "seq", "at", "items"],
                json!({
                    "subject": text(), "seq": seq(), "at": moment(), "ended": shape("AccessObstacle"),
                    "items": many(object(&["right", "resource", "chain"], right)),
                }),
            ),
        ),
    ]
}
