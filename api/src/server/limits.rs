//! Rate limits on the API: each principal has its own, health and metrics have none.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, Request, State as Shared};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mcpctl_core::ids::Digest;
use mcpctl_core::world::World as _;

use super::app::App;
use super::auth::bearer;
use super::problem::{Answer, problem};
use super::rate_limit::{Principal, RateLimits, Source, TooMany};

/// Counts a request against whoever makes it: a known bearer, else the address it comes from.
pub(super) async fn per_principal(Shared(app): Shared<Arc<App>>, request: Request, next: Next) -> Response {
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|from| Source::from(from.0.ip()));
    let known = bearer(request.headers()).map(|raw| Digest::sha256(raw.as_bytes()));
    // A bearer that is not known is counted by address: otherwise each guess would have a limit of its own.
    let known = known.filter(|digest| app.published.load().credential(digest).is_some());
    let principal = known.map(Principal::Credential).or(from.map(Principal::Source));
    let count = if is_tile(request.uri().path()) { RateLimits::tile } else { RateLimits::request };
    match principal.map_or(Ok(()), |principal| count(&app.limits, principal, Instant::now())) {
        Ok(()) => next.run(request).await,
        Err(limited) => too_many(&limited).into_response(),
    }
}

/// Whether a path is that of a tile of hashes: `/log/<name>/tile/<level>/…`. A bundle of entries is not: each look at one is
/// an entry of the audit log.
fn is_tile(path: &str) -> bool {
    let of =
        path.strip_prefix("/log/").and_then(|path| path.split_once('/')).and_then(|(_, of)| of.strip_prefix("tile/"));
    of.is_some_and(|tile| tile.starts_with(|level: char| level.is_ascii_digit()))
}

/// A refusal that says when to come again.
pub(super) fn too_many(limited: &TooMany) -> Answer {
    let seconds = limited.seconds();
    problem(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests", "the limit of requests is reached")
        .hint(format!("try again in {seconds} s"))
        .retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use super::is_tile;

    #[test]
    fn tiles_of_hashes_are_told_from_all_else() {
        for path in ["/log/config/tile/0/000", "/log/audit/tile/1/x001/234.p/7"] {
            assert!(is_tile(path), "{path}");
        }
        for path in
            ["/log/audit/tile/entries/000.p/7", "/log/config/tile/", "/log/config/checkpoint", "/log/tile/0", "/"]
        {
            assert!(!is_tile(path), "{path}");
        }
    }
}
