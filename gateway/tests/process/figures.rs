//! What the figures of both sides say after revocations whose number and kind are known.
use serde_json::Value;

use crate::revocations::Rig;
use crate::rig::figure_of;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_on_both_sides_say_what_was_revoked_missed_and_cut() {
    let rig = Rig::start().await;
    let loads = rig.load("m", None, 4).await;
    let mut missed = 0.0;
    let before = rig.control.figure("mcpctl_revocation_seconds_count").await;
    for (n, load) in loads.into_iter().enumerate() {
        let said: Value = rig.control.revoke(&format!("m-{n}")).await;
        // None, unless this machine stood still for most of a second.
        missed += said["revocation"]["leaseExpired"].as_f64().unwrap();
        load.refused().await;
    }
    assert_eq!(rig.control.figure("mcpctl_revocation_lease_misses_total").await, missed);
    // One gateway is cut off: it is waited for, ends what it runs by itself, and says so when it is back.
    let load = rig.load("x", None, 1).await.remove(0);
    rig.links[0].stall_all();
    let said = rig.control.revoke("x-0").await;
    assert_eq!(said["revocation"]["leaseExpired"], 1, "{said}");
    load.refused().await;
    let lapsed = figure_of(&rig.gateways[0].address, "mcpctl_gateway_watch_lease_misses_total").await;
    assert!(lapsed >= 1.0, "the access that it served lapsed");
    rig.links[0].go_on();

    assert_eq!(rig.control.figure("mcpctl_revocation_lease_misses_total").await, missed + 1.0);
    let counted = rig.control.figure("mcpctl_revocation_seconds_count").await - before;
    assert_eq!(counted, 5.0, "one for each revocation");
    let seconds = rig.control.figure("mcpctl_revocation_seconds_sum").await;
    assert!(seconds > 0.6, "one of them waited for a lease: {seconds}");
    for gateway in &rig.gateways[1..] {
        for (name, least, most) in [
            ("mcpctl_gateway_watch_held", 0.0, 0.0),
            ("mcpctl_gateway_watch_resyncs_total", 0.0, 0.0),
            ("mcpctl_gateway_watch_lag_seconds", 0.0, 0.0),
            // A call may have been running, or just not.
            ("mcpctl_gateway_watch_cut_streams_total", 0.0, 2.0),
        ] {
            let value = figure_of(&gateway.address, name).await;
            assert!((least..=most).contains(&value), "{name} is {value}");
        }
    }
    let load = rig.load("y", None, 2).await;
    let age = figure_of(&rig.gateways[1].address, "mcpctl_gateway_watch_lease_age_seconds").await;
    assert!(age < 0.8, "a gateway that serves has heard within a lease: {age}");
    assert_eq!(figure_of(&rig.gateways[1].address, "mcpctl_gateway_watch_held").await, 1.0);
    drop(load);
}
