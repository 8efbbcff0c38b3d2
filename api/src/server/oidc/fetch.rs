//! Gets a JSON document of the provider: to a judged and pinned address, without redirects, within limits.
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::Value;
use url::Url;

use crate::upstream::address_guard::{self, Class};

/// How long one document may take, from the name to the last byte.
const LIMIT: Duration = Duration::from_secs(5);
/// Most bytes of a document.
const BYTES_MAX: usize = 512 * 1024;

/// Why there is no document. It holds no address and nothing that was received: it is shown to whoever signs in.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("its address can't be used: {0}")]
    Address(String),
    #[error("it is reached without TLS, which only a provider on this machine may be")]
    NoTls,
    #[error("it can't be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("it answers with status {0}")]
    Status(u16),
    #[error("it answers with more than {BYTES_MAX} bytes")]
    TooLarge,
    #[error("its answer is no JSON")]
    NotJson,
    #[error("it does not answer within {} s", LIMIT.as_secs())]
    TooLate,
}

/// A document, and whether it came from a private address.
pub(super) struct Fetched {
    pub(super) document: Value,
    pub(super) private: bool,
}

/// Gets a document. A provider may be in a private network, and then so may its keys; a public one can't send us there.
pub(super) async fn json(url: &Url, allow_private: bool) -> Result<Fetched, FetchError> {
    tokio::time::timeout(LIMIT, within_limit(url, allow_private)).await.unwrap_or(Err(FetchError::TooLate))
}

async fn within_limit(url: &Url, allow_private: bool) -> Result<Fetched, FetchError> {
    let pinned = address_guard::pin(url, allow_private).await;
    let addresses = pinned.map_err(|refused| FetchError::Address(refused.to_string()))?;
    if url.scheme() != "https" && !addresses.iter().all(|address| address.ip().to_canonical().is_loopback()) {
        return Err(FetchError::NoTls);
    }
    let private = addresses.iter().any(|address| address_guard::class(address.ip()) != Class::Public);
    let response = client(url, &addresses)?.get(url.clone()).send().await.map_err(FetchError::Unreachable)?;
    if !response.status().is_success() {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(FetchError::Unreachable)?;
        if body.len() + chunk.len() > BYTES_MAX {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    let document = serde_json::from_slice(&body).map_err(|_| FetchError::NotJson)?;
    Ok(Fetched { document, private })
}

/// One that talks to these addresses only, whatever the name resolves to later.
fn client(url: &Url, addresses: &[SocketAddr]) -> Result<reqwest::Client, FetchError> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(LIMIT)
        .resolve_to_addrs(url.host_str().unwrap_or_default(), addresses)
        .user_agent(concat!("mcpctl/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(FetchError::Unreachable)
}
