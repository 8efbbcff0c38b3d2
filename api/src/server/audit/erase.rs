//! Erasing what the audit log says of a subject: details go, headers and every proof stay.
//!
//! What is to be done is written down first, durably, and crossed out last: an erasure that was killed is finished by the
//! next start. It is recorded as an entry, which names the subject by its uid alone.
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use mcpctl_core::access::Asked;
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Digest, Seq, Uid};
use mcpctl_core::log::disk::{Disk, put_whole};
use mcpctl_core::log::{JournalReader, LogError};
use mcpctl_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::AuditLog;
use super::record::AuditRecord;
use crate::audit_wire::Erased;
use crate::plane::AuditEntry;

/// The sort of entry that an erasure leaves. It is not erased itself.
pub(super) const KIND: &str = "audit-erase";
/// The operation that erasing takes.
pub(super) const RIGHT: &str = "erase";
const PENDING: &str = "erase.pending";

/// Whom an erasure is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct Subject {
    pub(in crate::server) kind: ActorKind,
    /// E-mail address, name, or SHA-256 of a token.
    pub(in crate::server) name: String,
    /// Identity, when the subject is there still.
    pub(in crate::server) uid: Option<Uid>,
}

/// An erasure, as it is written down before it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct Erasure {
    pub(in crate::server) subject: Subject,
    pub(in crate::server) by: Actor,
    pub(in crate::server) on_behalf_of: Option<Actor>,
    pub(in crate::server) seq: Seq,
    pub(in crate::server) via: Vec<Seq>,
    /// By which rule it was allowed.
    pub(in crate::server) rule: String,
    pub(in crate::server) at: Timestamp,
}

impl Subject {
    /// Reads `User:a@example.com`, `ServiceAccount:ci` or `McpToken:<SHA-256>`.
    ///
    /// # Errors
    /// Says what it should look like.
    pub(in crate::server) fn parse(text: &str) -> Result<Self, String> {
        let should = || "write User:E-MAIL, ServiceAccount:NAME or McpToken:SHA256".to_owned();
        let (kind, name) = text.split_once(':').ok_or_else(should)?;
        let kind = match kind.to_ascii_lowercase().as_str() {
            "user" => ActorKind::User,
            "serviceaccount" => ActorKind::ServiceAccount,
            "mcptoken" => ActorKind::McpToken,
            _ => return Err(should()),
        };
        let good = match kind {
            ActorKind::McpToken => name.parse::<Digest>().is_ok(),
            // As an address is looked for in texts, it must be one.
            ActorKind::User => name.len() > 2 && name.contains('@'),
            _ => !name.is_empty(),
        };
        if !good || name.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
            return Err(should());
        }
        Ok(Self { kind, name: name.to_owned(), uid: None })
    }

    /// Finds its identity, when it is there still.
    pub(super) fn find(&mut self, state: &mcpctl_projections::State) {
        use mcpctl_core::kinds::Kind;
        use mcpctl_core::name::Name;
        use mcpctl_core::world::World as _;
        let kind = match self.kind {
            ActorKind::User => Kind::User,
            ActorKind::ServiceAccount => Kind::ServiceAccount,
            _ => return,
        };
        let name = Name::parse(kind.untyped().name_rule(), &self.name).ok();
        self.uid = name.and_then(|name| state.by_name(kind, None, &name)).map(|object| object.meta.uid);
    }

    /// Whether a record says anything of the subject.
    pub(super) fn is_in(&self, bytes: &[u8]) -> bool {
        let Ok(record) = AuditRecord::read(bytes) else { return false };
        let told = match record {
            AuditRecord::Whole { details, .. } => details,
            AuditRecord::Version1(record) => record,
            AuditRecord::Erased { .. } | AuditRecord::ErasedVersion1(_) => return false,
        };
        let uid = self.uid.map(|uid| uid.to_string());
        let by_uid = uid.is_some_and(|uid| memchr::memmem::find(told, uid.as_bytes()).is_some());
        let by_name = match self.kind {
            ActorKind::User => stands_alone(told, self.name.as_bytes()),
            ActorKind::McpToken => self.is_token_of(told, &record),
            // A name such as `ci` stands in many texts by chance: only whom an entry names counts.
            _ => memchr::memmem::find(told, self.name.as_bytes()).is_some() && self.is_named(&record),
        };
        (by_uid || by_name) && record.entry().map_or(true, |entry| entry.kind != KIND)
    }

    fn is_token_of(&self, told: &[u8], record: &AuditRecord<'_>) -> bool {
        let Ok(sha) = self.name.parse::<Digest>() else { return false };
        let may = memchr::memmem::find(told, self.name.to_ascii_lowercase().as_bytes()).is_some()
            || memchr::memmem::find(told, &sha.0).is_some();
        may && record.entry().is_ok_and(|entry| entry.token_sha == Some(sha))
    }

    fn is_named(&self, record: &AuditRecord<'_>) -> bool {
        let is = |actor: &Actor| actor.kind == self.kind && actor.name == self.name;
        record.entry().is_ok_and(|entry| [entry.actor, entry.owner, entry.on_behalf_of].iter().flatten().any(is))
    }
}

/// Whether an address stands in a text and is no part of a longer one. Capital letters make no other address.
fn stands_alone(text: &[u8], address: &[u8]) -> bool {
    let (text, address) = (text.to_ascii_lowercase(), address.to_ascii_lowercase());
    let goes_on = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte));
    memchr::memmem::find_iter(&text, &address).any(|at| {
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        let (after, then) = (text.get(at + address.len()), text.get(at + address.len() + 1));
        // The end of a sentence is no part of a name.
        let longer = goes_on(after) && (after != Some(&b'.') || goes_on(then));
        !goes_on(before) && !longer
    })
}

/// What an erasure would do: entries by the segment that holds them, and the first and the last of them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    segments: BTreeMap<Seq, u64>,
    positions: Vec<Seq>,
}

fn plan(reader: &JournalReader, subject: &Subject) -> Result<Plan, LogError> {
    let mut plan = Plan::default();
    let mut firsts: Vec<Seq> = reader.whole_segments().into_iter().map(|(first, _)| first).collect();
    firsts.extend(reader.whole_segments().last().map(|(_, last)| last.next()));
    reader.scan(Seq(1), &mut |position, bytes| {
        if subject.is_in(bytes) {
            let at = firsts.partition_point(|first| *first <= position).checked_sub(1);
            let segment = at.map_or(Seq(0), |at| firsts[at]);
            *plan.segments.entry(segment).or_default() += 1;
            plan.positions.push(position);
        }
        true
    })?;
    Ok(plan)
}

impl AuditLog {
    /// What an erasure would erase. It reads everything: call it where blocking is allowed.
    ///
    /// # Errors
    /// When the log can't be read.
    pub(in crate::server) fn would_erase(&self, subject: &Subject) -> Result<Erased, LogError> {
        let plan = plan(&self.reader(), subject)?;
        Ok(Erased { entries: plan.positions.len() as u64, ..told(&plan) })
    }

    /// Erases what is said of a subject, durably. It reads everything: call it where blocking is allowed.
    ///
    /// # Errors
    /// When the log can't be read or written. What was begun is finished by the next start then.
    pub(in crate::server) fn erase(&self, erasure: &Erasure) -> Result<Erased, LogError> {
        let _one = self.erasing();
        write_down(self.disk(), self.dir(), erasure)?;
        self.finish(erasure)
    }

    /// Finishes an erasure that a crash broke off; nothing when there is none.
    ///
    /// # Errors
    /// When it can't be finished: then the log is not to be served.
    pub(in crate::server) fn finish_erasure(&self) -> Result<Option<Erased>, LogError> {
        let path = self.dir().join(PENDING);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LogError::Io { action: "read", path, source }),
        };
        let erasure: Erasure = serde_json::from_slice(&bytes).map_err(|error| LogError::Corrupt {
            path,
            offset: 0,
            what: format!("it is no erasure ({error}): remove it, and erase again"),
        })?;
        let _one = self.erasing();
        self.finish(&erasure).map(Some)
    }

    fn finish(&self, erasure: &Erasure) -> Result<Erased, LogError> {
        // From here on all that is there is in whole segments.
        self.roll()?;
        self.discard_seals()?;
        let reader = self.reader();
        let plan = plan(&reader, &erasure.subject)?;
        for first in plan.segments.keys() {
            #[cfg(test)]
            self.stopped_for_tests()?;
            reader.exchange(*first, &mut |_, bytes| {
                let erased = || AuditRecord::read(bytes).ok().map(|record| record.erased());
                erasure.subject.is_in(bytes).then(erased).flatten()
            })?;
        }
        self.index_anew(&plan.positions)?;
        let erased = Erased { entries: plan.positions.len() as u64, ..told(&plan) };
        let position =
            self.append(entry(erasure, &erased)).map_err(|error| LogError::Broken { why: error.to_string() })?;
        self.sync_up_to(position)?;
        cross_out(self.disk(), self.dir())?;
        Ok(Erased { position: Some(position), ..erased })
    }
}

fn told(plan: &Plan) -> Erased {
    Erased { entries: 0, first: plan.positions.first().copied(), last: plan.positions.last().copied(), position: None }
}

/// The entry about it. The subject's name was erased: it is not written again.
fn entry(erasure: &Erasure, erased: &Erased) -> AuditEntry {
    let Erasure { subject, by, on_behalf_of, seq, via, rule, at } = erasure;
    let who = subject.uid.map_or_else(|| "a subject that is gone".to_owned(), |uid| format!("the subject {uid}"));
    let between = match (erased.first, erased.last) {
        (Some(first), Some(last)) => format!(", positions {first} to {last}"),
        _ => String::new(),
    };
    AuditEntry {
        at: *at,
        kind: KIND.to_owned(),
        method: "POST /audit/erase".to_owned(),
        actor: Some(by.clone()),
        on_behalf_of: on_behalf_of.clone(),
        allowed: true,
        seq: *seq,
        via: via.clone(),
        asked: Some(Asked::Operation { operation: RIGHT.to_owned() }),
        rule: Some(rule.clone()),
        outcome: "ok".to_owned(),
        reason: Some(format!("erased the details of {} entries about {who}{between}", erased.entries)),
        ..AuditEntry::default()
    }
}

fn write_down(disk: &dyn Disk, dir: &Path, erasure: &Erasure) -> Result<(), LogError> {
    let path = dir.join(PENDING);
    let failed = |source| LogError::Io { action: "write", path: path.clone(), source };
    let bytes = serde_json::to_vec(erasure).map_err(|error| failed(error.into()))?;
    put_whole(disk, &path, &path.with_extension("new"), &bytes).map_err(failed)
}

fn cross_out(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    let path = dir.join(PENDING);
    let crossed_out = disk.remove(&path).and_then(|()| disk.sync_dir(dir));
    crossed_out.map_err(|source| LogError::Io { action: "remove", path, source })
}
