//! The small MCP server of `scripts/small_server.py`, as a manifest.
use std::path::Path;

use serde_json::{Value, json};

/// A server that strikes the process whose number is in a file.
pub fn small_server(name: &str, victim: &Path) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/scripts/small_server.py");
    json!({"kind": "server", "name": name, "command": ["python3", script, victim]})
}
