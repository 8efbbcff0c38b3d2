//! A log that takes no writes: nothing changes, reading goes on, and writing comes back with it.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::log::{EventLog, LogError, LogReader};
use mcpctl_core::record::StoredRecord;
use serde_json::json;

use crate::house::House;

/// A log that fails on demand, before anything is written.
pub struct Failing {
    log: Box<dyn EventLog>,
    fails: Arc<AtomicBool>,
}

impl Failing {
    pub fn around(log: Box<dyn EventLog>, fails: Arc<AtomicBool>) -> Box<dyn EventLog> {
        Box::new(Self { log, fails })
    }
}

impl EventLog for Failing {
    fn head(&self) -> (Seq, Digest) {
        self.log.head()
    }
    fn append(&mut self, batch: &[StoredRecord]) -> Result<(), LogError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(LogError::Broken { why: "no space left on device".to_owned() });
        }
        self.log.append(batch)
    }
    fn recover(&mut self) -> Result<(), LogError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(LogError::Broken { why: "no space left on device".to_owned() });
        }
        self.log.recover()
    }
    fn reader(&self) -> Arc<dyn LogReader> {
        self.log.reader()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_fails_makes_everything_read_only_until_it_does_not() {
    let fails = Arc::new(AtomicBool::new(false));
    let failing = fails.clone();
    let house = House::around(tempfile::tempdir().unwrap(), |log| Failing::around(log, failing)).await;
    house.put("/servers/a", json!({ "externalUrl": "https://example.com/mcp" })).await.is(201);
    house.put("/secrets/s", json!({ "data": { "k": "before" } })).await.is(201);
    let (seq, server) = (house.seq().await, house.get("/servers/a").await.json());
    fails.store(true, Ordering::Relaxed);
    for reply in [
        house.put("/servers/a", json!({ "externalUrl": "https://example.com/other" })).await,
        house.put("/servers/b", json!({ "externalUrl": "https://example.com/mcp" })).await,
        house.put("/secrets/s", json!({ "data": { "k": "after" } })).await,
        house.delete("/servers/a").await,
        house.post("/projects/default/mcptokens", json!({ "name": "t" })).await,
        house.post("/auth/logout", json!({})).await,
    ] {
        assert_eq!(reply.problem(503)["type"], "urn:mcpctl:problem:read-only");
    }
    assert_eq!((house.seq().await, house.get("/servers/a").await.json()), (seq, server));
    assert_eq!(house.get("/secrets/s/values").await.json()["data"]["k"], "before");
    assert_eq!(house.by(None, "GET", "/healthz").send().await.json()["status"], "read-only");
    let status = house.get("/status").await.json();
    assert!(status["log"].as_str().unwrap().starts_with("read-only: "), "{status}");
    fails.store(false, Ordering::Relaxed);
    house.put("/servers/b", json!({ "externalUrl": "https://example.com/mcp" })).await.is(201);
    assert_eq!(house.get("/status").await.json()["log"], "ok");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_has_space_again_says_so_before_anybody_writes() {
    let fails = Arc::new(AtomicBool::new(false));
    let failing = fails.clone();
    let house = House::around(tempfile::tempdir().unwrap(), |log| Failing::around(log, failing)).await;
    fails.store(true, Ordering::Relaxed);
    house.put("/servers/a", json!({ "externalUrl": "https://example.com/mcp" })).await.problem(503);
    let health = || async { house.by(None, "GET", "/healthz").send().await.json()["status"].clone() };
    assert_eq!(health().await, "read-only");
    let metrics = house.by(None, "GET", "/metrics").send().await.text;
    assert!(metrics.contains("mcpctl_log_writable 0"), "{metrics}");
    fails.store(false, Ordering::Relaxed);
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while health().await != "ok" {
        assert!(tokio::time::Instant::now() < until, "it was not tried again");
        tokio::task::yield_now().await;
    }
    house.put("/servers/a", json!({ "externalUrl": "https://example.com/mcp" })).await.is(201);
    house.stop().await;
}
