//! A conversation over the transport of 2024-11-05: a GET stream brings all messages, POSTs to the address it names take ours.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Uri};
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, broadcast, mpsc};
use url::Url;

use super::conversation::{Activity, Conversation, timed_out};
use super::endpoint::{Endpoint, Failed};
use super::exchange::Exchange;
use super::http_headers::{self, Lines};
use super::peer::{End, Outgoing, Peer};
use super::peer_open::Unopened;
use super::sse_parser::{Event, SseParser};
use super::{Call, CallSink, Era, Handshake, NoSink, Reply, ServerMessage, Session, UpstreamError, handshake};

/// Limit on a POST being taken; the answer to its message comes on the stream.
const POST_WITHIN: Duration = Duration::from_secs(30);
/// POSTs on their way at once.
const POSTS_MAX: usize = 16;

/// One GET stream and the conversation on it.
pub(super) struct SseSession {
    peer: Arc<Peer>,
    endpoint: Arc<Endpoint>,
    handshake: Handshake,
    activity: Activity,
}

impl SseSession {
    pub(super) async fn open(
        server: Arc<str>,
        endpoint: Endpoint,
        url: &Url,
        capabilities: Option<Arc<str>>,
        limit: Duration,
    ) -> Result<Self, UpstreamError> {
        let endpoint = Arc::new(endpoint);
        let connected = tokio::time::timeout(limit, connect(&server, &endpoint, url)).await;
        let timed_out = || timed_out(&server, limit);
        let (stream, parser, target) = connected.unwrap_or_else(|_| Err(timed_out()))?;
        let (peer, queue) = Peer::new(server.clone(), capabilities);
        peer.tasks.spawn(read_all(peer.clone(), stream, parser));
        peer.tasks.spawn(write_all(peer.clone(), endpoint.clone(), target, queue));
        // From here on a drop ends the conversation and its tasks.
        let mut ending = Ending(Some(peer.clone()));
        match peer.open(Some(Era::Legacy), limit).await {
            Ok(handshake) => {
                ending.0 = None;
                Ok(Self { peer, endpoint, handshake, activity: Activity::new() })
            }
            Err(Unopened::Failed(why)) => Err(why),
            Err(Unopened::DiedOfProbe) => Err(UpstreamError::Gone { server: server.to_string() }),
        }
    }
}

/// Ends the conversation when dropped with it.
struct Ending(Option<Arc<Peer>>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(peer) = &self.0 {
            peer.end(End::Gone("the handshake failed".into()));
        }
    }
}

async fn connect(
    server: &Arc<str>,
    endpoint: &Arc<Endpoint>,
    url: &Url,
) -> Result<(Exchange, SseParser, Uri), UpstreamError> {
    let unavailable = |why: String| UpstreamError::Unavailable { server: server.to_string(), why };
    let uri = origin_form(url).map_err(|why| unavailable(why.into()))?;
    let got = endpoint.exchange(Method::GET, &uri, &http_headers::stream(None, None, None), Bytes::new(), true).await;
    let mut stream = got.map_err(|failed| match failed {
        Failed::Unreachable(why) => why,
        Failed::Lost => UpstreamError::Gone { server: server.to_string() },
    })?;
    let status = stream.head.status;
    if !(status.is_success() && stream.is_events()) {
        let hint = "a current server needs `transport: STREAMABLE_HTTP`";
        return Err(unavailable(format!(
            "it answered HTTP {status} and no event stream: check its url and `headers`; {hint}"
        )));
    }
    let mut parser = SseParser::default();
    let first = next(&mut stream, &mut parser).await;
    let protocol = |what: &str| UpstreamError::Protocol { server: server.to_string(), what: what.into() };
    let event = first.map_err(|end| protocol(end.words()))?;
    if event.kind != "endpoint" {
        return Err(protocol("its stream does not begin with an `endpoint` event"));
    }
    let target = std::str::from_utf8(&event.data).ok().and_then(|text| url.join(text.trim()).ok());
    let target = target.ok_or_else(|| protocol("its `endpoint` event holds no address"))?;
    // Our headers, with their secrets, go to the origin that they were declared for and to no other.
    if target.origin() != url.origin() {
        return Err(protocol("its `endpoint` event points to another origin"));
    }
    let target = origin_form(&target).map_err(protocol)?;
    Ok((stream, parser, target))
}

/// Path and query, as a request line has them.
pub(super) fn origin_form(url: &Url) -> Result<Uri, &'static str> {
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    Uri::try_from(path).map_err(|_| "its url has no valid path")
}

async fn next(stream: &mut Exchange, parser: &mut SseParser) -> Result<Event, End> {
    loop {
        if let Some(event) = parser.next().map_err(|why| End::Broken(format!("it sent {why}")))? {
            return Ok(event);
        }
        match stream.chunk().await {
            Ok(Some(bytes)) => parser.feed(&bytes),
            Ok(None) | Err(_) => return Err(End::Gone("it closed its event stream".into())),
        }
    }
}

async fn read_all(peer: Arc<Peer>, mut stream: Exchange, mut parser: SseParser) {
    let ended = peer.ended.clone();
    let read = async {
        loop {
            match next(&mut stream, &mut parser).await {
                // What is no message is counted by the peer; there is no log of a process to show it in.
                Ok(event) if matches!(event.kind.as_str(), "" | "message") => drop(peer.incoming(&event.data)),
                Ok(_) => {}
                Err(end) => return peer.end(end),
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = ended.cancelled() => {}
    }
}

async fn write_all(peer: Arc<Peer>, endpoint: Arc<Endpoint>, target: Uri, mut queue: mpsc::Receiver<Outgoing>) {
    let places = Arc::new(Semaphore::new(POSTS_MAX));
    let headers = Arc::new(http_headers::post());
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            queue.recv().await.map(|message| (place, message))
        };
        let (place, message) = tokio::select! {
            next = next => match next { Some(next) => next, None => return },
            () = peer.ended.cancelled() => return,
        };
        let (peer, endpoint, target, headers) = (peer.clone(), endpoint.clone(), target.clone(), headers.clone());
        peer.clone().tasks.spawn(async move {
            tokio::select! {
                () = post(&peer, &endpoint, &target, &headers, message) => {}
                () = peer.ended.cancelled() => {}
            }
            drop(place);
        });
    }
}

async fn post(peer: &Arc<Peer>, endpoint: &Arc<Endpoint>, target: &Uri, headers: &Lines, message: Outgoing) {
    let fail = |why: String| {
        if let Some(call) = message.call {
            peer.fail(call, UpstreamError::Unavailable { server: peer.server().to_string(), why });
        }
    };
    let sent = async {
        let mut exchange = endpoint.exchange(Method::POST, target, headers, message.bytes.into(), false).await?;
        let status = exchange.head.status;
        if status.is_success() {
            // Its text says nothing; read, the connection can be kept.
            drop(exchange.whole().await);
        }
        Ok(status)
    };
    match tokio::time::timeout(POST_WITHIN, sent).await {
        Ok(Ok(status)) if status.is_success() => {}
        Ok(Ok(status)) => fail(format!("it answered HTTP {status} to a message")),
        Ok(Err(Failed::Unreachable(why))) => peer.end(End::Gone(handshake::shortened(&why.to_string(), 200))),
        Ok(Err(Failed::Lost)) => fail("the connection was lost".into()),
        Err(_) => fail(format!("it did not take a message within {} s", POST_WITHIN.as_secs())),
    }
}

#[async_trait]
impl Session for SseSession {
    fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    async fn request(&self, call: Call, sink: Arc<dyn CallSink>) -> Result<Reply, UpstreamError> {
        let _busy = self.activity.begin();
        let answer = self.peer.request(&call, sink).await;
        self.activity.outcome(&answer, self.end_is_failure());
        answer
    }

    async fn notify(&self, method: &str, params: Option<&RawValue>) -> Result<(), UpstreamError> {
        self.peer.notify(method, params).await
    }

    async fn respond(&self, id: &RawValue, reply: Reply) -> Result<(), UpstreamError> {
        self.peer.respond(id, &reply).await
    }

    fn messages(&self) -> broadcast::Receiver<ServerMessage> {
        self.peer.subscribe()
    }

    fn is_open(&self) -> bool {
        self.peer.is_open()
    }
}

#[async_trait]
impl Conversation for SseSession {
    fn activity(&self) -> &Activity {
        &self.activity
    }

    async fn ask(&self, call: Call) -> Result<Reply, UpstreamError> {
        self.peer.request(&call, Arc::new(NoSink)).await
    }

    fn pid(&self) -> Option<u32> {
        None
    }

    async fn closed(&self) -> String {
        self.peer.ended.cancelled().await;
        self.peer.end_words()
    }

    async fn close(&self) {
        self.peer.end(End::Gone("stopped".into()));
        self.endpoint.close();
        self.peer.tasks.close();
        self.peer.tasks.wait().await;
    }
}

impl Drop for SseSession {
    fn drop(&mut self) {
        self.peer.end(End::Gone("dropped".into()));
    }
}

#[cfg(test)]
#[path = "sse_legacy_tests.rs"]
mod tests;
