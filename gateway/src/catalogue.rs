//! Lists that servers showed last: looked into once for each text that a server sends, however many ask for it.
//!
//! A list that is the same as one before, byte for byte, is not looked into again: agents ask for lists more often than
//! servers change them, and a list takes longer to read, and to hash tool by tool, than to pass on. Servers are asked all the
//! same each time.
use std::collections::HashMap;
use std::sync::Arc;

use mcpctl_core::ids::Uid;
use parking_lot::Mutex;
use serde_json::value::RawValue;

use crate::listed::{List, Page};
use crate::lists::ListKind;

/// Lists of one kind of one server that are known at once: it may show another to each client.
const LISTS_MAX: usize = 4;
/// Kinds of lists of servers that are known at once.
const SLOTS_MAX: usize = 4_096;
/// Bytes of text of all lists that are known.
const BYTES_MAX: usize = 16 << 20;

/// What servers showed last.
#[derive(Default)]
pub(crate) struct Catalogue(Mutex<Known>);

#[derive(Default)]
struct Known {
    lists: HashMap<(Uid, ListKind), Vec<Arc<List>>>,
    bytes: usize,
}

impl Catalogue {
    /// A page of a list. `None`: it has no entries.
    pub(crate) fn page(&self, kind: ListKind, server: Uid, page: &RawValue) -> Option<Arc<Page>> {
        let text = blake3::hash(page.get().as_bytes());
        let known = {
            let known = self.0.lock();
            let lists = known.lists.get(&(server, kind)).into_iter().flatten();
            lists.flat_map(|list| list.pages()).find(|page| *page.text() == text).cloned()
        };
        known.or_else(|| Page::read(kind, text, page).map(Arc::new))
    }

    /// A list of these pages.
    pub(crate) fn list(&self, kind: ListKind, server: Uid, pages: Vec<Arc<Page>>) -> Arc<List> {
        let is_it = |list: &&Arc<List>| {
            list.pages().len() == pages.len() && list.pages().iter().zip(&pages).all(|(a, b)| a.text() == b.text())
        };
        if let Some(known) = self.0.lock().lists.get(&(server, kind)).and_then(|all| all.iter().find(is_it)) {
            return known.clone();
        }
        // Nothing is locked meanwhile: two who ask at once look into it twice.
        let list = Arc::new(List::read(kind, server, pages));
        self.0.lock().keep((server, kind), list.clone());
        list
    }
}

impl Known {
    fn keep(&mut self, slot: (Uid, ListKind), list: Arc<List>) {
        let bytes = list.bytes();
        if bytes > BYTES_MAX {
            return;
        }
        if self.bytes + bytes > BYTES_MAX || (self.lists.len() >= SLOTS_MAX && !self.lists.contains_key(&slot)) {
            *self = Self::default();
        }
        let all = self.lists.entry(slot).or_default();
        if all.len() >= LISTS_MAX {
            self.bytes -= all.remove(0).bytes();
        }
        all.push(list);
        self.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use mcpctl_core::definition;

    use super::*;
    use crate::json::raw;

    fn list(catalogue: &Catalogue, server: u128, pages: &[&str]) -> Arc<List> {
        let page = |entries: &&str| {
            let page = raw(format!("{{\"tools\":{entries}}}"));
            catalogue.page(ListKind::Tools, Uid::fixed(server), &page).unwrap()
        };
        let pages = pages.iter().map(page).collect();
        catalogue.list(ListKind::Tools, Uid::fixed(server), pages)
    }

    #[test]
    fn a_list_is_looked_into_once_and_another_text_anew() {
        let catalogue = Catalogue::default();
        let text = |text: &str| format!("[{{\"name\":\"a\",\"description\":{text:?}}}]");
        let first = list(&catalogue, 1, &[&text("x")]);
        assert!(Arc::ptr_eq(&first, &list(&catalogue, 1, &[&text("x")])));
        let other = list(&catalogue, 1, &[&text("y")]);
        assert_ne!(first.facts.definitions["a"], other.facts.definitions["a"]);
        let elsewhere = list(&catalogue, 2, &[&text("x")]);
        assert_ne!(first.facts.definitions["a"], elsewhere.facts.definitions["a"], "of another server");
        for number in 0..100 {
            list(&catalogue, 1, &[&text(&number.to_string())]);
        }
        let known = catalogue.0.lock();
        assert_eq!(known.lists[&(Uid::fixed(1), ListKind::Tools)].len(), LISTS_MAX);
        let bytes: usize = known.lists.values().flatten().map(|list| list.bytes()).sum();
        assert_eq!(known.bytes, bytes);
    }

    #[test]
    fn no_more_text_is_kept_than_there_is_room_for() {
        let catalogue = Catalogue::default();
        let large = |server: u128| format!("[{{\"name\":\"{server}\",\"x\":\"{}\"}}]", "y".repeat(BYTES_MAX / 5));
        for server in 0..20 {
            list(&catalogue, server, &[&large(server)]);
            let known = catalogue.0.lock();
            let bytes: usize = known.lists.values().flatten().map(|list| list.bytes()).sum();
            assert!(known.bytes == bytes && bytes <= BYTES_MAX && bytes > 0, "{bytes}");
        }
        let too_large = format!("[{{\"name\":\"a\",\"x\":\"{}\"}}]", "y".repeat(BYTES_MAX));
        let list = list(&catalogue, 99, &[&too_large]);
        assert!(
            list.facts.names.contains("a") && catalogue.0.lock().lists.contains_key(&(Uid::fixed(19), ListKind::Tools))
        );
    }

    #[test]
    fn what_is_listed_first_counts_and_what_reads_in_two_ways_has_no_hash() {
        let page = r#"[{"name":"a","x":1},{"name":"a","x":2},{"name":"b","inputSchema":{"x":1,"x":2}},{"no":"name"}]"#;
        let found = list(&Catalogue::default(), 1, &[page]);
        assert_eq!(found.facts.definitions.len(), 1);
        let hash = definition::hash(Uid::fixed(1), r#"{"name":"a","x":1}"#);
        assert_eq!(found.facts.definitions.get("a").copied(), hash);
        assert_eq!(found.entries(ListKind::Tools).iter().map(|one| &*one.name).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn pages_are_not_taken_for_one_another() {
        let catalogue = Catalogue::default();
        let one = list(&catalogue, 1, &["[]", r#"[{"name":"a"}]"#]);
        let two = list(&catalogue, 1, &[r#"[{"name":"a"}]"#, "[]"]);
        assert_eq!(one.facts.definitions, two.facts.definitions, "the same tools, and two texts");
        assert!(!Arc::ptr_eq(&one, &two));
        let page = raw(r#"{"tools":[]}"#.into());
        assert!(catalogue.page(ListKind::Prompts, Uid::fixed(1), &page).is_none(), "another kind of list");
    }

    #[test]
    fn a_page_says_what_follows_it_and_how_long_it_is_good_for() {
        let page = raw(r#"{"tools":[],"nextCursor":"\u0063","ttlMs":7}"#.into());
        let page = Catalogue::default().page(ListKind::Tools, Uid::fixed(1), &page).unwrap();
        assert_eq!((page.cursor.as_deref(), page.ttl_ms), (Some("c"), 7));
    }
}
