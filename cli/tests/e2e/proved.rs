//! What was done is proved again, from the control plane and from a copy of its folder; and it can be undone.
use crate::support::up::Up;

#[test]
fn what_was_done_is_proved_undone_and_proved_again() {
    let up = Up::start();
    let ctl = |args: &[&str]| up.place.mcpctl(args);
    ctl(&["create", "server", "demo", "--command", "true"]).ok();
    ctl(&["create", "user", "ann@example.com"]).ok();
    ctl(&[
        "create",
        "rbac",
        "ann",
        "--subject",
        "User:ann@example.com",
        "--roleBindings",
        "role:edit,resource:servers",
    ])
    .ok();
    let history = ctl(&["history", "rbac/ann", "-o", "json"]).ok().json();
    let seq = history["items"][0]["seq"].to_string();
    let seen = ctl(&["revert", &seq, "--dry-run"]).ok().stdout;
    assert!(seen.contains("rbac/ann") && seen.contains("deleted") && seen.contains("ann@example.com"), "{seen}");
    let unasked = ctl(&["revert", &seq]);
    assert_eq!(unasked.code, Some(2), "{unasked:?}");
    assert!(unasked.stderr.contains("--yes"), "{unasked:?}");
    let done = ctl(&["revert", &seq, "--yes"]).ok().stdout;
    assert!(done.starts_with(&format!("reverts seq {seq}: done")), "{done}");
    assert_eq!(ctl(&["get", "rbac", "ann"]).code, Some(1));
    ctl(&["restore", "rbac/ann", "--at", &seq, "--yes"]).ok();
    assert!(ctl(&["history", "rbac/ann"]).ok().stdout.contains(&format!("reverts seq {seq}")));
    let report = ctl(&["audit", "replay"]).ok().stdout;
    assert!(report.contains("mutations: ") && report.matches("all proved").count() == 2, "{report}");
    let group = "kind: group\nname: team\n";
    let flips = up.place.mcpctl_with_input(&["simulate", "-f", "-", "--replay", "7d"], group).ok().stdout;
    assert!(flips.contains("None would be answered otherwise"), "{flips}");
    let (place, status) = up.stop();
    assert!(status.success());
    let folder = place.data().to_str().unwrap().to_owned();
    let copied = place.mcpctl(&["audit", "replay", "--data-dir", &folder, "-o", "json"]).ok().json();
    assert_eq!((&copied["mutations"]["notProved"], &copied["decisions"]["notProved"]), (&0.into(), &0.into()));
    assert!(copied["mutations"]["checked"].as_u64().unwrap() > 10, "{copied}");
    assert_eq!(place.mcpctl(&["audit", "replay", "--data-dir", "/nowhere"]).code, Some(2));
}
