//! A log of events in which nothing is changed says where the audit log stands all the same, so that an audit log which was
//! cut back is missed.
use mcpctl_api::server::clock::{self, Clock};
use mcpctl_api::server::control_plane::ControlPlane;
use mcpctl_api::server::evidence::{self, LogName};
use mcpctl_api::server::process::chain;
use mcpctl_core::ids::Seq;
use mcpctl_core::record::{AuditAnchor, Record};
use serde_json::json;

use crate::house::House;

/// Longer than a house is silent about its audit log.
const LONG_MS: u64 = 10 * 60 * 1000;

async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::task::yield_now().await;
    }
}

/// A look at the audit log, which is an entry of it; answers where it stands when that entry is signed for.
async fn looked_and_signed(house: &House) -> AuditAnchor {
    let app = house.control.app();
    let head = app.audit.figures().head.0;
    house.get("/audit/events").await.is(200);
    let signed = || app.evidence_of(LogName::Audit).anchor().filter(|now| now.size > head);
    until("the look is signed for", signed).await
}

/// The events after a seq that say where the audit log stood.
fn said_since(house: &House, seq: Seq) -> Vec<(String, String, u64)> {
    let app = house.control.app();
    let records = (seq.0 + 1..=app.log.head().0).map(|seq| {
        let bytes = app.log.read(Seq(seq)).unwrap().unwrap();
        Record::load(&bytes).unwrap().header
    });
    records
        .filter_map(|header| {
            Some((format!("{}.{}", header.kind, header.event), header.actor.to_string(), header.audit?.size))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_house_says_where_its_audit_log_stands_and_misses_what_was_cut_off() {
    let begin = clock::now();
    let (hand, by) = Clock::set_at(begin);
    let house = House::at(by).await;
    let seq = house.control.app().log.head();
    let mut at = begin;
    for round in 1..=2 {
        let signed = looked_and_signed(&house).await;
        at = at.plus_millis(LONG_MS);
        hand.send_replace(at);
        let said = until("it is said", || Some(said_since(&house, seq)).filter(|said| said.len() == round)).await;
        let (event, actor, size) = said.last().unwrap();
        assert_eq!((&**event, &**actor), ("policy.anchored", "system:evidence"));
        assert!(*size >= signed.size, "{said:?} {signed:?}");
    }
    // Nothing was recorded since: nothing is said.
    let quiet = house.control.app().log.head();
    hand.send_replace(at.plus_millis(LONG_MS));
    let reply = house.put("/groups/later", json!({})).await.is(201);
    assert_eq!(reply.header("mcpctl-revision"), quiet.next().to_string(), "the change is the next event");
    let replayed = house.post("/audit/replay", json!({})).await.is(200);
    let report = replayed.json();
    assert_eq!(report["report"]["mutations"]["findings"], json!([]), "{report}");
    let data = house.data();
    let folder = house.stop().await;
    assert!(evidence::verify(&data, LogName::Audit, true).unwrap().anchors >= 2);
    // Everything but the last event is as it was when nobody had changed anything for months.
    for gone in ["audit", "tlog/audit"] {
        std::fs::remove_dir_all(data.join(gone)).unwrap();
    }
    std::fs::create_dir(data.join("audit")).unwrap();
    let refused = ControlPlane::open(&data).await.err().map(|error| chain(&error)).unwrap_or_default();
    assert!(refused.contains("says that the audit log had"), "{refused}");
    drop(folder);
}
