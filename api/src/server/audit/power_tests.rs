//! A data folder when the power is cut at any moment: events, audit entries with their details, the trees over both,
//! checkpoints, an erasure, and what retention drops. Whatever was told is so afterwards.
use std::path::Path;
use std::sync::Arc;

use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::log::EventLog as _;
use mcpctl_core::log::disk::{Disk, RealDisk};
use mcpctl_core::log::durable::{DurableLog, OpenOptions};
use mcpctl_core::log::journal::{JournalOptions, Sync};
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_tlog::{Checkpoint, consistency};
use serde_json::json;

use super::erase::{Erasure, Subject};
use super::*;
use crate::plane::AuditEntry;
use crate::server::evidence::Evidence;
use crate::server::power::{CUTS, Dice, DiskModel, EIO, ENOSPC, Keeps};
use crate::server::start::past::Past;

const OPTIONS: JournalOptions = JournalOptions { segment_bytes: 16 * 1024, ahead_bytes: 4096, sync: Sync::Later };
const EVENTS: JournalOptions = JournalOptions { segment_bytes: 4096, ahead_bytes: 1024, sync: Sync::EachBatch };
const KEY: [u8; 32] = [5; 32];
const ANN: &str = "ann@example.com";
const ROUNDS: u64 = 3;
/// More than a tile of entries in all rounds.
const ENTRIES: u64 = 100;

/// What whoever used it was told.
#[derive(Default)]
struct Told {
    events: u64,
    entries: u64,
    checkpoints: [Vec<Checkpoint>; 2],
    erased: bool,
    first: u64,
}

type Failed = Box<dyn std::error::Error>;

fn entry(name: &str) -> AuditEntry {
    AuditEntry {
        kind: "call".to_owned(),
        actor: Some(Actor { kind: ActorKind::User, uid: Uid::fixed(7), name: name.to_owned() }),
        allowed: true,
        outcome: "ok".to_owned(),
        ..AuditEntry::default()
    }
}

fn ann() -> Subject {
    Subject::parse("User:ann@example.com").unwrap()
}

pub(super) fn erasure() -> Erasure {
    Erasure {
        subject: ann(),
        by: Actor::system("test"),
        on_behalf_of: None,
        seq: Seq(1),
        via: Vec::new(),
        rule: "rbac".to_owned(),
        at: Timestamp::from_millis(9),
    }
}

/// A control plane's files, opened.
struct Open {
    log: DurableLog,
    audit: Arc<AuditLog>,
    evidence: [Evidence; 2],
}

impl Open {
    fn on(disk: &'static dyn Disk, data: &Path) -> Result<Self, Failed> {
        let options = OpenOptions { journal: EVENTS, disk, ..OpenOptions::default() };
        let log = DurableLog::open(&data.join("log"), options, &mut |_| Ok(()))?;
        let audit = Arc::new(AuditLog::open_on(&data.join("audit"), KEY, OPTIONS, disk)?);
        audit.finish_erasure()?;
        let evidence = Evidence::open_both_on(data, log.reader(), audit.clone(), disk)?;
        Ok(Self { log, audit, evidence })
    }

    /// Both trees level with what is durable, and their checkpoints on disk.
    fn level(&self) -> Result<(), Failed> {
        let heads = [self.log.head().0.0, self.audit.figures().durable.0];
        for (evidence, head) in self.evidence.iter().zip(heads) {
            evidence.catch_up(head)?;
            evidence.keep_for_tests()?;
        }
        Ok(())
    }

    fn round(&mut self, past: &mut Past, told: &mut Told) -> Result<(), Failed> {
        for _ in 0..3 {
            let fields = json!({"name": "a", "description": format!("{}", past.state.seq()), "command": ["npx"]});
            self.log.append(&past.apply(Kind::Server, fields))?;
            told.events = past.state.seq().0;
        }
        for n in 0..ENTRIES {
            self.audit.append(entry(if n % 9 == 0 && !told.erased { ANN } else { "bob@example.com" }))?;
        }
        self.audit.sync();
        told.entries = told.entries.max(self.audit.figures().durable.0);
        self.level()?;
        for (told, evidence) in told.checkpoints.iter_mut().zip(&self.evidence) {
            told.extend(evidence.newest().map(|signed| signed.checkpoint.clone()));
        }
        Ok(())
    }
}

/// Everything that a control plane does to these files, as far as the disk lets it.
fn live(disk: &'static DiskModel, data: &Path, told: &mut Told) -> Result<(), Failed> {
    let (mut open, mut past) = (Open::on(disk, data)?, Past::default());
    for round in 0..ROUNDS {
        open.round(&mut past, told)?;
        if round == 1 {
            open.audit.erase(&erasure())?;
            told.erased = true;
        }
    }
    open.level()?;
    let safe = open.evidence[1].settle()?;
    assert_eq!(safe, 256, "a whole tile");
    open.audit.drop_before(Seq(safe + 1), Timestamp::from_millis(1), Timestamp::from_millis(2))?;
    told.first = open.audit.reader().first().unwrap_or(Seq(1)).0;
    Ok(())
}

/// What is left opens, has what was told, belongs to every checkpoint that was given, and goes on.
fn holds(left: &Path, told: &Told, about: &str) {
    let open = Open::on(&RealDisk, left).unwrap_or_else(|error| panic!("{about}: {error}"));
    let (events, entries) = (open.log.head().0.0, open.audit.figures().head.0);
    assert!(events >= told.events, "{about}: {events} of {} events", told.events);
    assert!(entries >= told.entries, "{about}: {entries} of {} entries", told.entries);
    let (mut about_ann, mut seen) = (0, Vec::new());
    open.audit
        .reader()
        .scan(Seq(1), &mut |position, bytes| {
            seen.push(position.0);
            about_ann += u64::from(ann().is_in(bytes));
            true
        })
        .unwrap_or_else(|error| panic!("{about}: {error}"));
    assert!(!told.erased || about_ann == 0, "{about}: {about_ann} entries came back");
    let first = open.audit.reader().first().map_or(1, |first| first.0);
    assert_eq!(seen, (first..=entries).collect::<Vec<_>>(), "{about}");
    assert!(first >= told.first, "{about}: what was dropped came back");
    open.level().unwrap_or_else(|error| panic!("{about}: {error}"));
    for (evidence, given) in open.evidence.iter().zip(&told.checkpoints) {
        for before in given {
            let proved = evidence.prove_prefix(before.size).unwrap();
            let (proof, now) =
                proved.unwrap_or_else(|| panic!("{about}: shorter than a checkpoint of {}", before.size));
            consistency::check(before, &now.checkpoint, &proof).unwrap_or_else(|error| panic!("{about}: {error}"));
        }
    }
    open.audit.append(entry("bob@example.com")).unwrap();
}

#[test]
fn a_power_cut_at_any_moment_leaves_all_that_was_told_and_every_checkpoint_true() {
    let (disk, data, mut told) = (DiskModel::leaked(), tempfile::tempdir().unwrap(), Told::default());
    live(disk, data.path(), &mut told).unwrap();
    assert!(told.erased && told.first > 1 && told.checkpoints.iter().all(|given| given.len() as u64 == ROUNDS));
    let calls = disk.calls();
    let mut cuts = 0;
    for call in (0..=calls).step_by(usize::try_from(calls / 55).unwrap()) {
        let (disk, data, mut told) = (DiskModel::leaked(), tempfile::tempdir().unwrap(), Told::default());
        // From that call on nothing reaches the disk any more.
        disk.fail(call, u64::MAX, EIO);
        let _ = live(disk, data.path(), &mut told);
        for keeps in CUTS {
            let left = tempfile::tempdir().unwrap();
            disk.cut(data.path(), left.path(), keeps, &mut Dice(call));
            holds(left.path(), &told, &format!("cut at call {call} of {calls}, {keeps:?}"));
            cuts += 1;
        }
    }
    assert!(cuts >= 200, "{cuts} cuts");
}

#[test]
fn a_disk_that_fails_in_between_is_told_and_what_was_told_before_stays() {
    let (disk, data) = (DiskModel::leaked(), tempfile::tempdir().unwrap());
    live(disk, data.path(), &mut Told::default()).unwrap();
    let calls = disk.calls();
    for call in (0..calls).step_by(usize::try_from(calls / 40).unwrap()) {
        for os_error in [EIO, ENOSPC] {
            let (disk, data, mut told) = (DiskModel::leaked(), tempfile::tempdir().unwrap(), Told::default());
            disk.fail(call, 2, os_error);
            let _ = live(disk, data.path(), &mut told);
            let left = tempfile::tempdir().unwrap();
            disk.cut(data.path(), left.path(), Keeps::Nothing, &mut Dice(call));
            let about = format!("error {os_error} at call {call}");
            holds(left.path(), &told, &about);
            holds(data.path(), &told, &about);
        }
    }
}
