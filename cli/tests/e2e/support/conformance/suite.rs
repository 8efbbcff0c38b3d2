//! One run of the official suite against a URL, and its score.
use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::support::parts::parts;
use crate::support::process::run;

/// How long one run may take. A healthy one takes five seconds, one full of time-outs minutes.
const LIMIT: Duration = Duration::from_secs(400);

/// A scenario that hangs fails after this time: the suite's own limit of 30 s would make a bad run endless.
const SCENARIO_LIMIT_MS: &str = "15000";

/// What a revision of the protocol requires; the client speaks that revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// 2025-11-25: `initialize` and sessions.
    Legacy,
    /// 2026-07-28: no sessions.
    Modern,
}

impl Set {
    pub fn revision(self) -> &'static str {
        match self {
            Self::Legacy => "2025-11-25",
            Self::Modern => "2026-07-28",
        }
    }
}

/// What the suite said of a server. Everything counts that it runs for a set, extensions and pending scenarios too.
#[derive(Debug, Default)]
pub struct Score {
    pub passed: usize,
    pub failed: usize,
    /// Checks that say SHOULD.
    pub warnings: Vec<Failure>,
    pub skipped: usize,
    pub failures: Vec<Failure>,
    /// Checks that passed or failed, with their scenarios: which there are can depend on what a server answers.
    pub scored: BTreeSet<String>,
}

/// A check that did not pass.
#[derive(Debug)]
pub struct Failure {
    pub scenario: String,
    pub check: String,
    pub said: String,
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.scenario, self.check, self.said)
    }
}

impl Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.passed, self.passed + self.failed)
    }
}

/// One entry of a scenario's `checks.json`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    id: String,
    status: String,
    #[serde(default)]
    error_message: Option<String>,
}

/// Runs a set against a server.
///
/// # Panics
/// When the suite can't be run to its end.
pub fn score(url: &str, set: Set) -> Score {
    let folder = tempfile::tempdir().unwrap();
    let script = parts().root().join("node_modules/@modelcontextprotocol/conformance/dist/index.js");
    let mut command = Command::new(parts().node());
    command.arg(script).args(["server", "--url", url, "--requirements", set.revision()]);
    command.args(["--timeout", SCENARIO_LIMIT_MS, "-o"]).arg(folder.path());
    // Its exit code only says whether anything failed, which the results say better.
    let ran = run(&mut command, None, LIMIT);
    let score = read(folder.path());
    assert!(ran.stdout.contains("=== SUMMARY ==="), "the suite did not come to its end:\n{}", ran.said());
    score
}

/// Adds up the results folder: one folder for each scenario.
fn read(folder: &Path) -> Score {
    let mut score = Score::default();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(path.join("checks.json")) else { continue };
        let checks: Vec<Check> = serde_json::from_str(&text).unwrap();
        let scenario = scenario(path.file_name().and_then(|n| n.to_str()).unwrap_or_default());
        checks.into_iter().for_each(|check| score.add(scenario, check));
    }
    let order = |a: &Failure, b: &Failure| (&a.scenario, &a.check).cmp(&(&b.scenario, &b.check));
    score.failures.sort_by(order);
    score.warnings.sort_by(order);
    score
}

impl Score {
    fn add(&mut self, scenario: &str, check: Check) {
        let said = check.error_message.unwrap_or_default();
        if matches!(check.status.as_str(), "SUCCESS" | "FAILURE") {
            self.scored.insert(format!("{scenario}: {}", check.id));
        }
        let failure = Failure { scenario: scenario.to_owned(), check: check.id, said };
        match check.status.as_str() {
            "SUCCESS" => self.passed += 1,
            "FAILURE" => {
                self.failed += 1;
                self.failures.push(failure);
            }
            "WARNING" => self.warnings.push(failure),
            "SKIPPED" => self.skipped += 1,
            // "INFO" tells of requests that were sent.
            _ => {}
        }
    }

    /// # Panics
    /// With every failure, when the score is not in full.
    #[track_caller]
    pub fn in_full(&self, checks: usize) -> &Self {
        let failures: Vec<String> = self.failures.iter().map(ToString::to_string).collect();
        assert_eq!((self.passed, self.failed), (checks, 0), "passed and failed; failures:\n{}", failures.join("\n"));
        self
    }
}

/// `server-tools-list-2026-11-21T13-22-56-578Z` is the folder of `tools-list`.
fn scenario(folder: &str) -> &str {
    let name = folder.strip_prefix("server-").unwrap_or(folder);
    name.len().checked_sub("-2026-11-21T13-22-56-578Z".len()).map_or(name, |end| &name[..end])
}

#[test]
fn a_scenario_is_named_by_its_folder() {
    assert_eq!(scenario("server-server-initialize-2026-11-21T13-22-56-578Z"), "server-initialize");
}
