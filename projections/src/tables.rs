//! Objects by identity and by name, and who refers to whom.
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use mcpctl_core::ids::{Digest, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::Name;
use mcpctl_core::object::Object;

/// A name within its kind: the project that it is unique in, and the name.
pub(crate) type NameKey = (Option<Uid>, Name);

/// The tables. Cloning is cheap: versions share what did not change.
#[derive(Clone, Default)]
pub(crate) struct Tables {
    pub(crate) by_uid: OrdMap<Uid, Arc<Object>>,
    pub(crate) by_name: OrdMap<Kind, OrdMap<NameKey, Uid>>,
    pub(crate) referrers: OrdMap<Uid, OrdSet<Uid>>,
    pub(crate) owned: OrdMap<Uid, OrdSet<Uid>>,
    pub(crate) credentials: imbl::HashMap<Digest, Uid>,
}

impl Tables {
    /// Puts the object in its new state into every table, or takes it out.
    pub(crate) fn replace(&mut self, before: Option<&Arc<Object>>, after: Option<&Arc<Object>>) {
        if let Some(object) = before {
            self.unlink(object);
        }
        if let Some(object) = after {
            self.link(object);
        }
    }

    fn unlink(&mut self, object: &Arc<Object>) {
        let uid = object.meta.uid;
        self.by_uid.remove(&uid);
        if let Some(names) = self.by_name.get_mut(&object.meta.kind) {
            names.remove(&key(object));
        }
        for reference in object.refs.iter() {
            remove(&mut self.referrers, reference.uid, uid);
        }
        if let Some(owner) = object.body.owner() {
            remove(&mut self.owned, owner, uid);
        }
        for credential in object.body.credentials() {
            self.credentials.remove(&credential.digest);
        }
    }

    fn link(&mut self, object: &Arc<Object>) {
        let uid = object.meta.uid;
        self.by_uid.insert(uid, object.clone());
        self.by_name.entry(object.meta.kind).or_default().insert(key(object), uid);
        for reference in object.refs.iter() {
            self.referrers.entry(reference.uid).or_default().insert(uid);
        }
        if let Some(owner) = object.body.owner() {
            self.owned.entry(owner).or_default().insert(uid);
        }
        for credential in object.body.credentials() {
            self.credentials.insert(credential.digest, uid);
        }
    }
}

fn remove(index: &mut OrdMap<Uid, OrdSet<Uid>>, key: Uid, member: Uid) {
    let Some(set) = index.get_mut(&key) else { return };
    set.remove(&member);
    if set.is_empty() {
        index.remove(&key);
    }
}

fn key(object: &Object) -> NameKey {
    (object.meta.project.as_ref().map(|project| project.uid), object.meta.name.clone())
}
