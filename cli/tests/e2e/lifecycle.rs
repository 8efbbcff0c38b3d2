//! The first start, the second, and Ctrl-C.
use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::support::http::{get, modern};
use crate::support::parts::parts;
use crate::support::up::Up;
use crate::support::wait::wait_until;

#[test]
fn a_second_start_finds_everything_again_and_ctrl_c_leaves_nothing_behind() {
    let up = Up::start();
    let token = up.token().to_owned();
    up.apply(&[
        json!({"kind": "server", "name": "time", "command": parts().time()}),
        json!({"kind": "project", "name": up.ready.project, "servers": ["mcpctl", "time"]}),
    ]);
    let tools = |up: &Up| modern(&up.ready.endpoint, &token, "tools/list", json!({})).unwrap().body;
    assert!(tools(&up).contains("get_current_time") && tools(&up).contains("whoami"), "{}", tools(&up));
    let children = descendants(up.pid());
    assert!(!children.is_empty(), "the STDIO server is not a child of `up`");
    let (place, status) = up.stop();
    assert!(status.success(), "{status}\n{}", place.log());
    wait_until("no child outlives `up`", Duration::from_secs(5), || {
        children.iter().all(|pid| !fs::exists(format!("/proc/{pid}")).unwrap()).then_some(())
    });
    assert!(!place.log().contains(&token), "the log holds the token");
    let again = Up::start_in(place);
    assert!(
        again.ready.token.is_none() || again.ready.token.as_deref() == Some(&token),
        "a second start makes no new token"
    );
    assert!(tools(&again).contains("get_current_time"), "{}", tools(&again));
    assert_eq!(get(&format!("{}/healthz", again.ready.api), None).unwrap().status, 200);
}

#[test]
fn up_keeps_what_it_writes_to_its_owner() {
    use std::os::unix::fs::MetadataExt;
    let up = Up::start();
    for secret in ["credentials", "config"] {
        let file = up.place.home().join(".mcpctl").join(secret);
        if let Ok(facts) = fs::metadata(&file) {
            assert_eq!(facts.mode() & 0o077, 0, "others can read {}", file.display());
        }
    }
    let log = fs::metadata(up.place.data()).unwrap();
    assert_eq!(log.mode() & 0o077, 0, "others can read the data folder");
}

/// Every process below another one.
fn descendants(pid: u32) -> Vec<u32> {
    let parent_of = |process: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    let all =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let children: Vec<u32> = all.filter(|process| parent_of(*process) == Some(pid)).collect();
    children.iter().copied().chain(children.iter().flat_map(|child| descendants(*child))).collect()
}
