//! A log that convinces: verified over HTTP and on disk, proved to others, and refused for ever once it was changed.
use std::fs;

use crate::support::up::Up;

#[test]
fn a_log_is_verified_proved_and_refused_for_ever_once_it_is_another() {
    let up = Up::start();
    let first = up.mcpctl(&["log", "verify", "--deep", "-o", "json"]).ok().json();
    assert!(first["size"].as_u64().unwrap() > 0 && first["seenBefore"].is_null(), "{first}");
    let proof = up.place.path("proof.tar");
    let proof = proof.to_str().unwrap();
    up.mcpctl(&["audit", "prove", "1", "-o", proof]).ok();
    let shown = up.mcpctl(&["audit", "verify", proof]).ok();
    assert!(shown.said().contains("\"seq\": 1"), "{}", shown.said());
    up.mcpctl(&["audit", "prove", "project/default", "-o", proof]).ok();
    let mut changed = fs::read(proof).unwrap();
    let event = changed.windows(7).position(|bytes| bytes == b"default").unwrap();
    changed[event] ^= 1;
    fs::write(proof, changed).unwrap();
    up.mcpctl(&["audit", "verify", proof]).exits(1);
    // The first look at the log was audited, so that there is a call to prove.
    let call = up.place.path("call.tar");
    let call = call.to_str().unwrap();
    up.mcpctl(&["audit", "prove", "call", "1", "-o", call]).ok();
    let shown = up.mcpctl(&["audit", "verify", call]).ok();
    assert!(shown.said().contains(r#""v":2"#) && shown.said().contains("durationUs"), "{}", shown.said());
    let mut changed = fs::read(call).unwrap();
    // The last one: the page for people in front of it proves nothing.
    let details = changed.windows(10).rposition(|bytes| bytes == b"durationUs").unwrap();
    changed[details] ^= 1;
    fs::write(call, changed).unwrap();
    up.mcpctl(&["audit", "verify", call]).exits(1);
    up.mcpctl(&["audit", "prove", "call", "999999", "-o", call]).exits(1);
    up.mcpctl(&["audit", "prove", "call", "x", "-o", call]).exits(2);
    for log in ["audit", "state"] {
        let seen = up.mcpctl(&["log", "verify", "--deep", "--log", log, "-o", "json"]).ok().json();
        assert!(seen["origin"].as_str().unwrap().ends_with(log), "{seen}");
    }
    let (place, _) = up.stop();
    let data = place.data();
    let data = data.to_str().unwrap();
    place.mcpctl(&["log", "verify", "--deep", "--data-dir", data]).ok();
    place.mcpctl(&["log", "verify", "--deep", "--log", "audit", "--data-dir", data]).ok();
    place.mcpctl(&["secret", "rotate-key", "--data-dir", data]).ok();
    let out = place.path("export");
    place.mcpctl(&["log", "export", "--data-dir", data, "-o", out.to_str().unwrap()]).ok();
    assert!(out.join("checkpoint").is_file());
    let again = Up::start_in(place);
    let second = again.mcpctl(&["log", "verify", "-o", "json"]).ok().json();
    assert!(second["seenBefore"].as_u64() >= first["size"].as_u64(), "{second}");
    // The same key over another past: what whoever holds the disk could make.
    let (place, _) = again.stop();
    let key = fs::read(place.data().join("log.key")).unwrap();
    fs::rename(place.data(), place.path("genuine")).unwrap();
    fs::create_dir(place.data()).unwrap();
    fs::write(place.data().join("log.key"), key).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(place.data().join("log.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let forged = Up::start_in(place);
    for verb in [&["get", "servers"][..], &["log", "verify"], &["log", "verify"], &["status"]] {
        let refused = forged.mcpctl(verb).exits(1);
        assert!(refused.said().contains("THE LOG IS NOT THE ONE THAT WAS SEEN BEFORE"), "{}", refused.said());
    }
    // And for ever: the genuine log back in its place is refused as well, until somebody looks into it.
    let (place, _) = forged.stop();
    fs::remove_dir_all(place.data()).unwrap();
    fs::rename(place.path("genuine"), place.data()).unwrap();
    let back = Up::start_in(place);
    back.mcpctl(&["log", "verify"]).exits(1);
}

#[test]
fn an_audit_log_that_was_taken_away_is_missed_by_the_log_of_events() {
    let up = Up::start();
    up.mcpctl(&["audit", "events"]).ok();
    let signed = || {
        let seen = up.mcpctl(&["log", "verify", "--log", "audit", "-o", "json"]).ok().json();
        seen["size"].as_u64().filter(|size| *size > 0)
    };
    crate::support::wait::wait_until("the look is signed for", std::time::Duration::from_secs(30), signed);
    // A change says where the audit log stands.
    up.mcpctl(&["create", "group", "somebody"]).ok();
    let seen = up.mcpctl(&["log", "verify", "--deep", "-o", "json"]).ok().json();
    assert!(seen["anchor"]["audit"].as_u64() > Some(0), "{seen}");
    let (place, _) = up.stop();
    let data = place.data();
    let verify =
        || place.mcpctl(&["log", "verify", "--log", "all", "--data-dir", data.to_str().unwrap(), "-o", "json"]);
    let all = verify().ok().json();
    assert!(all["audit"]["anchors"].as_u64() > Some(0) && all["state"]["records"] == all["config"]["records"], "{all}");
    // The entries, and all that was signed over them.
    fs::remove_dir_all(data.join("audit")).unwrap();
    fs::create_dir(data.join("audit")).unwrap();
    fs::remove_dir_all(data.join("tlog/audit")).unwrap();
    let missed = verify().exits(1);
    assert!(missed.said().contains("says that the audit log had"), "{}", missed.said());
    let refused = crate::support::process::run(&mut place.up_command(&data), None, std::time::Duration::from_secs(60));
    assert!(refused.code == Some(1) && refused.said().contains("says that the audit log had"), "{}", refused.said());
    // Whoever runs it may say that the loss is known.
    let said = refused.said();
    let seq = said.split("the event at seq ").nth(1).unwrap().split(' ').next().unwrap();
    fs::write(data.join("audit.lost"), seq).unwrap();
    let again = Up::start_in(place);
    again.mcpctl(&["audit", "events"]).ok();
}
