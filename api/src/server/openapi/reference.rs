//! The reference of kinds for people, from the same schemas as everything else.
use std::fmt::Write as _;

use mcpctl_core::kinds::Kind;
use mcpctl_core::resource::Scope;
use serde_json::Value;

/// `docs/reference/kinds.md`.
pub(super) fn kinds() -> String {
    let mut page = "# Kinds\n\nGenerated from the code (`MCPCTL_REGENERATE=1`): do not edit. The same as JSON Schema: `schemas/<kind>.json`.\n\nKinds are listed in the order in which `apply` takes them. `metadata` and `status` are printed by `get` and ignored by `apply`,\nbut for `metadata.resourceVersion`.\n".to_owned();
    Kind::ALL.iter().for_each(|kind| one(*kind, &mut page));
    page
}

fn one(kind: Kind, page: &mut String) {
    let (untyped, names) = (kind.untyped(), kind.names());
    let other: Vec<&str> = [names.plural].into_iter().chain(names.short.iter().copied()).collect();
    let scope = match kind.scope() {
        Scope::Global => "in the whole control plane",
        Scope::Project => "in its project",
    };
    let _ = write!(page, "\n## {}\n\n{}\n\n", names.singular, untyped.summary());
    let _ = writeln!(page, "- Also called: {}", code(&other));
    let _ = writeln!(page, "- Its name is unique {scope}");
    if untyped.immutable() {
        let _ = writeln!(page, "- Can't be changed once it is there");
    }
    let _ = writeln!(page, "- Columns of `get`: {}", code(&untyped.columns()));
    let _ = writeln!(page, "- Events: {}", code(&untyped.events()));
    let _ = write!(page, "\n```yaml\n{}```\n\n| field | type | what it is |\n|---|---|---|\n", untyped.example());
    let schema = untyped.schema();
    fields("", &schema, page);
}

fn code(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn fields(prefix: &str, schema: &Value, page: &mut String) {
    let required = |name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name));
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        if field["readOnly"] == true {
            continue;
        }
        let path = format!("{prefix}{name}");
        let must = if required(name) { " (required)" } else { "" };
        let said = field["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(page, "| `{path}`{must} | {} | {said} |", type_of(field));
        if path.matches('.').count() < 4 {
            fields(&format!("{path}."), field, page);
            fields(&format!("{path}[]."), &field["items"], page);
            fields(&format!("{path}.*."), &field["additionalProperties"], page);
            field["anyOf"].as_array().into_iter().flatten().for_each(|other| fields(&format!("{path}."), other, page));
        }
    }
}

fn type_of(field: &Value) -> String {
    if let Some(values) = field["enum"].as_array() {
        return values
            .iter()
            .map(|value| format!("`{}`", value.as_str().unwrap_or("null")))
            .collect::<Vec<_>>()
            .join(", ");
    }
    if let Some(value) = field["const"].as_str() {
        return format!("`{value}`");
    }
    for several in ["oneOf", "anyOf"] {
        if let Some(others) = field[several].as_array() {
            let mut kinds: Vec<String> = others.iter().map(type_of).filter(|kind| kind != "null").collect();
            kinds.dedup();
            return kinds.join(", ");
        }
    }
    match &field["type"] {
        Value::String(kind) if kind == "array" => format!("list of {}", type_of(&field["items"])),
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect::<Vec<_>>().join(", ")
        }
        _ => "any".to_owned(),
    }
}
