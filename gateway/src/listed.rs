//! What a list of a server says, as it came: its pages raw, and what is noted of its entries.
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use mcpctl_core::definition;
use mcpctl_core::ids::{Digest, Uid};
use serde_json::value::RawValue;

use crate::json::{Members, elements, may_have_key};
use crate::lists::ListKind;
use crate::param_headers::{AnnotatedTools, of_tool};

/// Entries of one list that are kept.
const ENTRIES_MAX: usize = 10_000;

/// Names that a server listed: of tools, prompts, resources (URIs), templates. They help to find the server of a name; what
/// may be called is decided elsewhere.
pub(crate) type Names = HashSet<Box<str>>;

/// Hashes of definitions, by the server's own name of the tool. A tool whose definition has no hash is not in here.
pub(crate) type Definitions = HashMap<Box<str>, Digest>;

/// One page of a list.
#[derive(Debug)]
pub(crate) struct Page {
    text: blake3::Hash,
    entries: Box<RawValue>,
    /// Asks for the next page.
    pub(crate) cursor: Option<String>,
    /// How long the server says that it is good for, in milliseconds; 0 when it does not say.
    pub(crate) ttl_ms: u64,
}

impl Page {
    /// Reads a page. `None`: it has no entries.
    pub(crate) fn read(kind: ListKind, text: blake3::Hash, page: &RawValue) -> Option<Self> {
        let members = Members::of(page);
        let entries = members.get(kind.member())?.to_owned();
        let ttl_ms = members.get("ttlMs").and_then(|raw| raw.get().parse().ok()).unwrap_or(0);
        Some(Self { text, entries, cursor: members.text("nextCursor").map(Cow::into_owned), ttl_ms })
    }

    /// The digest of the text that it was read from.
    pub(crate) const fn text(&self) -> &blake3::Hash {
        &self.text
    }
}

/// A list of one server.
#[derive(Debug, Default)]
pub(crate) struct List {
    pages: Vec<Arc<Page>>,
    /// What is noted of it.
    pub(crate) facts: Arc<Facts>,
}

/// What is noted of the entries of a list.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) names: Names,
    /// Of tools, those whose arguments travel as headers too.
    pub(crate) annotated: AnnotatedTools,
    /// Of tools, the hashes of their definitions.
    pub(crate) definitions: Definitions,
    /// Of tools, those that run as a task only (2025-11-25).
    pub(crate) as_tasks: Names,
}

impl List {
    /// Looks into the pages of a list.
    pub(crate) fn read(kind: ListKind, server: Uid, pages: Vec<Arc<Page>>) -> Self {
        let entries = entries(kind, &pages);
        let mut facts = Facts { names: entries.iter().map(|one| Box::from(&*one.name)).collect(), ..Facts::default() };
        if kind == ListKind::Tools {
            let any = |key: &str| pages.iter().any(|page| may_have_key(page.entries.get(), key));
            if any("\"x-mcp-header\"") {
                facts.annotated = annotated(&entries);
            }
            if any("\"taskSupport\"") {
                facts.as_tasks = as_tasks(&entries);
            }
            let hash = |one: &Entry<'_>| Some((Box::from(&*one.name), definition::hash(server, one.text.get())?));
            facts.definitions = entries.iter().filter_map(hash).collect();
        }
        Self { facts: Arc::new(facts), pages }
    }

    /// Its pages, in order.
    pub(crate) fn pages(&self) -> &[Arc<Page>] {
        &self.pages
    }

    /// Its entries, in order.
    pub(crate) fn entries(&self, kind: ListKind) -> Vec<Entry<'_>> {
        entries(kind, &self.pages)
    }

    /// Bytes of its text.
    pub(crate) fn bytes(&self) -> usize {
        self.pages.iter().map(|page| page.entries.get().len()).sum()
    }
}

/// An entry of a list.
pub(crate) struct Entry<'a> {
    /// The name by which it is asked for.
    pub(crate) name: Cow<'a, str>,
    /// All that it says.
    pub(crate) members: Members<'a>,
    text: &'a RawValue,
}

/// Entries with the names by which they are asked for. One that has none, or one given before, is left out: nobody could
/// tell which of two is called.
fn entries(kind: ListKind, pages: &[Arc<Page>]) -> Vec<Entry<'_>> {
    let mut seen: HashSet<Cow<'_, str>> = HashSet::new();
    let mut entries = Vec::new();
    for text in pages.iter().flat_map(|page| elements(&page.entries)).take(ENTRIES_MAX) {
        let members = Members::of(text);
        if let Some(name) = members.text(kind.key())
            && seen.insert(name.clone())
        {
            entries.push(Entry { name, members, text });
        }
    }
    entries
}

fn annotated(tools: &[Entry<'_>]) -> AnnotatedTools {
    let annotated = tools.iter().map(|one| (Box::from(&*one.name), of_tool(&one.members)));
    annotated.filter(|(_, annotated)| annotated.as_ref().is_none_or(|some| !some.is_empty())).collect()
}

fn as_tasks(tools: &[Entry<'_>]) -> Names {
    let is_required = |one: &&Entry<'_>| {
        let execution = one.members.get("execution").map(Members::of);
        execution.is_some_and(|how| how.text("taskSupport").as_deref() == Some("required"))
    };
    tools.iter().filter(is_required).map(|one| Box::from(&*one.name)).collect()
}
