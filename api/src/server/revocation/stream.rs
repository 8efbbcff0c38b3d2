//! `POST /api/v1/gateways/stream`: one request whose body and whose answer both go on as long as the gateway lives.
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{ConnectInfo, Request, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::future::OptionFuture;
use futures::{FutureExt as _, StreamExt as _};
use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::log::LogReader;
use tokio_util::sync::CancellationToken;

use super::hub::{Hub, NotOpened, OpenedStream};
use crate::client::stream_wire::{Anchor, HANDLES_MAX, Handle, Lines, Said, line};
use crate::server::evidence::Evidence;
use crate::server::listener::EndsWith;
use crate::server::problem::{problem, unauthorized};

/// How long the first line may take to arrive.
const FIRST_LINE: Duration = Duration::from_secs(5);
/// A gateway that says nothing for so long is gone; it pings five times a second.
const SILENCE: Duration = Duration::from_secs(5);

/// What the route needs.
#[derive(Clone)]
pub(crate) struct ForStreams {
    pub(crate) hub: Arc<Hub>,
    pub(crate) log: Arc<dyn LogReader>,
    pub(crate) evidence: Arc<Evidence>,
    pub(crate) stop: CancellationToken,
}

/// The route. It needs no bearer: whoever has handles learns what becomes of them, and nothing else.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(parts: ForStreams) -> Router<S> {
    Router::new().route("/api/v1/gateways/stream", post(stream).fallback(other_method)).with_state(parts)
}

async fn other_method() -> Response {
    let detail = "this address does not take this method";
    problem(StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed", detail).into_response()
}

async fn stream(Shared(parts): Shared<ForStreams>, request: Request) -> Response {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.to_string());
    let mut reader = Reader { body: request.into_body().into_data_stream(), lines: Lines::default() };
    let first = tokio::time::timeout(FIRST_LINE, reader.next()).await;
    let Ok(Some(Said::Open { version, holds, saw, log_size, resync })) = first else {
        let detail = "the first line says no `open`";
        return problem(StatusCode::BAD_REQUEST, "malformed", "Malformed", detail).into_response();
    };
    if holds.len() > HANDLES_MAX {
        let detail = format!("a stream holds at most {HANDLES_MAX} handles");
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "too-many", "Too many handles", detail).into_response();
    }
    let log = saw.and_then(|saw| anchor_at(&*parts.log, saw.seq));
    let version = version.chars().filter(|c| !c.is_control()).take(40).collect();
    let shown = parts.evidence.show(log_size).await;
    match parts.hub.open(version, &holds, (log, shown), address.unwrap_or_default()) {
        Ok(opened) => {
            if resync {
                parts.hub.resynced();
            }
            answer(parts, opened, reader)
        }
        Err(why @ NotOpened::NoHandle) => unauthorized(why.to_string()).into_response(),
        Err(why @ NotOpened::Full) => {
            let answer = problem(StatusCode::SERVICE_UNAVAILABLE, "full", "Too many gateways", why.to_string());
            answer.retry_after(1).into_response()
        }
    }
}

/// What the log has at a place, or at its end when it ends before.
pub(crate) fn anchor_at(log: &dyn LogReader, seq: Seq) -> Option<Anchor> {
    let seq = seq.min(log.head());
    let bytes = log.read(seq).ok()??;
    Some(Anchor { seq, hash: Digest::blake3(&bytes) })
}

/// The lines of the answer. The reader of the request lives and ends with them.
fn answer(parts: ForStreams, opened: OpenedStream, reader: Reader) -> Response {
    let OpenedStream { stream, lines, over } = opened;
    let closing = Closing { hub: parts.hub.clone(), stream };
    let hears = tokio::spawn(hear(parts.clone(), stream, reader, over.clone()));
    let told =
        futures::stream::unfold((lines, closing, hears, parts.stop), |(mut lines, closing, hears, stop)| async {
            let told = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                told = lines.recv() => told?,
            };
            let mut text = line(&told);
            // What is waiting goes out in the same piece.
            while let Ok(told) = lines.try_recv() {
                text.extend(line(&told));
            }
            Some((Ok::<_, Infallible>(Bytes::from(text)), (lines, closing, hears, stop)))
        });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let mut response = (headers, Body::from_stream(told)).into_response();
    // A gateway that does not read would never see the end of the body.
    response.extensions_mut().insert(EndsWith(over));
    response
}

/// Ends a stream with its answer, however that ends.
struct Closing {
    hub: Arc<Hub>,
    stream: Handle,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.hub.close(self.stream);
    }
}

/// Does what the gateway says, until it says no more.
async fn hear(parts: ForStreams, stream: Handle, mut reader: Reader, over: CancellationToken) {
    let ForStreams { hub, evidence, stop, .. } = parts;
    // One look at a time, and pings are answered meanwhile.
    let (mut look, mut looking) = (OptionFuture::default(), false);
    loop {
        let said = tokio::select! {
            () = over.cancelled() => break,
            () = stop.cancelled() => break,
            Some(shown) = &mut look => {
                (look, looking) = (OptionFuture::default(), false);
                if hub.show(stream, shown) { continue } else { break }
            }
            said = tokio::time::timeout(SILENCE, reader.next()) => said,
        };
        let Ok(Some(said)) = said else { break };
        let goes_on = match said {
            Said::Ping { ping, lapsed } => hub.ping(stream, ping, lapsed),
            Said::Done { n, cut } => {
                hub.done(stream, n, cut);
                true
            }
            Said::Hold { holds } if holds.len() <= HANDLES_MAX => hub.hold(stream, &holds),
            Said::Look { log_size } => {
                if !std::mem::replace(&mut looking, true) {
                    let evidence = evidence.clone();
                    look = Some(async move { evidence.show(log_size).await }.boxed()).into();
                }
                true
            }
            Said::Drop { handles } => {
                hub.release(stream, &handles);
                true
            }
            Said::Open { .. } | Said::Hold { .. } => false,
        };
        if !goes_on {
            break;
        }
    }
    hub.close(stream);
}

/// Lines of a body.
struct Reader {
    body: BodyDataStream,
    lines: Lines,
}

impl Reader {
    /// The next line; nothing at the end, or after something that is no line.
    async fn next(&mut self) -> Option<Said> {
        loop {
            if let Some(line) = self.lines.next() {
                return serde_json::from_slice(&line).ok();
            }
            let chunk = self.body.next().await?.ok()?;
            self.lines.feed(&chunk).ok()?;
        }
    }
}
