//! Revocations while packets are lost between a gateway and its control plane: the gateway runs in a network namespace of
//! its own, and nobody is told that what is sent does not arrive.
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use serde_json::Value;

use crate::Mcplocal;
use crate::revocations::Rig;
use crate::rig::{Broken, Control, Load, Namespace};

struct Apart {
    rig: Rig,
    namespace: Namespace,
    _cache: tempfile::TempDir,
}

impl Apart {
    async fn start() -> Self {
        let namespace = Namespace::new();
        let data = tempfile::tempdir().unwrap();
        let control = Control::start_on(data.path(), IpAddr::V4(Ipv4Addr::UNSPECIFIED)).await;
        let mcpd = format!("http://{}:{}", namespace.control.outside(), control.address.port());
        let cache = tempfile::tempdir().unwrap();
        let mut command = namespace.command(env!("CARGO_BIN_EXE_mcplocal"));
        command.args(["serve", "--port", "0", "--host", &namespace.agents.inside().to_string()]);
        // What it can't tell while it is cut off waits there, and nobody waits for it.
        command.env("MCPLOCAL_CACHE_DIR", cache.path());
        let gateway = Mcplocal::start_by(command, &mcpd);
        Self { _cache: cache, rig: Rig::of(data, control, Vec::new(), vec![gateway]), namespace }
    }

    async fn load(&self, name: &str) -> Load {
        self.rig.load(name, None, 1).await.pop().unwrap()
    }

    /// Waits until the gateway has a stream that holds what it serves.
    async fn held(&self) {
        let began = Instant::now();
        let held = |gateway: &Value| gateway["state"] == "OPEN" && gateway["tokens"] != 0;
        while !self.rig.control.gateways().await.iter().any(held) {
            assert!(began.elapsed().as_secs() < 30, "its stream does not come back");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_admitted_after_the_answer_when_packets_are_lost_and_cables_are_pulled() {
    let mut apart = Apart::start().await;
    for round in 0..(crate::revocations::wanted() / 250).clamp(1, 20) {
        for how in [Broken::BothWays, Broken::Inwards, Broken::Outwards, Broken::Pulled] {
            let name = format!("n{round}-{how:?}").to_lowercase();
            let began = Instant::now();
            let load = apart.load(&name).await;
            println!("{how:?}: served {:?} after the cable was whole", began.elapsed());
            apart.namespace.control.break_it(how);
            let said = apart.rig.control.revoke(&format!("{name}-0")).await;
            let answered = Instant::now();
            assert_eq!(said["revocation"]["leaseExpired"], 1, "{how:?}: {said}");
            apart.rig.answered(&said);
            let seen = load.refused().await;
            assert_eq!(seen.status, 503, "{how:?}: nobody could tell the gateway why");
            apart.rig.check(seen, &said, answered);
            apart.namespace.control.mend();
        }
    }
    // It comes back by itself: an answer first, then a stream.
    let load = apart.load("after").await;
    apart.held().await;
    let said = apart.rig.control.revoke("after-0").await;
    assert_eq!((&said["revocation"]["acked"], &said["revocation"]["leaseExpired"]), (&1.into(), &0.into()), "{said}");
    apart.rig.check(load.refused().await, &said, Instant::now());
    apart.rig.report("packets lost in a network namespace");
}
