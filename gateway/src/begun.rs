//! Which tasks callers began through this gateway (2025-11-25): to list them, and to name them in messages of their servers. It
//! is a convenience that ends with the process: a task is asked for by its sealed id, which needs none of it.
use std::collections::{HashMap, VecDeque};

use mcpctl_core::ids::Uid;
use parking_lot::Mutex;

/// Tasks of one caller that are remembered; the oldest is forgotten first.
const OF_ONE_MAX: usize = 256;
/// Callers whose tasks are remembered.
const CALLERS_MAX: usize = 4096;
/// Longest id of a server that is remembered, in bytes.
const ID_BYTES_MAX: usize = 512;

/// A task that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) server: Uid,
    /// The server's id.
    pub(crate) own: Box<str>,
    /// The caller's.
    pub(crate) shown: Box<str>,
}

/// A caller in a project.
type Whose = (Uid, Uid);

/// Tasks of all callers.
#[derive(Default)]
pub(crate) struct Begun(Mutex<HashMap<Whose, VecDeque<Task>>>);

impl Begun {
    /// Notes a task.
    pub(crate) fn note(&self, whose: Whose, server: Uid, own: &str, shown: &str) {
        if own.len() > ID_BYTES_MAX {
            return;
        }
        let mut all = self.0.lock();
        if all.len() >= CALLERS_MAX && !all.contains_key(&whose) {
            let Some(other) = all.keys().next().copied() else { return };
            all.remove(&other);
        }
        let tasks = all.entry(whose).or_default();
        tasks.retain(|task| &*task.shown != shown);
        if tasks.len() == OF_ONE_MAX {
            tasks.pop_front();
        }
        tasks.push_back(Task { server, own: own.into(), shown: shown.into() });
    }

    /// The tasks of a caller, in the order in which they were begun.
    pub(crate) fn of(&self, whose: Whose) -> Vec<Task> {
        self.0.lock().get(&whose).map(|tasks| tasks.iter().cloned().collect()).unwrap_or_default()
    }

    /// Forgets a task.
    pub(crate) fn forget(&self, whose: Whose, shown: &str) {
        let mut all = self.0.lock();
        let Some(tasks) = all.get_mut(&whose) else { return };
        tasks.retain(|task| &*task.shown != shown);
        if tasks.is_empty() {
            all.remove(&whose);
        }
    }

    /// The id by which a caller knows a server's task.
    pub(crate) fn shown(&self, whose: Whose, server: Uid, own: &str) -> Option<String> {
        self.find(whose, |task| task.server == server && &*task.own == own).map(|task| task.shown.into())
    }

    /// The server's id of a task that a caller knows.
    pub(crate) fn own(&self, whose: Whose, shown: &str) -> Option<String> {
        self.find(whose, |task| &*task.shown == shown).map(|task| task.own.into())
    }

    fn find(&self, whose: Whose, is_it: impl Fn(&&Task) -> bool) -> Option<Task> {
        self.0.lock().get(&whose)?.iter().find(is_it).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_one_callers_alone() {
        let begun = Begun::default();
        let (server, project) = (Uid::fixed(1), Uid::fixed(2));
        let ann = (project, Uid::fixed(3));
        for n in 0..OF_ONE_MAX + 10 {
            begun.note(ann, server, &format!("own {n}"), &format!("shown {n}"));
        }
        begun.note(ann, server, &"x".repeat(ID_BYTES_MAX + 1), "too long");
        assert_eq!((begun.of(ann).len(), &*begun.of(ann)[0].own), (OF_ONE_MAX, "own 10"));
        assert_eq!(begun.shown(ann, server, "own 20").as_deref(), Some("shown 20"));
        assert_eq!(begun.own(ann, "shown 20").as_deref(), Some("own 20"));
        assert_eq!(begun.shown(ann, Uid::fixed(9), "own 20"), None, "another server's task may have the same id");
        assert_eq!(begun.own((project, Uid::fixed(4)), "shown 20"), None);
        begun.forget(ann, "shown 20");
        assert_eq!(begun.own(ann, "shown 20"), None);
        for n in 0..CALLERS_MAX as u128 + 10 {
            begun.note((project, Uid::fixed(100 + n)), server, "own", "shown");
        }
        assert_eq!(begun.0.lock().len(), CALLERS_MAX);
    }
}
