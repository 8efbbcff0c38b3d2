//! One HTTP endpoint of a server: pinned addresses, TLS, and a small pool of kept-alive connections.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use url::Url;
use zeroize::Zeroizing;

use super::exchange::Exchange;
use super::http_headers::Lines;
use super::http_io::Io;
use super::http_line::{COPY_BYTES_MAX, Line, Unsent};
use super::{UpstreamError, address_guard};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Connections at once; a further call waits for one within its own limit.
const CONNECTIONS_MAX: usize = 256;
/// Connections kept for later.
const IDLE_MAX: usize = 64;
/// How long a connection is kept if the server does not say. Common servers close after 5 s without saying so, but they say
/// it with a FIN, which is seen before the connection is used again.
pub(super) const IDLE_FOR: Duration = Duration::from_secs(30);

/// A server's endpoint.
pub(super) struct Endpoint {
    server: Arc<str>,
    addresses: Vec<SocketAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Host and declared headers as they are written; the same with every request.
    headers: Bytes,
    idle: Mutex<Vec<Line>>,
    places: Arc<Semaphore>,
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
        let headers = lines(&headers(url, declared).map_err(unavailable)?);
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Ok(Self { server: server.clone(), addresses, tls, headers, idle: Mutex::default(), places })
    }

    /// Sends one request and gives the head of its answer. `repeatable` requests are sent once more when a kept connection
    /// turns out to be dead; others only when not a byte of them was sent.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        method: Method,
        uri: &Uri,
        own: &Lines,
        body: Bytes,
        repeatable: bool,
    ) -> Result<Exchange, Failed> {
        let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let head = self.head(&method, uri, own, body.len());
        while let Some(mut line) = self.kept().await {
            match line.send(head.clone(), &body).await {
                Ok(head) => return Ok(Exchange::new(self.clone(), line, place, head)),
                Err(Unsent::Intact) => {}
                Err(Unsent::Perhaps) if repeatable => {}
                Err(Unsent::Perhaps) => return Err(Failed::Lost),
            }
        }
        let mut line = self.connect().await.map_err(Failed::Unreachable)?;
        match line.send(head, &body).await {
            Ok(head) => Ok(Exchange::new(self.clone(), line, place, head)),
            Err(_) => Err(Failed::Lost),
        }
    }

    /// The head of a request, with the empty line that ends it, and room for a small body.
    fn head(&self, method: &Method, uri: &Uri, own: &Lines, body: usize) -> BytesMut {
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let known = target.len() + self.headers.len() + own.as_bytes().len();
        let mut out = BytesMut::with_capacity(64 + known + body.min(COPY_BYTES_MAX));
        for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
            out.put_slice(part.as_bytes());
        }
        out.put_slice(&self.headers);
        out.put_slice(own.as_bytes());
        if *method == Method::POST {
            out.put_slice(b"content-length: ");
            out.put_slice(body.to_string().as_bytes());
            out.put_slice(b"\r\n");
        }
        out.put_slice(b"\r\n");
        out
    }

    /// A kept connection that still lives.
    async fn kept(&self) -> Option<Line> {
        loop {
            let mut line = self.pop()?;
            if line.keep_until > Instant::now() && line.is_quiet().await {
                return Some(line);
            }
        }
    }

    /// The connection of this runtime that was used last.
    fn pop(&self) -> Option<Line> {
        let here = runtime::Handle::current().id();
        let mut idle = self.idle.lock();
        let place = idle.iter().rposition(|line| line.is_of(here))?;
        Some(idle.remove(place))
    }

    async fn connect(&self) -> Result<Line, UpstreamError> {
        let unavailable = |why: &str| UpstreamError::Unavailable { server: self.server.to_string(), why: why.into() };
        match tokio::time::timeout(CONNECT_WITHIN, self.connect_unlimited()).await {
            Err(_) => Err(unavailable("no connection within 5 s: check its url and that it runs")),
            Ok(Err(error)) => Err(unavailable(&refusal(&error))),
            Ok(Ok(io)) => Ok(Line::new(io, IDLE_FOR)),
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

    pub(super) fn server(&self) -> &Arc<str> {
        &self.server
    }

    pub(super) fn keep(&self, mut line: Line) {
        line.keep_until = Instant::now() + line.keep_for;
        let mut idle = self.idle.lock();
        if idle.len() >= IDLE_MAX {
            let now = Instant::now();
            idle.retain(|line| line.keep_until > now);
        }
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

/// Headers as they are written.
fn lines(headers: &HeaderMap) -> Bytes {
    let mut out = BytesMut::new();
    headers.iter().for_each(|(name, value)| put_line(&mut out, name, value));
    out.freeze()
}

fn put_line(out: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        out.put_slice(part);
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
