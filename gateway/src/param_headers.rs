//! `Mcp-Param-*`: arguments of a tool that travel as headers too, where its schema says so (2026-07-28, Streamable HTTP,
//! custom headers from tool parameters). Checked here for a legacy server, which can't; made here for a modern server whose
//! client could not.
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::json::Members;
use crate::modern::from_sentinel;

const ANNOTATION: &str = "x-mcp-header";
const PREFIX: &str = "mcp-param-";
/// Deepest property that is looked for.
const DEPTH_MAX: usize = 16;
/// Annotated properties of one tool.
const ANNOTATED_MAX: usize = 64;

/// A property that travels as a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Annotated {
    /// Name of the header, in lower case.
    header: String,
    /// Where the argument is.
    path: Vec<String>,
    /// It is a `number`, which the specification does not let travel.
    number: bool,
}

/// Annotated tools of a server, by name. `None`: the annotations break a rule, and nobody may call the tool as a modern client.
pub(crate) type AnnotatedTools = HashMap<Box<str>, Option<Vec<Annotated>>>;

/// The annotated properties of a tool as it was listed; `None` when the definition breaks a rule of annotations.
pub(crate) fn of_tool(tool: &Members<'_>) -> Option<Vec<Annotated>> {
    let mut found = Vec::new();
    let Some(schema) = tool.get("inputSchema").filter(|raw| raw.get().contains(ANNOTATION)) else { return Some(found) };
    let Ok(Value::Object(schema)) = serde_json::from_str(schema.get()) else { return Some(found) };
    collect(&schema, &mut Vec::new(), &mut found).then_some(found)
}

/// Whether a client of the modern era may call a tool with these annotations.
pub(crate) fn usable(annotated: Option<&Vec<Annotated>>) -> bool {
    annotated.is_some_and(|all| all.iter().all(|one| !one.number))
}

/// Only what is reached through `properties` counts: nobody can say which branch of a composition holds.
fn collect(schema: &Map<String, Value>, path: &mut Vec<String>, found: &mut Vec<Annotated>) -> bool {
    let Some(Value::Object(properties)) = schema.get("properties") else { return true };
    if path.len() == DEPTH_MAX {
        return true;
    }
    for (name, property) in properties {
        let Value::Object(property) = property else { continue };
        path.push(name.clone());
        if let Some(annotation) = property.get(ANNOTATION) {
            let Some(header) = annotation.as_str().filter(|name| is_token(name)) else { return false };
            let header = format!("{PREFIX}{}", header.to_ascii_lowercase());
            let twice = found.iter().any(|one| one.header == header);
            if twice || !is_primitive(property) || found.len() == ANNOTATED_MAX {
                return false;
            }
            let number = property.get("type").and_then(Value::as_str) == Some("number");
            found.push(Annotated { header, path: path.clone(), number });
        }
        if !collect(property, path, found) {
            return false;
        }
        path.pop();
    }
    true
}

fn is_primitive(property: &Map<String, Value>) -> bool {
    property.get("type").and_then(Value::as_str).is_some_and(|kind| {
        // The published schema has no `number`; the conformance suite annotates one all the same.
        matches!(kind, "string" | "integer" | "boolean" | "number")
    })
}

fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Whether headers and arguments agree. `Err` says which header does not.
pub(crate) fn check(
    annotated: &[Annotated],
    headers: &[(String, String)],
    arguments: Option<&RawValue>,
) -> Result<(), String> {
    let arguments = arguments.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(Value::Null);
    for one in annotated {
        let mut given = headers.iter().filter(|(name, _)| *name == one.header).map(|(_, value)| value.trim());
        let (first, second) = (given.next(), given.next());
        let agree = match (one.argument(&arguments), first) {
            (_, Some(_)) if second.is_some() => false,
            (None, None) => true,
            // Somebody on the way may have gone by the header, and the server goes by the argument.
            (None, Some(_)) | (Some(_), None) => false,
            (Some(argument), Some(given)) => says(given, argument),
        };
        if !agree {
            return Err(one.header.clone());
        }
    }
    Ok(())
}

/// The headers that a client would have sent with these arguments.
pub(crate) fn make(annotated: &[Annotated], arguments: Option<&RawValue>) -> Vec<(String, String)> {
    let arguments = arguments.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(Value::Null);
    let header = |one: &Annotated| Some((one.header.clone(), encoded(&text(one.argument(&arguments)?)?)));
    annotated.iter().filter_map(header).collect()
}

impl Annotated {
    /// The argument, if it is given.
    fn argument<'a>(&self, arguments: &'a Value) -> Option<&'a Value> {
        self.path.iter().try_fold(arguments, |value, name| value.get(name)).filter(|value| !value.is_null())
    }
}

fn says(given: &str, argument: &Value) -> bool {
    let decoded = match from_sentinel(given) {
        None => given.to_owned(),
        Some(Some(text)) => text,
        Some(None) => return false,
    };
    match argument {
        // Numbers agree when they are the same number: 42 and 42.0 do.
        Value::Number(number) => decoded == number.to_string() || decoded.parse::<f64>().ok() == number.as_f64(),
        other => text(other).as_deref() == Some(decoded.as_str()),
    }
}

fn text(argument: &Value) -> Option<String> {
    match argument {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A text as a header value: as it is where that is safe, else in base64.
fn encoded(text: &str) -> String {
    let safe = text.bytes().all(|b| b == b'\t' || (0x20..=0x7e).contains(&b)) && text.trim() == text;
    if safe && from_sentinel(text).is_none() {
        text.to_owned()
    } else {
        format!("=?base64?{}?=", STANDARD.encode(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::raw;

    fn annotated(properties: &str) -> Vec<Annotated> {
        let tool = raw(format!(r#"{{"name":"t","inputSchema":{{"type":"object","properties":{properties}}}}}"#));
        of_tool(&Members::of(&tool)).unwrap_or_default()
    }

    fn checked(headers: &[(&str, &str)], arguments: &str) -> bool {
        let annotated = annotated(
            r#"{"region":{"type":"string","x-mcp-header":"Region"},"deep":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"}}}}"#,
        );
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        check(&annotated, &headers, Some(&raw(arguments.into()))).is_ok()
    }

    #[test]
    fn headers_and_arguments_must_say_the_same() {
        let region = r#"{"region":"Hello"}"#;
        assert!(checked(&[("mcp-param-region", "Hello")], region));
        assert!(checked(&[("mcp-param-region", "=?base64?SGVsbG8=?=")], region));
        assert!(checked(&[("mcp-param-region", "=?base64?SGVsbG8=")], r#"{"region":"=?base64?SGVsbG8="}"#));
        assert!(checked(&[], r#"{"region":null}"#) && checked(&[], "{}"));
        assert!(checked(&[("mcp-param-n", "42.0")], r#"{"deep":{"n":42}}"#));
        for (headers, arguments) in [
            (&[][..], region),
            (&[("mcp-param-region", "hello")], region),
            (&[("mcp-param-region", "=?base64?SGVsbG8?=")], region),
            (&[("mcp-param-region", "Hello"), ("mcp-param-region", "Hello")], region),
            (&[("mcp-param-region", "Hello")], "{}"),
            (&[("mcp-param-n", "41")], r#"{"deep":{"n":42}}"#),
        ] {
            assert!(!checked(headers, arguments), "{headers:?} {arguments}");
        }
    }

    #[test]
    fn annotations_that_break_a_rule_do_not_count() {
        for properties in [
            r#"{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}"#,
            r#"{"a":{"type":"object","x-mcp-header":"A"}}"#,
            r#"{"a":{"type":"string","x-mcp-header":"no token"}}"#,
            r#"{"a":{"type":"string","x-mcp-header":""}}"#,
            r#"{"a":{"anyOf":[{"type":"string","x-mcp-header":"A"}]}}"#,
        ] {
            assert_eq!(annotated(properties), [], "{properties}");
        }
    }

    #[test]
    fn a_tool_whose_annotations_break_a_rule_is_told_from_one_that_has_none() {
        let usable_with = |annotation: &str| {
            let properties = format!(r#"{{"a":{{"type":"string"{annotation}}}}}"#);
            let tool = raw(format!(r#"{{"name":"t","inputSchema":{{"type":"object","properties":{properties}}}}}"#));
            usable(of_tool(&Members::of(&tool)).as_ref())
        };
        assert!(usable_with("") && usable_with(r#","x-mcp-header":"A""#));
        assert!(!usable_with(r#","x-mcp-header":"A b""#) && !usable_with(r#","x-mcp-header":"Région""#));
        let tool = raw(r#"{"inputSchema":{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}}"#.into());
        let number = of_tool(&Members::of(&tool));
        assert!(number.as_ref().is_some_and(|all| all.len() == 1) && !usable(number.as_ref()));
    }

    #[test]
    fn what_is_made_agrees_with_what_is_checked() {
        let annotated = annotated(
            r#"{"s":{"type":"string","x-mcp-header":"S"},"b":{"type":"boolean","x-mcp-header":"B"},"n":{"type":"integer","x-mcp-header":"N"}}"#,
        );
        for text in ["plain", "", " padded ", "Grüße, 世界", "=?base64?x?=", "line\nbreak"] {
            let arguments = raw(serde_json::json!({"s": text, "b": true, "n": 7}).to_string());
            let made = make(&annotated, Some(&arguments));
            assert_eq!(made.len(), 3);
            assert!(made.iter().all(|(_, value)| value.is_ascii() && !value.contains('\n')), "{made:?}");
            assert_eq!(check(&annotated, &made, Some(&arguments)), Ok(()), "{text:?}");
        }
        assert_eq!(make(&annotated, None), []);
    }
}
