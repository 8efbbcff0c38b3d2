//! A second reading of the rules: it reads the stored events one after the other and says who may do what, by the text
//! of the reference alone. It shares no code with what decides: no verb, role, permission or grant of core.
use std::collections::BTreeMap;

use mcpctl_core::ids::{Digest, Uid};
use mcpctl_core::record::Record;
use serde::Deserialize;

use crate::asked::Question;

/// Every object that is there, by identity.
#[derive(Clone, Default)]
pub(crate) struct Reference(BTreeMap<Uid, Thing>);

#[derive(Clone, Default)]
struct Thing {
    kind: &'static str,
    name: String,
    project: Option<Uid>,
    spec: Said,
    /// What names meant when they were written: the same name later is somebody else.
    refs: Vec<Said>,
    minted: Option<Box<Said>>,
}

/// All that an event, or a part of one, can say that matters here.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Said {
    spec: Option<Box<Said>>,
    refs: Vec<Said>,
    minted: Option<Box<Said>>,
    disabled: bool,
    members: Vec<String>,
    servers: Vec<String>,
    subjects: Vec<Said>,
    role_bindings: Vec<Said>,
    kind: String,
    name: Option<String>,
    uid: Option<Uid>,
    role: String,
    resource: Option<String>,
    action: Option<String>,
    sha256: Option<Digest>,
    owner: Option<Box<Said>>,
    grants: Vec<Said>,
    expires_at: Option<u64>,
}

impl Reference {
    pub(crate) fn read(&mut self, Record { header, payload }: &Record) {
        let (kind, name) = (header.kind.names().singular, header.name.to_string());
        let thing = self.0.entry(header.object);
        let thing = thing.or_insert_with(|| Thing { kind, name, project: header.project, ..Thing::default() });
        let said: Said = rmp_serde::from_slice(payload).expect("an event is a map");
        match header.event.as_str() {
            "applied" => (thing.spec, thing.refs) = (*said.spec.expect("it says one"), said.refs),
            "minted" => thing.minted = said.minted,
            "revoked" | "expired" => thing.minted.iter_mut().for_each(|token| token.disabled = true),
            "deleted" => drop(self.0.remove(&header.object)),
            _ => {}
        }
    }

    /// Whether somebody may, at a moment.
    pub(crate) fn may(&self, who: Uid, asked: &Question<'_>, now: u64) -> bool {
        let Some(me) = self.0.get(&who) else { return false };
        let token = me.kind == "mcptoken" && self.token_may(who, me, asked, now).unwrap_or(false);
        token || (matches!(me.kind, "user" | "serviceaccount") && self.person_may(who, asked))
    }

    /// Nothing without a grant but to look at oneself, and to look at, end and remove one's tokens.
    fn person_may(&self, who: Uid, asked: &Question<'_>) -> bool {
        let mine = |uid: &Uid| self.0.get(uid).and_then(Thing::owner) == Some(who);
        let own = matches!(asked, Question::Object { verb, uid: Some(uid), .. }
            if (*uid == who && *verb == "view") || (mine(uid) && matches!(*verb, "view" | "edit" | "delete")));
        self.0.get(&who).is_some_and(|me| !me.spec.disabled) && (own || self.granted(who, asked))
    }

    /// C5: itself; or what it was given, and its owner may now. Inside its project, while it lives, never what no token has.
    fn token_may(&self, who: Uid, me: &Thing, asked: &Question<'_>, now: u64) -> Option<bool> {
        let (token, owner, project) = (me.minted.as_ref()?, me.owner()?, self.0.get(&me.project?)?);
        let alive = !token.disabled && token.expires_at.is_none_or(|end| now < end);
        let for_tokens = match asked {
            Question::Operation(_) | Question::Object { verb: "create" | "edit", resource: "mcptokens", .. } => false,
            Question::Object { verb, resource, .. } => (*verb, *resource) != ("create", "projects"),
        };
        let itself = matches!(asked, Question::Object { verb: "view", uid: Some(uid), .. } if *uid == who);
        let allowed = itself || (self.granted(who, asked) && self.person_may(owner, asked));
        Some(alive && for_tokens && project.has_inside(me.project, asked) && allowed)
    }

    /// By an rbac object that names them or a group that they are in, as a member of a project, or at their minting.
    pub(crate) fn granted(&self, who: Uid, asked: &Question<'_>) -> bool {
        let is_member = |of: &Uid| self.0.get(of).is_some_and(|group| group.kind == "group" && group.has_member(who));
        let minted = self.0.get(&who).and_then(|me| me.minted.as_ref());
        let given = minted.is_some_and(|token| token.grants.iter().any(|line| line.gives(asked)));
        given
            || self.0.values().any(|thing| match (thing.kind, asked) {
                ("rbac", _) if thing.spec.role_bindings.iter().any(|line| line.gives(asked)) => {
                    let mut subjects = thing.spec.subjects.iter().filter_map(|subject| self.meant(thing, subject));
                    subjects.any(|subject| subject == who || is_member(&subject))
                }
                ("project", Question::Object { verb: "view" | "run", resource: "projects", name: Some(name), .. }) => {
                    *name == thing.name && thing.has_member(who)
                }
                _ => false,
            })
    }

    fn meant(&self, by: &Thing, subject: &Said) -> Option<Uid> {
        let name = subject.name.as_deref()?;
        let minted = |thing: &Thing| thing.minted.as_ref()?.sha256.map(|sha| sha.to_string());
        match subject.kind.as_str() {
            "McpToken" => self.0.iter().find(|(_, thing)| minted(thing).as_deref() == Some(name)).map(|(uid, _)| *uid),
            kind => by.meant(&kind.to_lowercase(), name),
        }
    }
}

impl Thing {
    fn owner(&self) -> Option<Uid> {
        self.minted.as_ref()?.owner.as_ref()?.uid
    }
    fn meant(&self, kind: &str, named: &str) -> Option<Uid> {
        self.refs.iter().find(|r| r.kind == kind && r.name.as_deref() == Some(named))?.uid
    }
    fn has_member(&self, who: Uid) -> bool {
        self.spec.members.iter().any(|name| self.meant("user", name) == Some(who))
    }
    /// A project has inside itself, what lives in it, and to see and use what it serves.
    fn has_inside(&self, uid: Option<Uid>, asked: &Question<'_>) -> bool {
        let Question::Object { verb, resource, project, name, .. } = asked else { return false };
        let serves = name.is_some_and(|name| self.spec.servers.iter().any(|server| server == name));
        (project.is_some() && *project == uid)
            || (*resource == "projects" && *name == Some(&self.name))
            || (matches!(*resource, "servers" | "instances") && matches!(*verb, "view" | "run") && serves)
    }
}

impl Said {
    fn gives(&self, asked: &Question<'_>) -> bool {
        let Question::Object { verb, resource, name, .. } = asked else {
            return matches!((&self.action, asked), (Some(mine), Question::Operation(op)) if mine == "*" || mine == op);
        };
        (self.role == *verb || (self.role == "edit" && matches!(*verb, "view" | "create" | "delete")))
            && self.resource.as_ref().is_some_and(|mine| mine == "*" || mine == resource)
            && (self.name.is_none() || self.name.as_deref() == *name)
    }
}
