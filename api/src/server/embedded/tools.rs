//! The tools: what each is called, says of itself, takes and answers.
use serde_json::{Map, Value, json};

use super::answers::{Asked, history, list_projects, list_servers, whoami};
use super::{questions, shapes};

/// One tool. All of them only read.
pub(super) struct Tool {
    pub(super) name: &'static str,
    title: &'static str,
    description: &'static str,
    /// Properties of its arguments, and which of them it needs.
    takes: fn() -> (Value, Value),
    /// Schema of its answer.
    gives: fn() -> Value,
    run: fn(&Asked, &Map<String, Value>) -> Result<Value, String>,
}

fn nothing() -> (Value, Value) {
    (json!({}), json!([]))
}

pub(super) fn texts() -> Value {
    json!({ "type": "array", "items": { "type": "string" } })
}

pub(super) fn object(properties: Value, required: Value) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

pub(super) fn identity() -> Value {
    object(
        json!({ "kind": { "type": "string", "enum": ["system", "user", "serviceaccount", "mcptoken"] }, "uid": { "type": "string" }, "name": { "type": "string" } }),
        json!(["kind", "uid", "name"]),
    )
}

fn rows(name: &str, row: Value) -> Value {
    object(
        json!({ name: { "type": "array", "items": row }, "seq": { "type": "integer", "description": "State of the control plane that this was answered from." } }),
        json!([name, "seq"]),
    )
}

fn me() -> Value {
    object(
        json!({
            "actor": identity(),
            "owner": identity(),
            "project": { "type": "string" },
            "groups": texts(),
            "rights": texts(),
            "expiresAt": { "type": "string", "format": "date-time" },
            "seq": { "type": "integer" },
        }),
        json!(["actor", "rights", "seq"]),
    )
}

fn server_row() -> Value {
    object(
        json!({
            "name": { "type": "string" },
            "description": { "type": "string" },
            "inThisProject": { "type": "boolean", "description": "Whether its tools are served here." },
            "may": { "type": "array", "items": { "type": "string" }, "description": "What the caller may do with it." },
        }),
        json!(["name", "inThisProject", "may"]),
    )
}

fn project_row() -> Value {
    object(
        json!({
            "name": { "type": "string" },
            "description": { "type": "string" },
            "servers": texts(),
            "current": { "type": "boolean", "description": "Whether this conversation runs in it." },
            "may": texts(),
        }),
        json!(["name", "servers", "current", "may"]),
    )
}

fn history_row() -> Value {
    object(
        json!({
            "seq": { "type": "integer" },
            "at": { "type": "string", "format": "date-time" },
            "object": { "type": "string" },
            "event": { "type": "string" },
            "actor": { "type": "string" },
            "allowedBy": { "type": "string", "description": "By which way the command was allowed, and the seqs of the grants that were used." },
            "changes": texts(),
            "access": { "type": "array", "items": { "type": "string" }, "description": "What the subject that was asked about gained (+) and lost (-) by it." },
        }),
        json!(["seq", "at", "object", "event", "actor", "allowedBy", "changes", "access"]),
    )
}

/// Every tool, in the order of the list.
pub(super) const ALL: &[Tool] = &[
    Tool {
        name: "whoami",
        title: "Who am I?",
        description: "Tells who you are to mcpctl: the identity of your token or login, its owner, its project, its rights and when it ends.",
        takes: nothing,
        gives: me,
        run: whoami,
    },
    Tool {
        name: "list_servers",
        title: "List MCP servers",
        description: "Lists the MCP servers that you may see, those of this project first, and what you may do with each.",
        takes: nothing,
        gives: || rows("servers", server_row()),
        run: list_servers,
    },
    Tool {
        name: "list_projects",
        title: "List projects",
        description: "Lists the projects that you may see, with the servers of each.",
        takes: nothing,
        gives: || rows("projects", project_row()),
        run: list_projects,
    },
    Tool {
        name: "history",
        title: "History of an object",
        description: "Tells who changed an object, when, how and by which right, the newest change last. Also for objects that were deleted.",
        takes: || {
            (
                json!({
                    "object": { "type": "string", "description": "KIND/NAME, such as server/everything or project/web; KIND/PROJECT/NAME for what lives in a project, such as mcptoken/web/ci. Without PROJECT it is this project." },
                    "at": { "type": "string", "description": "Only up to here: the seq of an event, a moment, a date, or \"2 days ago\"." },
                    "limit": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 50, "description": "Most changes: the newest." },
                }),
                json!(["object"]),
            )
        },
        gives: || rows("events", history_row()),
        run: history,
    },
    Tool {
        name: "can_i",
        title: "May I?",
        description: "Tells whether you, or somebody whom you may view, may do something, now or at a point of the past.",
        takes: shapes::asks_of_one,
        gives: shapes::explanation,
        run: questions::can_i,
    },
    Tool {
        name: "why",
        title: "Why may they?",
        description: "Tells why somebody may do something: each grant, who gave it and when; or what stands in the way.",
        takes: shapes::asks_of_one,
        gives: shapes::explanation,
        run: questions::why,
    },
    Tool {
        name: "why_not",
        title: "Why may they not?",
        description: "Tells what stands in somebody's way, and the smallest grants that are missing.",
        takes: shapes::asks_of_one,
        gives: shapes::explanation,
        run: questions::why_not,
    },
    Tool {
        name: "who_can",
        title: "Who may?",
        description: "Lists everybody who may do something, as far as you may view them, each with the way by which they may.",
        takes: shapes::asks_of_all,
        gives: shapes::able,
        run: questions::who_can,
    },
    Tool {
        name: "what_can",
        title: "What may they?",
        description: "Lists everything that you, or somebody whom you may view, may do, each with the grant that gives it.",
        takes: shapes::asks_what,
        gives: shapes::rights,
        run: questions::what_can,
    },
    Tool {
        name: "diff",
        title: "What changed between two points?",
        description: "Tells what differs between two points of the past: objects, and who gained and lost which rights by which event.",
        takes: shapes::asks_diff,
        gives: shapes::difference,
        run: questions::diff,
    },
    Tool {
        name: "review",
        title: "What should a reviewer look at?",
        description: "Lists grants that their grantor could no longer make, tokens without an end, rights that owners lost, disabled people with rights, what nobody attested, and the administrators.",
        takes: shapes::asks_review,
        gives: shapes::findings,
        run: questions::review,
    },
];

impl Tool {
    /// The tool as `tools/list` shows it.
    pub(super) fn described(&self) -> Value {
        let (properties, required) = (self.takes)();
        json!({
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": object(properties, required),
            "outputSchema": (self.gives)(),
            "annotations": { "readOnlyHint": true, "idempotentHint": true, "openWorldHint": false },
        })
    }

    /// Answers a call. What is wrong with it is said in words that the model can act on.
    pub(super) fn answer(&self, asked: &Asked, arguments: &Map<String, Value>) -> Result<Value, String> {
        let (properties, required) = (self.takes)();
        let known = |name: &str| properties.get(name).is_some();
        if let Some(unknown) = arguments.keys().find(|name| !known(name)) {
            let shown: String = unknown.chars().take(80).collect();
            return Err(format!("{} takes no argument {shown:?}", self.name));
        }
        let missing = |name: &&str| !arguments.contains_key(*name);
        match required.as_array().into_iter().flatten().filter_map(Value::as_str).find(missing) {
            Some(name) => Err(format!("{} needs the argument {name:?}", self.name)),
            None => (self.run)(asked, arguments),
        }
    }
}
