//! Answers as server-sent events: messages of a server, and then the answer.
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::Stream;
use serde_json::value::RawValue;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::call::{Ended, Running};
use super::message::{answer, of_server};
use crate::client::gateway_wire::{FAILED_EVENT, Failure};
use crate::cut::Cut;
use crate::upstream::{ServerMessage, Session, UpstreamError};

/// An empty line goes out at least so often, so that a reader that is gone is found out.
const BREATH: Duration = Duration::from_secs(15);
/// How often a conversation is looked at, whether it is still open.
const LOOK: Duration = Duration::from_secs(5);

fn response(events: impl Stream<Item = String> + Send + 'static) -> Response {
    use futures::StreamExt as _;
    let body = Body::from_stream(events.map(|event| Ok::<_, Infallible>(Bytes::from(event))));
    ([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

/// One event; data of several lines is several lines of `data`.
fn event(kind: Option<&str>, data: &str) -> String {
    let kind = kind.map_or_else(String::new, |kind| format!("event: {kind}\n"));
    let data: String = data.split(['\n', '\r']).map(|line| format!("data: {line}\n")).collect();
    format!("{kind}{data}\n")
}

/// Messages of a call, and then its answer. Dropping the stream cancels the call.
pub(super) fn of_call(
    id: Box<RawValue>,
    first: Option<ServerMessage>,
    messages: mpsc::Receiver<ServerMessage>,
    running: Running,
) -> Response {
    let state = OfCall { id, first, messages, running: Some(running), ended: None };
    response(futures::stream::unfold(state, |mut state| async move { Some((state.next().await?, state)) }))
}

struct OfCall {
    id: Box<RawValue>,
    first: Option<ServerMessage>,
    messages: mpsc::Receiver<ServerMessage>,
    running: Option<Running>,
    ended: Option<Ended>,
}

impl OfCall {
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(event(None, &of_server(&first)));
        }
        if let Some(running) = &mut self.running {
            tokio::select! {
                biased;
                Some(message) = self.messages.recv() => return Some(event(None, &of_server(&message))),
                ended = running => {
                    self.running = None;
                    self.ended = Some(ended);
                }
                () = tokio::time::sleep(BREATH) => return Some(":\n\n".to_owned()),
            }
        }
        // Nothing is sent after the answer, so what came before it goes out first.
        if let Ok(message) = self.messages.try_recv() {
            return Some(event(None, &of_server(&message)));
        }
        Some(match self.ended.take()? {
            Ended::Answered(reply) => event(None, &answer(&self.id, &reply)),
            Ended::Failed(error) => failure(error),
            Ended::NotAudited(why) => failure(UpstreamError::Unrecorded { why }),
        })
    }
}

fn failure(error: UpstreamError) -> String {
    let data = serde_json::to_string(&Failure::from(error)).unwrap_or_default();
    event(Some(FAILED_EVENT), &data)
}

/// Messages that belong to no call, until the conversation, the access or the control plane ends.
pub(super) fn of_messages(session: Arc<dyn Session>, cut: Cut, stop: CancellationToken) -> Response {
    let inside = cut.enter();
    let messages = session.messages();
    let begin = futures::stream::once(async { ":\n\n".to_owned() });
    let rest = futures::stream::unfold((session, messages, cut, stop, inside), |state| async move {
        let (session, mut messages, cut, stop, inside) = state;
        loop {
            tokio::select! {
                () = cut.cancelled() => return None,
                () = stop.cancelled() => return None,
                message = messages.recv() => match message {
                    Ok(message) => return Some((event(None, &of_server(&message)), (session, messages, cut, stop, inside))),
                    // Every such message says "look again"; those that are left say it too.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
                () = tokio::time::sleep(LOOK) => {
                    if !session.is_open() {
                        return None;
                    }
                    return Some((":\n\n".to_owned(), (session, messages, cut, stop, inside)));
                }
            }
        }
    });
    use futures::StreamExt as _;
    response(begin.chain(rest))
}
