//! Reading the audit log: filters, and pages that hold no more than was asked for.
//!
//! Without a position a page holds the newest entries that match; with one, those from there on. Either way the newest
//! entry stands last. It is a scan: no index is kept here.
use std::collections::VecDeque;

use mcpctl_core::access::{Ask, Verdict};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::Seq;
use mcpctl_core::log::{JournalReader, LogError};
use mcpctl_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::AuditLog;
use super::record::decode;
use super::text::escape;
use crate::client::AuditItem;
use crate::plane::AuditEntry;

/// The operation that reading takes.
pub const RIGHT: &str = "audit";
/// Most entries of a page.
pub const LIMIT_MAX: usize = 1000;
const LIMIT_DEFAULT: usize = 100;
/// How many entries are looked at in one go on the way back from the newest.
const STEP: u64 = 8192;
/// How many entries one page looks at on the way forward; `next` goes on from there.
const LOOK_MAX: u64 = 1_000_000;

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
    /// Most entries, at most 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// The entry that a look at the audit log leaves in it: who looked, and for what.
#[must_use]
pub fn read_entry(caller: &Actor, query: &AuditQuery, verdict: &Verdict, at: Timestamp) -> AuditEntry {
    AuditEntry {
        at,
        kind: "audit-read".to_owned(),
        method: "GET /audit/events".to_owned(),
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
        let reader = self.reader();
        match query.position {
            Some(position) => forward(&reader, query, Seq(position)),
            None => newest(&reader, query),
        }
    }
}

impl AuditLog {
    /// Calls `each` for every entry up to the newest of this moment, in order, until it answers `false`; with `None` for one
    /// that a later version wrote and this one can't read.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn each(&self, each: &mut dyn FnMut(Seq, Option<AuditEntry>) -> bool) -> Result<(), LogError> {
        self.each_from(Seq(1), each)
    }

    /// The same from a position on.
    ///
    /// # Errors
    /// When the log can't be read.
    pub(in crate::server) fn each_from(
        &self,
        from: Seq,
        each: &mut dyn FnMut(Seq, Option<AuditEntry>) -> bool,
    ) -> Result<(), LogError> {
        self.reader().scan(from, &mut |position, bytes| each(position, decode(bytes).ok()))
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

fn forward(reader: &JournalReader, query: &AuditQuery, from: Seq) -> Result<Page, LogError> {
    let (mut items, mut next, mut looked) = (Vec::new(), None, 0);
    reader.scan(from, &mut |position, bytes| {
        if items.len() == query.limit() || looked == LOOK_MAX {
            next = Some(position.to_string());
            return false;
        }
        looked += 1;
        items.extend(read(position, bytes, query));
        true
    })?;
    Ok((items, next))
}

/// Goes back in steps, each read forward, until the page is full.
fn newest(reader: &JournalReader, query: &AuditQuery) -> Result<Page, LogError> {
    let mut page: VecDeque<AuditItem> = VecDeque::new();
    let Some(first) = reader.first() else { return Ok((Vec::new(), None)) };
    let mut end = reader.head().next();
    while end > first && page.len() < query.limit() {
        let begin = Seq(end.0.saturating_sub(STEP)).max(first);
        let wanted = query.limit() - page.len();
        let mut step: VecDeque<AuditItem> = VecDeque::new();
        reader.scan(begin, &mut |position, bytes| {
            if position >= end {
                return false;
            }
            step.extend(read(position, bytes, query));
            if step.len() > wanted {
                step.pop_front();
            }
            true
        })?;
        step.append(&mut page);
        page = step;
        end = begin;
    }
    Ok((page.into(), None))
}
