//! Schemas of what the questions about rights take and answer, as tools.
use serde_json::{Value, json};

use super::tools::{identity, object, texts};
use crate::server::questions::FINDINGS;

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn moment() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn number() -> Value {
    json!({ "type": "integer" })
}

fn boolean(description: &str) -> Value {
    json!({ "type": "boolean", "description": description })
}

fn many(item: &Value) -> Value {
    json!({ "type": "array", "items": item })
}

const AT: &str =
    "Asks the past: the seq of an event, a moment such as 2026-11-21T09:30:00Z, a date, or \"2 days ago\".";
const AS: &str = "About whom: an e-mail address, User:…, Group:…, ServiceAccount:…, McpToken:PROJECT/NAME. Without it, you. You are told only of those whom you may view.";

/// `verb`, `resource`, `project`, `at`, and `as` where one subject is asked about.
fn question(of_one: bool) -> (Value, Value) {
    let mut properties = json!({
        "verb": { "type": "string", "enum": ["view", "create", "delete", "edit", "run"] },
        "resource": text("Plural of a kind, such as servers, for all there are and will be; servers/NAME for one; after run also an operation, such as logs."),
        "project": text("The project that it lives in; without it, this one. Only for what lives in a project."),
        "at": text(AT),
    });
    if of_one {
        properties["as"] = text(AS);
    }
    (properties, json!(["verb", "resource"]))
}

pub(super) fn asks_of_one() -> (Value, Value) {
    question(true)
}

pub(super) fn asks_of_all() -> (Value, Value) {
    question(false)
}

pub(super) fn asks_what() -> (Value, Value) {
    (json!({ "as": text(AS), "at": text(AT) }), json!([]))
}

pub(super) fn asks_diff() -> (Value, Value) {
    let properties = json!({
        "from": text("The earlier point: a seq, a moment, a date, or \"2 days ago\"."),
        "to": text("The later point; without it, now."),
        "as": text("Only the access of this subject, and objects that name it."),
        "kind": text("Only objects of this kind, and rights on them."),
    });
    (properties, json!(["from"]))
}

pub(super) fn asks_review() -> (Value, Value) {
    let properties = json!({
        "only": text(&format!("Only these findings, with commas between them: {}.", FINDINGS.join(", "))),
        "not_attested_since": text("Also every rbac that nobody attested since then: 90d, or a moment."),
        "at": text(AT),
    });
    (properties, json!([]))
}

fn link() -> Value {
    object(
        json!({
            "link": { "type": "string", "enum": ["grant", "membership", "own", "project", "owner"] },
            "holder": text("Who has it: the subject, its group, or the token's owner."),
            "what": text("The permission, the group, the object, the project, or the owner."),
            "seq": number(), "at": moment(), "source": text("The object that carries the grant."), "by": identity(),
        }),
        json!(["link", "holder", "what"]),
    )
}

fn obstacle() -> Value {
    object(json!({ "obstacle": text("Its name."), "says": text("The same in words.") }), json!(["obstacle", "says"]))
}

pub(super) fn explanation() -> Value {
    let missing = object(
        json!({ "subject": text("To whom."), "permission": text("The smallest that would do."), "binding": text("The same as a flag of `mcpctl create rbac`.") }),
        json!(["subject", "permission", "binding"]),
    );
    object(
        json!({
            "subject": text("Who was asked about."), "asked": text("What was asked."), "allowed": boolean("Yes or no."),
            "rule": text("By which rule."), "seq": number(), "at": moment(), "via": many(&number()),
            "chain": many(&link()), "obstacles": many(&obstacle()), "missing": many(&missing),
        }),
        json!(["subject", "asked", "allowed", "rule", "seq", "at"]),
    )
}

pub(super) fn able() -> Value {
    let row = object(
        json!({ "subject": text("Who."), "rule": text("By which rule."), "chain": many(&link()) }),
        json!(["subject", "rule", "chain"]),
    );
    object(
        json!({ "asked": text("What was asked."), "seq": number(), "at": moment(), "items": many(&row), "complete": boolean(COMPLETE) }),
        json!(["asked", "seq", "at", "items", "complete"]),
    )
}

const COMPLETE: &str = "Whether this is all: false when there are others whom you may not view, or more than fit here.";

fn right() -> Value {
    object(
        json!({
            "right": text("In words, such as edit servers/my-ha."), "verbs": texts(), "resource": text("The resource, or the operation."),
            "name": text("One name of it only."), "project": text("Inside this project only."), "uid": text("This one object only."),
            "chain": many(&link()),
        }),
        json!(["right", "resource", "chain"]),
    )
}

pub(super) fn rights() -> Value {
    object(
        json!({
            "subject": text("Who."), "seq": number(), "at": moment(), "ended": obstacle(), "items": many(&right()),
            "complete": boolean(COMPLETE),
        }),
        json!(["subject", "seq", "at", "items", "complete"]),
    )
}

fn turn() -> Value {
    object(
        json!({
            "seq": number(), "at": moment(), "event": text("Such as rbac.applied."), "object": text("What it was about."),
            "by": identity(), "onBehalfOf": identity(),
        }),
        json!(["seq", "at", "event", "object", "by"]),
    )
}

pub(super) fn difference() -> Value {
    let changed = object(
        json!({
            "object": text("KIND/NAME."), "change": { "type": "string", "enum": ["created", "changed", "removed", "passed"] },
            "last": turn(), "changes": texts(),
        }),
        json!(["object", "change", "last", "changes"]),
    );
    let mut turned = right();
    turned["properties"]["turn"] = turn();
    let subject = object(
        json!({ "subject": text("Who."), "gained": many(&turned), "lost": many(&turned) }),
        json!(["subject", "gained", "lost"]),
    );
    object(
        json!({
            "from": number(), "fromAt": moment(), "to": number(), "toAt": moment(), "objects": many(&changed),
            "access": many(&subject), "complete": boolean(COMPLETE),
        }),
        json!(["from", "fromAt", "to", "toAt", "objects", "access", "complete"]),
    )
}

pub(super) fn findings() -> Value {
    let attested = object(
        json!({ "by": identity(), "at": moment(), "note": text("What they said."), "outdated": boolean("Whether it gives more since.") }),
        json!(["by", "at", "outdated"]),
    );
    let row = object(
        json!({
            "finding": { "type": "string", "enum": FINDINGS }, "subject": text("Who or what."), "right": text("The rights."),
            "source": text("What gives them."), "seq": number(), "at": moment(), "by": identity(), "says": text("What about it."),
            "attested": attested,
        }),
        json!(["finding", "subject", "says"]),
    );
    object(
        json!({
            "seq": number(), "at": moment(), "findings": many(&row), "complete": boolean(COMPLETE),
            "toMend": boolean("Whether there is anything to mend: administrators are information."),
        }),
        json!(["seq", "at", "findings", "toMend", "complete"]),
    )
}
