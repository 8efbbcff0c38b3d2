//! A client as the gateway knows it: a legacy session, or a caller of a project who has none; and what it holds open.
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mcpctl_api::plane::ServerView;
use mcpctl_api::upstream::{Session, SessionKey, Sessions};
use mcpctl_core::ids::Uid;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::asked::Asked;
use crate::dialect::Dialect;
use crate::gateway::Gateway;
use crate::http::Source;
use crate::link::Link;
use crate::listener::Listener;
use crate::message::Message;
use crate::mrtr::Round;
use crate::outlet::Outlet;
use crate::resumable::Streams;

/// Streams that one client may hold open besides those of its calls.
const LISTENERS_MAX: usize = 32;

/// Resources that one client may have subscribed to.
pub(crate) const SUBSCRIBED_MAX: usize = 1024;
/// Longest URI that is kept, in bytes.
pub(crate) const URI_BYTES_MAX: usize = 8 << 10;

/// The version from which on streams can be taken up again. Clients of older ones do not know an event without data.
const RESUMABLE: &str = "2025-11-25";

/// Streams of a session that can be taken up again.
pub(crate) type ClientStreams = Streams<Source>;

/// A call that runs.
struct RunningCall {
    cancel: CancellationToken,
    outlet: Outlet,
    /// It has been seen by a sweep.
    lasts: bool,
}

/// A client.
pub(crate) struct Client {
    /// Whose conversations it has with servers.
    pub(crate) key: SessionKey,
    /// What was negotiated, in a legacy session.
    pub(crate) dialect: Option<Dialect>,
    /// What servers asked of it.
    pub(crate) asked: Asked,
    /// Cancelled when its session has ended.
    pub(crate) gone: CancellationToken,
    sessions: Arc<dyn Sessions>,
    links: Mutex<HashMap<Uid, Arc<Link>>>,
    listeners: Mutex<Vec<Arc<Listener>>>,
    calls: Mutex<HashMap<Box<str>, RunningCall>>,
    streams: Arc<ClientStreams>,
    /// Calls of a modern client whose legacy servers may ask.
    rounds: Mutex<Vec<Weak<Round>>>,
    level: Mutex<Option<Arc<str>>>,
    subscribed: watch::Sender<BTreeSet<(Uid, String)>>,
    used: Mutex<Instant>,
    busy: AtomicUsize,
}

impl Client {
    pub(crate) fn new(key: SessionKey, dialect: Option<Dialect>, sessions: Arc<dyn Sessions>) -> Arc<Self> {
        Arc::new(Self {
            key,
            dialect,
            asked: Asked::default(),
            gone: CancellationToken::new(),
            sessions,
            links: Mutex::default(),
            listeners: Mutex::default(),
            calls: Mutex::default(),
            streams: Arc::default(),
            rounds: Mutex::default(),
            level: Mutex::default(),
            subscribed: watch::Sender::default(),
            used: Mutex::new(Instant::now()),
            busy: AtomicUsize::new(0),
        })
    }

    /// The link to a server over this conversation, made if there is none or another.
    pub(crate) fn link(
        self: &Arc<Self>,
        gateway: &Arc<Gateway>,
        server: &ServerView,
        session: &Arc<dyn Session>,
    ) -> Arc<Link> {
        let mut links = self.links.lock();
        if let Some(link) = links.get(&server.uid)
            && link.is_of(server.version, session)
        {
            return link.clone();
        }
        let link = Link::new(server, session);
        link.watch(gateway, self, session);
        if let Some(old) = links.insert(server.uid, link.clone()) {
            old.ended.cancel();
        }
        link
    }

    /// Conversations that are open now.
    pub(crate) fn open_sessions(&self) -> Vec<Arc<dyn Session>> {
        self.links.lock().values().filter_map(|link| link.session()).filter(|session| session.is_open()).collect()
    }

    /// Adds a stream. The newest one of a legacy client replaces the one before: after a lost connection that is still
    /// thought to be there, and each message goes to one stream only (2025-11-25, multiple connections).
    pub(crate) fn listen(&self, listener: Arc<Listener>) -> bool {
        let mut listeners = self.listeners.lock();
        listeners.retain(|one| one.outlet.is_open());
        if listener.takes_all() {
            listeners.drain(..).for_each(|old| old.ended.cancel());
        }
        let fits = listeners.len() < LISTENERS_MAX;
        if fits {
            listeners.push(listener);
        }
        fits
    }

    /// Takes a stream off.
    pub(crate) fn unlisten(&self, listener: &Arc<Listener>) {
        self.listeners.lock().retain(|one| !Arc::ptr_eq(one, listener));
    }

    /// The stream of a legacy client, if it holds one open.
    pub(crate) fn stream(&self) -> Option<Arc<Listener>> {
        self.listeners.lock().iter().find(|one| one.takes_all() && one.outlet.is_open()).cloned()
    }

    /// Tells whoever listens for it.
    pub(crate) fn tell(&self, method: &str, params: Option<&RawValue>) {
        let mut told = false;
        for listener in self.listeners.lock().iter() {
            told |= listener.tell(method, params) && listener.takes_all();
        }
        if !told {
            self.streams.keep(|| Message::notification(method, params.map(RawValue::get)));
        }
    }

    /// Its streams, if they can be taken up again.
    pub(crate) fn resumable(&self) -> Option<&Arc<ClientStreams>> {
        let version = self.dialect.as_ref().map(|dialect| dialect.version);
        (self.key.session.is_some() && version == Some(RESUMABLE)).then_some(&self.streams)
    }

    /// Begins streams for calls that were running at the last sweep already: their clients then know where to take them up
    /// again. Forgets streams that nobody came back for.
    pub(crate) fn sweep_streams(&self) {
        if self.resumable().is_none() {
            return;
        }
        for call in self.calls.lock().values_mut() {
            if std::mem::replace(&mut call.lasts, true) {
                call.outlet.put(Message::default());
            }
        }
        self.streams.sweep();
    }

    /// Notes a running call, so that it can be cancelled by its id.
    pub(crate) fn begin_call(&self, id: &RawValue, outlet: &Outlet) -> CancellationToken {
        let cancel = CancellationToken::new();
        let call = RunningCall { cancel: cancel.clone(), outlet: outlet.clone(), lasts: false };
        self.calls.lock().insert(id.get().into(), call);
        cancel
    }

    pub(crate) fn end_call(&self, id: &RawValue) {
        self.calls.lock().remove(id.get());
    }

    /// Cancels a running call.
    pub(crate) fn cancel(&self, id: &RawValue) {
        if let Some(call) = self.calls.lock().get(id.get()) {
            call.cancel.cancel();
        }
    }

    /// Notes a call whose server may ask.
    pub(crate) fn begin_round(&self, round: &Arc<Round>) {
        let mut rounds = self.rounds.lock();
        rounds.retain(|one| one.strong_count() > 0);
        rounds.push(Arc::downgrade(round));
    }

    /// A call that runs in this conversation and whose server may ask.
    pub(crate) fn round_in(&self, session: &Weak<dyn Session>) -> Option<Arc<Round>> {
        self.rounds.lock().iter().filter_map(Weak::upgrade).find(|round| round.is_in(session))
    }

    /// From which level on a legacy client wants log messages.
    pub(crate) fn level(&self) -> Option<Arc<str>> {
        self.level.lock().clone()
    }

    pub(crate) fn set_level(&self, level: &str) {
        *self.level.lock() = Some(level.into());
    }

    /// Resources of modern servers that a legacy client has subscribed to.
    pub(crate) fn subscribed(&self) -> watch::Receiver<BTreeSet<(Uid, String)>> {
        self.subscribed.subscribe()
    }

    /// Notes a subscription. `false` if there are too many.
    pub(crate) fn subscribe(&self, server: Uid, uri: &str) -> bool {
        if self.subscribed.borrow().len() >= SUBSCRIBED_MAX || uri.len() > URI_BYTES_MAX {
            return false;
        }
        self.subscribed.send_if_modified(|uris| uris.insert((server, uri.to_owned())));
        true
    }

    pub(crate) fn unsubscribe(&self, server: Uid, uri: &str) {
        self.subscribed.send_if_modified(|uris| uris.remove(&(server, uri.to_owned())));
    }

    /// Marks it as used for as long as the guard lives.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// How long it has not been used.
    pub(crate) fn idle(&self) -> Duration {
        if self.busy.load(Ordering::Relaxed) > 0 { Duration::ZERO } else { self.used.lock().elapsed() }
    }

    /// Ends its streams and its conversations with servers.
    pub(crate) async fn end(&self) {
        self.gone.cancel();
        self.sessions.end(&self.key).await;
    }
}

/// A request of the client runs.
pub(crate) struct Busy(Arc<Client>);

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.used.lock() = Instant::now();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}
