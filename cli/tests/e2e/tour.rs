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
