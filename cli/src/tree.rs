//! Any object as labels and values for people to read.
use serde_json::{Map, Value};

use crate::out;

/// How names of fields are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Labels {
    /// `External URL`: names that the system chose.
    Words,
    /// As they are: people may have chosen them, and have to find them again.
    AsTheyAre,
}

/// Fields as lines: what is short beside its label, everything deeper below it.
pub fn tree(fields: &Map<String, Value>) -> String {
    let mut text = String::new();
    lines(fields, Labels::Words, "", &mut text);
    out::clean(&text)
}

fn lines(fields: &Map<String, Value>, labels: Labels, indent: &str, text: &mut String) {
    let shown: Vec<(&String, &Value)> = fields.iter().filter(|(_, value)| !is_empty(value)).collect();
    let beside = shown.iter().filter(|(_, value)| short(value).is_some());
    let width = beside.map(|(name, _)| label(name, labels).chars().count()).max().unwrap_or(0) + 1;
    let deeper = format!("{indent}  ");
    for (name, value) in shown {
        let label = format!("{}:", label(name, labels));
        match (short(value), value) {
            (Some(one), _) if !one.contains('\n') => text.push_str(&format!("{indent}{label:width$}  {one}\n")),
            (Some(several), _) => {
                text.push_str(&format!("{indent}{label}\n"));
                several.lines().for_each(|line| text.push_str(&format!("{deeper}{line}\n")));
            }
            (None, Value::Object(inner)) => {
                text.push_str(&format!("{indent}{label}\n"));
                let chosen_by_the_system = labels == Labels::Words && matches!(name.as_str(), "metadata" | "status");
                lines(inner, if chosen_by_the_system { Labels::Words } else { Labels::AsTheyAre }, &deeper, text);
            }
            (None, Value::Array(items)) => {
                text.push_str(&format!("{indent}{label}\n"));
                items.iter().for_each(|item| text.push_str(&format!("{deeper}- {}\n", on_one_line(item))));
            }
            (None, _) => {}
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// What fits beside its label: scalars, lists of words, identities.
fn short(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(items) => {
            let words: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            words.filter(|words| words.iter().all(|word| !word.contains(['\n', ',']))).map(|words| words.join(", "))
        }
        Value::Object(fields) => actor(fields),
        Value::Null => None,
    }
}

/// Who did something, as events name them: `user:alice@example.com`.
fn actor(fields: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let only_these = fields.keys().all(|name| matches!(name.as_str(), "kind" | "uid" | "name"));
    Some(format!("{}:{}", text("kind")?, text("name")?)).filter(|_| only_these)
}

fn on_one_line(value: &Value) -> String {
    match (short(value), value) {
        (Some(text), _) => text.replace('\n', " "),
        (None, Value::Object(fields)) => {
            fields.iter().map(|(name, value)| format!("{name}={}", on_one_line(value))).collect::<Vec<_>>().join(" ")
        }
        (None, other) => other.to_string(),
    }
}

fn label(name: &str, labels: Labels) -> String {
    if labels == Labels::AsTheyAre {
        return name.to_owned();
    }
    let mut words = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    let known = |word: &str| match word {
        "url" | "uid" | "ttl" | "llm" | "pid" => word.to_ascii_uppercase(),
        _ => word.to_owned(),
    };
    let words = words.split(' ').map(known).collect::<Vec<_>>().join(" ");
    let mut chars = words.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_reads_as_labels_and_values() {
        let object = json!({
            "kind": "server", "name": "x", "externalUrl": "http://h", "command": ["npx", "-y"], "env": [{"name": "A", "value": "1"}],
            "metadata": {"resourceVersion": 7, "createdBy": {"kind": "user", "uid": "01", "name": "a@b.c"}}, "status": {},
            "data": {"apiKey": "<hidden>"}, "description": "two\nlines\u{1b}[31m",
        });
        let expected = "\
Kind:          server
Name:          x
External URL:  http://h
Command:       npx, -y
Env:
  - name=A value=1
Metadata:
  Resource version:  7
  Created by:        user:a@b.c
Data:
  apiKey:  <hidden>
Description:
  two
  lines [31m
";
        assert_eq!(tree(object.as_object().unwrap()), expected);
    }
}
