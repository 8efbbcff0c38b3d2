//! Notices the definitions of tools in the lists that servers give, on their way to whoever asked.
//!
//! The control plane talks to every server itself, also for gateways elsewhere: what it notices nobody has to report, and
//! nobody can make up. A list goes on when what is new in it is durable in the log, or when that takes too long. One that
//! takes a tool away from somebody goes on at once: who asked for it may be one of those who are cut, and an agent that is
//! to see approved definitions only does not depend on the log, as its gateway looks at the definitions themselves.
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use mcpctl_core::actor::Actor;
use mcpctl_core::command::{Command, Deed};
use mcpctl_core::definition::{self, DefinitionChange};
use mcpctl_core::ids::{Digest, Uid};
use mcpctl_core::kinds::{Kind, Noticed, Server, ServerAction};
use mcpctl_core::name::Name;
use mcpctl_core::pins::Asking;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::task::TaskTracker;

use super::kept::KeptDefinitions;
use crate::server::app::App;
use crate::server::writer::Submission;
use crate::upstream::ListTap;

/// How long a list waits for what is new in it to be durable.
const RECORDED_WITHIN: Duration = Duration::from_secs(2);
/// Pages of one server whose hashes are known at once.
const PAGES_MAX: usize = 16;
/// Servers whose pages are known at once.
const SERVERS_MAX: usize = 4_096;
/// Longest name of a tool that is looked at, in bytes.
const NAME_BYTES_MAX: usize = 1_024;

/// The hashes of a page: by the tool's name, in the order of the page.
type Hashes = Arc<Vec<(Box<str>, Digest)>>;

/// Pages that were seen, by the digest of their text.
#[derive(Default)]
struct Seen {
    pages: Vec<(blake3::Hash, Hashes)>,
    /// One at a time writes what is new of a server.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// Looks at the lists of all servers.
pub struct Noticing {
    /// Set when there is a control plane to write to. It does not keep it alive.
    app: OnceLock<Weak<App>>,
    /// Owner of what goes on when a list does not wait.
    tasks: TaskTracker,
    kept: Arc<KeptDefinitions>,
    seen: Mutex<HashMap<Uid, Seen>>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

impl Noticing {
    /// Keeps the texts of definitions there.
    #[must_use]
    pub fn new(kept: Arc<KeptDefinitions>) -> Self {
        Self { app: OnceLock::new(), tasks: TaskTracker::new(), kept, seen: Mutex::default() }
    }

    /// From now on what is noticed is written to the log of this control plane.
    pub fn write_to(&self, app: &Arc<App>) {
        let _ = self.app.set(Arc::downgrade(app));
    }

    /// Waits until nothing goes on any more. To be called when no server is asked for lists any more.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn hashes(&self, server: Uid, result: &RawValue) -> (Hashes, Arc<tokio::sync::Mutex<()>>) {
        let text = blake3::hash(result.get().as_bytes());
        {
            let mut seen = self.seen.lock();
            if seen.len() >= SERVERS_MAX && !seen.contains_key(&server) {
                seen.clear();
            }
            let of_server = seen.entry(server).or_default();
            if let Some((_, known)) = of_server.pages.iter().find(|(one, _)| *one == text) {
                return (known.clone(), of_server.turn.clone());
            }
        }
        let hashes: Hashes = Arc::new(
            tools(result)
                .filter_map(|(name, text)| Some((Box::from(&*name), definition::hash(server, text)?)))
                .collect(),
        );
        let mut seen = self.seen.lock();
        let of_server = seen.entry(server).or_default();
        if of_server.pages.len() >= PAGES_MAX {
            of_server.pages.remove(0);
        }
        of_server.pages.push((text, hashes.clone()));
        (hashes, of_server.turn.clone())
    }

    /// Writes what is new: the texts first, then the events.
    async fn write(
        kept: Arc<KeptDefinitions>,
        app: Arc<App>,
        server: Uid,
        page: Box<RawValue>,
        hashes: Hashes,
        turn: Arc<tokio::sync::Mutex<()>>,
    ) {
        let _turn = turn.lock().await;
        let state = app.published.load();
        let Some(name) = state.by_uid(server).map(|object| object.meta.name.clone()) else { return };
        let news: HashMap<Box<str>, (Digest, Option<Digest>)> = news(&state, server, &hashes, app.published.now());
        if news.is_empty() {
            return;
        }
        let texts: Vec<(Box<str>, String)> = tools(&page)
            .filter(|(tool, _)| news.contains_key(&**tool))
            .filter_map(|(tool, text)| Some((Box::from(&*tool), definition::canonical(text)?)))
            .collect();
        let redactor = app.audit.redactor().clone();
        let noticed = tokio::task::spawn_blocking(move || {
            texts
                .into_iter()
                .filter_map(|(tool, text)| {
                    let (definition, old) = *news.get(&tool)?;
                    let old = old.and_then(|old| kept.read(server, old));
                    let mut diff = old.map(|old| definition::changes(&old, &text)).unwrap_or_default();
                    diff.iter_mut().for_each(|change| without_secrets(change, |text| redactor.redact_text(text)));
                    if let Err(error) = kept.keep(server, definition, &text) {
                        tracing::warn!(%error, "a definition of a tool can't be kept; the log has its hash");
                    }
                    Some(Noticed { tool: tool.into(), definition, diff })
                })
                .collect::<Vec<_>>()
        });
        let Ok(noticed) = noticed.await else { return };
        if let Err(error) = submit(&app, name, noticed).await {
            tracing::warn!(%error, "definitions of tools can't be recorded");
        }
    }
}

/// What differs is written where it stays for ever.
fn without_secrets(change: &mut DefinitionChange, take_out: impl Fn(&mut String)) {
    take_out(&mut change.path);
    [&mut change.old, &mut change.new].into_iter().flatten().for_each(take_out);
}

async fn submit(app: &App, server: Name, noticed: Vec<Noticed>) -> Result<(), crate::server::writer::WriteError> {
    let deed = Deed::Act(Box::new(ServerAction::Notice(noticed)));
    let command = Command { kind: Kind::Server, name: server, project: None, deed };
    // What it takes away is told to everybody who serves by it when it is committed. Nobody waits for them here: whoever
    // asked for the list may be one of those who are cut.
    app.writer.submit(Submission::of(Actor::system("tools"), command)).await.map(drop)
}

/// The tools of a page with the text of their definitions; of a name that is given twice the first, as it is the one that
/// agents are shown.
fn tools(result: &RawValue) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    let page = serde_json::from_str::<Page<'_>>(result.get());
    let mut names = HashSet::new();
    let all = page.map(|page| page.tools).unwrap_or_default().into_iter();
    all.filter_map(move |tool| {
        let name = serde_json::from_str::<Tool<'_>>(tool.get()).ok()?.name;
        (name.len() <= NAME_BYTES_MAX && names.insert(name.to_string())).then(|| (name, tool.get()))
    })
}

/// What of a page would be an event, with the definition that was the newest before.
fn news(state: &State, server: Uid, hashes: &Hashes, now: Timestamp) -> HashMap<Box<str>, (Digest, Option<Digest>)> {
    let Some((_, status)) = state.by_uid(server).and_then(|object| object.of::<Server>()) else {
        return HashMap::new();
    };
    let (now, asking) = (now.max(state.last_at()), Asking::of(state, server));
    let is_news = |(tool, definition): &&(Box<str>, Digest)| {
        status.is_news(tool, *definition, || asking.lose(status, tool, *definition), now)
    };
    let before = |tool: &str, new: Digest| status.tools.get(tool).map(|known| known.other_than(new));
    hashes.iter().filter(is_news).map(|(tool, new)| (tool.clone(), (*new, before(tool, *new)))).collect()
}

/// Whether a page takes a tool away from a project that serves it by another definition.
fn takes_away(state: &State, server: Uid, hashes: &Hashes) -> bool {
    let Some((_, status)) = state.by_uid(server).and_then(|object| object.of::<Server>()) else { return false };
    let asking = Asking::of(state, server);
    hashes.iter().any(|(tool, definition)| asking.lose(status, tool, *definition))
}

#[async_trait]
impl ListTap for Noticing {
    async fn listed(&self, server: Uid, result: &RawValue) {
        let Some(app) = self.app.get().and_then(Weak::upgrade) else { return };
        let (hashes, turn) = self.hashes(server, result);
        let state = app.published.load();
        if news(&state, server, &hashes, app.published.now()).is_empty() {
            return;
        }
        let takes_away = takes_away(&state, server, &hashes);
        drop(state);
        let write = self.tasks.spawn(Self::write(self.kept.clone(), app, server, result.to_owned(), hashes, turn));
        if !takes_away && tokio::time::timeout(RECORDED_WITHIN, write).await.is_err() {
            tracing::warn!("what a list has of new definitions is not durable yet: the list goes on");
        }
    }
}
