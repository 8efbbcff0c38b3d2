//! Revocations under load, with real processes: none admitted after the answer, none later than 0.8 s after the commit.
//!
//! `MCPCTL_RIG_REVOCATIONS` says how many, 500 without it.
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::Mcplocal;
use crate::rig::{Control, Link, Load, Seen, serve_if_asked};

/// Tokens under load at a time.
const AT_ONCE: usize = 10;
/// No call is admitted later than this after a commit.
const BOUND: Duration = Duration::from_millis(800);
/// An answer that left a gateway before the fence may be seen so much later by a caller that has to wait for a processor.
const SEEN_LATE: Duration = Duration::from_millis(500);
const GATEWAYS: usize = 3;

/// The control plane of the rig is this test program, started again; by itself there is nothing to it.
#[test]
fn rig_control_plane() {
    serve_if_asked();
}

pub struct Rig {
    data: tempfile::TempDir,
    pub control: Control,
    pub links: Vec<Link>,
    pub gateways: Vec<Mcplocal>,
    /// From the commit of a revocation to the answer of the last call that was admitted, for each.
    last: Vec<Duration>,
    answers: Vec<u64>,
}

impl Rig {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let control = Control::start(data.path()).await;
        let (mut links, mut gateways) = (Vec::new(), Vec::new());
        for _ in 0..GATEWAYS {
            let link = Link::new(control.address).await;
            gateways.push(Mcplocal::start(&format!("http://{}", link.address)));
            links.push(link);
        }
        Self::of(data, control, links, gateways)
    }

    pub fn of(data: tempfile::TempDir, control: Control, links: Vec<Link>, gateways: Vec<Mcplocal>) -> Self {
        Self { data, control, links, gateways, last: Vec::new(), answers: Vec::new() }
    }

    /// Takes note of how long a revocation took to be answered.
    pub fn answered(&mut self, said: &Value) {
        self.answers.push(said["revocation"]["tookMs"].as_u64().unwrap());
    }

    pub async fn load(&self, prefix: &str, ttl: Option<&str>, count: usize) -> Vec<Load> {
        let tokens = self.control.tokens((0..count).map(|n| format!("{prefix}-{n}")), ttl).await;
        let load = |(n, token): (usize, String)| Load::start(&self.gateways[n % self.gateways.len()].address, &token);
        let loads: Vec<Load> = tokens.into_iter().enumerate().map(load).collect();
        for load in &loads {
            load.admitted().await;
        }
        loads
    }

    /// Revokes one after the other under the load of all, and checks each.
    async fn revoke_all(&mut self, prefix: &str, count: usize) {
        let loads = self.load(prefix, None, count).await;
        for (n, load) in loads.into_iter().enumerate() {
            let said = self.control.revoke(&format!("{prefix}-{n}")).await;
            let answered = Instant::now();
            assert!(said["revocation"]["tookMs"].is_u64(), "{said}");
            self.answers.push(said["revocation"]["tookMs"].as_u64().unwrap());
            self.check(load.refused().await, &said, answered);
        }
    }

    /// What a caller saw of a revocation that was answered then, and said how long before that it was committed.
    pub fn check(&mut self, seen: Seen, said: &Value, answered: Instant) {
        let took = Duration::from_millis(said["revocation"]["tookMs"].as_u64().unwrap());
        let committed = answered.checked_sub(took).unwrap();
        let (sent, got) = seen.admitted.expect("it was under load");
        assert!(sent < answered, "a call that was sent {:?} after the answer was admitted", sent - answered);
        assert!(got < answered + SEEN_LATE, "an answer came {:?} after the fence", got - answered);
        let late = sent.saturating_duration_since(committed);
        assert!(late < BOUND, "admitted {late:?} after the commit");
        self.last.push(got.saturating_duration_since(committed));
    }

    pub fn report(&mut self, what: &str) {
        self.last.sort_unstable();
        self.answers.sort_unstable();
        let at = |share: f64| self.last[((self.last.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        let answer = |share: f64| self.answers[((self.answers.len() - 1) as f64 * share) as usize];
        println!(
            "{what}: {} revocations; commit to the last answer of an admitted call p50 {:.1} ms, p99 {:.1} ms, worst {:.1} ms; commit to answer p50 {} ms, p99 {} ms",
            self.last.len(),
            at(0.5),
            at(0.99),
            at(1.0),
            answer(0.5),
            answer(0.99)
        );
    }
}

pub fn wanted() -> usize {
    std::env::var("MCPCTL_RIG_REVOCATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(500)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_admitted_after_the_answer_under_load() {
    let mut rig = Rig::start().await;
    for round in 0..wanted().div_ceil(AT_ONCE) {
        rig.revoke_all(&format!("r{round}"), AT_ONCE).await;
    }
    rig.report("no faults");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_admitted_after_the_answer_when_networks_stall_and_gateways_stop() {
    let mut rig = Rig::start().await;
    for round in 0..(wanted() / 100).clamp(2, 50) {
        let loads = rig.load(&format!("f{round}"), None, 4).await;
        for (n, load) in loads.into_iter().enumerate() {
            let (link, pid) = (&rig.links[n % GATEWAYS], rig.gateways[n % GATEWAYS].pid());
            let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            match n {
                0 => link.stall_all(),
                // Its pings go through, and it hears nothing.
                1 => link.stall(crate::rig::Stall { to_control: false, to_gateway: true }),
                2 => kill_process(pid, Signal::STOP).unwrap(),
                _ => link.break_all(),
            }
            let asked = Instant::now();
            let said = rig.control.revoke(&format!("f{round}-{n}")).await;
            let answered = Instant::now();
            assert!(answered - asked < Duration::from_secs(10), "{n}: {said}");
            assert!(n == 3 || said["revocation"]["leaseExpired"].as_u64() >= Some(1), "{n}: {said}");
            rig.links[n % GATEWAYS].go_on();
            if n == 2 {
                kill_process(pid, Signal::CONT).unwrap();
            }
            rig.answers.push(said["revocation"]["tookMs"].as_u64().unwrap());
            rig.check(load.refused().await, &said, answered);
        }
    }
    rig.report("stalls, stops and broken connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_was_killed_answers_no_revocation_before_every_lease_has_run_out() {
    let mut rig = Rig::start().await;
    let loads = rig.load("k", None, 3).await;
    // The gateways are cut off, so nothing tells them anything: their leases go on.
    rig.links.iter().for_each(Link::stall_all);
    rig.control.kill_and_start(rig.data.path());
    let mut revoked = Vec::new();
    for n in 0..3 {
        revoked.push((rig.control.revoke(&format!("k-{n}")).await, Instant::now()));
    }
    for link in &rig.links {
        link.go_on();
        link.leads_to(rig.control.address);
    }
    for (load, (said, answered)) in loads.into_iter().zip(revoked) {
        rig.check(load.refused().await, &said, answered);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_and_what_a_deleted_project_opened_is_dead_everywhere() {
    let mut rig = Rig::start().await;
    for load in rig.load("e", Some("4s"), 3).await {
        let refused = load.refused().await;
        // 503 while the control plane is asked again, 401 as soon as it has said so.
        assert!([401, 503].contains(&refused.status), "{refused:?}");
    }
    let loads = rig.load("d", None, 3).await;
    let said: Value = rig.control.delete("projects/default").await;
    let answered = Instant::now();
    assert_eq!(said["revocation"]["gateways"], 3, "{said}");
    for load in loads {
        rig.check(load.refused().await, &said, answered);
    }
    assert_eq!(rig.control.gateways().await.len(), GATEWAYS);
}

const AGENT: &str = "agent@example.com";
const PASSWORD: &str = "correct horse battery";

/// Somebody who may make tokens by a binding of their group.
async fn agent(rig: &Rig) -> String {
    let binding = |role: &str, resource: &str| json!({ "role": role, "resource": resource });
    let objects = [
        json!({ "kind": "user", "name": AGENT, "password": PASSWORD }),
        json!({ "kind": "group", "name": "agents", "members": [AGENT] }),
        json!({ "kind": "rbac", "name": "agents", "subjects": [{ "kind": "Group", "name": "agents" }],
            "roleBindings": [binding("edit", "mcptokens"), binding("edit", "projects"), binding("run", "projects"),
                binding("view", "servers"), binding("run", "servers")] }),
    ];
    rig.control.apply(&objects).await;
    rig.control.login_of(AGENT, PASSWORD).await
}

/// Makes tokens as the agent, uses each of them once, and leaves some under load.
async fn loaded(rig: &Rig, prefix: &str, tokens: usize, under_load: usize) -> (Vec<Load>, Vec<(String, String)>) {
    let login = rig.control.login_of(AGENT, PASSWORD).await;
    let raw = rig.control.tokens_by(&login, (0..tokens).map(|n| format!("{prefix}-{n}")), None).await;
    let at = |(n, token): (usize, String)| (rig.gateways[n % GATEWAYS].address.clone(), token);
    let mut rest: Vec<(String, String)> = raw.into_iter().enumerate().map(at).collect();
    for (gateway, token) in &rest {
        let status = crate::modern(gateway, token, "tools/list", json!({})).await.0;
        assert_eq!(status, 200);
    }
    let loads: Vec<Load> = rest.drain(..under_load).map(|(gateway, token)| Load::start(&gateway, &token)).collect();
    for load in &loads {
        load.admitted().await;
    }
    (loads, rest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tokens_end_at_once_with_a_binding_of_a_group_and_those_of_a_user_with_the_user() {
    let mut rig = Rig::start().await;
    agent(&rig).await;
    for (prefix, tokens, path) in [("g", 1000, "rbac/agents"), ("u", 30, "users/agent@example.com")] {
        let (loads, rest) = loaded(&rig, prefix, tokens, 10).await;
        let said = rig.control.delete(path).await;
        let answered = Instant::now();
        assert_eq!(said["revocation"]["gateways"], 3, "{said}");
        rig.answers.push(said["revocation"]["tookMs"].as_u64().unwrap());
        for load in loads {
            rig.check(load.refused().await, &said, answered);
        }
        for (gateway, token) in rest {
            let status = crate::modern(&gateway, &token, "tools/list", json!({})).await.0;
            assert!(status >= 400, "{path}: a token opens with {status} after the answer");
        }
        rig.report(path);
        (rig.last, rig.answers) = (Vec::new(), Vec::new());
        if prefix == "g" {
            agent(&rig).await;
        }
    }
}
