//! What web pages of origins that were named may see: the Fetch standard's CORS protocol. Nobody is named by default, and then
//! nothing of this is said: a page may send what a page can always send, and reads no answer.
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::body::Body;
use super::guard::Guard;

/// Headers that agents send, besides those that begin with `mcp-`.
const SENT: [&str; 8] = [
    "accept",
    "authorization",
    "baggage",
    "content-type",
    "last-event-id",
    "traceparent",
    "tracestate",
    "x-request-id",
];
/// Headers of answers that agents read.
const READ: HeaderValue = HeaderValue::from_static("Mcp-Session-Id, WWW-Authenticate, Retry-After");
const METHODS: HeaderValue = HeaderValue::from_static("POST, GET, DELETE");
/// For how long a browser need not ask again, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
/// Most headers that one question may name.
const ASKED_MAX: usize = 64;

impl Guard {
    /// The origin of a page that was named. There are no credentials of a browser here, such as cookies: a page shows the token
    /// that its user gave it.
    fn named_origin<'h>(&self, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
        if !self.names_origins() {
            return None;
        }
        let origin = headers.get(ORIGIN)?;
        self.takes_origin(headers).then_some(origin).filter(|origin| self.is_named(origin))
    }

    /// The answer to a browser that asks whether a page may send a request. `None`: it is no such question, or of a page that
    /// nobody named.
    pub(super) fn preflight(&self, request: &Parts) -> Option<Response<Body>> {
        let asks = request.method == Method::OPTIONS && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        self.named_origin(&request.headers).filter(|_| asks)?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        if let Some(allowed) = allowed(&request.headers) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        }
        Some(response)
    }

    /// Lets the page that asked read the answer, if it was named.
    pub(super) fn share(&self, request: &HeaderMap, response: &mut Response<Body>) {
        if !self.names_origins() {
            return;
        }
        let headers = response.headers_mut();
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.named_origin(request) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, READ);
        }
    }
}

/// Of the headers that a page wants to send, those that an agent sends. `*` would leave `Authorization` out.
fn allowed(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|value| value.to_str().ok());
    let asked = asked.flat_map(|text| text.split(',')).map(|name| name.trim().to_ascii_lowercase()).take(ASKED_MAX);
    let may = |name: &String| SENT.contains(&name.as_str()) || name.starts_with("mcp-");
    let names: Vec<String> = asked.filter(may).collect();
    HeaderValue::try_from(names.join(", ")).ok().filter(|_| !names.is_empty())
}
