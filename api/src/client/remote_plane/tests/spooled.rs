//! Entries that can't be recorded at once: kept on the gateway's disk, delivered in order, recorded once.
use mcpctl_core::ids::Digest;
use mcpctl_core::world::World as _;

use super::super::ask::NotWritten;
use super::super::spool::{Spool, Spooled};
use super::*;
use crate::client::Address;
use crate::plane::kind;

/// A gateway with a folder, and a control plane that goes away and comes back at the same address.
struct Away {
    apart: Apart,
    remote: RemotePlane,
    dir: tempfile::TempDir,
    address: Address,
    token: CallerBearer,
}

impl Away {
    async fn new(bytes_max: Option<u64>) -> Self {
        let apart = Apart::new().await;
        let (dir, address) = (tempfile::tempdir().unwrap(), apart.address.clone());
        let remote = RemotePlane::connect_remembering(address.clone(), Some(dir.path()), bytes_max).unwrap();
        let token = apart.tried.token(ADMIN, "ci", "empty").await;
        remote.admit(&token, "web").await.unwrap();
        Self { apart, remote, dir, address, token }
    }

    fn spool(&self) -> &Spool {
        self.remote.shared.spool.as_ref().unwrap()
    }

    async fn record(&self, tool: &str) -> Result<(), String> {
        self.remote.record(Some(&self.token), entry(tool)).await.map_err(|failed| failed.to_string())
    }

    fn tools(&self, of: &str) -> Vec<String> {
        let entries = self.apart.audited().into_iter().filter(|entry| entry.kind == of);
        entries.map(|entry| entry.tool.unwrap()).collect()
    }
}

fn entry(tool: &str) -> AuditEntry {
    AuditEntry {
        kind: kind::SESSION_CUT.to_owned(),
        method: "tools/call".to_owned(),
        project: Some("web".to_owned()),
        tool: Some(tool.to_owned()),
        rule: Some("lease-ran-out".to_owned()),
        outcome: "cut".to_owned(),
        ..AuditEntry::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_while_the_control_plane_was_away_arrives_in_order_and_once() {
    let mut away = Away::new(None).await;
    away.record("before").await.unwrap();
    away.apart.unplug().await;
    for tool in ["1", "2", "3"] {
        away.record(tool).await.unwrap();
    }
    assert!(away.spool().waits());
    // The gateway is started anew: what waits is on its disk, and nobody's bearer is.
    away.remote.shutdown().await;
    let raw = away.token.expose().as_bytes();
    for file in walk(away.dir.path()) {
        let bytes = std::fs::read(file).unwrap();
        assert!(!bytes.windows(raw.len()).any(|window| window == raw), "a bearer is on the disk");
    }
    drop(std::mem::replace(&mut away.remote, RemotePlane::connect("http://127.0.0.1:1".parse().unwrap()).unwrap()));
    away.remote = RemotePlane::connect_remembering(away.address.clone(), Some(away.dir.path()), None).unwrap();
    away.apart.plug_in().await;
    away.apart.until("they arrive", || away.tools(kind::SESSION_CUT).len() >= 4).await;
    away.apart.until("nothing waits", || !away.spool().waits()).await;
    assert_eq!(away.tools(kind::SESSION_CUT), ["before", "1", "2", "3"]);
    let last = away.apart.audited().pop().unwrap();
    assert_eq!((last.actor.unwrap().name.as_str(), last.token_sha), ("ci", Some(away.token.digest())));
    assert_eq!((last.owner.unwrap().name.as_str(), last.rule.as_deref()), (ADMIN, Some("lease-ran-out")));
    // From now on there is a ticket for whoever is admitted, and nothing waits: it goes the straight way again.
    away.remote.admit(&away.token, "web").await.unwrap();
    away.record("after").await.unwrap();
    assert_eq!(away.tools(kind::SESSION_CUT).last().map(String::as_str), Some("after"));
}

#[tokio::test]
async fn an_entry_that_is_delivered_twice_is_recorded_once() {
    let away = Away::new(None).await;
    let ticket = away.remote.shared.tickets.lock().values().next().cloned().unwrap();
    let ask = &away.remote.shared.ask;
    let with_id = |n: u8, tool: &str| AuditEntry { id: Some(format!("{n:032x}")), ..entry(tool) };
    let (first, second) = (with_id(1, "first"), with_id(2, "second"));
    ask.record(&away.token, "web", &first).await.unwrap();
    for _ in 0..2 {
        ask.record_late(&ticket, "web", &[&first, &second]).await.unwrap();
    }
    assert_eq!(away.tools(kind::SESSION_CUT), ["first", "second"]);
    let refused = ask.record_late(&ticket, "web", &[&entry("without an id")]).await.unwrap_err();
    assert!(matches!(refused, NotWritten::Refused(_)), "{refused}");
}

#[tokio::test]
async fn a_ticket_records_and_opens_nothing_and_a_forged_one_does_neither() {
    let away = Away::new(None).await;
    let ticket = away.remote.shared.tickets.lock().values().next().cloned().unwrap();
    let ask = &away.remote.shared.ask;
    let bearer = CallerBearer::new(ticket.to_string());
    assert!(matches!(away.remote.admit(&bearer, "web").await.unwrap_err(), Denial::NotAToken(_) | Denial::Ended(_)));
    let late = AuditEntry { id: Some("0".repeat(32)), ..entry("x") };
    for (ticket, project) in [(ticket.replace('.', "A."), "web"), (ticket.to_string(), "other")] {
        let refused = ask.record_late(&ticket, project, &[&late]).await.unwrap_err();
        assert!(matches!(refused, NotWritten::Refused(_)), "{refused}");
    }
    let login = AuditEntry { kind: "login".to_owned(), ..late.clone() };
    assert!(ask.record_late(&ticket, "web", &[&login]).await.is_err(), "a gateway records no logins");
    assert!(away.tools(kind::SESSION_CUT).is_empty());
}

#[tokio::test]
async fn an_entry_for_which_there_is_no_room_is_refused_and_nothing_that_waits_is_lost() {
    let away = Away::new(Some(3_000)).await;
    away.apart.unplug().await;
    let mut kept = 0;
    let full = loop {
        match away.record(&format!("{kept}")).await {
            Ok(()) => kept += 1,
            Err(full) => break full,
        }
        assert!(kept < 1_000, "it is never full");
    };
    assert!(full.contains("full") && kept > 0, "{kept}: {full}");
    let unknown = CallerBearer::new("mcpctl_pat_nobody".to_owned());
    assert_ne!(unknown.digest(), Digest::default());
    away.remote.record(Some(&unknown), entry("x")).await.expect_err("whose it is nobody here can say");
    away.apart.plug_in().await;
    away.apart.until("they arrive", || away.tools(kind::SESSION_CUT).len() == kept).await;
    away.apart.until("there is room again", || !away.spool().waits()).await;
    away.record("again").await.unwrap();
}

#[tokio::test]
async fn an_entry_that_will_never_be_taken_is_set_aside_and_keeps_nobody_waiting() {
    let away = Away::new(None).await;
    let forged = Spooled { ticket: "forged.ticket".to_owned(), entry: AuditEntry { id: None, ..entry("forged") } };
    away.spool().put(&forged).unwrap();
    away.record("after").await.unwrap();
    away.apart.until("nothing waits", || !away.spool().waits()).await;
    assert_eq!(away.tools(kind::SESSION_CUT), ["after"]);
    let aside = std::fs::read_to_string(away.dir.path().join("spool/refused.jsonl")).unwrap();
    assert!(aside.lines().count() == 1 && aside.contains("forged"), "{aside}");
}

#[tokio::test]
async fn a_call_that_its_revocation_cut_is_recorded_although_its_bearer_opens_nothing_any_more() {
    let away = Away::new(None).await;
    let seq = away.apart.tried.published.load().seq();
    away.apart.tried.revoke("ci").await;
    let call = AuditEntry { kind: "call".to_owned(), allowed: true, seq, rule: None, ..entry("echo") };
    away.remote.record(Some(&away.token), call).await.unwrap();
    away.apart.until("it arrives", || away.tools("call") == ["echo"]).await;
    let recorded = away.apart.audited().pop().unwrap();
    assert!(recorded.allowed && recorded.asked.is_some(), "it was allowed in the state that it names: {recorded:?}");
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
