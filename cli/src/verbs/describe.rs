//! `mcpctl describe`: everything about one object. Nothing in here knows a kind.
use mcpctl_api::client::Target;
use mcpctl_api::wire::HistoryItem;
use mcpctl_core::kinds::Kind;
use serde_json::{Map, Value};

use super::InProject;
use super::history::events;
use crate::failure::{Done, Failure};
use crate::noun::{Named, Noun, target};
use crate::session::{Global, Session};
use crate::{completion, manifests, out};

/// Most events that are shown; `mcpctl history` has all.
const EVENTS_SHOWN: usize = 10;

/// Shows everything about an object: fields, state, who uses it, what happened to it
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl describe server everything
  mcpctl describe mcptoken ci -p web
  mcpctl describe secret ha-token --show-values")]
pub struct Describe {
    /// Kind and name, or KIND/NAME
    #[arg(required = true, value_name = "KIND NAME", add = completion::objects())]
    words: Vec<String>,
    #[command(flatten)]
    project: InProject,
    /// Shows the values of a secret, to those who may see them; the look is recorded
    #[arg(long)]
    show_values: bool,
}

impl Describe {
    pub async fn run(self, global: &Global) -> Done {
        let all = Named::parse(&self.words)?;
        if all.iter().all(|named| named.names.is_empty()) {
            return Err(Failure::usage("no name is given").hint("KIND NAME, or KIND/NAME"));
        }
        let session = global.session()?;
        let mut texts = Vec::new();
        for named in all {
            for name in &named.names {
                texts.push(match named.noun {
                    Noun::Kind(kind) => {
                        self.object(&session, &target(&session, kind, name, self.project.name())?).await?
                    }
                    Noun::Instance => instance(&session, name).await?,
                });
            }
        }
        out::print(&texts.join("\n"))
    }

    async fn object(&self, session: &Session, target: &Target) -> Done<String> {
        let mut full = session.client.get(target).await?;
        if self.show_values {
            if target.kind != Kind::Secret {
                return Err(Failure::usage("--show-values is for secrets").hint("leave it out"));
            }
            full.insert("data".into(), session.client.secret_values(&target.name).await?.into());
        } else {
            mask(target.kind, &mut full);
        }
        let mut text = tree(&full);
        // Whoever may view an object need not be allowed to see its past.
        if let Ok(history) = session.client.history(target).await {
            text.push_str(&recent(&history.items));
        }
        Ok(text)
    }
}

/// What is write-only is not given back; that it is there is worth a line.
fn mask(kind: Kind, full: &mut Map<String, Value>) {
    for name in manifests::write_only(kind, full) {
        full.insert(name, "<hidden>".into());
    }
}

async fn instance(session: &Session, name: &str) -> Done<String> {
    let all = session.client.instances(None).await?.items;
    match all.iter().find(|instance| instance.name == name) {
        Some(found) => Ok(tree(serde_json::to_value(found).unwrap_or_default().as_object().unwrap_or(&Map::new()))),
        None => {
            let known: Vec<&str> = all.iter().map(|instance| instance.name.as_str()).collect();
            Err(crate::noun::unknown("instance", name, &known))
        }
    }
}

fn recent(items: &[HistoryItem]) -> String {
    let shown = &items[items.len().saturating_sub(EVENTS_SHOWN)..];
    if shown.is_empty() { String::new() } else { format!("Events:\n{}", events(shown).render_with("  ")) }
}

/// Fields as lines: scalars beside their label, everything deeper below it.
fn tree(fields: &Map<String, Value>) -> String {
    let mut text = String::new();
    lines(fields, 0, &mut text);
    out::clean(&text)
}

fn lines(fields: &Map<String, Value>, depth: usize, text: &mut String) {
    let fields: Vec<(String, &Value)> =
        fields.iter().filter(|(_, value)| !is_empty(value)).map(|(name, value)| (label(name, depth), value)).collect();
    let beside = fields.iter().filter(|(_, value)| scalar(value).is_some()).map(|(label, _)| label.chars().count());
    let width = beside.max().unwrap_or(0) + 1;
    let indent = "  ".repeat(depth);
    for (label, value) in fields {
        match (scalar(value), value) {
            (Some(one), _) if one.contains('\n') => {
                text.push_str(&format!("{indent}{label}:\n"));
                one.lines().for_each(|line| text.push_str(&format!("{indent}  {line}\n")));
            }
            (Some(one), _) => text.push_str(&format!("{indent}{:width$}  {one}\n", format!("{label}:"))),
            (None, Value::Object(inner)) => {
                text.push_str(&format!("{indent}{label}:\n"));
                lines(inner, depth + 1, text);
            }
            (None, Value::Array(items)) => {
                text.push_str(&format!("{indent}{label}:\n"));
                items.iter().for_each(|item| text.push_str(&format!("{indent}  - {}\n", on_one_line(item))));
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

/// What fits beside its label: scalars, short lists of words, identities.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            words.iter().all(|word| !word.contains(['\n', ','])).then(|| words.join(", "))
        }
        Value::Object(fields) => actor(fields),
        _ => None,
    }
}

/// Who did something, as events name them: `user:alice@example.com`.
fn actor(fields: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let only_these = fields.keys().all(|name| matches!(name.as_str(), "kind" | "uid" | "name"));
    Some(format!("{}:{}", text("kind")?, text("name")?)).filter(|_| only_these)
}

fn on_one_line(value: &Value) -> String {
    match (scalar(value), value) {
        (Some(text), _) => text,
        (None, Value::Object(fields)) => {
            fields.iter().map(|(name, value)| format!("{name}={}", on_one_line(value))).collect::<Vec<_>>().join(" ")
        }
        (None, other) => other.to_string(),
    }
}

/// `externalUrl` reads as `External URL`. What lies deeper are often names that people chose: those stay.
fn label(name: &str, depth: usize) -> String {
    if depth > 1 || name.contains(|c: char| !c.is_ascii_alphanumeric()) {
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
            "description": "two\nlines\u{1b}[31m",
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
Description:
  two
  lines [31m
";
        assert_eq!(tree(object.as_object().unwrap()), expected);
    }

    #[test]
    fn nothing_that_is_write_only_is_shown() {
        let mut full = json!({"kind": "secret", "name": "s", "data": {"k": "hunter2"}}).as_object().unwrap().clone();
        mask(Kind::Secret, &mut full);
        assert!(!tree(&full).contains("hunter2"));
    }
}
