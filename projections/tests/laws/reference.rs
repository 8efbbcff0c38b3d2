//! A second reading of the rules: it reads the stored events one after the other and says who may do what, by the text
//! of the reference alone. It shares no code with what decides: no verb, role, permission or grant of core.
use crate::asked::Question;
use mcpctl_core::ids::{Digest, Uid};
use mcpctl_core::record::Record;
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

/// Every object that is there, by identity.
#[derive(Clone, Default)]
pub(crate) struct Reference(pub(crate) BTreeMap<Uid, Arc<Thing>>);

/// An object. Its references say what names meant when they were written: the same name later is somebody else.
#[derive(Clone, Default)]
#[rustfmt::skip]
pub(crate) struct Thing {
    pub(crate) kind: &'static str, pub(crate) name: String, project: Option<Uid>, pub(crate) spec: Said,
    refs: Vec<Said>, pub(crate) minted: Option<Box<Said>>, claimed: BTreeMap<Uid, Vec<String>>, pub(crate) password: bool,
}

/// All that an event, or a part of one, can say that matters here.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[rustfmt::skip]
pub(crate) struct Said {
    spec: Option<Box<Said>>, refs: Vec<Said>, minted: Option<Box<Said>>,
    #[serde(alias = "member-claimed", alias = "member-unclaimed")]
    member: Option<Box<Said>>,
    kind: String, name: Option<String>, uid: Option<Uid>, user: Option<Uid>,
    pub(crate) disabled: bool, pub(crate) identity: Option<BTreeMap<String, String>>, members: Vec<String>,
    claims: Vec<String>, servers: Vec<String>, subjects: Vec<Said>, role_bindings: Vec<Said>, role: String,
    resource: Option<String>, action: Option<String>, pub(crate) sha256: Option<Digest>, owner: Option<Box<Said>>,
    grants: Vec<Said>, pub(crate) expires_at: Option<u64>, pub(crate) max_ttl: Option<String>,
    pub(crate) delegation_depth: Option<u32>,
}

/// What was given: role, resource and name. An operation has the role `!`.
pub(crate) type Line<'r> = (&'r str, &'r str, Option<&'r str>);

/// Somebody with all that was given to them, to answer many questions.
#[rustfmt::skip]
pub(crate) struct Standing<'r> {
    known: &'r Reference, pub(crate) who: Uid, pub(crate) me: &'r Thing, pub(crate) lines: Vec<Line<'r>>,
    owner: Option<Box<Standing<'r>>>,
}

impl Reference {
    pub(crate) fn read(&mut self, Record { header, payload }: &Record) {
        if header.event == "anchored" {
            return;
        }
        let (kind, name) = (header.kind.names().singular, header.name.to_string());
        let new = || Thing { kind, name, project: header.project, ..Thing::default() }.into();
        let thing = Arc::make_mut(self.0.entry(header.object).or_insert_with(new));
        let said: Said = rmp_serde::from_slice(payload).expect("an event is a map");
        match (header.event.as_str(), said.member.unwrap_or_default()) {
            ("applied", _) => {
                (thing.spec, thing.refs) = (*said.spec.expect("it says one"), said.refs);
                thing.claimed.values_mut().for_each(|by| by.retain(|claim| thing.spec.claims.contains(claim)));
                thing.claimed.retain(|_, by| !by.is_empty());
            }
            ("minted", _) => thing.minted = said.minted,
            ("revoked" | "expired", _) => thing.minted.iter_mut().for_each(|token| token.disabled = true),
            ("password-set", _) => thing.password = true,
            ("member-claimed", member) => drop(thing.claimed.insert(member.user.expect("somebody"), member.claims)),
            ("member-unclaimed", member) => drop(thing.claimed.remove(&member.user.expect("somebody"))),
            ("deleted", _) => drop(self.0.remove(&header.object)),
            _ => {}
        }
    }

    pub(crate) fn standing(&self, who: Uid) -> Option<Standing<'_>> {
        let me = self.0.get(&who)?;
        let owner = me.minted.as_ref().and_then(|token| self.standing(token.owner.as_ref()?.uid?).map(Box::new));
        Some(Standing { known: self, who, me, lines: self.lines(who, me), owner })
    }

    /// Given by an rbac object that names them or a group that they are in, as a member of a project, or at their minting.
    fn lines<'r>(&'r self, who: Uid, me: &'r Thing) -> Vec<Line<'r>> {
        let mut all: Vec<Line<'r>> = me.minted.iter().flat_map(|token| token.grants.iter().map(line)).collect();
        let sha = me.minted.as_ref().and_then(|token| Some(token.sha256?.to_string()));
        let is_member = |of: Uid| self.0.get(&of).is_some_and(|group| group.kind == "group" && group.has_member(who));
        for thing in self.0.values() {
            let names = |subject: &Said| match (subject.kind.to_lowercase().as_str(), subject.name.as_deref()) {
                ("mcptoken", name) => name.is_some() && name == sha.as_deref(),
                (kind, name) => thing.meant(kind, name).is_some_and(|to| to == who || is_member(to)),
            };
            if thing.kind == "rbac" && thing.spec.subjects.iter().any(names) {
                all.extend(thing.spec.role_bindings.iter().map(line));
            } else if thing.kind == "project" && thing.has_member(who) {
                all.extend(["view", "run"].map(|verb| (verb, "projects", Some(thing.name.as_str()))));
            }
        }
        all
    }
}

impl Standing<'_> {
    /// C5, for a token: itself, or what it was given and its owner may; in its project, while it lives; some things never.
    pub(crate) fn may(&self, asked: &Question<'_>, now: u64) -> bool {
        let Some(token) = &self.me.minted else { return self.me.kind != "mcptoken" && self.person_may(asked) };
        let alive = !token.disabled && token.expires_at.is_none_or(|end| now < end);
        let never = matches!(asked.words(), ("", _) | ("create", "projects") | ("create" | "edit", "mcptokens"));
        let itself = matches!(asked, Question::Object { verb: "view", uid: Some(uid), .. } if *uid == self.who);
        let given = || gives(&self.lines, asked) && self.owner.as_ref().is_some_and(|owner| owner.person_may(asked));
        let inside = |uid: Uid| self.known.0.get(&uid).is_some_and(|project| project.has_inside(uid, asked));
        alive && !never && self.owner.is_some() && self.me.project.is_some_and(inside) && (itself || given())
    }

    /// Nothing without a grant but to look at oneself, and to look at, end and remove one's tokens.
    fn person_may(&self, asked: &Question<'_>) -> bool {
        let owner = |uid: &Uid| self.known.0.get(uid)?.minted.as_ref()?.owner.as_ref()?.uid;
        let own = matches!(asked, Question::Object { verb, uid: Some(uid), .. } if (*uid == self.who && *verb == "view")
            || (owner(uid) == Some(self.who) && matches!(*verb, "view" | "edit" | "delete")));
        !self.me.spec.disabled && (own || gives(&self.lines, asked))
    }
}

/// Whether one of the lines answers with yes: `edit` holds view, create and delete.
pub(crate) fn gives(lines: &[Line<'_>], asked: &Question<'_>) -> bool {
    lines.iter().any(|(role, of, only)| match asked {
        Question::Operation(operation) => *role == "!" && (*of == "*" || of == operation),
        Question::Object { verb, resource, name, .. } => {
            let holds = role == verb || (*role == "edit" && matches!(*verb, "view" | "create" | "delete"));
            holds && (*of == "*" || of == resource) && (only.is_none() || only == name)
        }
    })
}

fn line(said: &Said) -> Line<'_> {
    let object = (said.role.as_str(), said.resource.as_deref().unwrap_or_default(), said.name.as_deref());
    said.action.as_deref().map_or(object, |operation| ("!", operation, None))
}

impl Thing {
    fn meant(&self, kind: &str, named: Option<&str>) -> Option<Uid> {
        self.refs.iter().find(|r| r.kind == kind && r.name.as_deref() == named)?.uid
    }

    fn has_member(&self, who: Uid) -> bool {
        let by_hand = |name: &String| self.meant("user", Some(name)) == Some(who);
        self.spec.members.iter().any(by_hand) || self.claimed.contains_key(&who)
    }

    /// A project has inside itself, what lives in it, and to see and use what it serves.
    fn has_inside(&self, uid: Uid, asked: &Question<'_>) -> bool {
        let Question::Object { verb, resource, project, name, .. } = asked else { return false };
        let serves = name.is_some_and(|name| self.spec.servers.iter().any(|server| server == name));
        *project == Some(uid)
            || (*resource == "projects" && *name == Some(&self.name))
            || (matches!(*resource, "servers" | "instances") && matches!(*verb, "view" | "run") && serves)
    }
}
