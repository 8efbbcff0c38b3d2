//! Sessions, put together from the entries of the audit log: who, where, how much, and how it ended.
//!
//! Clients of MCP before 2026-07-28 have sessions, and their entries name them. Later ones have none: then what one caller
//! did in one project is taken for one run until it was silent for half an hour. Everything is read back from the newest
//! entry, by the index; what one answer reads is bounded, and a session that reaches beyond it says so.
use std::collections::{BTreeSet, HashMap};

use mcpctl_core::actor::ActorKind;
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::log::LogError;
use mcpctl_core::time::Timestamp;

use super::pin::ended;
use super::{AuditLog, AuditQuery};
use crate::audit_wire::{AuditSession, SessionEnd, SessionShown};
use crate::client::AuditItem;
use crate::plane::{AuditEntry, kind};

/// Silence after which a session counts as over.
const SILENCE_MS: u64 = 30 * 60 * 1000;
/// Most entries that one answer reads.
const READ_MAX: usize = 50_000;
/// Most sessions of one answer.
const SESSIONS_MAX: usize = 200;
const SESSIONS_DEFAULT: usize = 50;
/// Most servers that a session names.
const SERVERS_MAX: usize = 32;
/// Sorts of entries that belong to a session.
const KINDS: [&str; 5] = ["call", "list", "refusal", "session", kind::SESSION_CUT];

/// A session by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ById {
    /// As clients before 2026-07-28 have them.
    Session(String),
    /// The run that begins with this entry.
    Run(Seq),
}

impl ById {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("run-") {
            Some(position) => position.parse().ok().map(|position| Self::Run(Seq(position))),
            None => (!text.is_empty() && text.len() <= 64).then(|| Self::Session(text.to_owned())),
        }
    }
}

/// A filter that does not hold of a session as a whole.
pub(super) fn cannot_filter(query: &AuditQuery) -> Option<&'static str> {
    let fields = [
        ("kind", query.kind.is_some()),
        ("session", query.session.is_some()),
        ("server", query.server.is_some()),
        ("tool", query.tool.is_some()),
        ("outcome", query.outcome.is_some()),
        ("position", query.position.is_some()),
    ];
    fields.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
}

/// Whose session it is, where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Whose {
    actor: Uid,
    project: String,
    session: Option<String>,
}

impl Whose {
    fn of(entry: &AuditEntry) -> Option<Self> {
        let actor = entry.actor.as_ref().filter(|_| KINDS.contains(&&*entry.kind))?.uid;
        Some(Self { actor, project: entry.project.clone()?, session: entry.session.clone() })
    }
}

/// A session while its entries come.
struct Found {
    session: AuditSession,
    servers: BTreeSet<String>,
    /// Its first entry was seen: a session's `initialize`, or the silence in front of a run.
    whole: bool,
}

impl Found {
    fn new(item: &AuditItem, at: Seq, whose: &Whose) -> Option<Self> {
        let entry = &item.entry;
        let session = AuditSession {
            id: whose.session.clone().unwrap_or_default(),
            project: whose.project.clone(),
            actor: entry.actor.clone()?,
            owner: entry.owner.clone(),
            token_sha: entry.token_sha,
            from: entry.at,
            to: ended(entry),
            first: at,
            last: at,
            calls: 0,
            lists: 0,
            refusals: 0,
            servers: Vec::new(),
            ended: SessionEnd::Open,
            partial: false,
        };
        Some(Self { session, servers: BTreeSet::new(), whole: false })
    }

    /// Takes an entry of it, in any order.
    fn take(&mut self, entry: &AuditEntry, at: Seq) {
        let session = &mut self.session;
        let newest = at >= session.last;
        (session.first, session.last) = (session.first.min(at), session.last.max(at));
        (session.from, session.to) = (session.from.min(entry.at), session.to.max(ended(entry)));
        if entry.kind == kind::SESSION_CUT {
            // It ends what another entry tells of.
        } else if !entry.allowed {
            session.refusals += 1;
        } else if entry.kind == "call" {
            session.calls += 1;
        } else if entry.kind == "list" {
            session.lists += 1;
        }
        if newest && matches!(session.ended, SessionEnd::Open) {
            session.ended = match (entry.method.as_str(), entry.outcome.as_str()) {
                (_, "cut") => SessionEnd::Cut,
                ("DELETE", "ok") => SessionEnd::Closed,
                _ => SessionEnd::Open,
            };
        }
        if let Some(server) = entry.server.as_ref().filter(|_| self.servers.len() < SERVERS_MAX) {
            self.servers.insert(server.clone());
        }
        self.whole |= entry.session.is_some() && entry.method == "initialize";
    }

    fn finish(mut self, now: Timestamp) -> AuditSession {
        if self.session.ended == SessionEnd::Open && now.since(self.session.to) > SILENCE_MS {
            self.session.ended = SessionEnd::Idle;
        }
        if self.session.id.is_empty() {
            self.session.id = format!("run-{}", self.session.first);
        }
        self.session.partial = !self.whole;
        self.session.servers = self.servers.into_iter().collect();
        self.session
    }
}

/// The sessions found so far on the way back.
struct Walk {
    found: Vec<Found>,
    /// The session of each that an older entry would belong to.
    open: HashMap<Whose, usize>,
}

impl Walk {
    fn take(&mut self, item: &AuditItem, room: usize) -> bool {
        let (at, entry) = (position(item), &item.entry);
        let Some(whose) = Whose::of(entry) else { return true };
        if let Some(index) = self.open.get(&whose).copied() {
            let of = &mut self.found[index];
            if whose.session.is_some() || of.session.from.since(ended(entry)) <= SILENCE_MS {
                of.take(entry, at);
                return true;
            }
            of.whole = true;
        }
        if self.found.len() >= room {
            return false;
        }
        let Some(mut new) = Found::new(item, at, &whose) else { return true };
        new.take(entry, at);
        self.open.insert(whose, self.found.len());
        self.found.push(new);
        true
    }

    /// Whether an older entry may belong to any of them.
    fn unfinished(&self, reached: Timestamp) -> bool {
        self.found.iter().any(|found| {
            !found.whole && (!found.session.id.is_empty() || found.session.from.since(reached) <= SILENCE_MS)
        })
    }
}

fn position(item: &AuditItem) -> Seq {
    Seq(item.position.as_u64().unwrap_or_default())
}

/// Sessions in the order of their last entries, the newest first; and before which position there are more.
type Sessions = (Vec<AuditSession>, Option<String>);

impl AuditLog {
    /// Sessions whose last entry matches, the newest first. It reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// When the log can't be read.
    pub(super) fn sessions(&self, query: &AuditQuery, now: Timestamp) -> Result<Sessions, LogError> {
        let room = query.limit.unwrap_or(SESSIONS_DEFAULT).clamp(1, SESSIONS_MAX);
        let mut walk = Walk { found: Vec::new(), open: HashMap::new() };
        let (mut before, mut read, mut more) = (query.before, 0, None);
        loop {
            let page =
                AuditQuery { before, limit: Some(super::LIMIT_MAX), position: None, from: None, ..query.clone() };
            let (items, _) = self.page(&page)?;
            let Some(oldest) = items.first() else {
                walk.found.iter_mut().for_each(|found| found.whole = true);
                break;
            };
            before = Some(position(oldest).0);
            let reached = ended(&oldest.entry);
            read += items.len();
            for item in items.iter().rev() {
                let too_old = query.from.is_some_and(|from| item.entry.at < from);
                let begins_before = query.before.is_some_and(|_| self.goes_on(item, query).unwrap_or(false));
                let room = if too_old || begins_before { 0 } else { room };
                if !walk.take(item, room) && !too_old && !begins_before {
                    more.get_or_insert_with(|| position(item).next().to_string());
                }
            }
            let full = more.is_some() || query.from.is_some_and(|from| reached < from);
            if read >= READ_MAX || (full && !walk.unfinished(reached)) {
                break;
            }
        }
        if more.is_none() && read >= READ_MAX {
            more = before.map(|before| before.to_string());
        }
        let found = walk.found.into_iter().map(|found| found.finish(now)).collect();
        Ok((found, more))
    }

    /// Whether what an entry belongs to has a later entry that an earlier page told of.
    fn goes_on(&self, item: &AuditItem, query: &AuditQuery) -> Result<bool, LogError> {
        let Some(before) = query.before else { return Ok(false) };
        let Some(whose) = Whose::of(&item.entry) else { return Ok(false) };
        let next = AuditQuery { position: Some(before), limit: Some(1), ..of(&item.entry, whose.session.as_deref()) };
        let to = match whose.session {
            Some(_) => None,
            None => Some(ended(&item.entry).plus_millis(SILENCE_MS)),
        };
        let (items, _) = self.page(&AuditQuery { to, ..next })?;
        Ok(items.iter().any(|later| Whose::of(&later.entry).as_ref() == Some(&whose)))
    }

    /// One session with its entries. It reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// When the log can't be read.
    pub(super) fn session(
        &self,
        id: &ById,
        query: &AuditQuery,
        now: Timestamp,
    ) -> Result<Option<SessionShown>, LogError> {
        let (filter, first) = match id {
            ById::Session(session) => (
                AuditQuery { session: Some(session.clone()), project: query.project.clone(), ..AuditQuery::default() },
                Seq(1),
            ),
            ById::Run(first) => {
                let at = AuditQuery { position: Some(first.0), limit: Some(1), ..AuditQuery::default() };
                let (items, _) = self.page(&at)?;
                let Some(item) = items.into_iter().find(|item| position(item) == *first) else { return Ok(None) };
                (of(&item.entry, None), *first)
            }
        };
        let (mut found, mut items, mut next, mut read): (Option<Found>, Vec<AuditItem>, _, _) =
            (None, Vec::new(), None, 0);
        let mut from = Some(first.0.to_string());
        'pages: while let Some(at) = from.take().filter(|_| read < READ_MAX) {
            let at = at.parse().ok();
            let page = AuditQuery { position: at, limit: Some(super::LIMIT_MAX), ..filter.clone() };
            let (entries, more) = self.page(&page)?;
            read += entries.len();
            for item in entries {
                let at = position(&item);
                let Some(whose) = Whose::of(&item.entry).filter(|whose| whose.session == filter.session) else {
                    continue;
                };
                let of = match &mut found {
                    Some(of) if of.session.actor.uid != whose.actor || of.session.project != whose.project => continue,
                    Some(of) if whose.session.is_none() && item.entry.at.since(of.session.to) > SILENCE_MS => {
                        break 'pages;
                    }
                    Some(of) => of,
                    None => {
                        let Some(mut new) = Found::new(&item, at, &whose) else { continue };
                        new.whole = whose.session.is_none();
                        found.insert(new)
                    }
                };
                of.take(&item.entry, at);
                if query.position.is_some_and(|from| at < Seq(from)) {
                    continue;
                }
                if items.len() < query.limit.unwrap_or(super::LIMIT_MAX).clamp(1, super::LIMIT_MAX) {
                    items.push(item);
                } else {
                    next.get_or_insert_with(|| at.to_string());
                }
            }
            from = more;
        }
        Ok(found.map(|found| SessionShown { session: found.finish(now), items, next }))
    }
}

/// The query for entries of whoever made this one.
fn of(entry: &AuditEntry, session: Option<&str>) -> AuditQuery {
    let acts =
        |kind: ActorKind| entry.actor.as_ref().filter(|actor| actor.kind == kind).map(|actor| actor.name.clone());
    AuditQuery {
        project: entry.project.clone(),
        session: session.map(str::to_owned),
        user_name: acts(ActorKind::User),
        token_name: acts(ActorKind::McpToken),
        ..AuditQuery::default()
    }
}
