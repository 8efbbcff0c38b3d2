//! A disk that fills and is freed, as a real one: a small tmpfs in a mount namespace, under a real control plane.
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::up::{Place, Up};
use crate::support::wait::wait_until;

/// How long something may take to become so.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs `up` with a tmpfs of 24 MiB as its data folder. Root may mount in a namespace; others in one of their own.
fn on_a_small_disk(command: &mut Command, data: &str) {
    let arguments: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
    let script = format!("mount -t tmpfs -o size=24m,mode=700 none '{data}' && exec \"$0\" \"$@\"");
    let mut inside = Command::new("unshare");
    let root = rustix::process::geteuid().is_root();
    inside.args(if root { &["--mount"][..] } else { &["--user", "--map-root-user", "--mount"] });
    inside.args(["sh", "-c", &script]).arg(command.get_program()).args(arguments);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        inside.current_dir(folder);
    }
    *command = inside;
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    wait_until(what, LIMIT, || so().then_some(()));
}

#[test]
fn a_disk_that_fills_makes_it_read_only_and_one_that_is_freed_lets_it_write_again_without_a_restart() {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    let data = place.data().to_str().unwrap().to_owned();
    let up = Up::start_with(place, |command| on_a_small_disk(command, &data));
    // The disk as the process sees it.
    let disk = PathBuf::from(format!("/proc/{}/root{data}", up.pid()));
    assert!(disk.join("log").is_dir(), "the control plane does not run on the small disk");
    let create = |name: &str| up.mcpctl(&["create", "group", name]);
    create("before").ok();
    let filler = disk.join("filler");
    let mut full = File::create(&filler).unwrap();
    let chunk = vec![7; 64 * 1024];
    while full.write_all(&chunk).is_ok() {}
    while full.write_all(&[7]).is_ok() {}
    // Space was written ahead: changes go on until that is used up, and then they are refused.
    let mut acknowledged = vec!["before".to_owned()];
    let mut refused = None;
    for n in 0..4_000 {
        let name = format!("filling-{n}");
        let note = "x".repeat(50_000);
        let tried = up.mcpctl(&["create", "group", &name, "--description", &note]);
        if tried.code != Some(0) {
            refused = Some(tried.said());
            break;
        }
        acknowledged.push(name);
    }
    let refused = refused.expect("a full disk refuses");
    assert!(refused.contains("read-only") || refused.contains("space") || refused.contains("503"), "{refused}");
    until("status says so", || up.mcpctl(&["status"]).said().contains("read-only"));
    assert!(up.mcpctl(&["get", "group", "before"]).said().contains("before"), "reads go on");
    drop(full);
    fs::remove_file(&filler).unwrap();
    until("it writes again", || create("after").code == Some(0));
    acknowledged.push("after".to_owned());
    until("status is well", || !up.mcpctl(&["status"]).said().contains("read-only"));
    let listed = up.mcpctl(&["get", "groups", "-o", "name"]).ok().stdout;
    for name in &acknowledged {
        assert!(listed.lines().any(|line| line == format!("group/{name}")), "{name} was acknowledged, and is gone");
    }
    up.mcpctl(&["log", "verify", "--deep"]).ok();
    up.mcpctl(&["log", "verify", "--log", "audit"]).ok();
}
