//! Lists that clients were shown last, beside all that they were made of: made anew when any of it is another.
//!
//! Nothing in here ends by time, and nobody is shown more by it: who may see what is in the project as the caller was
//! admitted to it, and servers are asked for their part before this is looked at.
use std::collections::HashMap;
use std::sync::Arc;

use mcpctl_api::plane::ProjectView;
use mcpctl_core::ids::Uid;
use parking_lot::Mutex;
use serde_json::value::RawValue;

use crate::listed::List;
use crate::lists::ListKind;

/// Lists of one project that are kept: its kinds, for clients of either era.
const LISTS_MAX: usize = 8;
/// Bytes of all lists that are kept, and of those that they were made of.
const BYTES_MAX: usize = 16 << 20;

/// The list of one server; nothing where it is left out.
pub(crate) type Part = Option<Arc<List>>;

/// All that a list depends on.
#[derive(Debug)]
pub(crate) struct Sources {
    /// Servers, names, filters, approvals.
    pub(crate) project: Arc<ProjectView>,
    pub(crate) kind: ListKind,
    /// What stands between the name of a server and that of a tool.
    pub(crate) separator: &'static str,
    /// How long it is said to be good for, to clients that are told.
    pub(crate) ttl_ms: Option<u64>,
    /// What each server showed, in the order of the project.
    pub(crate) parts: Vec<Part>,
}

impl Sources {
    /// Bytes of what the servers showed. Each list is held by this, whoever else holds it.
    fn bytes(&self) -> usize {
        self.parts.iter().flatten().map(|list| list.bytes()).sum()
    }
}

impl PartialEq for Sources {
    fn eq(&self, other: &Self) -> bool {
        let same_list = |(one, other): (&Part, &Part)| match (one, other) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        (self.kind, self.separator, self.ttl_ms) == (other.kind, other.separator, other.ttl_ms)
            && self.parts.len() == other.parts.len()
            && self.parts.iter().zip(&other.parts).all(same_list)
            && (Arc::ptr_eq(&self.project, &other.project) || self.project == other.project)
    }
}

/// Lists that were made last.
#[derive(Default)]
pub(crate) struct Assembled(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    lists: HashMap<Uid, Vec<(Sources, Arc<RawValue>)>>,
    bytes: usize,
}

impl Assembled {
    /// The list that comes of these sources.
    pub(crate) fn of(&self, sources: Sources, make: impl FnOnce(&Sources) -> Box<RawValue>) -> Box<RawValue> {
        if let Some(known) = self.0.lock().find(&sources) {
            return (*known).to_owned();
        }
        // Nothing is locked meanwhile: two who ask at once make it twice.
        let made = make(&sources);
        self.0.lock().keep(sources, &made);
        made
    }
}

impl Kept {
    fn find(&self, sources: &Sources) -> Option<Arc<RawValue>> {
        let lists = self.lists.get(&sources.project.uid)?;
        lists.iter().find(|(of, _)| of == sources).map(|(_, made)| made.clone())
    }

    fn keep(&mut self, sources: Sources, made: &RawValue) {
        let bytes = sources.bytes() + made.get().len();
        if bytes > BYTES_MAX {
            return;
        }
        if self.bytes + bytes > BYTES_MAX {
            *self = Self::default();
        }
        let lists = self.lists.entry(sources.project.uid).or_default();
        if lists.len() >= LISTS_MAX {
            let (of, made) = lists.remove(0);
            self.bytes -= of.bytes() + made.get().len();
        }
        lists.push((sources, made.to_owned().into()));
        self.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use mcpctl_core::kinds::ToolNames;

    use super::*;
    use crate::json::raw;
    use crate::names::tests::project;

    fn sources() -> Sources {
        let project = Arc::new(project(&["a", "b"], ToolNames::Prefixed));
        Sources { project, kind: ListKind::Tools, separator: "__", ttl_ms: None, parts: vec![None, None] }
    }

    #[test]
    fn a_list_is_made_anew_when_anything_that_it_is_made_of_is_another() {
        let (assembled, made) = (Assembled::default(), Cell::new(0));
        let of = |sources: Sources| {
            let before = made.get();
            let make = |_: &Sources| {
                made.set(before + 1);
                raw(format!("{{\"n\":{before}}}"))
            };
            (assembled.of(sources, make).get().to_owned(), made.get() > before)
        };
        let (first, is_new) = of(sources());
        assert!(is_new);
        assert_eq!(of(sources()), (first.clone(), false), "another view of the same project is the same");
        let list = Arc::new(List::default());
        let shown = || Sources { parts: vec![Some(list.clone()), None], ..sources() };
        assert!(of(shown()).1 && !of(shown()).1);
        let mut hidden = project(&["a", "b"], ToolNames::Prefixed);
        hidden.servers[1].project_tools.deny = vec!["x*".to_owned()];
        for other in [
            Sources { parts: vec![Some(Arc::new(List::default())), None], ..sources() },
            Sources { parts: vec![None, Some(list.clone())], ..sources() },
            Sources { kind: ListKind::Prompts, ..sources() },
            Sources { separator: "/", ..sources() },
            Sources { ttl_ms: Some(0), ..sources() },
            Sources { project: Arc::new(hidden), ..sources() },
        ] {
            let what = format!("{other:?}");
            assert!(of(other).1, "{what}");
        }
        assert_eq!(of(sources()), (first, false), "none of them took its place");
        let kept = assembled.0.lock();
        let each = kept.lists.values().flatten().map(|(of, made)| of.bytes() + made.get().len());
        assert_eq!(kept.bytes, each.sum::<usize>());
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let assembled = Assembled::default();
        for number in 0..40u64 {
            let sources = Sources { ttl_ms: Some(number), ..sources() };
            let made = assembled.of(sources, |_| raw(format!("[\"{}\"]", "x".repeat(BYTES_MAX / 20))));
            assert!(made.get().len() > BYTES_MAX / 20);
            let kept = assembled.0.lock();
            assert!(kept.bytes <= BYTES_MAX && kept.lists.values().all(|lists| lists.len() <= LISTS_MAX));
        }
    }
}
