//! The signed checkpoints that a gateway keeps: a control plane whose log was forked, cut off or signed anew serves nobody.
use std::path::Path;

use mcpctl_core::ids::Seq;
use mcpctl_core::log::LogReader;
use mcpctl_core::log::memory::MemoryLog;

use super::*;
use crate::server::evidence::testing::House;

/// A gateway that keeps in a folder what it saw.
fn gateway(apart: &Apart, folder: &Path) -> RemotePlane {
    RemotePlane::connect_remembering(apart.address.clone(), Some(folder), None).unwrap()
}

/// Stops it and gives its folder back.
async fn ended(gateway: RemotePlane) {
    gateway.shutdown().await;
    drop(gateway);
}

async fn level(evidence: &Arc<Evidence>, log: &Arc<dyn LogReader>) {
    let (evidence, head) = (evidence.clone(), log.head());
    tokio::task::spawn_blocking(move || evidence.catch_up(head.0).unwrap()).await.unwrap();
}

impl Apart {
    /// From now on another log is shown at the same address; the places of its records are still those of the true one.
    async fn shows(&self, evidence: &Arc<Evidence>) {
        self.unplug().await;
        self.served.lock().routes = Self::routes(&self.tried, evidence, &self.stop);
        self.plug_in().await;
    }
}

/// Evidence over other entries, under a key.
fn forged(events: u64, key: Option<&Path>) -> (House, Arc<Evidence>) {
    let house = House::forged(events);
    if let Some(key) = key {
        std::fs::copy(key, house.path().join("log.key")).unwrap();
    }
    let evidence = Arc::new(house.level());
    (house, evidence)
}

#[tokio::test]
async fn a_gateway_keeps_the_last_checkpoint_and_goes_on_with_a_log_that_grew() {
    let apart = Apart::new().await;
    let folder = tempfile::tempdir().unwrap();
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    let remote = gateway(&apart, folder.path());
    remote.admit(&token, "web").await.expect("there is no checkpoint yet, and none was seen before");
    assert_eq!(remote.shared.memory.size(), 0);
    level(&apart.evidence, &apart.tried.log).await;
    apart.until("the first one is asked for on the stream", || remote.shared.memory.size() > 0).await;
    let first = remote.shared.memory.size();
    ended(remote).await;
    apart.tried.apply(json!({ "kind": "server", "name": "more", "command": ["true"] })).await;
    level(&apart.evidence, &apart.tried.log).await;
    let again = gateway(&apart, folder.path());
    assert_eq!(again.shared.memory.size(), first, "it is remembered");
    again.admit(&token, "web").await.unwrap();
    assert!(again.shared.memory.size() > first, "the first answer showed that the log goes on");
    ended(again).await;
}

#[tokio::test]
async fn a_control_plane_with_a_forked_a_truncated_or_a_re_signed_log_serves_nobody_ever_again() {
    let apart = Apart::new().await;
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    level(&apart.evidence, &apart.tried.log).await;
    let Seq(size) = apart.tried.log.head();
    let key = apart._folder.path().join("log.key");
    let resigned = tempfile::tempdir().unwrap();
    let origin = Some(apart.evidence.key().origin());
    let resigned = Arc::new(Evidence::open(resigned.path(), origin, apart.tried.log.clone()).unwrap());
    level(&resigned, &apart.tried.log).await;
    let ((_longer, longer), (_same, same), (_short, short)) =
        (forged(size + 9, Some(&key)), forged(size, Some(&key)), forged(size - 1, Some(&key)));
    for (what, evidence, why) in [
        ("forked and longer", longer, "its past was changed"),
        ("forked at the same size", same, "its past was changed"),
        ("truncated", short, "entries were taken away"),
        ("signed by another key", resigned, "its key was"),
    ] {
        apart.shows(&apart.evidence).await;
        let folder = tempfile::tempdir().unwrap();
        let remote = gateway(&apart, folder.path());
        let admission = remote.admit(&token, "web").await.unwrap();
        assert_eq!(remote.shared.memory.size(), size);
        apart.shows(&evidence).await;
        // On its stream, or with the next question, whichever comes first: who was served is cut, and nobody is again.
        tokio::time::timeout(Duration::from_secs(10), admission.cut.cancelled()).await.expect(what);
        apart.until(what, || remote.shared.memory.refused().is_some()).await;
        let refused = |denial: Denial| {
            let Denial::Unavailable(said) = denial else { panic!("{what}: {denial:?}") };
            assert!(said.contains(why) && said.contains("remove "), "{what}: {said}");
        };
        refused(remote.admit(&token, "web").await.unwrap_err());
        apart.shows(&apart.evidence).await;
        refused(remote.admit(&token, "web").await.unwrap_err());
        ended(remote).await;
        let restarted = gateway(&apart, folder.path());
        refused(restarted.admit(&token, "web").await.unwrap_err());
        ended(restarted).await;
    }
}

/// The first question after a start is enough: nobody is admitted before the log was seen to go on.
#[tokio::test]
async fn a_gateway_that_was_away_admits_nobody_by_a_forked_log() {
    let apart = Apart::new().await;
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    level(&apart.evidence, &apart.tried.log).await;
    let folder = tempfile::tempdir().unwrap();
    let remote = gateway(&apart, folder.path());
    remote.admit(&token, "web").await.unwrap();
    ended(remote).await;
    let key = apart._folder.path().join("log.key");
    let (_house, fork) = forged(apart.tried.log.head().0 + 5, Some(&key));
    apart.shows(&fork).await;
    let remote = gateway(&apart, folder.path());
    assert!(matches!(remote.admit(&token, "web").await, Err(Denial::Unavailable(_))));
    assert!(remote.shared.memory.refused().is_some());
    ended(remote).await;
}

/// An empty log has nothing to sign: a control plane that shows no checkpoint is not one that is refused.
#[tokio::test]
async fn a_control_plane_that_never_showed_a_checkpoint_is_served_by() {
    let log: Arc<dyn LogReader> = mcpctl_core::log::EventLog::reader(&MemoryLog::default());
    let folder = tempfile::tempdir().unwrap();
    let evidence = Arc::new(Evidence::open(folder.path(), None, log).unwrap());
    assert_eq!(evidence.show(0).await, None);
    let apart = Apart::new().await;
    let token = apart.tried.token(ADMIN, "ci", "empty").await;
    apart.shows(&evidence).await;
    apart.followed(&token).await;
    assert_eq!(apart.remote.shared.memory.size(), 0);
}
