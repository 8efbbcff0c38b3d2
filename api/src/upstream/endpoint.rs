//! One HTTP endpoint of a server: pinned addresses, TLS, and a small pool of kept-alive connections.
//!
//! A connection is driven by the task of the call that uses it, not by a task of its own: a call then costs no hop through
//! the scheduler, and dropping the call closes the connection, which is how the modern era cancels.
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri, response};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use url::Url;
use zeroize::Zeroizing;

use super::http_io::Io;
use super::rpc::MESSAGE_BYTES_MAX;
use super::{UpstreamError, address_guard};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Connections at once; a further call waits for one within its own limit.
const CONNECTIONS_MAX: usize = 256;
/// Connections kept for later.
const IDLE_MAX: usize = 64;
/// How long a connection is kept if the server does not say. Common servers close after 5 s without saying so, but they say
/// it with a FIN, which is seen before the connection is used again.
const IDLE_FOR: Duration = Duration::from_secs(30);

type Connection = http1::Connection<TokioIo<Io>, Full<Bytes>>;

/// A server's endpoint.
pub(super) struct Endpoint {
    server: Arc<str>,
    addresses: Vec<SocketAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Host and declared headers; the same with every request.
    headers: HeaderMap,
    idle: Mutex<Vec<Line>>,
    places: Arc<Semaphore>,
}

/// One connection.
struct Line {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: Pin<Box<Connection>>,
    /// The connection has ended.
    done: bool,
    keep_until: Instant,
    keep_for: Duration,
}

/// How an exchange failed.
pub(super) enum Failed {
    /// Nothing reached the server: it can't be connected to.
    Unreachable(UpstreamError),
    /// The connection was lost. The server may or may not have acted.
    Lost,
}

impl Endpoint {
    /// Judges and pins the url, and checks the declared headers.
    pub(super) async fn new(
        server: &Arc<str>,
        url: &Url,
        declared: &BTreeMap<String, Zeroizing<String>>,
        allow_private: bool,
    ) -> Result<Self, UpstreamError> {
        let unavailable = |why: String| UpstreamError::Unavailable { server: server.to_string(), why };
        let addresses = address_guard::pin(url, allow_private).await.map_err(|why| unavailable(why.to_string()))?;
        let tls = match url.scheme() {
            "https" => Some(tls(url).map_err(unavailable)?),
            _ => None,
        };
        let headers = headers(url, declared).map_err(unavailable)?;
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Ok(Self { server: server.clone(), addresses, tls, headers, idle: Mutex::default(), places })
    }

    /// Sends one request and gives the head of its answer. `repeatable` requests are sent once more when a kept connection
    /// turns out to be dead; others only when not a byte of them was sent.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        method: Method,
        uri: &Uri,
        own: &HeaderMap,
        body: Bytes,
        repeatable: bool,
    ) -> Result<Exchange, Failed> {
        let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let mut request = self.request(&method, uri, own, body.clone());
        while let Some(mut line) = self.kept().await {
            match line.send(request).await {
                Ok((head, body)) => return Ok(Exchange::new(self.clone(), line, place, head, body)),
                Err(Unsent::Intact(intact)) => request = *intact,
                Err(Unsent::Perhaps) if repeatable => request = self.request(&method, uri, own, body.clone()),
                Err(Unsent::Perhaps) => return Err(Failed::Lost),
            }
        }
        let mut line = self.connect().await.map_err(Failed::Unreachable)?;
        match line.send(request).await {
            Ok((head, body)) => Ok(Exchange::new(self.clone(), line, place, head, body)),
            Err(_) => Err(Failed::Lost),
        }
    }

    fn request(&self, method: &Method, uri: &Uri, own: &HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.reserve(self.headers.len() + own.len());
        for (name, value) in self.headers.iter().chain(own) {
            headers.append(name, value.clone());
        }
        request
    }

    /// A kept connection that still lives.
    async fn kept(&self) -> Option<Line> {
        loop {
            let mut line = self.idle.lock().pop()?;
            // One look at the socket: a server that closed meanwhile has said so.
            line.advance().await;
            if line.usable() && line.keep_until > Instant::now() {
                return Some(line);
            }
        }
    }

    async fn connect(&self) -> Result<Line, UpstreamError> {
        let unavailable = |why: &str| UpstreamError::Unavailable { server: self.server.to_string(), why: why.into() };
        match tokio::time::timeout(CONNECT_WITHIN, self.connect_unlimited()).await {
            Err(_) => Err(unavailable("no connection within 5 s: check its url and that it runs")),
            Ok(Err(error)) => Err(unavailable(&refusal(&error))),
            Ok(Ok(io)) => {
                let (sender, connection) = http1::Builder::new()
                    .max_headers(128)
                    .handshake(TokioIo::new(io))
                    .await
                    .map_err(|_| unavailable("the connection could not be set up"))?;
                let connection = Box::pin(connection);
                let now = Instant::now();
                Ok(Line { sender, connection, done: false, keep_until: now, keep_for: IDLE_FOR })
            }
        }
    }

    async fn connect_unlimited(&self) -> std::io::Result<Io> {
        let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
        for address in &self.addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return match &self.tls {
                        None => Ok(Io::Plain(stream)),
                        Some((tls, name)) => tls.connect(name.clone(), stream).await.map(|tls| Io::Tls(Box::new(tls))),
                    };
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn keep(&self, mut line: Line) {
        line.keep_until = Instant::now() + line.keep_for;
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(line);
        }
    }

    /// Closes what is kept.
    pub(super) fn close(&self) {
        self.idle.lock().clear();
    }
}

fn refusal(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "the connection was refused: check its url and that it runs".into(),
        std::io::ErrorKind::InvalidData => format!("TLS failed ({error}): check its certificate and the trusted roots"),
        kind => format!("no connection ({kind}): check its url and the network"),
    }
}

/// Headers that are ours to set, or that belong to one hop.
const RESERVED: [&str; 13] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn headers(url: &Url, declared: &BTreeMap<String, Zeroizing<String>>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::with_capacity(16);
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    headers.insert(header::HOST, HeaderValue::try_from(host).map_err(|_| "its url names no valid host")?);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("mcpctl/", env!("CARGO_PKG_VERSION"))));
    for (name, value) in declared {
        let name = HeaderName::try_from(name).map_err(|_| format!("its header {name:?} is not a valid header name"))?;
        if RESERVED.contains(&name.as_str()) || name.as_str().starts_with("mcp-") {
            return Err(format!("its header {:?} is set by mcpctl: remove it from `headers`", name.as_str()));
        }
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| {
            format!("the value of its header {:?} has characters that no header may have", name.as_str())
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

fn tls(url: &Url) -> Result<(TlsConnector, ServerName<'static>), String> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).map_err(|_| "the host of its url is no valid name for TLS")?;
    Ok((TlsConnector::from(tls_config()?), name))
}

/// One configuration for all: reading the trusted roots of the machine takes milliseconds.
fn tls_config() -> Result<Arc<ClientConfig>, String> {
    use rustls_platform_verifier::BuilderVerifierExt;
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let build = || {
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.and_then(BuilderVerifierExt::with_platform_verifier);
        let builder = builder.map_err(|error| format!("TLS can't be used ({error}): install the CA certificates"))?;
        Ok(Arc::new(builder.with_no_client_auth()))
    };
    CONFIG.get_or_init(build).clone()
}

/// The request was not answered.
enum Unsent {
    /// Not a byte of it went out.
    Intact(Box<Request<Full<Bytes>>>),
    /// Some of it may have.
    Perhaps,
}

impl Line {
    fn usable(&self) -> bool {
        !self.done && self.sender.is_ready()
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<(response::Parts, Incoming), Unsent> {
        let answer = self.sender.try_send_request(request);
        match drive(&mut self.connection, &mut self.done, answer).await {
            Ok(response) => Ok(response.into_parts()),
            Err(mut error) => match error.take_message() {
                Some(request) => Err(Unsent::Intact(Box::new(request))),
                None => Err(Unsent::Perhaps),
            },
        }
    }

    /// One step of the connection, without waiting.
    async fn advance(&mut self) {
        if !self.done {
            self.done = poll_fn(|cx| Poll::Ready(self.connection.as_mut().poll(cx).is_ready())).await;
        }
    }
}

/// Waits for `answer` while keeping the connection moving.
async fn drive<T>(connection: &mut Pin<Box<Connection>>, done: &mut bool, answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(answer);
        }
        if !*done {
            *done = connection.as_mut().poll(cx).is_ready();
        }
        // The step may have brought the answer; asking again saves a turn through the scheduler.
        answer.as_mut().poll(cx)
    })
    .await
}

/// An answer that is being read. Dropped before its end, the connection is closed.
pub(super) struct Exchange {
    endpoint: Arc<Endpoint>,
    line: Option<Line>,
    _place: OwnedSemaphorePermit,
    /// Status and headers.
    pub(super) head: response::Parts,
    body: Incoming,
}

impl Exchange {
    fn new(
        endpoint: Arc<Endpoint>,
        mut line: Line,
        place: OwnedSemaphorePermit,
        head: response::Parts,
        body: Incoming,
    ) -> Self {
        if let Some(keep_for) = head.headers.get("keep-alive").and_then(kept_by_server) {
            line.keep_for = keep_for;
        }
        Self { endpoint, line: Some(line), _place: place, head, body }
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Failed> {
        loop {
            let Some(line) = &mut self.line else { return Ok(None) };
            let body = &mut self.body;
            let frame =
                drive(&mut line.connection, &mut line.done, poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).await;
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(_)) => return Err(Failed::Lost),
                None => {
                    self.finish().await;
                    return Ok(None);
                }
            }
        }
    }

    async fn finish(&mut self) {
        let Some(mut line) = self.line.take() else { return };
        line.advance().await;
        if line.usable() {
            self.endpoint.keep(line);
        }
    }

    /// The whole body, within the limit of a message.
    pub(super) async fn whole(&mut self) -> Result<Bytes, UpstreamError> {
        let server = &self.endpoint.server.clone();
        let Some(first) = self.chunk_or(server).await? else { return Ok(Bytes::new()) };
        let Some(second) = self.chunk_or(server).await? else { return Ok(first) };
        let mut all = Vec::with_capacity((first.len() + second.len()) * 2);
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(more) = self.chunk_or(server).await? {
            if all.len() + more.len() > MESSAGE_BYTES_MAX {
                let what = format!("it sent a message of more than {} MiB", MESSAGE_BYTES_MAX >> 20);
                return Err(UpstreamError::Protocol { server: server.to_string(), what });
            }
            all.extend_from_slice(&more);
        }
        Ok(all.into())
    }

    async fn chunk_or(&mut self, server: &str) -> Result<Option<Bytes>, UpstreamError> {
        self.chunk().await.map_err(|_| UpstreamError::Gone { server: server.into() })
    }

    /// Whether the body is of this media type.
    pub(super) fn is(&self, media_type: &str) -> bool {
        let value = self.head.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        value.split(';').next().is_some_and(|found| found.trim().eq_ignore_ascii_case(media_type))
    }
}

/// `Keep-Alive: timeout=5`: what the server allows, less a second for the way.
fn kept_by_server(value: &HeaderValue) -> Option<Duration> {
    let parameters = value.to_str().ok()?.split(',');
    let seconds = parameters.filter_map(|p| p.trim().strip_prefix("timeout=")).find_map(|s| s.parse::<u64>().ok())?;
    Some(Duration::from_secs(seconds.saturating_sub(1)).min(IDLE_FOR))
}
