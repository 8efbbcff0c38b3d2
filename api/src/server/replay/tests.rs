//! Both logs of a control plane in memory, replayed: what it wrote is proved, what was written into it is found.
use mcpctl_core::access::{Ask, Asked};
use mcpctl_core::command::Deed;
use mcpctl_core::ids::Seq;
use mcpctl_core::kinds::Kind;
use mcpctl_core::world::World as _;
use serde_json::json;

use super::run::{Running, run};
use crate::plane::{Admission, AuditEntry, CallerBearer, Plane as _, rule};
use crate::replay_wire::{ReplayLine, ReplayReport, ReplayRequest};
use crate::server::clock;
use crate::server::testing::{ADMIN, MEMBER, Tried};

fn replayed(tried: &Tried, asked: &ReplayRequest) -> ReplayReport {
    let logs = Running { log: &*tried.log, audit: &tried.audit };
    run(&logs, asked, &mut |_| true).unwrap()
}

/// What a gateway records of a call that was admitted.
fn call(admission: &Admission, tool: &str) -> AuditEntry {
    AuditEntry {
        at: clock::now(),
        kind: "call".to_owned(),
        method: "tools/call".to_owned(),
        actor: Some(admission.caller.actor.clone()),
        owner: admission.caller.owner.clone(),
        token_sha: admission.caller.token_sha,
        project: Some(admission.project.name.clone()),
        server: Some("mcpctl".to_owned()),
        tool: Some(tool.to_owned()),
        allowed: true,
        seq: admission.seq,
        via: admission.via.to_vec(),
        outcome: "ok".to_owned(),
        ..AuditEntry::default()
    }
}

/// What a gateway records of somebody who was not admitted.
fn refusal(project: &str) -> AuditEntry {
    AuditEntry {
        at: clock::now(),
        kind: "refusal".to_owned(),
        method: "initialize".to_owned(),
        project: Some(project.to_owned()),
        outcome: "denied".to_owned(),
        ..AuditEntry::default()
    }
}

fn entries(tried: &Tried) -> Vec<AuditEntry> {
    let mut all = Vec::new();
    tried
        .audit
        .each(&mut |_, entry| {
            all.extend(entry);
            true
        })
        .unwrap();
    all
}

async fn refused(tried: &Tried, bearer: &CallerBearer, project: &str) {
    assert!(tried.plane.admit(bearer, project).await.is_err(), "{project}");
    tried.plane.record(Some(bearer), refusal(project)).await.unwrap();
}

/// Calls and refusals of every sort, over a while in which rights come and go.
async fn busy() -> Tried {
    let tried = Tried::new().await;
    let (own, other) = (tried.token(MEMBER, "own", "empty").await, tried.token(ADMIN, "all", "clone").await);
    let person = tried.login(MEMBER).await;
    for bearer in [&own, &other, &person] {
        let admission = tried.plane.admit(bearer, "web").await.unwrap();
        tried.plane.record(Some(bearer), call(&admission, "whoami")).await.unwrap();
        // Recorded later than it was decided, in another state.
        tried.apply(json!({ "kind": "group", "name": format!("g{}", admission.seq) })).await;
        tried.plane.record(Some(bearer), call(&admission, "history")).await.unwrap();
    }
    let filtered = json!({ "kind": "project", "name": "web", "servers": ["mcpctl"], "members": [MEMBER], "tools": { "mcpctl": { "deny": ["history"] } } });
    tried.apply(filtered).await;
    let admission = tried.plane.admit(&own, "web").await.unwrap();
    let hidden = AuditEntry { allowed: false, rule: Some(rule::NOT_SERVED.to_owned()), ..call(&admission, "history") };
    tried.plane.record(Some(&own), hidden).await.unwrap();
    refused(&tried, &own, "other").await;
    refused(&tried, &person, "other").await;
    refused(&tried, &person, "nowhere").await;
    tried.apply(json!({ "kind": "project", "name": "web", "servers": ["mcpctl"], "members": [] })).await;
    refused(&tried, &own, "web").await;
    tried.revoke("all").await;
    refused(&tried, &other, "web").await;
    tried.give(Kind::User, None, MEMBER, Deed::Delete { expected: None }).await;
    refused(&tried, &person, "web").await;
    tried
}

#[tokio::test]
async fn everything_that_was_done_and_decided_is_proved() {
    let tried = busy().await;
    let report = replayed(&tried, &ReplayRequest::default());
    assert_eq!(report.mutations.findings, []);
    assert_eq!(report.decisions.findings, []);
    assert_eq!((report.mutations.read, report.seq), (tried.published.load().seq().0, tried.published.load().seq()));
    assert!(report.proved() && report.decisions.checked >= 11, "{report:?}");
}

#[tokio::test]
async fn what_is_recorded_says_the_question_the_rule_and_the_state() {
    let tried = busy().await;
    let rules: Vec<String> = entries(&tried).into_iter().map(|entry| entry.rule.unwrap_or_default()).collect();
    assert_eq!(
        rules[..12],
        [
            "token",
            "token",
            "token",
            "token",
            "rbac",
            "rbac",
            "not-served",
            "outside-project",
            "no-grant",
            "no-grant",
            "no-grant",
            "ended"
        ]
    );
    for entry in entries(&tried).into_iter().take(12) {
        assert!(entry.seq > Seq(0) && entry.asked.is_some() && entry.actor.is_some(), "{entry:?}");
        assert!(entry.asked.unwrap().to_string().starts_with("run projects/"));
        assert!(!entry.allowed || !entry.via.is_empty());
    }
}

#[tokio::test]
async fn what_was_not_so_is_found() {
    let tried = busy().await;
    let good = entries(&tried).into_iter().find(|entry| entry.rule.as_deref() == Some("token")).unwrap();
    let before = replayed(&tried, &ReplayRequest::default()).decisions;
    let (now, first) = (tried.published.load().seq(), Seq(3));
    let filter = AuditEntry { allowed: false, rule: Some(rule::NOT_SERVED.to_owned()), ..good.clone() };
    let may = AuditEntry { allowed: false, rule: Some("no-grant".to_owned()), ..good.clone() };
    for (entry, why) in [
        (AuditEntry { seq: now, ..good.clone() }, "may not run projects/web (ended)"),
        (AuditEntry { seq: first, ..good.clone() }, "did not exist"),
        (AuditEntry { seq: Seq(now.0 + 1), ..good.clone() }, "the log ends at"),
        (AuditEntry { via: vec![first], ..good.clone() }, "the grants that it names"),
        (AuditEntry { server: Some("hidden".to_owned()), ..good.clone() }, "did not have the server"),
        (AuditEntry { actor: None, ..good.clone() }, "nobody is named"),
        (AuditEntry { asked: Some(Asked::from(&Ask::Operation("audit"))), ..good.clone() }, "may not run:audit"),
        (AuditEntry { asked: None, project: None, ..good.clone() }, "does not say what was asked"),
        (filter, "is not"),
        (may, "it was refused"),
    ] {
        tried.audit.append(entry).unwrap();
        let after = replayed(&tried, &ReplayRequest::default()).decisions;
        let last = after.findings.last().expect(why);
        assert!(last.why.contains(why), "{why}: {}", last.why);
        assert_eq!(last.position.0, after.read, "{why}");
        assert!(after.not_proved > before.not_proved);
    }
}

/// What happens while a replay runs is not taken for something that the log does not have.
#[tokio::test]
async fn a_replay_of_a_busy_control_plane_ends_where_it_began() {
    let tried = busy().await;
    let bearer = tried.token(ADMIN, "late", "empty").await;
    let admission = tried.plane.admit(&bearer, "web").await.unwrap();
    let late = AuditEntry { seq: Seq(admission.seq.0 + 1), ..call(&admission, "whoami") };
    struct Growing<'a>(Running<'a>, AuditEntry);
    impl super::run::Logs for Growing<'_> {
        fn counts(&self) -> (u64, u64) {
            self.0.counts()
        }
        fn last_entry(&self) -> Option<Seq> {
            self.0.last_entry()
        }
        fn records(&self, each: super::run::EachRecord<'_>) -> Result<(), super::ReplayFailed> {
            self.0.records(each)?;
            self.0.audit.append(self.1.clone()).unwrap();
            Ok(())
        }
        fn entries(&self, each: super::run::EachEntry<'_>) -> Result<(), super::ReplayFailed> {
            self.0.entries(each)
        }
    }
    let logs = Growing(Running { log: &*tried.log, audit: &tried.audit }, late);
    let report = run(&logs, &ReplayRequest::default(), &mut |_| true).unwrap();
    assert_eq!((report.decisions.findings, report.decisions.read), (vec![], entries(&tried).len() as u64 - 1));
    assert!(!replayed(&tried, &ReplayRequest::default()).proved(), "afterwards it is there to be found");
}

#[tokio::test]
async fn bounds_are_seqs_or_moments_and_progress_can_call_it_off() {
    let tried = busy().await;
    let of = |from: &str, to: &str| {
        let asked = ReplayRequest { from: Some(from.to_owned()), to: Some(to.to_owned()) };
        let report = replayed(&tried, &asked);
        (report.mutations.checked, report.decisions.checked + report.decisions.undecided)
    };
    let all = (tried.published.load().seq().0, entries(&tried).len() as u64);
    assert_eq!(of("1", "999999"), all);
    assert_eq!(of("1h", "now"), all);
    assert_eq!(of("2000-01-01", "1h"), (0, 0));
    assert_eq!(of("5", "5").0, 1);
    let logs = Running { log: &*tried.log, audit: &tried.audit };
    let bad = ReplayRequest { from: Some("yesterday".to_owned()), to: None };
    assert!(run(&logs, &bad, &mut |_: ReplayLine| true).is_err());
}
