//! `GET /access/diff`: what differs between two points of the past: objects, and apart from them who gained and lost what.
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mcpctl_core::access::ResourceName;
use mcpctl_core::access::questions::{Difference, Held, Right, Subject};
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::log::{LogReader, read_record};
use mcpctl_core::object::Object;
use mcpctl_core::record::Header;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;

use super::blast::{Blast, Range};
use super::{unknown_subject, violation};
use crate::access_wire::{ObjectChange, PointDiff};
use crate::server::auth::Authenticated;
use crate::server::history;
use crate::server::point::{Point, may_know};
use crate::server::problem::Result;
use crate::server::target::may_view;

/// Most objects of one answer: the first by kind and name.
pub(super) const OBJECTS_MAX: usize = 5_000;

/// What differs, as far as the caller may view it.
pub(in crate::server) fn diff(
    state: &State,
    log: &dyn LogReader,
    caller: &Authenticated,
    query: &HashMap<String, String>,
) -> Result<PointDiff> {
    let from = Point::named(state, query, "from")?.ok_or_else(|| violation("from", "is missing"))?;
    let to = Point::named(state, query, "to")?.unwrap_or_else(|| Point::newest(state));
    if from.seq > to.seq {
        return Err(violation("from", format!("comes after `to` (seq {} and {}): swap them", from.seq, to.seq)));
    }
    let header = |seq| header_of(log, seq);
    let range = Range { state, now: state, caller, from, to, header: &header };
    let wanted = Wanted::of(&range, query)?;
    let changed = state.changed_between(from.seq, to.seq);
    let Blast { access, complete, .. } = range.blast(&changed, &|one| wanted.subject(one), &|held| wanted.right(held));
    let (objects, all) = objects(&range, &changed, &wanted);
    let complete = complete && all;
    Ok(PointDiff { from: from.seq, from_at: from.at, to: to.seq, to_at: to.at, objects, access, complete })
}

fn header_of(log: &dyn LogReader, seq: Seq) -> Option<Header> {
    let record = read_record(log, seq).inspect_err(|error| tracing::error!(%error, "the log can't be read"));
    Some(record.ok()??.header)
}

/// `subject` and `kind`.
struct Wanted {
    kind: Option<Kind>,
    subject: Option<Uid>,
}

impl Wanted {
    fn of(range: &Range<'_>, query: &HashMap<String, String>) -> Result<Self> {
        let kind = query.get("kind").map(|text| text.parse::<Kind>().map_err(|e| violation("kind", e.to_string())));
        let subject = query.get("subject").map(|text| subject(range, text));
        Ok(Self { kind: kind.transpose()?, subject: subject.transpose()? })
    }

    fn subject(&self, one: &Difference<'_>) -> bool {
        self.subject.is_none_or(|uid| one.subject.meta.uid == uid)
    }

    fn right(&self, held: &Held<'_>) -> bool {
        let Some(kind) = self.kind else { return true };
        match held.right {
            Right::Objects { resource, .. } => resource.includes(ResourceName::Kind(kind)),
            Right::Operation(_) => false,
        }
    }

    /// With a subject, objects are those that name it, and itself.
    fn object(&self, object: &Object) -> bool {
        let names = |uid| object.meta.uid == uid || object.refs.iter().any(|r| r.uid == uid);
        let owned = |uid| object.body.owner() == Some(uid);
        self.kind.is_none_or(|kind| object.meta.kind == kind) && self.subject.is_none_or(|uid| names(uid) || owned(uid))
    }
}

/// A subject of either point.
fn subject(range: &Range<'_>, text: &str) -> Result<Uid> {
    let subject: Subject = text.parse().map_err(|message: String| violation("subject", message))?;
    for seq in [range.to.seq, range.from.seq] {
        let view = range.state.at(seq);
        let found = subject.find(&view).ok().filter(|object| may_know(range.now, range.caller, object));
        if let Some(object) = found {
            return Ok(object.meta.uid);
        }
    }
    Err(unknown_subject(range.now, range.caller, &subject))
}

/// An object that some event in between was about.
struct Changed {
    /// As it is after, or as it was last.
    object: Arc<Object>,
    was: Option<Arc<Object>>,
    is: Option<Arc<Object>>,
    last: Seq,
}

fn objects(range: &Range<'_>, changed: &BTreeSet<Uid>, wanted: &Wanted) -> (Vec<ObjectChange>, bool) {
    let (before, after) = (range.state.at(range.from.seq), range.state.at(range.to.seq));
    let (mut all, mut found) = (true, Vec::new());
    for uid in changed {
        let (was, is) = (before.by_uid(*uid).cloned(), after.by_uid(*uid).cloned());
        let Some(last) = range.state.seqs_of(*uid, range.from.seq, range.to.seq).last() else { continue };
        // What came and went in between is told as it was before its end.
        let in_between = || range.state.object_at(*uid, Seq(last.0 - 1));
        let Some(object) = is.clone().or_else(|| was.clone()).or_else(in_between) else { continue };
        if ![&was, &is].into_iter().flatten().chain([&object]).any(|version| wanted.object(version)) {
            continue;
        }
        if may_view(range.now, range.caller, &object) {
            found.push(Changed { object, was, is, last });
        } else {
            all = false;
        }
    }
    found.sort_by_key(|changed| (changed.object.meta.kind, changed.object.title()));
    all &= found.len() <= OBJECTS_MAX;
    found.truncate(OBJECTS_MAX);
    (found.into_iter().filter_map(|changed| changed.told(range)).collect(), all)
}

impl Changed {
    fn told(self, range: &Range<'_>) -> Option<ObjectChange> {
        let Self { object, was, is, last } = self;
        let change = match (&was, &is) {
            (None, Some(_)) => "created",
            (Some(_), Some(_)) => "changed",
            (Some(_), None) => "removed",
            (None, None) => "passed",
        };
        let changes = is.map(|is| history::changes(was.as_ref(), &is, range.to.at)).unwrap_or_default();
        Some(ObjectChange { object: object.title(), change: change.to_owned(), last: range.turn(last)?, changes })
    }
}
