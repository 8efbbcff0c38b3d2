//! Receivers: a file, the standard output, a connection, datagrams, or HTTP.
//!
//! A batch counts as taken when it is safe: synced in a file; answered with success over HTTP; and over TCP and TLS, where
//! syslog has no answer, when the receiver has read all of it and closed in good order. For that each batch has a connection of its
//! own: this side ends its half, and an orderly end of the other half comes only from a receiver that has read everything
//! (one that closes with something unread resets the connection; under TLS it says `close_notify`, as RFC 5425 asks, so that
//! somebody in between can't say it). Datagrams are sent and hoped for.
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use futures::FutureExt as _;
use mcpctl_api::causes::causes;
use mcpctl_api::client::AuditItem;
use mcpctl_api::client::tls::Trust;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::{Form, Source};
use crate::failure::{Done, Failure};

/// How long a receiver may take for a connection, a batch or its answer.
const TAKES: Duration = Duration::from_secs(10);
/// How long after the receiver's end a reset may come that belongs to what it did not read.
const RESET_WITHIN: Duration = Duration::from_millis(100);
/// Most bytes of an answer that are looked at.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of a datagram over IPv4.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// Where to, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `-`
    Stdout,
    /// A path.
    File(PathBuf),
    /// `tcp://HOST:PORT`
    Tcp(String),
    /// `tls://HOST:PORT`
    Tls(String),
    /// `udp://HOST:PORT`
    Udp(String),
    /// `http://…` or `https://…`
    Http(url::Url),
}

impl FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let address = |rest: &str| {
            let (host, port) = rest.trim_end_matches('/').rsplit_once(':').unwrap_or((rest, ""));
            match port.parse::<u16>() {
                Ok(port) if port > 0 && !host.is_empty() => Ok(format!("{host}:{port}")),
                _ => Err(format!("{text:?} is not HOST:PORT")),
            }
        };
        match text.split_once("://") {
            Some(("tcp", rest)) => address(rest).map(Self::Tcp),
            Some(("tls", rest)) => address(rest).map(Self::Tls),
            Some(("udp", rest)) => address(rest).map(Self::Udp),
            Some(("http" | "https", _)) => text.parse().map(Self::Http).map_err(|error| format!("{text:?}: {error}")),
            Some((other, _)) => {
                Err(format!("{other}:// is not known: use a path, -, tcp://, tls://, udp://, http:// or https://"))
            }
            None if text == "-" => Ok(Self::Stdout),
            None if text.is_empty() => Err("a path is empty".to_owned()),
            None => Ok(Self::File(text.into())),
        }
    }
}

/// A receiver.
pub struct Sink {
    target: Target,
    http: reqwest::Client,
    headers: Vec<(String, String)>,
    trust: Option<Trust>,
}

/// Why a batch was not taken.
pub struct Refused {
    pub(super) why: String,
    /// Offering it again is no use.
    pub(super) for_good: bool,
    /// When to offer it again.
    pub(super) after: Option<Duration>,
}

impl Refused {
    fn now(why: impl fmt::Display) -> Self {
        Self { why: why.to_string(), for_good: false, after: None }
    }

    fn for_good(why: impl fmt::Display) -> Self {
        Self { for_good: true, ..Self::now(why) }
    }
}

impl fmt::Display for Sink {
    /// Without what stands in an address besides the host: it may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Stdout => write!(f, "the standard output"),
            Target::File(path) => write!(f, "{}", path.display()),
            Target::Tcp(address) => write!(f, "tcp://{address}"),
            Target::Tls(address) => write!(f, "tls://{address}"),
            Target::Udp(address) => write!(f, "udp://{address}"),
            Target::Http(url) => write!(f, "{}", url.host_str().unwrap_or("the receiver")),
        }
    }
}

impl Sink {
    /// A receiver. `headers` go with each HTTP request; certificates of `roots` are trusted under TLS, or those that the
    /// machine trusts.
    ///
    /// # Errors
    /// When there is no HTTP client to be had, or the certificates can't be read.
    pub fn new(target: Target, headers: Vec<(String, String)>, roots: Option<&Path>) -> Done<Self> {
        let http = reqwest::Client::builder().timeout(TAKES).redirect(reqwest::redirect::Policy::none()).build();
        let http = http.map_err(|error| Failure::new(error.to_string()))?;
        let trust = match &target {
            Target::Tls(_) => Some(Trust::of(roots).map_err(|error| Failure::new(causes(&error)))?),
            _ if roots.is_some() => return Err(Failure::usage("--ca-file is for tls:// receivers")),
            _ => None,
        };
        Ok(Self { target, http, headers, trust })
    }

    /// Gives a batch; it is safe when this returns.
    ///
    /// # Errors
    /// When it is not: then some of it may have arrived all the same.
    pub(super) async fn take(&self, form: Form, source: &Source, items: &[AuditItem]) -> Result<(), Refused> {
        match &self.target {
            Target::Stdout => crate::out::print(&form.many(source, items)).map_err(Refused::for_good),
            Target::File(path) => append(path, form.many(source, items).into_bytes()).await,
            Target::Tcp(address) => within(send_plain(address, messages(form, source, items))).await,
            Target::Tls(address) => {
                let trust = self.trust.as_ref().ok_or_else(|| Refused::for_good("nobody is trusted"))?;
                let connect = async { trust.connect(address).await.map_err(|error| Refused::now(causes(&error))) };
                within(async { send(&mut connect.await?, &messages(form, source, items)).await }).await
            }
            Target::Udp(address) => within(datagrams(address, form, source, items)).await,
            Target::Http(url) => self.post(url.clone(), form, form.many(source, items)).await,
        }
    }

    async fn post(&self, mut url: url::Url, form: Form, body: String) -> Result<(), Refused> {
        if form == Form::Otlp && matches!(url.path(), "" | "/") {
            url.set_path("/v1/logs");
        }
        let mut request = self.http.post(url).header("content-type", form.media()).body(body);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        // An error of the client says the address, and with it what may be a secret.
        let answer = request.send().await.map_err(|error| Refused::now(causes(&error.without_url())))?;
        let status = answer.status();
        let after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let text = answer.text().await.unwrap_or_default();
        if status.is_success() {
            return rejected(form, &text);
        }
        let why = format!("it answers {status}");
        match status.as_u16() {
            408 | 425 | 429 | 500..=599 => Err(Refused { after: after.map(Duration::from_secs), ..Refused::now(why) }),
            _ => Err(Refused::for_good(why)),
        }
    }
}

/// OTLP may say in a success that it did not want some records.
fn rejected(form: Form, text: &str) -> Result<(), Refused> {
    if form != Form::Otlp || text.len() > ANSWER_BYTES_MAX {
        return Ok(());
    }
    let answer: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let partial = &answer["partialSuccess"];
    let count = &partial["rejectedLogRecords"];
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0);
    if count == 0 {
        return Ok(());
    }
    let why = partial["errorMessage"].as_str().unwrap_or("it does not say why");
    Err(Refused::for_good(format!("it rejects {count} records: {}", why.chars().take(200).collect::<String>())))
}

async fn within(taking: impl Future<Output = Result<(), Refused>>) -> Result<(), Refused> {
    let took = tokio::time::timeout(TAKES, taking).await;
    took.unwrap_or_else(|_| Err(Refused::now(format!("nothing came of it for {} s", TAKES.as_secs()))))
}

async fn append(path: &std::path::Path, bytes: Vec<u8>) -> Result<(), Refused> {
    let path = path.to_owned();
    let written = tokio::task::spawn_blocking(move || write_whole(&path, &bytes)).await;
    written.map_err(Refused::now)?.map_err(Refused::now)
}

/// Appends lines. A line that a crash cut off is ended first, so that it does not spoil the next.
fn write_whole(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
    let mut file = std::fs::OpenOptions::new().create(true).read(true).append(true).open(path)?;
    if file.seek(SeekFrom::End(0))? > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    file.write_all(bytes)?;
    file.sync_data()
}

fn messages(form: Form, source: &Source, items: &[AuditItem]) -> Vec<u8> {
    let framed = |item: &AuditItem| {
        let message = form.message(source, item);
        if form.counts_octets() { format!("{} {message}", message.len()) } else { format!("{message}\n") }
    };
    items.iter().map(framed).collect::<String>().into_bytes()
}

/// A batch on a connection of its own. A receiver that ends it before it was told the end has not read it, and what it was
/// sent meanwhile is answered with a reset, which may come after its end.
async fn send_plain(address: &str, bytes: Vec<u8>) -> Result<(), Refused> {
    let mut stream = TcpStream::connect(address).await.map_err(Refused::now)?;
    stream.write_all(&bytes).await.map_err(Refused::now)?;
    let mut next = [0];
    match stream.peek(&mut next).now_or_never() {
        Some(Ok(0)) => return Err(Refused::now("it ends the connection before it has read all")),
        Some(Err(error)) => return Err(Refused::now(error)),
        Some(Ok(_)) | None => {}
    }
    send(&mut stream, &[]).await?;
    tokio::time::sleep(RESET_WITHIN).await;
    match stream.take_error() {
        Ok(None) => Ok(()),
        Ok(Some(error)) | Err(error) => Err(Refused::now(error)),
    }
}

/// Sends, says that this was all, and waits until the receiver says by its orderly end that it has read it.
async fn send(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Refused> {
    stream.write_all(bytes).await.map_err(Refused::now)?;
    stream.shutdown().await.map_err(Refused::now)?;
    let (mut rest, mut read) = ([0; 1024], 0);
    loop {
        match stream.read(&mut rest).await {
            Ok(0) => return Ok(()),
            Ok(count) if read + count <= ANSWER_BYTES_MAX => read += count,
            Ok(_) => return Err(Refused::for_good("it answers at length: this is no receiver of logs")),
            Err(error) => return Err(Refused::now(error)),
        }
    }
}

async fn datagrams(address: &str, form: Form, source: &Source, items: &[AuditItem]) -> Result<(), Refused> {
    let to = tokio::net::lookup_host(address).await.map_err(Refused::now)?.next();
    let to = to.ok_or_else(|| Refused::now("it has no address"))?;
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await.map_err(Refused::now)?;
    socket.connect(to).await.map_err(Refused::now)?;
    for item in items {
        let message = form.message(source, item);
        if message.len() > DATAGRAM_BYTES_MAX {
            return Err(Refused::for_good("an entry is too long for a datagram: use tcp://"));
        }
        socket.send(message.as_bytes()).await.map_err(Refused::now)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_what_it_looks_like() {
        assert_eq!("-".parse(), Ok(Target::Stdout));
        assert_eq!("logs/audit.cef".parse(), Ok(Target::File("logs/audit.cef".into())));
        assert_eq!("tcp://siem:601".parse(), Ok(Target::Tcp("siem:601".to_owned())));
        assert_eq!("tls://siem:6514".parse(), Ok(Target::Tls("siem:6514".to_owned())));
        assert_eq!("udp://[::1]:514/".parse(), Ok(Target::Udp("[::1]:514".to_owned())));
        assert!(matches!("https://otel.example".parse(), Ok(Target::Http(_))));
        for bad in ["tcp://siem", "tcp://:1", "tls://x", "ftp://x:1", "udp://x:0", "http://"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_spoil_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        std::fs::write(&path, "{\"a\":1}\n{\"b\"").unwrap();
        write_whole(&path, b"{\"c\":3}\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"b\"\n{\"c\":3}\n");
    }
}
