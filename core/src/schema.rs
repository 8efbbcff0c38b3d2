//! JSON Schema of manifests: the spec's schema with `kind`, `name` and `project` in front.
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::resource::{Resource, Scope};

/// The schema of a kind's manifest, with everything inlined.
#[must_use]
pub fn manifest_schema<K: Resource>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    let mut schema = serde_json::to_value(settings.into_generator().into_root_schema_for::<K>()).unwrap_or_default();
    let spec_properties = schema["properties"].take();
    let mut properties = Map::new();
    properties.insert("kind".into(), json!({ "const": K::NAMES.singular }));
    properties.insert("name".into(), json!({ "type": "string", "description": "Name of the object." }));
    let mut required = vec![json!("kind"), json!("name")];
    if K::SCOPE == Scope::Project {
        properties.insert(
            "project".into(),
            json!({ "type": "string", "description": "Project that it lives in.", "x-mcpctl-ref": "project" }),
        );
        required.push(json!("project"));
    }
    if let Value::Object(fields) = spec_properties {
        properties.extend(fields);
    }
    properties.insert("metadata".into(), json!({ "type": "object", "readOnly": true, "description": "Identity and versions; ignored by apply, but for resourceVersion." }));
    properties.insert(
        "status".into(),
        json!({ "type": "object", "readOnly": true, "description": "What events made of it; ignored by apply." }),
    );
    if let Some(list) = schema["required"].as_array() {
        required.extend(list.iter().cloned());
    }
    schema["type"] = json!("object");
    schema["title"] = json!(K::NAMES.singular);
    schema["description"] = json!(K::SUMMARY);
    schema["properties"] = Value::Object(properties);
    schema["required"] = Value::Array(required);
    schema["additionalProperties"] = json!(false);
    schema
}
