//! The health of servers that are real processes: killed, stopped, sick, and well again.
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::*;
use crate::upstream::health::{CALL_FAILURES_MAX, Check};
use crate::upstream::{Call, Launch, NoSink, Reply};

const SERVER: &str = include_str!("testing/http_server.py");
const STDIO: &str = include_str!("testing/fake_server.py");
const WAIT: Duration = Duration::from_secs(20);

/// A server over HTTP; killed when it goes out of scope.
struct Running {
    _child: Child,
    port: u16,
}

async fn run(port: u16, sick: &Path) -> Running {
    let mut command = Command::new("python3");
    command.args(["-c", SERVER, &port.to_string()]).arg(sick).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = tokio::time::timeout(WAIT, lines.next_line()).await.unwrap().unwrap().unwrap();
    let port = said.strip_prefix("ready ").unwrap().parse().unwrap();
    Running { _child: child, port }
}

impl Running {
    /// Kills it and waits until it is gone.
    async fn kill(mut self) -> u16 {
        self._child.kill().await.unwrap();
        self.port
    }
}

fn plan(launch: Launch, check: Check) -> ServerPlan {
    let (uid, revision, name) = (Uid::fixed(1), 1, "docs".to_owned());
    ServerPlan { uid, revision, name, launch, replicas: 1, sessions_max: 4, check }
}

fn http(port: u16, check: Check) -> ServerPlan {
    let url = format!("http://127.0.0.1:{port}/mcp").parse().unwrap();
    plan(Launch::Http { url, headers: BTreeMap::new(), allow_private_address: true }, check)
}

fn stdio(mode: &str, check: Check) -> ServerPlan {
    let argv = ["python3", "-c", STDIO, mode].map(str::to_owned).to_vec();
    plan(Launch::Stdio { argv, env: BTreeMap::new() }, check)
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn checking(tool: Option<&str>) -> Check {
    let tool = tool.map(|tool| (tool.into(), raw("{}")));
    let (interval, timeout) = (Duration::from_millis(30), Duration::from_millis(400));
    Check { tool, interval, timeout, failures_max: 2 }
}

async fn call(fleet: &Fleet) -> Result<Reply, UpstreamError> {
    let session = fleet.session(Uid::fixed(1), &SessionKey::new(Uid::fixed(9), Uid::fixed(8))).await?;
    let call = Call::new("tools/call", Some(raw(r#"{"name":"echo","arguments":{}}"#)), WAIT);
    session.request(call, Arc::new(NoSink)).await
}

async fn until(fleet: &Fleet, what: &str, wanted: impl Fn(&ServerHealth) -> bool) -> ServerHealth {
    let waiting = async {
        loop {
            let health = fleet.health(Uid::fixed(1)).unwrap();
            if wanted(&health) {
                return health;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(WAIT, waiting).await;
    waited.unwrap_or_else(|_| panic!("never {what}: {:#?}", fleet.health(Uid::fixed(1))))
}

#[tokio::test]
async fn a_killed_server_is_left_alone_at_once_and_is_well_again_when_it_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let sick = folder.path().join("sick");
    let server = run(0, &sick).await;
    let fleet = Fleet::new(FleetLimits::default());
    fleet.apply(vec![http(server.port, Check::default())]).await;
    call(&fleet).await.unwrap();
    let well = until(&fleet, "well", |health| health.state == HealthState::Healthy).await;
    assert_eq!((well.failures, well.transitions), (0, 0));

    let port = server.kill().await;
    for _ in 0..100 {
        call(&fleet).await.unwrap_err();
        if fleet.health(Uid::fixed(1)).unwrap().state == HealthState::Unhealthy {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let unwell = until(&fleet, "unwell", |health| health.state == HealthState::Unhealthy).await;
    assert!(unwell.failures >= CALL_FAILURES_MAX && unwell.next_probe.is_some(), "{unwell:#?}");
    assert_eq!(unwell.last_failure.unwrap().cause, FailureCause::Unavailable);
    let refused = call(&fleet).await.unwrap_err().to_string();
    assert!(refused.contains("times in a row") && refused.contains("tried again in"), "{refused}");

    let again = run(port, &sick).await;
    // Nobody calls: trials find out by themselves.
    let well = until(&fleet, "well again", |health| health.state == HealthState::Healthy).await;
    assert_eq!((well.failures, well.transitions), (0, 2));
    assert!(well.last_failure.is_some(), "what went wrong last is told afterwards too");
    call(&fleet).await.unwrap();
    fleet.stop_all().await;
    drop(again);
}

#[tokio::test]
async fn a_server_whose_declared_check_fails_is_unhealthy_however_well_it_answers() {
    let folder = tempfile::tempdir().unwrap();
    let sick = folder.path().join("sick");
    let server = run(0, &sick).await;
    let fleet = Fleet::new(FleetLimits::default());
    fleet.apply(vec![http(server.port, checking(Some("check")))]).await;
    until(&fleet, "probed", |health| health.last_probe.as_ref().is_some_and(|probe| probe.passed)).await;

    std::fs::write(&sick, "").unwrap();
    // Other calls go well all the time, until it is left alone.
    let calling = async {
        while call(&fleet).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(WAIT, calling).await.expect("it is never left alone");
    let unwell = until(&fleet, "unwell", |health| health.state == HealthState::Unhealthy).await;
    let failure = unwell.last_failure.unwrap();
    assert_eq!(failure.cause, FailureCause::CheckFailed);
    assert!(failure.why.contains("check") && !failure.why.contains("canary"), "{}", failure.why);

    std::fs::remove_file(&sick).unwrap();
    until(&fleet, "well again", |health| health.state == HealthState::Healthy).await;
    call(&fleet).await.unwrap();
    // Another check counts from now on, without a restart.
    let instance = fleet.instances()[0].since;
    std::fs::write(&sick, "").unwrap();
    until(&fleet, "unwell", |health| health.state == HealthState::Unhealthy).await;
    fleet.apply(vec![http(server.port, checking(None))]).await;
    until(&fleet, "well by the other check", |health| health.state == HealthState::Healthy).await;
    assert!(fleet.instances().iter().all(|one| one.since >= instance));
    fleet.stop_all().await;
}

#[tokio::test]
async fn a_process_that_hangs_is_ended_and_another_takes_its_place() {
    let fleet = Fleet::new(FleetLimits::default());
    fleet.apply(vec![stdio("modern", checking(None))]).await;
    call(&fleet).await.unwrap();
    let pid = fleet.instances()[0].pid.unwrap();
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::STOP).unwrap();
    let replaced = async {
        loop {
            let running = |one: &InstanceStatus| one.state == InstanceState::Running && one.pid != Some(pid);
            if let Some(other) = fleet.instances().into_iter().find(running) {
                return other;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let other = tokio::time::timeout(WAIT, replaced).await.expect("it is never replaced");
    assert!(other.last_error.unwrap().contains("failed probes in a row"));
    call(&fleet).await.unwrap();
    let log = fleet.logs(Uid::fixed(1), None, 100);
    assert!(log.iter().any(|line| line.text.contains("ended after 2 failed probes")), "{log:#?}");
    fleet.stop_all().await;
}

#[tokio::test]
async fn of_two_processes_that_are_stopped_the_one_with_a_call_is_not_taken_for_one_that_hangs() {
    let fleet = Fleet::new(FleetLimits::default());
    fleet.apply(vec![ServerPlan { replicas: 2, ..stdio("modern", checking(None)) }]).await;
    let pids = loop {
        let pids: Vec<u32> = fleet.instances().iter().filter_map(|one| one.pid).collect();
        if pids.len() == 2 {
            break pids;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let session = fleet.session(Uid::fixed(1), &SessionKey::new(Uid::fixed(9), Uid::fixed(8))).await.unwrap();
    let never = Call::new("tools/call", Some(raw(r#"{"name":"never"}"#)), WAIT * 2);
    let call = tokio::spawn(async move { session.request(never, Arc::new(NoSink)).await });
    tokio::task::yield_now().await;
    pids.iter().for_each(|pid| kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::STOP).unwrap());
    let replaced = async {
        loop {
            let running: Vec<u32> = fleet
                .instances()
                .iter()
                .filter(|one| one.state == InstanceState::Running)
                .filter_map(|one| one.pid)
                .collect();
            if running.len() == 2 && running.iter().any(|pid| !pids.contains(pid)) {
                return running;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let running = tokio::time::timeout(WAIT, replaced).await.expect("none is replaced");
    assert_eq!(running.iter().filter(|pid| pids.contains(pid)).count(), 1, "the busy one goes on");
    assert!(!call.is_finished());
    call.abort();
    fleet.stop_all().await;
}

#[tokio::test]
async fn probes_keep_no_conversation_that_nobody_uses() {
    let idle = Duration::from_millis(200);
    let fleet = Fleet::new(FleetLimits { idle, ..FleetLimits::default() });
    fleet.apply(vec![ServerPlan { replicas: 0, ..stdio("legacy", checking(None)) }]).await;
    call(&fleet).await.unwrap();
    until(&fleet, "probed", |health| health.last_probe.is_some()).await;
    let ended = async {
        while !fleet.instances().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, ended).await.expect("it is kept for ever");
    assert_eq!(fleet.health(Uid::fixed(1)).unwrap().state, HealthState::Healthy, "nothing is wrong with it");
    fleet.stop_all().await;
}
