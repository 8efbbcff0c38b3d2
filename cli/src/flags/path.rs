//! `--set PATH=VALUE`: puts a value at a path such as `healthCheck.tool` or `env[0].name` into a manifest.
use serde_json::{Map, Value};

use crate::failure::{Done, Failure};

/// Most entries that a list may be given by a path: a slip like `[999999999]` must not eat the memory.
const INDEX_MAX: usize = 1000;

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(usize),
}

/// Puts the value of one `PATH=VALUE` into the fields.
pub fn set(fields: &mut Map<String, Value>, text: &str) -> Done {
    let (path, value) = text.split_once('=').ok_or_else(|| wrong(text, "is not PATH=VALUE"))?;
    let value: Value = yaml_serde::from_str(value).map_err(|_| wrong(text, "has a value that is not YAML"))?;
    let steps = steps(path).ok_or_else(|| wrong(text, "has no path that can be read"))?;
    let mut whole = Value::Object(std::mem::take(fields));
    let result = put(&mut whole, &steps, value, text);
    if let Value::Object(map) = whole {
        *fields = map;
    }
    result
}

fn wrong(text: &str, what: &str) -> Failure {
    // The value may be a secret.
    let path = text.split('=').next().unwrap_or_default();
    Failure::usage(format!("--set {path:?} {what}"))
        .hint("write field=value, field.inner=value, list[0]=value; \\. is a dot in a name")
}

fn steps(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for part in split(path) {
        let (name, indexes) = part.split_once('[').map_or((part.as_str(), None), |(name, rest)| (name, Some(rest)));
        if name.is_empty() {
            return None;
        }
        steps.push(Step::Field(name.to_owned()));
        for index in indexes.into_iter().flat_map(|rest| rest.split('[')) {
            let index: usize = index.strip_suffix(']')?.parse().ok()?;
            steps.push(Step::Index(Some(index).filter(|index| *index < INDEX_MAX)?));
        }
    }
    Some(steps)
}

/// At dots, but not at `\.`.
fn split(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        let last = parts.last_mut().expect("there is always one");
        match c {
            '\\' => last.extend(chars.next()),
            '.' => parts.push(String::new()),
            c => last.push(c),
        }
    }
    parts
}

fn put(into: &mut Value, steps: &[Step], value: Value, text: &str) -> Done {
    let Some((step, rest)) = steps.split_first() else {
        *into = value;
        return Ok(());
    };
    match step {
        Step::Field(name) => {
            if into.is_null() {
                *into = Value::Object(Map::new());
            }
            let map = into
                .as_object_mut()
                .ok_or_else(|| wrong(text, &format!("looks for {name:?} in what has no fields")))?;
            put(map.entry(name.clone()).or_insert(Value::Null), rest, value, text)
        }
        Step::Index(index) => {
            if into.is_null() {
                *into = Value::Array(Vec::new());
            }
            let list = into
                .as_array_mut()
                .ok_or_else(|| wrong(text, &format!("looks for entry {index} in what is no list")))?;
            if list.len() <= *index {
                list.resize(index + 1, Value::Null);
            }
            put(&mut list[*index], rest, value, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn after(texts: &[&str]) -> Done<Value> {
        let mut fields = Map::new();
        texts.iter().try_for_each(|text| set(&mut fields, text))?;
        Ok(fields.into())
    }

    #[test]
    fn a_path_makes_what_is_not_there_yet() {
        let made = after(&[
            "healthCheck.tool=ping",
            "healthCheck.intervalSeconds=5",
            "tools.deny[1]=b",
            "tools.deny[0]=a",
            "env={A: 1}",
        ]);
        assert_eq!(
            made.unwrap(),
            json!({"healthCheck": {"tool": "ping", "intervalSeconds": 5}, "tools": {"deny": ["a", "b"]}, "env": {"A": 1}})
        );
        assert_eq!(after(&["tools.a\\.b.allow[0]=x=y"]).unwrap(), json!({"tools": {"a.b": {"allow": ["x=y"]}}}));
    }

    #[test]
    fn what_is_no_path_is_refused_without_repeating_the_value() {
        for bad in ["novalue", "=x", "a..b=1", "a[x]=1", "a[99999]=1", "a[0=1", "a={"] {
            assert!(after(&[bad]).is_err(), "{bad}");
        }
        let refused = after(&["a=1", "a.b=hunter2"]).unwrap_err().to_string();
        assert!(!refused.contains("hunter2") && refused.contains("no fields"), "{refused}");
    }
}
