//! Starting, stopping, and what is still there after both.
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use mcpctl_api::server::bootstrap::first_start;
use mcpctl_api::server::clock::Clock;
use mcpctl_api::server::control_plane::ControlPlane;
use mcpctl_core::kinds::Kind;
use mcpctl_core::world::World as _;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::house::House;
use crate::read_only::Failing;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_after_a_kill_and_after_a_stop() {
    let house = House::start().await;
    let names: Vec<String> = (0..64).map(|n| format!("s{n}")).collect();
    let made = names
        .iter()
        .map(|name| house.post("/servers", json!({ "name": name, "externalUrl": "https://example.com/mcp" })));
    for reply in join_all(made).await {
        reply.is(201);
    }
    let figures = house.control.app().writer.figures();
    let (events, syncs) = (figures.events.load(Ordering::Relaxed), figures.syncs.load(Ordering::Relaxed));
    assert!(syncs < events, "those that came at once share syncs: {syncs} for {events}");
    let seq = house.seq().await;
    // The files as a kill at this moment would leave them.
    let killed = tempfile::tempdir().unwrap();
    for part in ["log", "sealed", "audit"] {
        copy(&house.data().join(part), &killed.path().join("data").join(part));
    }
    std::fs::copy(house.data().join("key"), killed.path().join("data/key")).unwrap();
    for house in [House::on(killed).await, house.restart().await] {
        assert!(house.first.is_none(), "it is not the first start any more");
        assert!(house.seq().await >= seq);
        let list = house.get("/servers").await.json();
        let found: Vec<&str> =
            list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
        assert!(names.iter().all(|name| found.contains(&name.as_str())));
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_fails_leaves_nothing_and_the_next_one_is_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicBool::new(true));
    let failing = fails.clone();
    let control =
        ControlPlane::open_with(folder.path(), Clock::Wall, |log| Failing::around(log, failing)).await.unwrap();
    assert!(first_start(control.app()).await.is_err());
    assert_eq!(control.app().published.load().seq().0, 0);
    fails.store(false, Ordering::Relaxed);
    let first = first_start(control.app()).await.unwrap().expect("nothing was made before");
    assert!(first_start(control.app()).await.unwrap().is_none());
    let syncs = control.app().writer.figures().syncs.load(Ordering::Relaxed);
    assert_eq!(syncs, 1, "all of it is one batch: a kill leaves all or nothing");
    let state = control.app().published.load();
    let token = state.all(Kind::McpToken).next().unwrap().clone();
    assert_eq!(token.body.owner(), state.all(Kind::User).next().map(|user| user.meta.uid));
    assert!(first.token.expose().starts_with("mcpctl_pat_"));
    drop(state);
    control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_streams_and_idle_connections_and_frees_the_folder() {
    let house = House::start().await;
    let idle = TcpStream::connect(&house.address).await.unwrap();
    let mut half = TcpStream::connect(&house.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut half, b"GET /healthz HTT").await.unwrap();
    let script = "import sys\nfor line in sys.stdin: pass";
    house.put("/servers/quiet", json!({ "command": ["python3", "-c", script] })).await.is(201);
    until("the server is known", async || house.get("/instances?server=quiet").await.json()["items"][0].is_object())
        .await;
    let follow = reqwest::Client::new()
        .get(format!("http://{}/api/v1/instances/quiet/logs?follow=true", house.address))
        .bearer_auth(&house.admin)
        .send()
        .await
        .unwrap();
    assert_eq!(follow.status(), 200);
    let began = Instant::now();
    let folder = house.stop().await;
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    follow.text().await.ok();
    for mut stream in [idle, half] {
        let mut rest = Vec::new();
        assert!(stream.read_to_end(&mut rest).await.is_err() || rest.is_empty());
    }
    House::on(folder).await.stop().await;
}

/// Waits for something to become so, within a limit.
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_secs(20), "it does not come to that: {what}");
        looks.tick().await;
    }
}
