//! Forms that are sent to the provider, and its answers.
use std::time::Duration;

use futures::StreamExt as _;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::{Map, Value};
use url::{Host, Url};

use crate::failure::{Done, Failure};
use crate::out;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Most bytes of an answer.
const BYTES_MAX: usize = 256 * 1024;
/// Most characters of what the provider says that are shown.
const SHOWN_MAX: usize = 200;

/// An address of the provider: with TLS, unless it is on this machine.
pub(super) fn address(text: &str) -> Done<Url> {
    let odd = || Failure::new(format!("the identity provider has an address that can't be used: {}", shown(text)));
    let url: Url = text.parse().map_err(|_| odd())?;
    if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)) { Ok(url) } else { Err(odd()) }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// An answer: its status and its fields.
pub(super) struct Answer {
    status: u16,
    fields: Map<String, Value>,
}

/// Sends a form. A redirect is an answer like any other: what is in the form is for this address only.
pub(super) async fn post(url: &Url, form: &[(&str, &str)]) -> Done<Answer> {
    let failed = |why: String| Failure::new(format!("the identity provider can't be reached: {why}"));
    let mut builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(LIMIT);
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    let client = builder.build().map_err(|error| failed(error.to_string()))?;
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = client.post(url.clone()).header(ACCEPT, "application/json");
    let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
    // Without the address, which the library would quote.
    let response = request.send().await.map_err(|error| failed(error.without_url().to_string()))?;
    let status = response.status().as_u16();
    let mut bytes = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| failed(error.without_url().to_string()))?;
        if bytes.len() + chunk.len() > BYTES_MAX {
            return Err(failed("its answer is too long".to_owned()));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Answer { status, fields: serde_json::from_slice(&bytes).unwrap_or_default() })
}

impl Answer {
    /// The name of the error, when it is one (RFC 6749, section 5.2).
    pub(super) fn error(&self) -> Option<&str> {
        match self.text("error") {
            None if self.status >= 300 => Some("no answer that can be read"),
            error => error,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }

    pub(super) fn seconds(&self, name: &str) -> Option<Duration> {
        self.fields.get(name).and_then(Value::as_u64).map(Duration::from_secs)
    }

    /// The ID token of a token answer.
    pub(super) fn id_token(&self) -> Done<String> {
        self.text("id_token").map(str::to_owned).ok_or_else(|| {
            Failure::new("the identity provider gave no ID token").hint("the control plane's scopes must have `openid`")
        })
    }

    /// What the provider said, as a failure.
    pub(super) fn failure(&self, what: &str) -> Failure {
        let error = shown(self.error().unwrap_or("no reason"));
        let more = self.text("error_description").map(|text| format!(" ({})", shown(text))).unwrap_or_default();
        Failure::new(format!("the identity provider refuses {what}: {error}{more}"))
    }
}

/// What somebody else wrote, as one short line.
pub(super) fn shown(text: &str) -> String {
    out::clean(text).chars().filter(|c| *c != '\n').take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_spoken_to_without_tls() {
        for good in ["https://id.example.com/token", "http://127.0.0.1:9/t", "http://[::1]:9/t", "http://localhost:9/t"]
        {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in
            ["http://id.example.com/token", "http://127.0.0.1.evil.example/", "file:///etc/passwd", "javascript:x", "x"]
        {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
