//! One list of many: the entries of all servers, in the order of the project and then of the server, rewritten no more than
//! they must be.
use std::borrow::Cow;
use std::collections::HashSet;

use mcpctl_api::plane::ServerView;
use serde_json::value::RawValue;

use crate::assembled::{Part, Sources};
use crate::context::Context;
use crate::dialect::SERVER_INFO;
use crate::json::{Object, quoted, raw, with_member};
use crate::listed::Entry;
use crate::lists::{ListKind, Listed, fetch_all};
use crate::names::{Naming, Shown};

/// Longest time for which a list is said to be good, in milliseconds: access to it may be taken away.
const TTL_MS_MAX: u64 = 60_000;

/// Makes the list that a client gets: all of it, in one page.
pub(crate) async fn list(context: &Context, kind: ListKind) -> Box<RawValue> {
    let parts = fetch_all(context, kind).await;
    let ttl_ms = context.dialect.is_modern().then(|| ttl_ms(&parts));
    let parts: Vec<Part> = parts.into_iter().map(|part| part.map(|listed| listed.list)).collect();
    let (project, separator) = (context.admission.project.clone(), context.dialect.separator);
    context.gateway.assembled.of(Sources { project, kind, separator, ttl_ms, parts }, assemble)
}

/// Writes the list that comes of all that it depends on.
fn assemble(sources: &Sources) -> Box<RawValue> {
    let entries = entries(sources);
    let mut array = String::with_capacity(entries.iter().map(|entry| entry.len() + 1).sum::<usize>() + 2);
    array.push('[');
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            array.push(',');
        }
        array.push_str(entry);
    }
    array.push(']');
    let mut result = Object::with_capacity(array.len() + 200);
    result.json(sources.kind.member(), &array);
    if let Some(ttl_ms) = sources.ttl_ms {
        cacheable(&mut result, ttl_ms);
    }
    raw(result.finish())
}

/// The members that every cacheable result of the modern era has. What a bearer opens is private, whatever the servers say:
/// a cache that took it for public would answer callers who were never admitted.
pub(crate) fn cacheable(result: &mut Object, ttl_ms: u64) {
    result.text("resultType", "complete").json("ttlMs", &ttl_ms.to_string()).text("cacheScope", "private");
    result.json("_meta", &format!("{{\"io.modelcontextprotocol/serverInfo\":{SERVER_INFO}}}"));
}

/// The smallest of all; a legacy server says nothing, and one that is left out may be back at once.
fn ttl_ms(parts: &[Option<Listed>]) -> u64 {
    let each = parts.iter().map(|part| part.as_ref().and_then(|listed| listed.ttl_ms).unwrap_or(0));
    each.min().unwrap_or(0).min(TTL_MS_MAX)
}

type Owned<'a> = (&'a ServerView, Entry<'a>);

fn entries(sources: &Sources) -> Vec<String> {
    let (project, kind) = (&*sources.project, sources.kind);
    let listed = project.servers.iter().zip(&sources.parts).filter_map(|(server, part)| Some((server, part.as_ref()?)));
    let all: Vec<Owned<'_>> = listed
        .flat_map(|(server, list)| {
            // Hidden here and refused in a call by the same functions.
            let shown = list.entries(kind).into_iter().filter(move |Entry { name, .. }| {
                let is_meant = || server.own_name(server.shown_name(name)) == Some(&**name);
                let shows = || server.shows(name, list.facts.definitions.get(&**name).copied());
                kind != ListKind::Tools || (is_meant() && shows())
            });
            shown.map(move |entry| (server, entry))
        })
        .collect();
    match kind {
        ListKind::Tools | ListKind::Prompts => {
            let shown = Shown::new(project, sources.separator, all.iter().map(|entry| base(kind, entry)));
            let single = Naming::of(project) == Naming::Single;
            let name = |entry: &Owned<'_>| shown.name(entry.0, &base(kind, entry)).into_owned();
            all.iter().map(|entry| named(&name(entry), kind, single, entry)).collect()
        }
        ListKind::Resources | ListKind::Templates => addressed(&all, kind),
    }
}

/// What it is called, but for its server's name.
fn base<'e>(kind: ListKind, (server, Entry { name, .. }): &'e Owned<'_>) -> Cow<'e, str> {
    if kind == ListKind::Tools { Cow::Borrowed(server.shown_name(name)) } else { Cow::Borrowed(name) }
}

/// A tool or prompt, under the name that the project gives it, with its server named in the description. A server that is
/// alone needs no telling apart: its entries stay as they are.
fn named(shown: &str, kind: ListKind, single: bool, (server, Entry { name, members, .. }): &Owned<'_>) -> String {
    let mut object = Object::with_capacity(256);
    let other = server.shown_description(name).filter(|_| kind == ListKind::Tools).map(quoted);
    let mut described = single && other.is_none();
    for (key, value) in members.iter() {
        match key {
            "name" if shown != *name => object.text("name", shown),
            "description" if !described => {
                described = true;
                let said = other.as_deref().unwrap_or_else(|| value.get());
                object.json("description", &if single { said.to_owned() } else { with_server(&server.name, said) })
            }
            _ => object.json(key, value.get()),
        };
    }
    match other {
        _ if described => {}
        Some(other) if single => drop(object.json("description", &other)),
        Some(other) => drop(object.json("description", &with_server(&server.name, &other))),
        None => drop(object.text("description", &format!("[{}] {name}", server.name))),
    }
    object.finish()
}

/// A description that begins with the server's name. A name has nothing in it that JSON would want escaped.
fn with_server(server: &str, description: &str) -> String {
    match description.strip_prefix('"') {
        Some(rest) => format!("\"[{server}] {rest}"),
        None => quoted(&format!("[{server}]")),
    }
}

/// Resources keep their URI: agents find it in results of tools too. The first server of the project that has one keeps it;
/// another server's is reached as `<server>+<uri>`.
fn addressed(all: &[Owned<'_>], kind: ListKind) -> Vec<String> {
    let mut seen: HashSet<&str> = HashSet::new();
    let write = |(server, Entry { name: uri, members, .. }): &Owned<'_>, first: bool| {
        if first {
            return Object::with_capacity(256).members(members.iter()).finish();
        }
        with_member(members, kind.key(), &quoted(&format!("{}+{uri}", server.name)))
    };
    let mut entries = Vec::with_capacity(all.len());
    for entry in all {
        let first = seen.insert(&entry.1.name);
        entries.push(write(entry, first));
    }
    entries
}
