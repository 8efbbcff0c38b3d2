//! Hashes of the definitions that servers show: computed once for each text that a server sends, however many ask for it.
//!
//! A list that is the same as one before, byte for byte, is not looked into again: agents ask for lists more often than
//! servers change them, and a definition takes longer to hash in its canonical form than to pass on.
use std::collections::HashMap;
use std::sync::Arc;

use mcpctl_core::definition;
use mcpctl_core::ids::{Digest, Uid};
use parking_lot::Mutex;
use serde_json::value::RawValue;

use crate::json::{Members, elements};

/// Lists of one server that are known at once: it may show another to each client.
const LISTS_MAX: usize = 4;
/// Servers whose lists are known at once.
const SERVERS_MAX: usize = 4_096;

/// Hashes of definitions, by the server's own name of the tool. A tool whose definition has no hash is not in here.
pub(crate) type Definitions = HashMap<Box<str>, Digest>;

/// What servers showed last.
#[derive(Default)]
pub(crate) struct Catalogue(Mutex<HashMap<Uid, Vec<Shown>>>);

/// A list: the digest of its text, and of its definitions.
struct Shown {
    text: blake3::Hash,
    definitions: Arc<Definitions>,
}

impl Catalogue {
    /// The hashes of the tools in a list of a server. Of a name that is given twice only the first is known, as it is the
    /// one that is listed.
    pub(crate) fn definitions(&self, server: Uid, pages: &[Box<RawValue>]) -> Arc<Definitions> {
        let mut hasher = blake3::Hasher::new();
        for page in pages {
            hasher.update(&(page.get().len() as u64).to_le_bytes()).update(page.get().as_bytes());
        }
        let text = hasher.finalize();
        if let Some(known) = self.0.lock().get(&server).and_then(|all| all.iter().find(|one| one.text == text)) {
            return known.definitions.clone();
        }
        // Nothing is locked meanwhile: two who ask at once compute it twice.
        let definitions = Arc::new(hashes(server, pages));
        let mut known = self.0.lock();
        if known.len() >= SERVERS_MAX && !known.contains_key(&server) {
            known.clear();
        }
        let all = known.entry(server).or_default();
        if all.len() >= LISTS_MAX {
            all.remove(0);
        }
        all.push(Shown { text, definitions: definitions.clone() });
        definitions
    }
}

fn hashes(server: Uid, pages: &[Box<RawValue>]) -> Definitions {
    let mut found = Definitions::new();
    let mut named = std::collections::HashSet::new();
    for tool in pages.iter().flat_map(|page| elements(page)) {
        let Some(name) = Members::of(tool).text("name").map(|name| Box::<str>::from(&*name)) else { continue };
        if !named.insert(name.clone()) {
            continue;
        }
        if let Some(hash) = definition::hash(server, tool.get()) {
            found.insert(name, hash);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::raw;

    #[test]
    fn a_list_is_looked_into_once_and_another_text_anew() {
        let catalogue = Catalogue::default();
        let page = |text: &str| vec![raw(format!("[{{\"name\":\"a\",\"description\":{text:?}}}]"))];
        let first = catalogue.definitions(Uid::fixed(1), &page("x"));
        assert!(Arc::ptr_eq(&first, &catalogue.definitions(Uid::fixed(1), &page("x"))));
        let other = catalogue.definitions(Uid::fixed(1), &page("y"));
        assert_ne!(first["a"], other["a"]);
        assert_ne!(first["a"], catalogue.definitions(Uid::fixed(2), &page("x"))["a"], "of another server");
        for text in 0..100 {
            catalogue.definitions(Uid::fixed(1), &page(&text.to_string()));
        }
        assert_eq!(catalogue.0.lock()[&Uid::fixed(1)].len(), LISTS_MAX);
    }

    #[test]
    fn what_is_listed_first_counts_and_what_reads_in_two_ways_has_no_hash() {
        let catalogue = Catalogue::default();
        let page = vec![raw(
            r#"[{"name":"a","x":1},{"name":"a","x":2},{"name":"b","inputSchema":{"x":1,"x":2}},{"no":"name"}]"#.into(),
        )];
        let found = catalogue.definitions(Uid::fixed(1), &page);
        assert_eq!(found.len(), 1);
        assert_eq!(Some(found["a"]), definition::hash(Uid::fixed(1), r#"{"name":"a","x":1}"#));
    }

    #[test]
    fn pages_are_not_taken_for_one_another() {
        let catalogue = Catalogue::default();
        let pages = |all: &[&str]| all.iter().map(|text| raw((*text).to_owned())).collect::<Vec<_>>();
        let one = catalogue.definitions(Uid::fixed(1), &pages(&["[]", r#"[{"name":"a"}]"#]));
        let two = catalogue.definitions(Uid::fixed(1), &pages(&[r#"[{"name":"a"}]"#, "[]"]));
        assert_eq!(one, two, "the same tools, and two texts");
        assert!(!Arc::ptr_eq(&one, &two));
    }
}
