//! The README's five minutes, walked as they are written.
use std::process::Command;

use crate::support::parts::parts;
use crate::support::tour::walk;
use crate::support::up::Up;

#[test]
fn the_five_minutes_of_the_readme_do_what_the_readme_says() {
    let up = Up::start();
    let bin = up.place.path("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mcpctl"), bin.join("mcpctl")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    // In the folder of the parts `npx` finds the pinned server, and fetches nothing.
    shell.current_dir(parts().root()).env("PATH", path).env("HOME", up.place.home()).env("NO_COLOR", "1");
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
