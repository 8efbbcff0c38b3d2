//! Handles: for each access that a gateway was told of, whose it is and what has happened to it since.
use std::collections::{HashMap, HashSet};

use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::reach::{Effect, Reach, Scope, Whose};
use mcpctl_core::time::Timestamp;

use crate::client::stream_wire::Handle;
use crate::lease::Boottime;

/// What a handle stands for.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) whose: Whose,
    /// Digest of the credential.
    pub(super) digest: Digest,
    /// Name of the project.
    pub(super) project: String,
    /// The last event that may have taken something of it away.
    pub(super) reduced: Seq,
    /// When the credential ends by itself.
    pub(super) expires_at: Option<Timestamp>,
    /// When introspection last answered with it: by that answer alone a gateway may serve for a lease.
    pub(super) told: Boottime,
    /// Streams that hold it.
    pub(super) on: Vec<Handle>,
}

/// All handles, found by what they stand for.
#[derive(Default)]
pub(super) struct Handles {
    all: HashMap<Handle, Held>,
    by_scope: HashMap<Scope, HashSet<Handle>>,
    /// Handles that no stream holds, to be forgotten in a while.
    loose: HashSet<Handle>,
}

impl Handles {
    pub(super) fn get(&self, handle: &Handle) -> Option<&Held> {
        self.all.get(handle)
    }

    pub(super) fn get_mut(&mut self, handle: &Handle) -> Option<&mut Held> {
        self.all.get_mut(handle)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn insert(&mut self, handle: Handle, held: Held) {
        self.remove(&handle);
        for scope in held.whose.scopes() {
            self.by_scope.entry(scope).or_default().insert(handle);
        }
        if held.on.is_empty() {
            self.loose.insert(handle);
        }
        self.all.insert(handle, held);
    }

    pub(super) fn remove(&mut self, handle: &Handle) {
        let Some(held) = self.all.remove(handle) else { return };
        for scope in held.whose.scopes() {
            if let Some(there) = self.by_scope.get_mut(&scope) {
                there.remove(handle);
                if there.is_empty() {
                    self.by_scope.remove(&scope);
                }
            }
        }
        self.loose.remove(handle);
    }

    /// A stream holds it from now on. `false` when there is no such handle.
    pub(super) fn hold(&mut self, handle: &Handle, stream: Handle) -> bool {
        let Some(held) = self.all.get_mut(handle) else { return false };
        if !held.on.contains(&stream) {
            held.on.push(stream);
        }
        self.loose.remove(handle);
        true
    }

    /// A stream holds it no more.
    pub(super) fn release(&mut self, handle: &Handle, stream: Handle) {
        let Some(held) = self.all.get_mut(handle) else { return };
        held.on.retain(|other| *other != stream);
        if held.on.is_empty() {
            self.loose.insert(*handle);
        }
    }

    /// Forgets what no stream holds and nobody was told of since a moment.
    pub(super) fn forget_loose(&mut self, before: Boottime) {
        let old: Vec<Handle> = (self.loose.iter())
            .filter(|handle| self.all.get(handle).is_none_or(|held| held.told < before))
            .copied()
            .collect();
        old.iter().for_each(|handle| self.remove(handle));
    }

    /// Handles that a reach covers, and what becomes of them.
    pub(super) fn reached(&self, reach: &Reach) -> Vec<(Handle, Effect)> {
        let found: HashSet<&Handle> = match reach {
            Reach::Everything => self.all.keys().collect(),
            Reach::Scopes(scopes) => scopes.keys().filter_map(|scope| self.by_scope.get(scope)).flatten().collect(),
        };
        found.into_iter().filter_map(|handle| Some((*handle, reach.effect_on(&self.all.get(handle)?.whose)?))).collect()
    }

    /// Handles whose credential ends by itself, and has.
    pub(super) fn expired(&self, now: Timestamp) -> Vec<Handle> {
        let over = |held: &Held| held.expires_at.is_some_and(|at| at <= now);
        self.all.iter().filter(|(_, held)| over(held)).map(|(handle, _)| *handle).collect()
    }
}
