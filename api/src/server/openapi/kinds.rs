//! Operations of every kind: a loop over `Kind::ALL`, as the router's.
use mcpctl_core::kinds::Kind;
use mcpctl_core::resource::Scope;
use serde_json::{Value, json};

use super::parts::{ALWAYS, Operation, body, in_path, json_answer, list_of, outcome, query, refusals, shape, shared};

/// Where the operations of a kind are.
struct Place {
    kind: Kind,
    base: String,
    object: &'static str,
    in_project: bool,
}

/// Operations of all kinds.
pub(super) fn operations() -> Vec<Operation> {
    Kind::ALL.iter().flat_map(|kind| places(*kind)).flat_map(|place| place.operations()).collect()
}

fn places(kind: Kind) -> Vec<Place> {
    let plural = kind.names().plural;
    let global = Place { kind, base: format!("/api/v1/{plural}"), object: "name", in_project: false };
    match kind.scope() {
        Scope::Global => vec![global],
        Scope::Project => {
            let base = format!("/api/v1/projects/{{name}}/{plural}");
            vec![global, Place { kind, base, object: "object", in_project: true }]
        }
    }
}

impl Place {
    fn operations(&self) -> Vec<Operation> {
        let singular = self.kind.names().singular;
        let (base, one) = (self.base.clone(), format!("{}/{{{}}}", self.base, self.object));
        let manifest = shape(singular);
        let mut all = vec![
            (base.clone(), "get", self.list(&manifest)),
            (
                base,
                "post",
                self.mutation("create", &format!("Creates a {singular}."), &["201"], &["400", "409", "413", "422"]),
            ),
            (one.clone(), "get", self.read(&manifest)),
            (
                one.clone(),
                "put",
                self.mutation(
                    "apply",
                    &format!("Makes a {singular} what the manifest says."),
                    &["200", "201"],
                    &["400", "404", "409", "413", "422"],
                ),
            ),
            (one.clone(), "delete", self.delete()),
            (format!("{one}/history"), "get", self.history()),
            (format!("{one}/restore"), "post", self.restore()),
        ];
        if self.kind == Kind::McpToken {
            all.push((format!("{one}/revoke"), "post", self.revoke()));
        }
        if self.kind == Kind::Rbac {
            all.push((format!("{one}/attest"), "post", self.attest()));
        }
        all
    }

    fn attest(&self) -> Value {
        let mut operation = self.operation("attest", "Says that what an rbac gives is still right, as an event.", true);
        [shared("dryRun"), shared("requestId")].into_iter().for_each(|p| push(&mut operation, p));
        let note = json!({ "type": ["string", "null"], "maxLength": 2000, "description": "What was checked." });
        let fields = json!({ "type": "object", "properties": { "note": note }, "additionalProperties": false });
        operation["requestBody"] = json!({ "content": { "application/json": { "schema": fields } } });
        operation["responses"]["200"] = outcome("It is in the log.", &shape("Done"));
        refusals(&mut operation["responses"], &[ALWAYS, &["400", "404", "413", "422"]].concat());
        operation
    }

    fn operation(&self, verb: &str, summary: &str, of_one: bool) -> Value {
        let singular = self.kind.names().singular;
        let mut parameters = Vec::new();
        match (self.in_project, self.kind.scope()) {
            (true, _) => parameters.push(in_path("name", "Name of the project.")),
            (false, Scope::Project) => parameters.push(shared("project")),
            (false, Scope::Global) => {}
        }
        if of_one {
            parameters.push(in_path(self.object, &format!("Name or uid of the {singular}.")));
        }
        parameters.push(shared("atLeast"));
        let place = if self.in_project { "InProject" } else { "" };
        json!({
            "operationId": format!("{verb}-{singular}{place}"),
            "summary": summary,
            "tags": [self.kind.names().plural],
            "parameters": parameters,
            "responses": {},
        })
    }

    fn list(&self, manifest: &Value) -> Value {
        let summary = format!("Lists the {} that the caller may view.", self.kind.names().plural);
        let mut operation = self.operation("list", &summary, false);
        push(&mut operation, query("view", "string", "`table` answers rows of cells, as `mcpctl get` prints them."));
        push(&mut operation, super::access::at());
        operation["responses"]["200"] = json_answer("Full manifests.", &list_of(manifest));
        refusals(&mut operation["responses"], &[ALWAYS, &["404", "422"]].concat());
        operation
    }

    fn read(&self, manifest: &Value) -> Value {
        let mut operation = self.operation("get", &format!("Reads a {}.", self.kind.names().singular), true);
        push(&mut operation, super::access::at());
        operation["responses"]["200"] = json_answer("The full manifest.", manifest);
        refusals(&mut operation["responses"], &[ALWAYS, &["400", "404", "422"]].concat());
        operation
    }

    fn mutation(&self, verb: &str, summary: &str, good: &[&str], bad: &[&str]) -> Value {
        let mut operation = self.operation(verb, summary, verb == "apply");
        [shared("dryRun"), shared("requestId"), shared("ifMatch")].into_iter().for_each(|p| push(&mut operation, p));
        let manifest = shape(self.kind.names().singular);
        operation["requestBody"] = body(&manifest);
        let answer = if self.kind == Kind::McpToken {
            let token = json!({ "type": "string", "description": "The token, when it was made just now: shown once." });
            json!({ "type": "object", "description": "The full manifest.", "properties": { "token": token } })
        } else {
            manifest
        };
        for status in good {
            operation["responses"][*status] = outcome("The full manifest.", &answer);
        }
        refusals(&mut operation["responses"], &[ALWAYS, bad].concat());
        operation
    }

    fn delete(&self) -> Value {
        let mut operation = self.operation("delete", &format!("Deletes a {}.", self.kind.names().singular), true);
        let parameters = [shared("dryRun"), shared("wait"), shared("requestId"), shared("ifMatch")];
        parameters.into_iter().for_each(|p| push(&mut operation, p));
        operation["responses"]["200"] = outcome("It is gone.", &shape("Done"));
        refusals(&mut operation["responses"], &[ALWAYS, &["404", "409", "422"]].concat());
        operation
    }

    fn history(&self) -> Value {
        let summary = format!("Events of a {}, also of a deleted one, the newest last.", self.kind.names().singular);
        let mut operation = self.operation("history", &summary, true);
        push(&mut operation, super::access::at());
        operation["responses"]["200"] = json_answer("Events.", &list_of(&shape("HistoryItem")));
        refusals(&mut operation["responses"], &[ALWAYS, &["404", "422"]].concat());
        operation
    }

    fn restore(&self) -> Value {
        let summary = format!("Brings a {} back to what it was, by new events.", self.kind.names().singular);
        let mut operation = self.operation("restore", &summary, true);
        push(&mut operation, super::access::at());
        push(&mut operation, shared("dryRun"));
        push(&mut operation, super::past::force());
        operation["responses"]["200"] = json_answer("What it comes to.", &shape("Undoing"));
        refusals(&mut operation["responses"], &[ALWAYS, &["404", "409", "422"]].concat());
        operation
    }

    fn revoke(&self) -> Value {
        let mut operation = self.operation("revoke", "Ends a token for good.", true);
        [shared("wait"), shared("requestId")].into_iter().for_each(|p| push(&mut operation, p));
        operation["responses"]["200"] = outcome("It opens nothing any more.", &shape("Done"));
        refusals(&mut operation["responses"], &[ALWAYS, &["404", "422"]].concat());
        operation
    }
}

fn push(operation: &mut Value, parameter: Value) {
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.push(parameter);
    }
}
