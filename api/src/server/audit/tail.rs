//! `GET /audit/tail`: entries as lines of JSON, from a position or from now on, as long as the reader keeps up and may read.
//!
//! Nothing is kept for a reader but its position: what it has not been told yet is read from the log when it has room. A
//! reader that takes nothing for too long is cut, and told where to go on; so is one whose right ends.
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use mcpctl_core::access::{Ask, decide};
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::time::Timestamp;
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{AuditLog, AuditQuery, RIGHT};
use crate::audit_wire::{TailEnd, TailWord};
use crate::client::AuditItem;
use crate::server::auth::{Authenticated, by_digest};
use crate::server::problem::{Result, problem};
use crate::server::published::Published;

/// Most streams at once.
const STREAMS_MAX: usize = 64;
static STREAMS: Semaphore = Semaphore::const_new(STREAMS_MAX);
/// Entries of one piece, and pieces that wait for the reader.
const PIECE: usize = 200;
const PIECES: usize = 4;
/// How long a reader may take nothing.
const SLOW_AFTER: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(10) };
/// How often a reader to whom there is nothing to tell hears where it is; and how often its right is looked at.
const WORD_EVERY: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(2) };

/// What a tail is asked for: the filters of [`AuditQuery`], and whether to go on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct TailQuery {
    pub(super) follow: bool,
    project: Option<String>,
    kind: Option<String>,
    user_name: Option<String>,
    token_name: Option<String>,
    token_sha: Option<String>,
    session: Option<String>,
    server: Option<String>,
    tool: Option<String>,
    outcome: Option<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    position: Option<u64>,
    limit: Option<usize>,
}

impl TailQuery {
    pub(super) fn query(&self) -> AuditQuery {
        let Self { follow: _, project, kind, user_name, token_name, token_sha, session, server, tool, outcome, .. } =
            self.clone();
        let (from, to, position, limit) = (self.from, self.to, self.position, self.limit);
        AuditQuery {
            project,
            kind,
            user_name,
            token_name,
            token_sha,
            session,
            server,
            tool,
            outcome,
            from,
            to,
            position,
            before: None,
            limit,
        }
    }
}

/// Streams that are open now.
pub(in crate::server) fn open_tails() -> usize {
    STREAMS_MAX - STREAMS.available_permits()
}

/// What a stream is made of.
#[derive(Clone)]
pub(super) struct Sources {
    pub(super) audit: Arc<AuditLog>,
    pub(super) published: Published,
    pub(super) stop: CancellationToken,
}

/// Entries, and the position behind them.
type Piece = (Vec<AuditItem>, Seq);

/// One reader.
struct Tail {
    of: Sources,
    actor: Actor,
    digest: Digest,
    query: AuditQuery,
    follow: bool,
    next: Seq,
    pieces: mpsc::Sender<Bytes>,
}

/// Begins a stream. Its task ends with the reader, with its right, or with the control plane.
pub(super) fn stream(of: Sources, caller: &Authenticated, query: AuditQuery, follow: bool) -> Result<Response> {
    let Ok(stream) = STREAMS.try_acquire() else {
        let detail = format!("{STREAMS_MAX} streams of the audit log are open");
        return Err(problem(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many streams", detail)
            .hint("close one, or read pages: /api/v1/audit/events")
            .retry_after(5));
    };
    let (pieces, taken) = mpsc::channel(PIECES + 1);
    // Kept free for the last word, so that a reader that was too slow still learns where to go on.
    let last =
        pieces.clone().try_reserve_owned().map_err(|_| problem(StatusCode::SERVICE_UNAVAILABLE, "busy", "Busy", ""))?;
    let (actor, digest) = (caller.actor.clone(), caller.digest);
    let mut tail = Tail { of, actor, digest, query, follow, next: Seq(0), pieces };
    tokio::spawn(async move {
        let _stream = stream;
        if let Some(end) = tail.run().await {
            last.send(line(&TailWord { next: tail.next, end: Some(end) }));
        }
    });
    let lines = futures::stream::unfold(taken, |mut taken| async move {
        let piece = taken.recv().await?;
        Some((Ok::<_, Infallible>(piece), taken))
    });
    let head = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((head, Body::from_stream(lines)).into_response())
}

fn line(of: &impl serde::Serialize) -> Bytes {
    let mut bytes = serde_json::to_vec(of).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}

impl Tail {
    /// Tells entries until there is a reason to end; none when nobody listens any more.
    async fn run(&mut self) -> Option<TailEnd> {
        let mut newest = self.of.audit.newest();
        let begun = self.begin().await;
        let Ok((items, next)) = begun else { return Some(TailEnd::Failed) };
        let mut told = self.tell(items, next).await;
        loop {
            if let Err(end) = told {
                return end;
            }
            let head = *newest.borrow_and_update();
            if self.next > head {
                if !self.follow {
                    return Some(TailEnd::Level);
                }
                if let Some(end) = self.wait(&mut newest).await {
                    return end;
                }
            }
            if !self.may_read() {
                return Some(TailEnd::Refused);
            }
            told = match self.read().await {
                Ok((items, next)) => self.tell(items, next).await,
                Err(end) => Err(Some(end)),
            };
        }
    }

    /// The newest entries to begin with; or none, and from where on.
    async fn begin(&mut self) -> std::result::Result<Piece, TailEnd> {
        let query = std::mem::take(&mut self.query);
        let start = match (query.position, query.from) {
            (Some(position), _) => Some(Seq(position.max(1))),
            (None, Some(_)) => Some(Seq(1)),
            (None, None) => None,
        };
        self.query = AuditQuery { position: None, limit: None, ..query.clone() };
        if let Some(start) = start {
            self.next = start;
            return Ok((Vec::new(), start));
        }
        if query.limit == Some(0) {
            self.next = self.of.audit.figures().head.next();
            return Ok((Vec::new(), self.next));
        }
        let audit = self.of.audit.clone();
        let looked = tokio::task::spawn_blocking(move || audit.newest_and_head(&query)).await;
        let (items, head) = looked.ok().and_then(failed).ok_or(TailEnd::Failed)?;
        self.next = items.first().and_then(|item| item.position.as_u64()).map_or(head.next(), Seq);
        Ok((items, head.next()))
    }

    async fn read(&self) -> std::result::Result<Piece, TailEnd> {
        let (audit, next) = (self.of.audit.clone(), self.next);
        let query = AuditQuery { limit: Some(PIECE), ..self.query.clone() };
        let looked = tokio::task::spawn_blocking(move || audit.after(&query, next)).await;
        looked.ok().and_then(failed).ok_or(TailEnd::Failed)
    }

    /// Hands entries to the reader, or says why not; nothing when it went away.
    async fn tell(&mut self, items: Vec<AuditItem>, next: Seq) -> std::result::Result<(), Option<TailEnd>> {
        if !items.is_empty() {
            let piece = items.iter().flat_map(line).collect();
            self.send(piece).await?;
        }
        // Only now: what was not taken is told again.
        self.next = next;
        Ok(())
    }

    async fn send(&self, piece: Bytes) -> std::result::Result<(), Option<TailEnd>> {
        tokio::select! {
            () = self.of.stop.cancelled() => Err(Some(TailEnd::Stopping)),
            sent = self.pieces.send_timeout(piece, SLOW_AFTER) => match sent {
                Ok(()) => Ok(()),
                Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(Some(TailEnd::Slow)),
                Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(None),
            },
        }
    }

    /// Until there is something new; a reason to end otherwise.
    async fn wait(&self, newest: &mut tokio::sync::watch::Receiver<Seq>) -> Option<Option<TailEnd>> {
        loop {
            tokio::select! {
                () = self.of.stop.cancelled() => return Some(Some(TailEnd::Stopping)),
                () = self.pieces.closed() => return Some(None),
                changed = newest.changed() => return changed.is_err().then_some(Some(TailEnd::Stopping)),
                () = tokio::time::sleep(WORD_EVERY) => {
                    if !self.may_read() {
                        return Some(Some(TailEnd::Refused));
                    }
                    if let Err(end) = self.send(line(&TailWord { next: self.next, end: None })).await {
                        return Some(end);
                    }
                }
            }
        }
    }

    /// Whether the credential lives and its right holds, now.
    fn may_read(&self) -> bool {
        let (state, now) = (self.of.published.load(), self.of.published.now());
        let now = now.max(state.last_at());
        by_digest(&state, self.digest, now).is_ok() && decide(&*state, &self.actor, &Ask::Operation(RIGHT), now).allowed
    }
}

fn failed<T>(looked: std::result::Result<T, mcpctl_core::log::LogError>) -> Option<T> {
    looked.inspect_err(|error| tracing::error!(%error, "the audit log can't be read for a stream")).ok()
}
