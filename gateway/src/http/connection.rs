//! One connection of a client: request after request until one of them is the last.
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use http::{Method, Response, StatusCode};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::body::{Body, Events, Next, Running};
use super::guard::Guard;
use super::head::Head;
use super::mcp;
use super::respond::{After, Manner};
use super::route::{self, Step};
use super::wire::{NoHead, Wire};
use crate::exchange::Answered;
use crate::gateway::Gateway;

/// What a connection is served with.
pub(super) struct Connection {
    pub(super) gateway: Arc<Gateway>,
    pub(super) guard: Arc<Guard>,
    /// The drain limit is over.
    pub(super) kill: CancellationToken,
}

impl Connection {
    /// Serves it to its end.
    pub(super) async fn serve(self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the connection was gone at once");
            return;
        }
        self.gateway.metrics.connections.inc();
        tokio::select! {
            biased;
            () = self.kill.cancelled() => {}
            () = self.requests(Wire::new(stream)) => {}
        }
        self.gateway.metrics.connections.dec();
    }

    async fn requests(&self, mut wire: Wire) {
        loop {
            let head = tokio::select! {
                biased;
                () = self.gateway.stop.cancelled() => return,
                head = wire.head(self.gateway.options.header_read) => head,
            };
            match head {
                Ok(head) => match self.request(&mut wire, head).await {
                    After::Next => {}
                    After::Close => return,
                    After::Reset => return wire.reset(),
                },
                Err(NoHead::Over) => return,
                Err(NoHead::Refused(status)) => {
                    let mut response = Response::new(Body::empty());
                    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
                    wire.respond(response, Manner { old: false, head_only: false, last: true }).await;
                    return wire.drain().await;
                }
            }
        }
    }

    async fn request(&self, wire: &mut Wire, head: Head) -> After {
        let step = route::answer(&self.gateway, &self.guard, &head.parts, wire).await;
        let mut response = match step {
            Step::Done(response) => response,
            Step::Run(running) => match begin(wire, running).await {
                Some(Begun::Stream(events)) => mcp::events(events),
                Some(Begun::Answer(answered)) => {
                    let keeps = wire.is_read() && !head.old && !head.last && !self.gateway.stop.is_cancelled();
                    let ordinary = keeps && !self.guard.names_origins();
                    match mcp::plain(answered) {
                        Ok(message) if ordinary => return wire.respond_message(message).await,
                        Ok(message) => mcp::whole(Answered::new(200, message)),
                        Err(answered) => mcp::whole(answered),
                    }
                }
                None => return After::Close,
            },
        };
        self.guard.share(&head.parts.headers, &mut response);
        let unread = !wire.is_read();
        let last = head.last || unread || self.gateway.stop.is_cancelled();
        let manner = Manner { old: head.old, head_only: head.parts.method == Method::HEAD, last };
        let after = wire.respond(response, manner).await;
        if unread && after == After::Close {
            wire.drain().await;
        }
        after
    }
}

/// What a request that runs brings first.
enum Begun {
    /// The answer, with nothing before it.
    Answer(Answered),
    /// Something else: a stream, in which the answer comes last.
    Stream(Box<Events>),
}

/// Waits for what comes first. `None`: the client has gone before there was anything, and what ran for it is given up or
/// goes on alone, as its era has it.
async fn begin(wire: &mut Wire, mut running: Running) -> Option<Begun> {
    let mut answer = None;
    let next = poll_fn(|cx| match running.poll_next(&mut answer, cx) {
        Poll::Ready(next) => Poll::Ready(Some(next)),
        Poll::Pending => wire.poll_gone(cx).map(|()| None),
    })
    .await?;
    Some(match next {
        Next::Answer(answered) => Begun::Answer(answered),
        Next::Message(first) => Begun::Stream(Events::new(running, Some(first), answer)),
    })
}
