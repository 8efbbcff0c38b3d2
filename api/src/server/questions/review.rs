//! `GET /access/review`: what a reviewer of rights should look at, and what was attested.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mcpctl_core::access::questions::review as core;
use mcpctl_core::access::questions::review::{Holding, NoLonger};
use mcpctl_core::access::questions::{Reason, Subject};
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::kinds::{Kind, McpToken, Rbac};
use mcpctl_core::object::Object;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World;
use mcpctl_projections::State;

use super::usage::Seen;
use super::violation;
use crate::access_wire::{Attestation, Finding, Review};
use crate::server::auth::Authenticated;
use crate::server::point::{Point, may_know};
use crate::server::problem::Result;
use crate::server::target::may_view;

/// Every finding there is. The last is information, and nothing to be mended.
pub const FINDINGS: &[&str] =
    &["grantor-cannot", "owner-lacks", "never-used", "no-expiry", "disabled", "not-attested", "administrator"];
/// Most findings of one answer.
pub(super) const FINDINGS_MAX: usize = 10_000;

/// Reviews a state. `seen` is what is known of uses, when the caller may know it.
pub(in crate::server) fn review(
    state: &State,
    caller: &Authenticated,
    query: &HashMap<String, String>,
    seen: Option<&Seen>,
) -> Result<Review> {
    let past = Point::of(state, query)?;
    let point = past.unwrap_or_else(|| Point::newest(state));
    let view = state.at(point.seq);
    let world: &dyn World = if past.is_some() { &view } else { state };
    // Uses are known by their last only, which says nothing about a point before it.
    let seen = seen.filter(|_| past.is_none());
    let only = only(query)?;
    let mut reviewing =
        Reviewing { state, caller, world, point, only, attested: attested(world), found: Vec::new(), complete: true };
    reviewing.grants(seen);
    reviewing.subjects();
    if let Some(since) = Point::named(state, query, "notAttestedSince")? {
        reviewing.not_attested(since.at);
    }
    let Reviewing { mut found, mut complete, .. } = reviewing;
    found.sort_by_key(|finding| FINDINGS.iter().position(|known| *known == finding.finding));
    complete &= found.len() <= FINDINGS_MAX;
    found.truncate(FINDINGS_MAX);
    let to_mend = found.iter().any(|finding| finding.finding != "administrator");
    Ok(Review { seq: point.seq, at: point.at, findings: found, to_mend, usage: seen.map(Seen::told), complete })
}

/// `only=a,b`.
fn only(query: &HashMap<String, String>) -> Result<Vec<&'static str>> {
    let Some(text) = query.get("only") else { return Ok(FINDINGS.to_vec()) };
    let known = |word: &str| FINDINGS.iter().find(|finding| **finding == word).copied();
    text.split(',')
        .map(|word| {
            known(word.trim())
                .ok_or_else(|| violation("only", format!("{word:?} is no finding: use {}", FINDINGS.join(", "))))
        })
        .collect()
}

/// The last attestation of each `rbac`, and whether it has given more since.
fn attested(world: &dyn World) -> HashMap<Uid, Attestation> {
    let mut newest: HashMap<Uid, Seq> = HashMap::new();
    for Holding { grant, .. } in core::holdings(world) {
        let last = newest.entry(grant.source).or_insert(grant.seq);
        *last = grant.seq.max(*last);
    }
    let told = |object: &Arc<Object>| {
        let made = object.of::<Rbac>()?.1.attested.clone()?;
        let outdated = newest.get(&object.meta.uid).is_some_and(|newest| *newest > made.of);
        Some((object.meta.uid, Attestation { by: made.by, at: made.at, note: made.note, outdated }))
    };
    world.all(Kind::Rbac).filter_map(told).collect()
}

struct Reviewing<'a> {
    state: &'a State,
    caller: &'a Authenticated,
    world: &'a dyn World,
    point: Point,
    only: Vec<&'static str>,
    attested: HashMap<Uid, Attestation>,
    found: Vec<Finding>,
    complete: bool,
}

/// What is said about some grants that one event made.
struct Said<'a> {
    finding: &'static str,
    about: &'a Object,
    right: Option<String>,
    source: Option<Uid>,
    seq: Option<Seq>,
    by: Option<Actor>,
    says: String,
}

impl Reviewing<'_> {
    /// Adds a finding that is wanted, for a caller who may see whom and what it is about.
    fn add(&mut self, said: Said<'_>) {
        if !self.only.contains(&said.finding) {
            return;
        }
        let source = said.source.and_then(|uid| self.world.by_uid(uid));
        let about_subject = Subject::of(said.about);
        let sees = may_know(self.state, self.caller, said.about)
            && source.is_none_or(|source| {
                source.meta.uid == said.about.meta.uid || may_view(self.state, self.caller, source)
            });
        if !sees {
            self.complete = false;
            return;
        }
        let attested = said.source.or(Some(said.about.meta.uid)).and_then(|uid| self.attested.get(&uid).cloned());
        self.found.push(Finding {
            finding: said.finding.to_owned(),
            subject: about_subject.map_or_else(|| said.about.title(), |subject| subject.to_string()),
            right: said.right,
            source: source.map(|source| source.title()),
            seq: said.seq,
            at: said.seq.and_then(|seq| self.state.time_of(seq)),
            by: said.by,
            says: said.says,
            attested,
        });
    }

    fn grants(&mut self, seen: Option<&Seen>) {
        let (world, now) = (self.world, self.point.at);
        let mut together: BTreeMap<(Uid, Uid, Seq), Vec<Holding<'_>>> = BTreeMap::new();
        for holding in core::holdings(world) {
            let key = (holding.holder.meta.uid, holding.grant.source, holding.grant.seq);
            together.entry(key).or_default().push(holding);
        }
        for all in together.values() {
            let cannot: Vec<(Holding<'_>, NoLonger)> =
                all.iter().filter_map(|holding| Some((*holding, core::no_longer(world, *holding, now)?))).collect();
            if let Some((_, why)) = cannot.first() {
                let says = why_not(&cannot[0].0.grant.grantor, why);
                self.of_grants("grantor-cannot", cannot.iter().map(|(holding, _)| *holding), says);
            }
            let idle: Vec<Holding<'_>> =
                all.iter().copied().filter(|holding| core::owner_lacks(world, *holding, now)).collect();
            self.of_grants("owner-lacks", idle.into_iter(), "the token's owner has lost it".to_owned());
            if let (Some(seen), Some(first)) = (seen, all.first())
                && seen.last(world, first.holder, first.grant).is_none()
            {
                self.of_grants(
                    "never-used",
                    all.iter().copied(),
                    "no call and no change is known that used it".to_owned(),
                );
            }
        }
    }

    /// One finding for grants of one holder by one event.
    fn of_grants<'w>(&mut self, finding: &'static str, grants: impl Iterator<Item = Holding<'w>>, says: String) {
        let grants: Vec<Holding<'w>> = grants.collect();
        let Some(Holding { holder, grant }) = grants.first() else { return };
        let rights: Vec<String> = grants.iter().map(|holding| holding.grant.permission.to_string()).collect();
        self.add(Said {
            finding,
            about: holder,
            right: Some(rights.join(", ")),
            source: Some(grant.source),
            seq: Some(grant.seq),
            by: Some(grant.grantor.clone()),
            says,
        });
    }

    fn subjects(&mut self) {
        let (world, now) = (self.world, self.point.at);
        for token in core::without_expiry(world, now) {
            let owner = token.of::<McpToken>().and_then(|(_, status)| status.owner.clone());
            let says = "it ends only when somebody ends it".to_owned();
            self.about("no-expiry", token, owner, says);
        }
        for (subject, count) in core::disabled_with_grants(world) {
            let says = format!("{count} grants and memberships wait until it is enabled again");
            self.about("disabled", subject, Some(subject.meta.updated_by.clone()), says);
        }
        for proof in core::administrators(world, now) {
            let Some(object) = world.by_uid(proof.subject.uid) else { continue };
            let (source, seq, by) = match &proof.reason {
                Reason::Granted { grant, .. } => (Some(grant.source), Some(grant.seq), Some(grant.grantor.clone())),
                _ => (None, None, None),
            };
            let says = "may give rights to anybody, within its own".to_owned();
            let right = Some("edit rbac".to_owned());
            self.add(Said { finding: "administrator", about: object, right, source, seq, by, says });
        }
    }

    fn about(&mut self, finding: &'static str, object: &Object, by: Option<Actor>, says: String) {
        let seq = Some(object.meta.resource_version);
        self.add(Said { finding, about: object, right: None, source: None, seq, by, says });
    }

    fn not_attested(&mut self, since: Timestamp) {
        let world = self.world;
        for object in world.all(Kind::Rbac) {
            let says = match self.attested.get(&object.meta.uid) {
                None => "nobody ever attested it".to_owned(),
                Some(made) if made.outdated => "it gives more than when it was attested".to_owned(),
                Some(made) if made.at < since => "it was attested too long ago".to_owned(),
                Some(_) => continue,
            };
            self.about("not-attested", object, Some(object.meta.updated_by.clone()), says);
        }
    }
}

fn why_not(grantor: &Actor, why: &NoLonger) -> String {
    match why {
        NoLonger::Gone => format!("{grantor}, who gave it, does not exist any more"),
        NoLonger::Ended => format!("{grantor}, who gave it, is disabled or has ended"),
        NoLonger::MayNotEdit => format!("{grantor}, who gave it, may not change what gives it any more"),
        NoLonger::DoesNotHold => format!("{grantor}, who gave it, does not hold it any more"),
    }
}
