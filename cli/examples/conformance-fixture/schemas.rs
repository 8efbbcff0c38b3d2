//! Tools whose input schema is the point: JSON Schema 2020-12, and parameters that travel as headers too.
use rmcp::model::{CallToolResult, Tool};
use serde_json::json;

use crate::tools::{Call, text, with_schema};

pub fn tools() -> Vec<Tool> {
    vec![json_schema_2020_12(), custom_header()]
}

pub fn call(call: &Call) -> Option<CallToolResult> {
    match call.request.name.as_ref() {
        "json_schema_2020_12_tool" => Some(text(format!("Hello, {}!", call.text("name").unwrap_or("you")))),
        "test_custom_header" => Some(text(format!("Region: {}", call.text("region").unwrap_or("none")))),
        _ => None,
    }
}

fn json_schema_2020_12() -> Tool {
    let address = json!({
        "$anchor": "addressDef",
        "type": "object",
        "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
    });
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": address},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    });
    with_schema("json_schema_2020_12_tool", "Tool with JSON Schema 2020-12 features", schema)
}

fn custom_header() -> Tool {
    let schema = json!({
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
        "required": ["region"],
    });
    with_schema("test_custom_header", "Has a parameter that travels as the header Mcp-Param-Region too", schema)
}
