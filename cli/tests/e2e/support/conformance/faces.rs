//! The suite's client scenarios: the suite is the server, and a client that we drive is checked; straight at it, or through a
//! gateway whose project has the suite's server. What the suite then sees is the gateway's upstream face.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::fixture::Era;
use crate::support::parts::parts;
use crate::support::process::run;
use crate::support::up::Up;

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/scripts/conformance_client.py");
const LIMIT: Duration = Duration::from_secs(120);
const SCENARIO_LIMIT_MS: &str = "40000";

/// A scenario and the revision that the suite's server speaks in it; none for extensions, which are on no revision's list.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub revision: Option<&'static str>,
}

/// How often each check came to each status, but for mere information and what was not looked at.
pub type Checks = BTreeMap<(String, String), usize>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    id: String,
    name: String,
    status: String,
    #[serde(default)]
    error_message: Option<String>,
}

/// Runs a scenario with a client of an era.
///
/// # Panics
/// When it can't be run to its end.
pub fn checks(scenario: Scenario, client: Era, through: Option<&Up>) -> Checks {
    let folder = tempfile::tempdir().unwrap();
    let script = parts().root().join("node_modules/@modelcontextprotocol/conformance/dist/index.js");
    let mut command = Command::new(parts().node());
    command.arg(script).args(["client", "--command", &format!("python3 {CLIENT}"), "--scenario", scenario.name]);
    command.args(scenario.revision.iter().flat_map(|revision| ["--spec-version", *revision]));
    command.args(["--timeout", SCENARIO_LIMIT_MS, "-o"]).arg(folder.path());
    command.env("ERA", if client == Era::Modern { "modern" } else { "legacy" });
    if let Some(up) = through {
        let gateway = up.endpoint_of("x").replace("/projects/x/mcp", "");
        let mcpctl = json!({"argv": [env!("CARGO_BIN_EXE_mcpctl")], "gateway": gateway});
        command.env("MCPCTL", mcpctl.to_string()).env("HOME", up.place.home());
        command.env_remove("MCPCTL_TOKEN").env("NO_COLOR", "1");
    }
    let ran = run(&mut command, None, LIMIT);
    let said = read(folder.path());
    assert!(!said.is_empty(), "{scenario:?} came to no end:\n{}", ran.said());
    said
}

fn read(folder: &Path) -> Checks {
    let mut checks = Checks::new();
    for entry in fs::read_dir(folder).unwrap() {
        let Ok(text) = fs::read_to_string(entry.unwrap().path().join("checks.json")) else { continue };
        let all: Vec<Check> = serde_json::from_str(&text).unwrap();
        for check in all.into_iter().filter(|check| !matches!(check.status.as_str(), "INFO" | "SKIPPED")) {
            let said = check.error_message.filter(|_| check.status != "SUCCESS").unwrap_or_default();
            let status = if said.is_empty() { check.status } else { format!("{}: {said}", check.status) };
            // Some ids are those of many checks.
            *checks.entry((format!("{}/{}", check.id, check.name), status)).or_default() += 1;
        }
    }
    checks
}
