//! Reading the audit log: filters, and pages that hold no more than was asked for.
//!
//! Without a position a page holds the newest entries that match; with one, those from there on. Either way the newest
//! entry stands last. The index says which entries may match (`index`); those are read and compared, the others are not.
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use mcpctl_core::access::{Ask, Verdict};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::Seq;
use mcpctl_core::log::{JournalReader, LogError};
use mcpctl_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::AuditLog;
use super::index::{Candidates, Index, Moment, Wants};
use super::record::decode;
use super::text::escape;
use crate::client::AuditItem;
use crate::plane::AuditEntry;

/// The operation that reading takes.
pub const RIGHT: &str = "audit";
/// Most entries of a page.
pub const LIMIT_MAX: usize = 1000;
const LIMIT_DEFAULT: usize = 100;
/// How many entries are read in one go where no index says which.
const STEP: usize = 8192;
/// How many are read in one go where it does: a few more than are wanted, for those that it names in vain.
const STEP_INDEXED: usize = 64;
/// How many entries one page looks at on the way forward; `next` goes on from there.
const LOOK_MAX: usize = 1_000_000;
/// How far apart two entries may lie for the second to be reached by reading on.
const NEAR: u64 = 512;

/// Which entries are asked for. What is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuditQuery {
    /// Project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Sort of line, such as `call`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The person who acted, or whose rights bound the token that did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// The token that acted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_name: Option<String>,
    /// SHA-256 of the token, or its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_sha: Option<String>,
    /// Session, as far as the log shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Tool, prompt or resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Outcome, such as `denied`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Not before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Not after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// From this position on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The newest before this position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Most entries, at most 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// The entry that a look at the audit log leaves in it: who looked, and for what.
#[must_use]
pub fn read_entry(caller: &Actor, method: &str, query: &AuditQuery, verdict: &Verdict, at: Timestamp) -> AuditEntry {
    AuditEntry {
        at,
        kind: "audit-read".to_owned(),
        method: method.to_owned(),
        actor: Some(caller.clone()),
        project: query.project.clone(),
        outcome: if verdict.allowed { "ok" } else { "denied" }.to_owned(),
        reason: serde_json::to_string(query).ok().filter(|filters| filters != "{}"),
        ..AuditEntry::default()
    }
    .decided(&Ask::Operation(RIGHT), verdict)
}

/// A page: entries in order, and where to go on when there is more.
type Page = (Vec<AuditItem>, Option<String>);

impl AuditLog {
    /// One page. It reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn page(&self, query: &AuditQuery) -> Result<Page, LogError> {
        match query.position {
            Some(position) => {
                let (items, next) = self.after(query, Seq(position))?;
                // Nothing may have been written behind it meanwhile.
                Ok((items, (next <= self.reader().head()).then(|| next.to_string())))
            }
            None => Ok((self.newest_and_head(query)?.0, None)),
        }
    }

    /// Entries from a position on, and where to go on.
    pub(super) fn after(&self, query: &AuditQuery, from: Seq) -> Result<(Vec<AuditItem>, Seq), LogError> {
        let found = self.look(query).forward(from);
        self.indexer_may_work();
        found
    }

    /// The newest entries, and the position of the newest of all.
    pub(super) fn newest_and_head(&self, query: &AuditQuery) -> Result<(Vec<AuditItem>, Seq), LogError> {
        let look = self.look(query);
        let found = look.newest().map(|items| (items, look.head));
        self.indexer_may_work();
        found
    }
}

impl AuditLog {
    /// Calls `each` for every entry up to the newest of this moment, in order, until it answers `false`; with `None` for one
    /// that a later version wrote and this one can't read.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn each(&self, each: &mut dyn FnMut(Seq, Option<AuditEntry>) -> bool) -> Result<(), LogError> {
        self.reader().scan(Seq(1), &mut |position, bytes| each(position, decode(bytes).ok()))
    }

    /// How many entries there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        let reader = self.reader();
        reader.first().map_or(0, |first| reader.head().0 + 1 - first.0)
    }
}

impl AuditQuery {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)
    }

    /// Whether an entry is asked for.
    #[must_use]
    pub fn matches(&self, entry: &AuditEntry) -> bool {
        let is =
            |wanted: &Option<String>, has: Option<&str>| wanted.as_deref().is_none_or(|wanted| has == Some(wanted));
        let acts = |kind: ActorKind| entry.actor.as_ref().filter(|actor| actor.kind == kind).map(|actor| &*actor.name);
        let owner = entry.owner.as_ref().map(|owner| &*owner.name);
        is(&self.project, entry.project.as_deref())
            && is(&self.kind, Some(&entry.kind))
            && (is(&self.user_name, acts(ActorKind::User)) || is(&self.user_name, owner))
            && is(&self.token_name, acts(ActorKind::McpToken))
            && self.token_sha.as_deref().is_none_or(|wanted| sha_begins(entry, wanted))
            && is(&self.session, entry.session.as_deref())
            && is(&self.server, entry.server.as_deref())
            && is(&self.tool, entry.tool.as_deref())
            && is(&self.outcome, Some(&entry.outcome))
            && self.from.is_none_or(|from| entry.at >= from)
            && self.to.is_none_or(|to| entry.at <= to)
    }
}

fn sha_begins(entry: &AuditEntry, wanted: &str) -> bool {
    entry.token_sha.is_some_and(|sha| !wanted.is_empty() && sha.to_string().starts_with(&wanted.to_ascii_lowercase()))
}

/// Reads an entry; one that a later version wrote and this one can't read is left out, and said so in the log of mcpd.
fn read(position: Seq, bytes: &[u8], query: &AuditQuery) -> Option<AuditItem> {
    let mut entry =
        decode(bytes).inspect_err(|error| tracing::warn!(%position, %error, "an audit entry can't be read")).ok()?;
    if !query.matches(&entry) {
        return None;
    }
    escape(&mut entry);
    Some(AuditItem { position: position.0.into(), entry })
}

/// The log and its index at one moment, and what is asked of them.
pub(super) struct Look<'a> {
    pub(super) query: &'a AuditQuery,
    pub(super) reader: JournalReader,
    pub(super) head: Seq,
    pub(super) index: &'a Index,
    pub(super) moment: Moment,
    pub(super) wants: Wants,
    /// Counts the entries that are read.
    pub(super) looked: &'a AtomicU64,
}

impl Look<'_> {
    fn candidates(&self, shard: u64, within: Range<Seq>) -> Candidates {
        self.index.candidates(&self.moment, &self.reader, shard, &self.wants, within)
    }

    fn first(&self) -> Seq {
        self.reader.first().unwrap_or(Seq(1))
    }

    fn forward(&self, from: Seq) -> Result<(Vec<AuditItem>, Seq), LogError> {
        let within = from.max(self.first())..self.head.next();
        let (mut items, mut looked) = (Vec::new(), 0);
        for shard in self.index.shards(within.clone()) {
            let found = self.candidates(shard, within.clone());
            for chunk in found.positions.chunks(found.step(self.query.limit())) {
                let mut last = Seq(0);
                self.gather(chunk, &mut |position, bytes| {
                    items.extend(read(position, bytes, self.query));
                    (last, looked) = (position, looked + 1);
                    items.len() < self.query.limit() && looked < LOOK_MAX
                })?;
                if items.len() == self.query.limit() || looked >= LOOK_MAX {
                    return Ok((items, last.next()));
                }
            }
        }
        Ok((items, self.head.next().max(from)))
    }

    /// Goes back until the page is full.
    fn newest(&self) -> Result<Vec<AuditItem>, LogError> {
        let end = self.query.before.map_or(self.head.next(), |before| Seq(before).min(self.head.next()));
        let within = self.first()..end;
        let mut page: VecDeque<AuditItem> = VecDeque::new();
        for shard in self.index.shards(within.clone()).rev() {
            let found = self.candidates(shard, within.clone());
            for chunk in found.positions.rchunks(found.step(self.query.limit())) {
                let mut step = Vec::new();
                self.gather(chunk, &mut |position, bytes| {
                    step.extend(read(position, bytes, self.query));
                    true
                })?;
                let wanted = self.query.limit() - page.len();
                step.into_iter().rev().take(wanted).for_each(|item| page.push_front(item));
                if page.len() == self.query.limit() {
                    return Ok(page.into());
                }
            }
        }
        Ok(page.into())
    }

    /// Reads the entries at these positions, which ascend, until `each` answers `false`. What lies between two that are near
    /// is read on the way; what lies between others is not.
    fn gather(&self, positions: &[Seq], each: &mut dyn FnMut(Seq, &[u8]) -> bool) -> Result<(), LogError> {
        let mut left = positions;
        while let Some(first) = left.first() {
            let (before, mut more) = (left.len(), true);
            self.reader.scan(*first, &mut |position, bytes| {
                if left.first() == Some(&position) {
                    left = &left[1..];
                    self.looked.fetch_add(1, Ordering::Relaxed);
                    more = each(position, bytes);
                }
                more && left.first().is_some_and(|next| *next > position && next.0 - position.0 <= NEAR)
            })?;
            if !more || left.len() == before {
                // An entry that went away meanwhile is not there to be shown.
                left = if more { &left[1..] } else { &[] };
            }
        }
        Ok(())
    }
}

impl Candidates {
    fn step(&self, limit: usize) -> usize {
        if self.indexed { limit + STEP_INDEXED } else { STEP }
    }
}
