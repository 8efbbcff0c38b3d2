//! Delete, and all that goes or changes with an object.
use std::collections::BTreeMap;
use std::sync::Arc;

use super::deciding::{Deciding, draft_of, system_authz};
use super::{Decided, Draft, Outcome};
use crate::access::{Ask, Verb};
use crate::erased::{AnyBody, ResolvedRef, deleted};
use crate::ids::{Seq, Uid};
use crate::kinds::{Kind, SubjectRef};
use crate::object::Object;
use crate::record::AuthzMode;
use crate::reference::Ref;
use crate::refusal::Refusal;
use crate::resource::Scope;

impl Deciding<'_> {
    pub(super) fn delete(&self, object: &Arc<Object>, expected: Option<Seq>) -> Result<Decided, Refusal> {
        let via = self.allow(Verb::Delete, Some(object))?.via;
        self.check_version(object, expected)?;
        let mut changed: BTreeMap<Uid, (Arc<Object>, Arc<dyn AnyBody>)> = BTreeMap::new();
        let mut gone = vec![object.clone()];
        if object.meta.kind == Kind::Project {
            gone.extend(self.living_in(object.meta.uid));
        }
        for leaving in &gone {
            self.take_out(leaving, &mut changed)?;
        }
        let mut drafts = self.end_owned(object.meta.uid);
        drafts.extend(self.end_claimed(object.meta.uid));
        for (holder, body) in
            changed.into_values().filter(|(holder, _)| !gone.iter().any(|g| g.meta.uid == holder.meta.uid))
        {
            let refs: Vec<ResolvedRef> = holder
                .refs
                .iter()
                .filter(|r| body.refs().iter().any(|u| u.kind == r.kind && u.name == r.name))
                .cloned()
                .collect();
            drafts.push(draft_of(&holder, holder.meta.kind.untyped().applied(&*body, &refs), system_authz(self.world)));
        }
        drafts.extend(gone.iter().skip(1).map(|inner| draft_of(inner, deleted(), system_authz(self.world))));
        drafts.push(draft_of(object, deleted(), self.authz(AuthzMode::Rbac, via)));
        Ok(Decided { drafts, outcome: Outcome::Deleted, object: object.meta.uid })
    }

    /// A person who goes away stops belonging to groups that claims brought them into.
    fn end_claimed(&self, person: Uid) -> Vec<Draft> {
        let groups = self.world.memberships(person).iter().filter_map(|member| self.world.by_uid(member.group));
        let ended =
            groups.filter_map(|group| Some(draft_of(group, group.body.unclaim(person)?, system_authz(self.world))));
        ended.collect()
    }

    fn living_in(&self, project: Uid) -> Vec<Arc<Object>> {
        let scoped = Kind::ALL.iter().filter(|kind| kind.scope() == Scope::Project);
        let all = scoped.flat_map(|kind| self.world.all(*kind));
        all.filter(|object| object.meta.project.as_ref().is_some_and(|p| p.uid == project)).cloned().collect()
    }

    /// Takes an object that goes away out of all that name it as a subject; refuses when something else still needs it.
    fn take_out(
        &self,
        leaving: &Arc<Object>,
        changed: &mut BTreeMap<Uid, (Arc<Object>, Arc<dyn AnyBody>)>,
    ) -> Result<(), Refusal> {
        let subjects = subjects_of(leaving);
        let mut holders: Vec<Arc<Object>> = self.world.referrers(leaving.meta.uid).into_iter().cloned().collect();
        if leaving.meta.kind == Kind::McpToken {
            holders.extend(self.world.all(Kind::Rbac).cloned());
        }
        let mut needed_by = Vec::new();
        for holder in holders {
            let body = changed.get(&holder.meta.uid).map_or_else(|| holder.body.clone(), |(_, body)| body.clone());
            match subjects.iter().find_map(|subject| body.without_subject(subject)) {
                Some(without) => drop(changed.insert(holder.meta.uid, (holder, without))),
                None if leaving.meta.kind == Kind::McpToken => {}
                None => needed_by.push(holder),
            }
        }
        if needed_by.is_empty() {
            return Ok(());
        }
        Err(Refusal::InUse { object: leaving.title(), by: self.named_to_caller(&needed_by) })
    }

    /// Titles of objects; of those that the caller may not see, only how many there are.
    fn named_to_caller(&self, objects: &[Arc<Object>]) -> Vec<String> {
        let seen = objects.iter().filter(|object| self.may(&Ask::on(Verb::View, object)).allowed);
        let mut titles: Vec<String> = seen.map(|object| object.title()).collect();
        let unseen = objects.len() - titles.len();
        if unseen > 0 {
            titles.push(format!("{unseen} that you may not see"));
        }
        titles
    }

    /// What ends for good because its owner did.
    pub(super) fn end_owned(&self, owner: Uid) -> Vec<Draft> {
        let owned = self.world.owned_by(owner).into_iter();
        owned
            .filter_map(|object| Some(draft_of(object, object.body.end_with_owner()?, system_authz(self.world))))
            .collect()
    }
}

/// The ways in which manifests name an object as a subject.
fn subjects_of(object: &Object) -> Vec<SubjectRef> {
    let name = object.meta.name.clone();
    match object.meta.kind {
        Kind::User => vec![SubjectRef::User { name: Ref::to(name) }],
        Kind::Group => vec![SubjectRef::Group { name: Ref::to(name) }],
        Kind::ServiceAccount => vec![SubjectRef::ServiceAccount { name: Ref::to(name) }],
        Kind::McpToken => object
            .body
            .credentials()
            .into_iter()
            .map(|credential| SubjectRef::McpToken { name: crate::kinds::TokenSha(credential.digest) })
            .collect(),
        _ => Vec::new(),
    }
}
