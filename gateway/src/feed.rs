//! Keeps a long stream to a client fed: servers of the legacy era speak up by themselves, modern ones have to be listened to.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use mcpctl_api::plane::ServerView;
use mcpctl_api::upstream::{CallSink, Era, Reply, ServerMessage, Session};
use mcpctl_core::ids::Uid;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::call::{Resolved, Unanswered, authorize, send};
use crate::client::{Busy, Client};
use crate::context::Context;
use crate::json::{Members, Object, quoted, raw};
use crate::link::Link;
use crate::listener::{Filter, Listener, Wish};
use crate::resolve::by_uri;

/// Longest subscription with a server; then it is made anew.
const LISTEN: Duration = Duration::from_secs(24 * 3600);
/// How long a client waits for its acknowledgement at most. It means that changes are heard of from now on, so servers are
/// listened to first; one that is slow or away shall not keep the client waiting.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// Waits between tries to reach a server.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(30);

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// The access was taken away.
    Cut,
    /// The gateway stops, the session was closed, or another stream took its place.
    Over,
    /// The client holds too many open.
    TooMany,
}

/// Streams to a client until it ends. Dropping it ends it too.
pub(crate) async fn stream(context: &Context, wish: Wish) -> StreamEnd {
    let listener = Arc::new(Listener::new(wish, context.outlet.clone()));
    if !context.client.listen(listener.clone()) {
        return StreamEnd::TooMany;
    }
    let _open = Open::new(context, &listener);
    // Whoever takes the access away waits until the stream has ended.
    let Some(_inside) = context.admission.cut.enter() else { return StreamEnd::Cut };
    let unheard = Unheard::of(context.servers().len());
    tokio::select! {
        biased;
        () = context.admission.cut.cancelled() => StreamEnd::Cut,
        () = context.gateway.stop.cancelled() => StreamEnd::Over,
        () = context.client.gone.cancelled() => StreamEnd::Over,
        () = listener.ended.cancelled() => StreamEnd::Over,
        never = feed_all(context, &listener, &unheard) => match never {},
        never = acknowledge(&listener, &unheard) => match never {},
    }
}

enum Never {}

/// Counts servers that are not listened to yet. Each is counted off once.
struct Unheard(watch::Sender<usize>);

impl Unheard {
    fn of(servers: usize) -> Self {
        Self(watch::Sender::new(servers))
    }

    /// Hands out the mark that one server gives when it is listened to, or when it is known that it is not for now.
    fn mark(&self) -> Mark {
        Mark(Mutex::new(Some(self.0.clone())))
    }
}

/// One server's mark.
struct Mark(Mutex<Option<watch::Sender<usize>>>);

impl Mark {
    fn heard(&self) {
        if let Some(unheard) = self.0.lock().take() {
            unheard.send_modify(|servers| *servers = servers.saturating_sub(1));
        }
    }
}

async fn acknowledge(listener: &Listener, unheard: &Unheard) -> Never {
    let mut servers = unheard.0.subscribe();
    // Neither an end of the wait nor a sender that is gone changes what is to be said.
    let _ = tokio::time::timeout(HEARD_WITHIN, servers.wait_for(|servers| *servers == 0)).await;
    listener.acknowledge();
    std::future::pending().await
}

async fn feed_all(context: &Context, listener: &Arc<Listener>, unheard: &Unheard) -> Never {
    let wanted = match &listener.wish {
        Wish::All => Vec::new(),
        Wish::Some { filter, .. } => owners(context, &filter.uris).await,
    };
    let of = |server: &ServerView| {
        wanted.iter().filter(|(owner, _)| *owner == server.uid).map(|(_, uri)| uri.clone()).collect::<BTreeSet<_>>()
    };
    let fed = |server| feed(context, server, listener, of(server), Arc::new(unheard.mark()));
    join_all(context.servers().iter().map(fed)).await;
    std::future::pending().await
}

async fn owners(context: &Context, uris: &BTreeSet<String>) -> Vec<(Uid, String)> {
    let mut owners = Vec::new();
    for uri in uris {
        owners.extend(by_uri(context, uri).await.into_iter().map(|(server, uri)| (server.uid, uri.into_owned())));
    }
    owners
}

/// Listens to one server for as long as the stream is open.
async fn feed(
    context: &Context,
    server: &ServerView,
    listener: &Arc<Listener>,
    uris: BTreeSet<String>,
    mark: Arc<Mark>,
) {
    let mut wait = FIRST_WAIT;
    loop {
        if let Ok((session, link)) = context.reach(server).await {
            wait = FIRST_WAIT;
            match link.era {
                // The link is watched by a task of its own. A legacy client's call opens the conversation again; the
                // stream alone shall not keep a process running.
                Era::Legacy if listener.takes_all() => return,
                Era::Legacy => follow_legacy(context, server, &*session, &uris, &mark).await,
                Era::Modern => match listen(context, server, &*session, &link, listener, &uris, &mark).await {
                    Ok(()) => {}
                    // The access was cut, which ends the stream, or the server knows no subscriptions: nothing to wait for.
                    Err(Unanswered::Cut) => return mark.heard(),
                    Err(Unanswered::Upstream(error)) => {
                        tracing::debug!(server = %server.name, %error, "not listened to for now");
                    }
                },
            }
        }
        mark.heard();
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LAST_WAIT);
    }
}

/// Subscribes with a legacy server for a modern client, and waits until the conversation has ended.
async fn follow_legacy(
    context: &Context,
    server: &ServerView,
    session: &dyn Session,
    uris: &BTreeSet<String>,
    mark: &Mark,
) {
    for uri in uris {
        let params = raw(format!("{{\"uri\":{}}}", quoted(uri)));
        if let Err(error) = context.ask(server, session, "resources/subscribe", Some(params)).await {
            tracing::debug!(server = %server.name, %error, "a resource can't be subscribed to");
        }
    }
    mark.heard();
    while session.is_open() {
        tokio::time::sleep(FIRST_WAIT).await;
    }
}

/// One subscription with a modern server. Ends when the server ends it, or the client wants other resources.
async fn listen(
    context: &Context,
    server: &ServerView,
    session: &dyn Session,
    link: &Arc<Link>,
    listener: &Arc<Listener>,
    uris: &BTreeSet<String>,
    mark: &Arc<Mark>,
) -> Result<(), Unanswered> {
    let mut subscribed = context.client.subscribed();
    loop {
        let filter = match &listener.wish {
            Wish::All => {
                let all = subscribed.borrow_and_update();
                let uris = all.iter().filter(|(owner, _)| *owner == server.uid).map(|(_, uri)| uri.clone()).collect();
                Filter { tools: true, prompts: true, resources: true, uris }
            }
            Wish::Some { filter, .. } => Filter { uris: uris.clone(), ..filter.clone() },
        };
        let params = raw(format!("{{\"notifications\":{}}}", filter.to_json()));
        let resolved = Resolved::of_server(server, "subscriptions/listen", Some(params), LISTEN);
        let authorized = authorize(&context.admission, resolved).map_err(|_| Unanswered::Cut)?;
        let sink = FeedSink {
            client: context.client.clone(),
            link: link.clone(),
            listener: listener.clone(),
            mark: mark.clone(),
        };
        tokio::select! {
            reply = send(authorized, session, Arc::new(sink)) => return match reply? {
                Reply::Result(_) => Ok(()),
                Reply::Error(_) => Err(Unanswered::Cut),
            },
            changed = subscribed.changed(), if listener.takes_all() => if changed.is_err() { return Ok(()) },
        }
    }
}

/// Passes on to one stream what its own subscription brings.
struct FeedSink {
    client: Arc<Client>,
    link: Arc<Link>,
    listener: Arc<Listener>,
    mark: Arc<Mark>,
}

impl CallSink for FeedSink {
    fn message(&self, message: ServerMessage) {
        let ServerMessage::Notification { method, params } = message else { return };
        self.mark.heard();
        if &*method == "notifications/subscriptions/acknowledged" || self.client.gone.is_cancelled() {
            return;
        }
        self.link.note(&method);
        let params = params.as_deref();
        // The server's subscription is not the client's: a legacy client knows none, a modern one its own.
        let plain = self.listener.takes_all().then(|| params.map(without_meta)).flatten();
        self.listener.tell(&method, plain.as_deref().or(params));
    }
}

fn without_meta(params: &RawValue) -> Box<RawValue> {
    raw(Object::with_capacity(params.get().len()).members(Members::of(params).without("_meta")).finish())
}

/// The stream is open.
struct Open<'a> {
    context: &'a Context,
    listener: Arc<Listener>,
    _busy: Busy,
}

impl<'a> Open<'a> {
    fn new(context: &'a Context, listener: &Arc<Listener>) -> Self {
        context.gateway.metrics.streams.inc();
        Self { context, listener: listener.clone(), _busy: context.client.busy() }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.context.client.unlisten(&self.listener);
        self.context.gateway.metrics.streams.dec();
    }
}
