//! What somebody at the machine does when nobody gets in any more; and what acting as a machine looks like.
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::up::Up;

#[test]
fn whoever_owns_the_data_folder_gets_back_in_while_the_control_plane_runs() {
    let up = Up::start();
    let data = up.place.data();
    let data = data.to_str().unwrap();
    let recover = |more: &[&str]| up.mcpctl(&[&["recover", "admin", "--data-dir", data], more].concat());
    let told: Value = serde_json::from_str(&recover(&["-o", "json"]).ok().stdout).unwrap();
    let (user, password) = (told["user"].as_str().unwrap(), told["password"].as_str().unwrap());
    assert_eq!((user, told["bound"].as_bool()), ("admin@localhost", Some(false)));
    let denied = up.mcpctl(&["get", "users"]).exits(1);
    assert!(denied.stderr.contains("mcpctl login"), "the old login is over: {}", denied.said());
    let login = ["login", &up.ready.api, "--user", user, "--password-stdin"];
    up.place.mcpctl_with_input(&login, &format!("{password}\n")).ok();
    let history = up.mcpctl(&["history", &format!("user/{user}"), "-o", "json"]).ok();
    assert!(
        history.stdout.contains("\"mode\": \"local\"") && history.stdout.contains("\"kind\": \"local\""),
        "{}",
        history.stdout
    );
    assert!(up.mcpctl(&["audit", "events", "-o", "json"]).ok().stdout.contains("\"recovery\""));
    // Another person, made new; in words.
    let words = recover(&["--user", "ann@example.com"]).ok();
    assert!(words.stdout.contains("administrator ann@example.com, new password (shown once): "), "{}", words.stdout);
    assert!(words.stdout.contains("all rights were given back"));
    assert!(recover(&["--user", "nonsense"]).exits(1).stderr.contains("error:"));
    let key = up.place.data().join("local/recovery.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let exposed = recover(&[]).exits(1);
    assert!(exposed.stderr.contains("chmod 600"), "{}", exposed.said());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!up.place.log().contains(password));
    let (place, status) = up.stop();
    assert!(status.success());
    let nobody = place.mcpctl(&["recover", "admin", "--data-dir", data]).exits(1);
    assert!(nobody.stderr.contains("start `mcpctl up` or `mcpd serve`"), "{}", nobody.said());
}

#[test]
fn the_last_administrator_stays_and_a_person_acts_as_a_machine_from_the_command_line() {
    let up = Up::start();
    let refused = up.mcpctl(&["delete", "user", "admin@localhost"]).exits(1);
    assert!(
        refused.stderr.contains("nobody could administer after this")
            && refused.stderr.contains("mcpctl recover admin"),
        "{}",
        refused.said()
    );
    up.apply(&[
        json!({ "kind": "serviceaccount", "name": "ci" }),
        json!({ "kind": "rbac", "name": "ci", "subjects": [{ "kind": "ServiceAccount", "name": "ci" }], "roleBindings": [{ "role": "edit", "resource": "servers" }] }),
    ]);
    let create = ["create", "server", "new", "--external-url", "https://example.com/mcp", "--as-service-account", "ci"];
    up.mcpctl(&create).ok();
    let history = up.mcpctl(&["history", "server/new"]).ok();
    assert!(history.stdout.contains("admin@localhost"), "{}", history.stdout);
    let denied = up.mcpctl(&["get", "users", "-o", "name", "--as-service-account", "ci"]).ok();
    assert!(!denied.stdout.contains("admin@localhost"), "the account sees no users: {}", denied.stdout);
    let bridge = up.mcpctl(&["mcp", "-p", "web", "--as-service-account", "ci"]).exits(2);
    assert!(bridge.stderr.contains("create mcptoken") && bridge.stdout.is_empty(), "{}", bridge.said());
    let absent = up.mcpctl(&["get", "servers", "--as-service-account", "nobody"]).exits(1);
    assert!(absent.stderr.contains("serviceaccount/nobody does not exist"), "{}", absent.said());
}
