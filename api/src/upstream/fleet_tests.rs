//! The fleet with real processes.
use std::collections::BTreeMap;

use super::*;
use crate::upstream::{Call, InstanceState, Launch, NoSink, Reply};
use serde_json::value::RawValue;

const FAKE: &str = include_str!("testing/fake_server.py");
const WAIT: Duration = Duration::from_secs(20);

fn uid(n: u128) -> Uid {
    Uid::fixed(n)
}

fn plan(n: u128, mode: &str) -> ServerPlan {
    let argv = ["python3", "-c", FAKE, mode].map(str::to_owned).to_vec();
    ServerPlan {
        uid: uid(n),
        name: format!("{mode}{n}"),
        revision: 1,
        launch: Launch::Stdio { argv, env: BTreeMap::new() },
        replicas: 1,
        sessions_max: 2,
        check: crate::upstream::Check::default(),
    }
}

fn key(subject: u128) -> SessionKey {
    SessionKey::new(uid(1000), uid(subject))
}

fn limits() -> FleetLimits {
    FleetLimits { drain: Duration::from_secs(2), ..FleetLimits::default() }
}

async fn echo(session: &Arc<dyn Session>) -> Result<Reply, UpstreamError> {
    let params = RawValue::from_string(r#"{"name":"echo"}"#.into()).unwrap();
    session.request(Call::new("tools/call", Some(params), WAIT), Arc::new(NoSink)).await
}

/// Waits until the instances are as wanted.
async fn until(fleet: &Fleet, what: &str, wanted: impl Fn(&[InstanceStatus]) -> bool) -> Vec<InstanceStatus> {
    let begun = std::time::Instant::now();
    loop {
        let instances = fleet.instances();
        if wanted(&instances) {
            return instances;
        }
        assert!(begun.elapsed() < WAIT, "never {what}: {instances:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn running(instances: &[InstanceStatus]) -> usize {
    instances.iter().filter(|i| i.state == InstanceState::Running).count()
}

fn lives(pid: u32) -> bool {
    let group = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::test_kill_process_group(group).is_ok()
}

#[tokio::test]
async fn replicas_run_before_anybody_asks_and_are_gone_when_the_fleet_stops() {
    let fleet = Fleet::new(limits());
    fleet.apply(vec![ServerPlan { replicas: 2, ..plan(1, "legacy") }]).await;
    let instances = until(&fleet, "two", |all| running(all) == 2).await;
    let names: Vec<_> = instances.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["legacy1-0", "legacy1-1"]);
    let pids: Vec<_> = instances.iter().map(|i| i.pid.unwrap()).collect();
    assert!(pids.iter().all(|pid| lives(*pid)));
    fleet.stop_all().await;
    assert!(!pids.iter().any(|pid| lives(*pid)));
    assert!(fleet.instances().is_empty());
}

#[tokio::test]
async fn a_modern_server_is_shared_and_a_legacy_one_is_not() {
    let fleet = Fleet::new(limits());
    fleet.apply(vec![plan(1, "modern"), plan(2, "legacy")]).await;
    let (a, b) = (fleet.session(uid(1), &key(1)).await.unwrap(), fleet.session(uid(1), &key(2)).await.unwrap());
    assert!(Arc::ptr_eq(&a, &b));
    let (a, b) = (fleet.session(uid(2), &key(1)).await.unwrap(), fleet.session(uid(2), &key(2)).await.unwrap());
    assert!(!Arc::ptr_eq(&a, &b));
    let again = fleet.session(uid(2), &key(1)).await.unwrap();
    assert!(Arc::ptr_eq(&a, &again));
    fleet.stop_all().await;
}

#[tokio::test]
async fn the_first_key_takes_the_warm_copy_and_the_same_key_never_opens_twice() {
    let fleet = Fleet::new(limits());
    fleet.apply(vec![plan(1, "legacy")]).await;
    let warm = until(&fleet, "one", |all| running(all) == 1).await[0].pid;
    let first = key(1);
    let sessions = join_all((0..20).map(|_| fleet.session(uid(1), &first))).await;
    let sessions: Vec<_> = sessions.into_iter().map(Result::unwrap).collect();
    assert!(sessions.iter().all(|one| Arc::ptr_eq(one, &sessions[0])));
    let instances = fleet.instances();
    assert_eq!((instances.len(), instances[0].pid), (1, warm));
    let second = key(2);
    let sessions = join_all((0..20).map(|_| fleet.session(uid(1), &second))).await;
    let sessions: Vec<_> = sessions.into_iter().map(Result::unwrap).collect();
    assert!(sessions.iter().all(|one| Arc::ptr_eq(one, &sessions[0])));
    assert_eq!(running(&fleet.instances()), 2);
    fleet.stop_all().await;
}

#[tokio::test]
async fn where_all_sessions_are_taken_an_idle_one_makes_room_and_a_fresh_one_does_not() {
    let fleet = Fleet::new(FleetLimits { spare_after: Duration::from_secs(3600), ..limits() });
    fleet.apply(vec![plan(1, "legacy")]).await;
    let _a = fleet.session(uid(1), &key(1)).await.unwrap();
    let _b = fleet.session(uid(1), &key(2)).await.unwrap();
    let busy = fleet.session(uid(1), &key(3)).await.err().unwrap();
    assert!(matches!(busy, UpstreamError::Busy { limit: 2, .. }), "{busy}");
    fleet.stop_all().await;

    let fleet = Fleet::new(FleetLimits { spare_after: Duration::ZERO, ..limits() });
    fleet.apply(vec![plan(1, "legacy")]).await;
    let a = fleet.session(uid(1), &key(1)).await.unwrap();
    let b = fleet.session(uid(1), &key(2)).await.unwrap();
    echo(&b).await.unwrap();
    let c = fleet.session(uid(1), &key(3)).await.unwrap();
    assert!(!a.is_open() && b.is_open() && c.is_open());
    fleet.stop_all().await;
}

#[tokio::test]
async fn idle_sessions_end_and_the_replicas_stay() {
    let fleet = Fleet::new(FleetLimits { idle: Duration::from_millis(100), ..limits() });
    fleet.apply(vec![plan(1, "legacy")]).await;
    let (a, b) = (fleet.session(uid(1), &key(1)).await.unwrap(), fleet.session(uid(1), &key(2)).await.unwrap());
    let left = until(&fleet, "one", |all| !a.is_open() && !b.is_open() && all.len() == 1 && running(all) == 1).await;
    assert_eq!(left[0].restarts, 0);
    fleet.stop_all().await;
}

#[tokio::test]
async fn ending_a_downstream_session_ends_its_conversations_only() {
    let fleet = Fleet::new(limits());
    fleet.apply(vec![plan(1, "legacy")]).await;
    let mine = SessionKey { session: Some("s1".into()), ..key(1) };
    let (a, b) = (fleet.session(uid(1), &mine).await.unwrap(), fleet.session(uid(1), &key(1)).await.unwrap());
    fleet.end(&mine).await;
    assert!(!a.is_open() && b.is_open());
    fleet.stop_all().await;
}

#[tokio::test]
async fn a_changed_server_is_replaced_after_its_calls_and_a_removed_one_has_stopped() {
    let fleet = Fleet::new(limits());
    fleet.apply(vec![plan(1, "legacy")]).await;
    let old = fleet.session(uid(1), &key(1)).await.unwrap();
    let call = {
        let old = old.clone();
        let params = RawValue::from_string(r#"{"name":"garbage","arguments":{"count":1}}"#.into()).unwrap();
        tokio::spawn(async move { old.request(Call::new("tools/call", Some(params), WAIT), Arc::new(NoSink)).await })
    };
    tokio::task::yield_now().await;
    fleet.apply(vec![ServerPlan { revision: 2, ..plan(1, "modern") }]).await;
    call.await.unwrap().unwrap();
    let new = fleet.session(uid(1), &key(1)).await.unwrap();
    assert_eq!(new.handshake().era, Era::Modern);
    echo(&new).await.unwrap();
    let pid = fleet.instances()[0].pid.unwrap();
    fleet.apply(vec![plan(2, "legacy")]).await;
    assert!(!lives(pid));
    let gone = fleet.session(uid(1), &key(1)).await.err().unwrap();
    assert!(gone.to_string().contains("not run here"), "{gone}");
    fleet.apply(vec![plan(2, "legacy")]).await;
    fleet.stop_all().await;
    assert!(!old.is_open());
}

#[tokio::test]
async fn a_server_that_cannot_start_backs_off_and_says_when_it_is_tried_again() {
    let fleet = Fleet::new(limits());
    fleet.apply(vec![plan(1, "crash")]).await;
    until(&fleet, "backing off for a while", |all| {
        all.iter().any(|i| i.state == InstanceState::Backoff) && fleet.logs(uid(1), None, 99).len() > 7
    })
    .await;
    let error = fleet.session(uid(1), &key(1)).await.err().unwrap().to_string();
    assert!(error.contains("exited with status 7") && error.contains("next try in"), "{error}");
    let logs = fleet.logs(uid(1), Some("crash1-0"), 99);
    assert!(logs.iter().any(|line| line.text == "cannot start: no key"), "{logs:?}");
    until(&fleet, "failed", |all| all.iter().any(|i| i.state == InstanceState::Failed)).await;
    fleet.stop_all().await;
}

#[tokio::test]
async fn a_server_that_dies_comes_back_with_its_failure_told() {
    let fleet = Fleet::new(limits());
    fleet.apply(vec![plan(1, "legacy")]).await;
    let session = fleet.session(uid(1), &key(1)).await.unwrap();
    let params = RawValue::from_string(r#"{"name":"die"}"#.into()).unwrap();
    let died = session.request(Call::new("tools/call", Some(params), WAIT), Arc::new(NoSink)).await.unwrap_err();
    assert!(matches!(died, UpstreamError::Gone { .. }));
    let back = until(&fleet, "back", |all| running(all) == 1 && all[0].restarts == 1).await;
    assert_eq!(back[0].last_error.as_deref(), Some("its process exited with status 3"));
    echo(&fleet.session(uid(1), &key(1)).await.unwrap()).await.unwrap();
    fleet.stop_all().await;
}

#[tokio::test]
async fn a_hanging_server_holds_up_nobody_else() {
    let fleet = Fleet::new(FleetLimits { first_handshake: Duration::from_secs(600), ..limits() });
    fleet.apply(vec![plan(1, "mute"), plan(2, "legacy")]).await;
    let hanging = key(1);
    let stuck = fleet.session(uid(1), &hanging);
    let served = async { echo(&fleet.session(uid(2), &key(1)).await.unwrap()).await.unwrap() };
    tokio::select! {
        _ = stuck => panic!("it can't have opened"),
        served = served => drop(served),
    }
    assert!(fleet.instances().iter().any(|i| i.state == InstanceState::Starting));
    // Stopping does not wait for the handshake either.
    tokio::time::timeout(WAIT, fleet.stop_all()).await.unwrap();
}

struct Here;
#[async_trait]
impl Sessions for Here {
    async fn session(&self, server: Uid, _: &SessionKey) -> Result<Arc<dyn Session>, UpstreamError> {
        Err(UpstreamError::Gone { server: format!("embedded {server}") })
    }
    async fn end(&self, _: &SessionKey) {}
}

#[tokio::test]
async fn a_server_of_this_process_is_reached_the_same_way() {
    let fleet = Fleet::new(limits());
    fleet.register(uid(7), Arc::new(Here));
    fleet.apply(Vec::new()).await;
    let error = fleet.session(uid(7), &key(1)).await.err().unwrap();
    assert!(error.to_string().contains("embedded"), "{error}");
    fleet.unregister(uid(7));
    let error = fleet.session(uid(7), &key(1)).await.err().unwrap();
    assert!(error.to_string().contains("not run here"), "{error}");
}

#[tokio::test]
async fn a_name_means_a_server_or_one_of_its_instances() {
    let fleet = Fleet::new(limits());
    fleet.apply(vec![ServerPlan { name: "web-1".into(), replicas: 0, ..plan(1, "legacy") }]).await;
    assert_eq!(fleet.find("web-1"), Some((uid(1), None)));
    assert_eq!(fleet.find("web-1-0"), Some((uid(1), Some("web-1-0".into()))));
    assert_eq!(fleet.find("web-x"), None);
    fleet.stop_all().await;
}
