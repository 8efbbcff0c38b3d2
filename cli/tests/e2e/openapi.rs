//! Schemathesis over the OpenAPI document, as nobody, a person, a token and the administrator: no 5xx, answers as they are
//! documented, and none that disagrees with the access function. `MCPCTL_EXAMPLES` says how many per operation.
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::support::parts::parts;
use crate::support::process::run;
use crate::support::up::{Up, login};

/// Examples for each operation and caller in an ordinary run.
const EXAMPLES: u32 = 6;
/// How long one caller may take.
const LIMIT: Duration = Duration::from_secs(150);

#[test]
fn schemathesis_finds_no_answer_that_is_wrong_or_disagrees_with_the_access_function() {
    let examples = std::env::var("MCPCTL_EXAMPLES").map_or(EXAMPLES, |text| text.parse().expect("a number"));
    let limit = LIMIT * (1 + examples / 20);
    let up = Up::start();
    let admin = login(&up);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/scripts/openapi_callers.py");
    let given = json!({ "api": up.ready.api, "admin": admin, "examples": examples, "seconds": limit.as_secs() });
    let ran = run(Command::new(parts().python()).arg(script), Some(&given.to_string()), limit * 4);
    println!("{}", ran.stdout);
    assert_eq!(ran.code, Some(0), "{}", ran.said());
}
