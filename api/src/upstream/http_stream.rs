//! The GET stream of a legacy HTTP session: messages that belong to no call. Best effort, as servers need not offer it.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, StatusCode};

use super::endpoint::Failed;
use super::exchange::Exchange;
use super::http::{LegacySession, Shared};
use super::http_headers;
use super::rpc::{self, Message};
use super::sse_parser::SseParser;

const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Opens an event stream of the session, from after an event if one is named.
pub(super) async fn get(shared: &Arc<Shared>, last_event: Option<&str>) -> Result<Exchange, Failed> {
    get_in(shared, &shared.legacy(), last_event).await
}

async fn get_in(shared: &Arc<Shared>, session: &LegacySession, last_event: Option<&str>) -> Result<Exchange, Failed> {
    let last = last_event.and_then(|id| HeaderValue::try_from(id).ok());
    let headers = http_headers::stream(session.version.as_ref(), session.id.as_ref(), last.as_ref());
    shared.endpoint.exchange(Method::GET, &shared.uri, &headers, Bytes::new(), true).await
}

/// Listens for as long as the conversation lasts, or until the server shows that it offers no such stream.
pub(super) async fn listen(shared: Arc<Shared>) {
    let ended = shared.ended.clone();
    tokio::select! {
        () = ended.cancelled() => {}
        () = listen_on(shared) => {}
    }
}

async fn listen_on(shared: Arc<Shared>) {
    let mut wait = WAIT_FIRST;
    let mut last_event = None;
    let mut session = shared.legacy();
    loop {
        let now = shared.legacy();
        if now != session {
            // Event ids belong to a session.
            (session, last_event) = (now, None);
        }
        match get_in(&shared, &session, last_event.as_deref()).await {
            Ok(mut stream) if stream.head.status.is_success() && stream.is_events() => {
                let mut parser = SseParser::resuming(last_event.take(), None);
                if read(&shared, &mut stream, &mut parser).await {
                    wait = WAIT_FIRST;
                }
                wait = parser.retry_ms.map_or(wait, |ms| Duration::from_millis(ms.max(100))).min(WAIT_MAX);
                last_event = parser.last_id;
            }
            // 404: the session is gone; the next call opens another, and the stream follows it.
            Ok(stream) if stream.head.status == StatusCode::NOT_FOUND && session.id.is_some() => {}
            Ok(stream) if stream.head.status.is_server_error() => {}
            // 405, or any other way to say that there is none.
            Ok(_) => return,
            // A call will find out whether the server is gone.
            Err(Failed::Unreachable(_) | Failed::Lost) => {}
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// Reads until the stream ends. Says whether anything came.
async fn read(shared: &Arc<Shared>, stream: &mut Exchange, parser: &mut SseParser) -> bool {
    let mut any = false;
    while let Ok(Some(bytes)) = stream.chunk().await {
        parser.feed(&bytes);
        loop {
            let event = match parser.next() {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(_) => return any,
            };
            any = true;
            match rpc::parse(&event.data) {
                Ok(Message::Notification { method, params }) => shared.inbox.notification(&method, params, None),
                Ok(Message::Request { id, method, params }) => shared.asked(id, &method, params, None),
                // Answers come on the streams of their calls; garbage here harms nobody.
                Ok(Message::Answer { .. }) | Err(_) => {}
            }
        }
    }
    any
}
