//! One HTTP answer on a loopback port: where the browser comes back to with a code (RFC 8252, section 7.3).
//!
//! Anybody on this machine, and any page in the browser, can send requests here. Only the one that has the state which was
//! drawn for this sign-in ends the wait.
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long one request may take to arrive.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// The path that the provider knows.
const PATH: &str = "/callback";

/// A port that waits.
pub(super) struct Loopback {
    listener: TcpListener,
    port: u16,
}

/// What the browser brought back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Returned {
    /// A code, and who gave it, when that was said (RFC 9207).
    Code { code: String, issuer: Option<String> },
    /// An error, and its description.
    Error { error: String, description: Option<String> },
}

impl Loopback {
    pub(super) async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    /// Where the provider is to send the browser.
    pub(super) fn redirect_uri(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// Waits for the browser with this state.
    pub(super) async fn wait(&self, state: &str) -> io::Result<Returned> {
        loop {
            let (mut stream, _) = self.listener.accept().await?;
            let head = tokio::time::timeout(HEAD_LIMIT, read_head(&mut stream)).await;
            let returned = head.ok().flatten().and_then(|head| self.judge(&head, state));
            let answer = page(returned.as_ref());
            let _ = tokio::time::timeout(HEAD_LIMIT, answer_with(&mut stream, &answer)).await;
            if let Some(returned) = returned {
                return Ok(returned);
            }
        }
    }

    /// What a request brings, when it is the one that is waited for.
    fn judge(&self, head: &str, state: &str) -> Option<Returned> {
        let mut lines = head.split("\r\n");
        let target = lines.next()?.strip_prefix("GET ")?.strip_suffix(" HTTP/1.1")?;
        // Another name for this address is a page that had its name resolved to here.
        let host = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("host"))?;
        if host.1.trim() != format!("127.0.0.1:{}", self.port) {
            return None;
        }
        let url = Url::parse(&format!("http://127.0.0.1{target}")).ok().filter(|url| url.path() == PATH)?;
        let field = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        if field("state")? != state {
            return None;
        }
        match (field("code"), field("error")) {
            (_, Some(error)) => Some(Returned::Error { error, description: field("error_description") }),
            (Some(code), None) => Some(Returned::Code { code, issuer: field("iss") }),
            (None, None) => None,
        }
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut buffer = [0u8; 2048];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        head.extend_from_slice(&buffer[..read]);
        if head.len() > HEAD_BYTES_MAX {
            return None;
        }
    }
    String::from_utf8(head).ok()
}

async fn answer_with(stream: &mut TcpStream, answer: &str) -> io::Result<()> {
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// A page without scripts, and without anything that the request held.
fn page(returned: Option<&Returned>) -> String {
    let (status, text) = match returned {
        Some(Returned::Code { .. }) => {
            ("200 OK", "Back to the terminal: mcpctl goes on there. You can close this page.")
        }
        Some(Returned::Error { .. }) => {
            ("200 OK", "The sign-in was refused; the terminal says more. You can close this page.")
        }
        None => ("404 Not Found", "Nothing is here."),
    };
    let body = format!("<!doctype html><meta charset=utf-8><title>mcpctl</title><p>{text}</p>\n");
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Content-Security-Policy: default-src 'none'\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(port: u16, head: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split("\r\n").next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn only_the_request_with_the_state_ends_the_wait() {
        let loopback = Loopback::open().await.unwrap();
        let port = loopback.port;
        let get = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let own = format!("127.0.0.1:{port}");
        let asking = async {
            for head in [
                get("/callback?code=c&state=other", &own),
                get("/callback?code=c", &own),
                get("/callback?state=s", &own),
                get("/other?code=c&state=s", &own),
                get("/callback?code=c&state=s", "evil.example"),
                get("/callback?code=c&state=s", "127.0.0.1"),
                format!("POST /callback?code=c&state=s HTTP/1.1\r\nHost: {own}\r\n\r\n"),
            ] {
                assert_eq!(ask(port, &head).await, "HTTP/1.1 404 Not Found", "{head}");
            }
            ask(port, &get("/callback?code=c%2F1&state=s&iss=https%3A%2F%2Fid", &own)).await
        };
        let (returned, answer) = tokio::join!(loopback.wait("s"), asking);
        assert_eq!(answer, "HTTP/1.1 200 OK");
        assert_eq!(returned.unwrap(), Returned::Code { code: "c/1".into(), issuer: Some("https://id".into()) });
    }

    #[tokio::test]
    async fn a_refusal_is_brought_back_too() {
        let loopback = Loopback::open().await.unwrap();
        let port = loopback.port;
        let head = format!("GET /callback?error=access_denied&state=s HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
        let (returned, _) = tokio::join!(loopback.wait("s"), ask(port, &head));
        assert_eq!(returned.unwrap(), Returned::Error { error: "access_denied".into(), description: None });
    }
}
