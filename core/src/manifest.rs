//! Manifests: objects as YAML or JSON documents, one or many.
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::erased::AnyBody;
use crate::ids::Seq;
use crate::kinds::Kind;
use crate::name::Name;
use crate::object::Object;
use crate::refusal::{Violation, Violations};
use crate::resource::Scope;
use crate::strict::Strict;
use crate::time::Timestamp;

/// Most documents that one input may hold.
pub const DOCUMENTS_MAX: usize = 10_000;
/// Most bytes that one input may have.
pub const INPUT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A manifest taken apart: what it is about, and its spec.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Kind.
    pub kind: Kind,
    /// Name.
    pub name: Name,
    /// Project, for kinds of that scope.
    pub project: Option<Name>,
    /// The version that the author read, when the document carries one.
    pub resource_version: Option<Seq>,
    /// The spec, normalised.
    pub body: Arc<dyn AnyBody>,
}

/// Splits YAML (of which JSON is a part) into documents. A document that is a list, or a `{items: […]}`, is its members.
///
/// # Errors
/// When it is no YAML, a document is no mapping, or there is too much of it.
pub fn documents(text: &str) -> Result<Vec<Map<String, Value>>, Violation> {
    let fail = |message: String| Violation { field: String::new(), message, hint: None };
    if text.len() > INPUT_BYTES_MAX {
        return Err(fail(format!("the input has more than {INPUT_BYTES_MAX} bytes: split it")));
    }
    let mut found = Vec::new();
    for document in yaml_serde::Deserializer::from_str(text) {
        let Strict(value) = serde::Deserialize::deserialize(document)
            .map_err(|error: yaml_serde::Error| fail(format!("not YAML: {error}")))?;
        flatten(value, &mut found).map_err(fail)?;
        if found.len() > DOCUMENTS_MAX {
            return Err(fail(format!("the input has more than {DOCUMENTS_MAX} documents: split it")));
        }
    }
    Ok(found)
}

fn flatten(value: Value, found: &mut Vec<Map<String, Value>>) -> Result<(), String> {
    match value {
        Value::Null => Ok(()),
        Value::Array(items) => items.into_iter().try_for_each(|item| flatten(item, found)),
        Value::Object(mut fields) if !fields.contains_key("kind") && fields.contains_key("items") => {
            flatten(fields.remove("items").unwrap_or_default(), found)
        }
        Value::Object(fields) => {
            found.push(fields);
            Ok(())
        }
        other => Err(format!("a document is a mapping that begins with `kind:`, not {}", shape(&other))),
    }
}

const fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// Reads one document.
///
/// # Errors
/// Names each field that can't be read.
pub fn read(mut fields: Map<String, Value>) -> Result<Manifest, Vec<Violation>> {
    let kind: Kind = take_text(&mut fields, "kind")?
        .parse()
        .map_err(|error: crate::kinds::UnknownKind| one("kind", error.to_string()))?;
    read_kind(kind, fields)
}

/// Reads one document of a known kind; `kind` may be left out.
///
/// # Errors
/// Names each field that can't be read.
pub fn read_kind(kind: Kind, mut fields: Map<String, Value>) -> Result<Manifest, Vec<Violation>> {
    if let Some(said) = fields.remove("kind") {
        let same = said.as_str().and_then(Kind::from_noun) == Some(kind);
        if !same {
            return Err(one("kind", format!("is {said}, and {kind} was expected")));
        }
    }
    let untyped = kind.untyped();
    let mut violations = Violations::default();
    let name = take_text(&mut fields, "name")?;
    let name = Name::parse(untyped.name_rule(), &name).map_err(|error| violations.add("name", error.to_string())).ok();
    let project = match (untyped.scope(), fields.remove("project")) {
        (Scope::Global, Some(_)) => {
            violations.add("project", format!("a {kind} lives in no project"));
            None
        }
        (Scope::Project, Some(Value::String(text))) => Name::parse(crate::name::NameRule::Label, &text)
            .map_err(|error| violations.add("project", error.to_string()))
            .ok(),
        (Scope::Project, Some(_)) => {
            violations.add("project", "must be a text");
            None
        }
        (_, None) => None,
    };
    let resource_version = take_version(&mut fields, &mut violations);
    fields.remove("status");
    let body = untyped.parse(fields).map_err(|errors| violations.0.extend(errors)).ok();
    match (name, body) {
        (Some(name), Some(body)) if violations.0.is_empty() => {
            Ok(Manifest { kind, name, project, resource_version, body })
        }
        _ => Err(violations.0),
    }
}

/// The version that the author read. One that can't be read is refused: the author meant to be protected by it.
fn take_version(fields: &mut Map<String, Value>, violations: &mut Violations) -> Option<Seq> {
    let metadata = fields.remove("metadata").filter(|metadata| !metadata.is_null())?;
    let Some(metadata) = metadata.as_object() else {
        violations.add("metadata", "must be a mapping");
        return None;
    };
    let stated = metadata.get("resourceVersion").filter(|version| !version.is_null())?;
    if stated.as_u64().is_none() {
        violations.add("metadata.resourceVersion", "must be a whole number, as it was read");
    }
    stated.as_u64().map(Seq)
}

fn one(field: &str, message: String) -> Vec<Violation> {
    vec![Violation { field: field.to_owned(), message, hint: None }]
}

fn take_text(fields: &mut Map<String, Value>, field: &'static str) -> Result<String, Vec<Violation>> {
    match fields.remove(field) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(one(field, format!("must be a text, not {}", shape(&other)))),
        None => Err(one(field, "is missing".to_owned())),
    }
}

/// An object as the manifest that `apply` accepts: kind, name, project, spec, and nothing else.
#[must_use]
pub fn of_object(object: &Object) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("kind".into(), object.meta.kind.names().singular.into());
    fields.insert("name".into(), object.meta.name.as_str().into());
    if let Some(project) = &object.meta.project {
        fields.insert("project".into(), project.name.as_str().into());
    }
    fields.extend(object.body.spec_fields());
    fields
}

/// An object as the API gives it: the manifest, its metadata and its status.
#[must_use]
pub fn full(object: &Object, now: Timestamp) -> Map<String, Value> {
    let mut fields = of_object(object);
    let mut metadata = serde_json::to_value(&object.meta).unwrap_or_default();
    if let Some(map) = metadata.as_object_mut() {
        for stated in ["kind", "name", "project"] {
            map.shift_remove(stated);
        }
    }
    fields.insert("metadata".into(), metadata);
    fields.insert("status".into(), object.meta.kind.untyped().status_view(object, now));
    fields
}

/// A manifest as YAML, ready to be applied.
#[must_use]
pub fn to_yaml(fields: &Map<String, Value>) -> String {
    yaml_serde::to_string(fields).expect("JSON values are always YAML")
}
