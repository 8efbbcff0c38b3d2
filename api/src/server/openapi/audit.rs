//! Operations of the audit log.
use serde_json::{Value, json};

use super::fixed::{at, operation, text, with_body};
use super::parts::{ALWAYS, Operation, in_path, json_answer, list_of, query, shape};
use super::shapes::{boolean, many, moment, number, object, text as string};

const WHOSE: [(&str, &str, &str); 6] = [
    ("project", "string", "Project."),
    ("userName", "string", "Person who acted, or whose rights bound the token."),
    ("tokenName", "string", "Token that acted."),
    ("tokenSha", "string", "SHA-256 of the token, or its beginning."),
    ("from", "string", "Not before this moment."),
    ("to", "string", "Not after this moment."),
];
const WHAT: [(&str, &str, &str); 5] = [
    ("kind", "string", "Sort of entry, such as `call`."),
    ("session", "string", "Session, as the log shows it."),
    ("server", "string", "Server."),
    ("tool", "string", "Tool, prompt or resource."),
    ("outcome", "string", "Outcome, such as `denied`."),
];
const POSITION: (&str, &str, &str) = ("position", "integer", "From this position on; without it, the newest.");
const BEFORE: (&str, &str, &str) = ("before", "integer", "The newest before this position.");
const LIMIT: (&str, &str, &str) = ("limit", "integer", "Most entries, at most 1,000.");

fn queries(all: &[&[(&str, &str, &str)]]) -> Vec<Value> {
    all.concat().into_iter().map(|(name, kind, description)| query(name, kind, description)).collect()
}

/// All of them. Each look is audited too.
pub(super) fn operations() -> Vec<Operation> {
    let get = |path: &str, id: &str, summary: &str, parameters: Vec<Value>, good: Value, bad: &[&str]| {
        at(&format!("/audit{path}"), "get", operation(id, "audit", summary, parameters, good, &[ALWAYS, bad].concat()))
    };
    let events = json_answer("Entries, the newest last.", &list_of(&shape("AuditItem")));
    let lines = text(
        "Lines of JSON: an `AuditItem`, or a word `{next, end?}` that says where to go on, and why there is no more.",
        "application/x-ndjson",
    );
    let sessions = json_answer("Sessions, the newest first.", &list_of(&shape("AuditSession")));
    let shown =
        object(&[("session", shape("AuditSession")), ("items", many(&shape("AuditItem"))), ("next?", string())]);
    let request = object(&[("subject", string()), ("dryRun?", boolean())]);
    let erased = object(&[
        ("entries", number()),
        ("first?", shape("Seq")),
        ("last?", shape("Seq")),
        ("position?", shape("Seq")),
    ]);
    let erase = operation(
        "erase-audit",
        "audit",
        "Erases what the log says of a subject; every proof still holds. Takes run:erase.",
        vec![],
        json_answer("What was erased, or would be.", &erased),
        &[ALWAYS, &["400", "413", "422"]].concat(),
    );
    let follow = ("follow", "boolean", "Goes on with each new entry.");
    let begin = ("limit", "integer", "How many of the newest to begin with; without `position` and `from`.");
    vec![
        at("/audit/erase", "post", with_body(erase, &request)),
        get(
            "/events",
            "list-audit-events",
            "Entries of the audit log.",
            queries(&[&WHOSE, &WHAT, &[POSITION, BEFORE, LIMIT]]),
            events,
            &["400"],
        ),
        get(
            "/tail",
            "tail-audit",
            "The newest entries, and each new one as it is written.",
            queries(&[&WHOSE, &WHAT, &[follow, POSITION, begin]]),
            lines,
            &["400"],
        ),
        get(
            "/sessions",
            "list-audit-sessions",
            "Sessions of agents, put together from the entries.",
            queries(&[&WHOSE, &[BEFORE, ("limit", "integer", "Most sessions, at most 200.")]]),
            sessions,
            &["400"],
        ),
        get(
            "/sessions/{id}",
            "get-audit-session",
            "One session with its entries.",
            [
                vec![in_path("id", "Session, or `run-<position>`.")],
                queries(&[&[("project", "string", "Project."), POSITION, LIMIT]]),
            ]
            .concat(),
            json_answer("The session.", &shown),
            &["400", "404"],
        ),
    ]
}

/// Schemas.
pub(super) fn shapes() -> Vec<(&'static str, Value)> {
    let (seq, actor, digest) = (shape("Seq"), shape("Actor"), shape("Digest"));
    vec![(
        "AuditSession",
        object(&[
            ("id", string()),
            ("project", string()),
            ("actor", actor.clone()),
            ("owner?", actor),
            ("tokenSha?", digest),
            ("from", moment()),
            ("to", moment()),
            ("first", seq.clone()),
            ("last", seq),
            ("calls", number()),
            ("lists", number()),
            ("refusals", number()),
            ("servers", many(&string())),
            ("ended", json!({ "enum": ["open", "closed", "cut", "idle"] })),
            ("partial?", boolean()),
        ]),
    )]
}
