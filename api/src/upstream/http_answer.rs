//! Reading the answer to a POST: JSON, or a stream of events that is taken up again where it breaks off.
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::exchange::Exchange;
use super::http::{Shared, Trouble};
use super::rpc::{self, Message};
use super::sse_parser::SseParser;
use super::{CallSink, Era, Reply, http_stream};

/// Times that a broken stream is taken up again.
const RESUMES_MAX: u32 = 20;

impl Shared {
    /// Reads the answer to a request, whichever form it has.
    pub(super) async fn answer(
        self: &Arc<Self>,
        id: u64,
        exchange: &mut Exchange,
        sink: &Arc<dyn CallSink>,
    ) -> Result<Reply, Trouble> {
        let status = exchange.head.status;
        if status == StatusCode::NOT_FOUND && self.era() == Era::Legacy && self.legacy().id.is_some() {
            return Err(Trouble::SessionLost);
        }
        if status.is_success() && exchange.is_events() {
            return self.answer_in_events(id, exchange, sink).await;
        }
        if exchange.is_json() && !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let body = exchange.whole().await?;
            match rpc::parse(&body) {
                // Errors may come without our id when the request was refused before its body was read.
                Ok(Message::Answer { id: answered, outcome }) if answered == Some(id) || !status.is_success() => {
                    let reply = outcome.to_reply();
                    return if self.forgot_session(status, &reply) { Err(Trouble::SessionLost) } else { Ok(reply) };
                }
                Ok(_) => return Err(self.protocol("its answer belongs to another request").into()),
                Err(why) if status.is_success() => return Err(self.protocol(&format!("its answer is {why}")).into()),
                Err(_) => {}
            }
        }
        Err(self.status(status).into())
    }

    /// Servers should say 404 to a session that they do not know; many say 400 and name the session in words.
    fn forgot_session(&self, status: StatusCode, reply: &Reply) -> bool {
        let Reply::Error(error) = reply else { return false };
        status == StatusCode::BAD_REQUEST
            && self.era() == Era::Legacy
            && self.legacy().id.is_some()
            && rpc::string_member(error, "message").is_some_and(|text| text.to_ascii_lowercase().contains("session"))
    }

    async fn answer_in_events(
        self: &Arc<Self>,
        id: u64,
        exchange: &mut Exchange,
        sink: &Arc<dyn CallSink>,
    ) -> Result<Reply, Trouble> {
        let mut parser = SseParser::default();
        if let Some(reply) = self.read_events(id, exchange, &mut parser, sink).await? {
            return Ok(reply);
        }
        // 2025-11-25 lets a server hang up in the middle and be asked for the rest.
        for _ in 0..RESUMES_MAX {
            let Some(last) = parser.last_id.clone().filter(|_| self.era() == Era::Legacy) else { break };
            tokio::time::sleep(Duration::from_millis(parser.retry_ms.unwrap_or(1_000).min(30_000))).await;
            let Ok(mut resumed) = http_stream::get(self, Some(&last)).await else { break };
            if !(resumed.head.status.is_success() && resumed.is_events()) {
                break;
            }
            let mut next = SseParser::resuming(Some(last), parser.retry_ms);
            if let Some(reply) = self.read_events(id, &mut resumed, &mut next, sink).await? {
                return Ok(reply);
            }
            parser = next;
        }
        Err(self.gone().into())
    }

    /// Reads events until the answer comes. `None`: the stream ended before.
    async fn read_events(
        self: &Arc<Self>,
        id: u64,
        exchange: &mut Exchange,
        parser: &mut SseParser,
        sink: &Arc<dyn CallSink>,
    ) -> Result<Option<Reply>, Trouble> {
        loop {
            while let Some(event) = parser.next().map_err(|why| self.protocol(&format!("it sent {why}")))? {
                if let Some(reply) = self.event(id, &event.data, sink)? {
                    return Ok(Some(reply));
                }
            }
            match exchange.chunk().await {
                Ok(Some(bytes)) => parser.feed(&bytes),
                Ok(None) | Err(_) => return Ok(None),
            }
        }
    }

    fn event(self: &Arc<Self>, id: u64, data: &[u8], sink: &Arc<dyn CallSink>) -> Result<Option<Reply>, Trouble> {
        // Priming events have no data.
        if data.trim_ascii().is_empty() {
            return Ok(None);
        }
        match rpc::parse(data).map_err(|why| self.protocol(&format!("an event is {why}")))? {
            Message::Answer { id: Some(answered), outcome } if answered == id => return Ok(Some(outcome.to_reply())),
            Message::Answer { .. } => {}
            Message::Notification { method, params } => self.inbox.notification(&method, params, Some(sink)),
            Message::Request { id, method, params } => self.asked(id, &method, params, Some(sink)),
        }
        Ok(None)
    }
}
