//! Operations on the tools of a project: told and decided about.
use serde_json::{Value, json};

use super::access::at;
use super::parts::{ALWAYS, Operation, body, in_path, json_answer, list_of, outcome, query, refusals, shape, shared};
use super::shapes::{many, moment, number, object, text};
use crate::tools_wire::ToolState;

/// All of them.
pub(super) fn operations() -> Vec<Operation> {
    let path = |after: &str| format!("/api/v1/projects/{{name}}/tools{after}");
    vec![
        (path(""), "get", list()),
        (path("/history"), "get", history()),
        (path("/definition"), "get", definition()),
        (path("/approve"), "post", decision("approve-tools", "Lets agents of the project see definitions of tools.")),
        (
            path("/reject"),
            "post",
            decision("reject-tools", "Takes definitions of tools back, or says that they are not wanted."),
        ),
    ]
}

fn project() -> Value {
    in_path("name", "Name or uid of the project.")
}

fn named() -> Vec<Value> {
    let required = |mut parameter: Value| {
        parameter["required"] = json!(true);
        parameter
    };
    vec![
        project(),
        required(query("server", "string", "The tool's server.")),
        required(query("tool", "string", "The server's own name for the tool.")),
    ]
}

fn asking(id: &str, summary: &str, parameters: &[Value], good: Value) -> Value {
    let mut responses = json!({ "200": good });
    refusals(&mut responses, &[ALWAYS, &["404", "422"]].concat());
    json!({ "operationId": id, "tags": ["tools"], "summary": summary, "parameters": parameters, "responses": responses })
}

fn list() -> Value {
    let summary = "Tools that the project's servers were noticed to have, and whether its agents see them.";
    asking("list-tools", summary, &[project(), at()], json_answer("Tools.", &shape("ToolList")))
}

fn history() -> Value {
    let parameters = [named(), vec![at()]].concat();
    let good = json_answer("Events.", &list_of(&shape("ToolEvent")));
    asking("history-tool", "What a tool was noticed to be, and what was decided about it.", &parameters, good)
}

fn definition() -> Value {
    let mut hash = query("definition", "string", "Its hash, 64 hexadecimal digits.");
    hash["required"] = json!(true);
    let parameters = [named(), vec![hash]].concat();
    let good = json_answer("The definition.", &shape("ToolDefinition"));
    asking("definition-tool", "A definition of a tool in full, if it is kept.", &parameters, good)
}

fn decision(id: &str, summary: &str) -> Value {
    let mut responses = json!({ "200": outcome("It is done.", &shape("Done")) });
    refusals(&mut responses, &[ALWAYS, &["400", "404", "409", "413", "422"]].concat());
    let parameters = [project(), shared("dryRun"), shared("wait"), shared("requestId")];
    json!({
        "operationId": id, "tags": ["tools"], "summary": summary, "parameters": parameters, "responses": responses,
        "requestBody": body(&shape("ToolDecision")),
    })
}

/// Schemas of bodies and answers.
pub(super) fn shapes() -> Vec<(&'static str, Value)> {
    let (digest, seq, actor) = (|| shape("Digest"), || shape("Seq"), || shape("Actor"));
    let states: Vec<&str> = ToolState::ALL.iter().map(|state| state.word()).collect();
    let row = object(&[
        ("server", text()),
        ("tool", text()),
        ("state", json!({ "type": "string", "enum": states })),
        ("definition", digest()),
        ("noticed", number()),
        ("first", moment()),
        ("last", moment()),
        ("approved?", many(&digest())),
        ("rejected?", many(&digest())),
        ("by?", actor()),
        ("decidedAt?", moment()),
        ("note?", text()),
        ("confusable?", many(&text())),
        ("description?", text()),
    ]);
    let list = object(&[
        ("project", text()),
        ("policy", json!({ "type": "string", "enum": ["allow", "quarantine"] })),
        ("seq", seq()),
        ("items", many(&shape("ToolRow"))),
    ]);
    let change = object(&[("path", text()), ("old?", text()), ("new?", text())]);
    let event = object(&[
        ("seq", seq()),
        ("at", moment()),
        ("event", json!({ "type": "string", "enum": ["tool.seen", "tool.drifted", "tool.approved", "tool.rejected"] })),
        ("actor", actor()),
        ("onBehalfOf?", actor()),
        ("definition?", digest()),
        ("old?", digest()),
        ("diff?", many(&change)),
        ("note?", text()),
    ]);
    let definition = object(&[
        ("server", text()),
        ("tool", text()),
        ("definition", digest()),
        ("text?", json!({ "description": "The definition, in canonical form." })),
    ]);
    let asked = object(&[("server", text()), ("tool", text()), ("definition?", digest())]);
    let decision = object(&[("tools", many(&asked)), ("note?", text())]);
    vec![
        ("ToolRow", row),
        ("ToolList", list),
        ("ToolEvent", event),
        ("ToolDefinition", definition),
        ("ToolDecision", decision),
    ]
}
