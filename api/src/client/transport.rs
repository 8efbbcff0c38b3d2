//! Sends a request: bearer, request id, limits, and another try where it is harmless.
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use mcpctl_core::plaintext::Plaintext;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, IF_MATCH, LOCATION, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::{Address, ClientError};
use crate::wire::{CHECKPOINT, OUTCOME, Problem, REQUEST_ID, SERVICE_ACCOUNT};
use mcpctl_core::ids::Seq;

/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Most bytes that an answer may have.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long all waiting for a rate limit may take together.
const BACK_OFF_LIMIT: Duration = Duration::from_secs(90);
/// The first wait after a 429 that names no time, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Waits after a connection that could not be made.
const RECONNECT: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(400)];

/// A client of one control plane, with at most one bearer.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    address: Address,
    bearer: Option<Plaintext>,
    account: Option<String>,
    answer_limit: Duration,
    /// What the last answer said of the log; shared by clones.
    newest: Arc<parking_lot::Mutex<Option<String>>>,
}

/// A request before it is sent.
pub(super) struct Ask {
    method: Method,
    url: Url,
    body: Option<Value>,
    if_match: Option<Seq>,
    /// With an id, sending it again has no further effect.
    id: Option<String>,
}

/// An answer with its outcome, when it is one to a mutation.
pub(super) struct Answer<T> {
    pub(super) outcome: Option<String>,
    pub(super) body: T,
}

impl Ask {
    /// A question: asking again has no effect.
    pub(super) const fn get(url: Url) -> Self {
        Self { method: Method::GET, url, body: None, if_match: None, id: None }
    }

    /// A mutation: it gets a request id.
    pub(super) fn mutation(method: Method, url: Url, body: Option<Value>) -> Self {
        Self { method, url, body, if_match: None, id: Some(request_id()) }
    }

    /// A call that must not be repeated (it opens a login).
    pub(super) const fn once(method: Method, url: Url, body: Option<Value>) -> Self {
        Self { method, url, body, if_match: None, id: None }
    }

    /// Only when the object is at this version.
    pub(super) const fn only_if(mut self, version: Option<Seq>) -> Self {
        self.if_match = version;
        self
    }

    fn repeatable(&self) -> bool {
        self.method == Method::GET || self.id.is_some()
    }
}

/// 128 random bits in hexadecimal.
fn request_id() -> String {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes.iter().fold(String::with_capacity(32), |text, byte| text + &format!("{byte:02x}"))
}

/// An HTTP client for an address: no redirects, no proxy on the way to this machine.
///
/// # Errors
/// When TLS can't be set up.
pub fn http_client(address: &Address) -> Result<reqwest::Client, ClientError> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_LIMIT)
        .user_agent(concat!("mcpctl/", env!("CARGO_PKG_VERSION")));
    if address.is_loopback() {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| ClientError::Unreachable { address: address.to_string(), why: causes(&error) })
}

impl Client {
    /// A client; without a bearer only what needs none can be asked.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn new(address: Address, bearer: Option<Plaintext>) -> Result<Self, ClientError> {
        let (http, newest) = (http_client(&address)?, Arc::default());
        Ok(Self { http, address, bearer, account: None, answer_limit: ANSWER_LIMIT, newest })
    }

    /// The same with another limit on the wait for an answer (shell completion has little time).
    #[must_use]
    pub const fn with_answer_limit(mut self, limit: Duration) -> Self {
        self.answer_limit = limit;
        self
    }

    /// The same, acting as a service account, by its rights; which the control plane allows or not.
    #[must_use]
    pub fn acting_as(mut self, account: Option<String>) -> Self {
        self.account = account;
        self
    }

    /// The newest checkpoint of the config log as the last answer named it, `<origin> <size> <root>`: not signed, but enough
    /// to see that a look at the log is due.
    #[must_use]
    pub fn newest_checkpoint(&self) -> Option<String> {
        self.newest.lock().clone()
    }

    /// Where it asks.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Sends, and reads the answer as JSON.
    pub(super) async fn json<T: DeserializeOwned>(&self, ask: Ask) -> Result<Answer<T>, ClientError> {
        let response = self.send(ask).await?;
        let outcome = response.headers().get(OUTCOME).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bytes = self.within(self.body(response)).await?;
        let body =
            serde_json::from_slice(&bytes).map_err(|error| self.odd(format!("its answer can't be read: {error}")))?;
        Ok(Answer { outcome, body })
    }

    /// Sends, and reads the answer as it is.
    pub(super) async fn bytes(&self, ask: Ask) -> Result<Vec<u8>, ClientError> {
        let response = self.send(ask).await?;
        self.within(self.body(response)).await
    }

    /// Sends until there is an answer that is neither "later" nor "no connection".
    pub(super) async fn send(&self, ask: Ask) -> Result<Response, ClientError> {
        let mut waits = Waits::default();
        loop {
            let Ok(attempt) = tokio::time::timeout(self.answer_limit, self.attempt(&ask)).await else {
                return Err(self.too_late());
            };
            let wait = match attempt {
                Ok(response) if response.status() == StatusCode::TOO_MANY_REQUESTS => {
                    match waits.after_429(&response) {
                        Some(wait) => wait,
                        None => return self.checked(response).await,
                    }
                }
                Ok(response) => return self.checked(response).await,
                Err(error) if ask.repeatable() && (error.is_connect() || error.is_request()) && !error.is_timeout() => {
                    waits.after_no_connection().ok_or_else(|| self.failed(&error))?
                }
                Err(error) => return Err(self.failed(&error)),
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&self, ask: &Ask) -> Result<Response, reqwest::Error> {
        let mut request = self.http.request(ask.method.clone(), ask.url.clone());
        if let Some(bearer) = &self.bearer
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", bearer.expose()))
        {
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(account) = &self.account {
            request = request.header(SERVICE_ACCOUNT, account);
        }
        if let Some(id) = &ask.id {
            request = request.header(REQUEST_ID, id);
        }
        if let Some(version) = ask.if_match {
            request = request.header(IF_MATCH, version.to_string());
        }
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        // Ends with the head of the answer: a followed log has no end.
        request.send().await
    }

    async fn checked(&self, response: Response) -> Result<Response, ClientError> {
        if let Some(newest) = response.headers().get(CHECKPOINT).and_then(|value| value.to_str().ok()) {
            *self.newest.lock() = Some(newest.to_owned());
        }
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("nowhere").to_owned();
            return Err(ClientError::Redirected { address: self.address.to_string(), to });
        }
        let kind =
            response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        let bytes = self.within(self.body(response)).await?;
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) if kind.contains("json") => Err(ClientError::Refused(Box::new(problem))),
            _ => Err(self.odd(format!("HTTP {status} without a problem document"))),
        }
    }

    async fn body(&self, response: Response) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| self.failed(&error))?;
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(self.odd(format!("its answer has more than {ANSWER_BYTES_MAX} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        match tokio::time::timeout(self.answer_limit, work).await {
            Ok(result) => result,
            Err(_) => Err(self.too_late()),
        }
    }

    fn too_late(&self) -> ClientError {
        ClientError::TimedOut { address: self.address.to_string(), limit: self.answer_limit }
    }

    pub(super) fn failed(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable { address: self.address.to_string(), why: causes(error) }
    }

    pub(super) fn odd(&self, what: String) -> ClientError {
        ClientError::NotOurs { address: self.address.to_string(), what }
    }
}

/// The innermost cause says what happened ("connection refused"); the outer ones repeat the address.
fn causes(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// What was waited so far.
#[derive(Default)]
struct Waits {
    limited: u32,
    limited_for: Duration,
    unconnected: usize,
}

impl Waits {
    /// How long to wait after a 429, if at all.
    fn after_429(&mut self, response: &Response) -> Option<Duration> {
        let named = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        self.limited(named.map(Duration::from_secs))
    }

    fn limited(&mut self, named: Option<Duration>) -> Option<Duration> {
        let grown = BACK_OFF.0.saturating_mul(1 << self.limited.min(10)).min(BACK_OFF.1);
        // A server that says "0 seconds" again and again must not be hammered.
        let wait = named.map_or(grown, |named| named.max(grown.min(Duration::from_secs(1))));
        self.limited += 1;
        self.limited_for += wait;
        (self.limited_for <= BACK_OFF_LIMIT).then_some(wait)
    }

    fn after_no_connection(&mut self) -> Option<Duration> {
        self.unconnected += 1;
        RECONNECT.get(self.unconnected - 1).copied()
    }
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod conversations;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_a_rate_limit_grow_and_end() {
        let mut waits = Waits::default();
        let all: Vec<Duration> = std::iter::from_fn(|| waits.limited(None)).collect();
        assert!(all.windows(2).all(|pair| pair[0] <= pair[1]), "{all:?}");
        assert!(all.iter().sum::<Duration>() <= BACK_OFF_LIMIT);
        assert!(all.len() >= 5, "{all:?}");
    }

    #[test]
    fn a_named_wait_is_kept_and_zero_does_not_hammer() {
        assert_eq!(Waits::default().limited(Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(Waits::default().limited(Some(Duration::ZERO)), Some(BACK_OFF.0));
        assert_eq!(Waits::default().limited(Some(Duration::from_secs(3600))), None);
    }

    #[test]
    fn request_ids_are_valid_and_differ() {
        let (one, two) = (request_id(), request_id());
        assert_ne!(one, two);
        assert!(mcpctl_core::ids::RequestId::try_from(one).is_ok());
    }
}
