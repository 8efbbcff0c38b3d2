//! The HTTP face: one task per connection, on one of a few threads, bounded in every direction.
mod body;
mod connection;
mod cors;
mod guard;
mod head;
mod lanes;
mod mcp;
mod respond;
mod route;
mod wire;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mcpctl_api::plane::Plane;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

pub(crate) use body::Source;

use crate::gateway::Gateway;
use crate::options::Options;
/// Takes the head of a request out of what has come, for the fuzzer.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_request_head(input: &mut bytes::BytesMut) -> Result<Option<()>, u16> {
    head::read_head(input).map(|head| head.map(drop))
}

use connection::Connection;
use guard::Guard;
use lanes::Lanes;

/// Wait after a connection could not be accepted, such as for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Serves projects at `/projects/<name>/mcp` until it is stopped; then long streams end, running calls may finish within the
/// drain limit, and what is left is closed.
///
/// # Errors
/// When the listener is not a listening socket, or the system gives no threads.
pub async fn serve(
    listener: TcpListener,
    plane: Arc<dyn Plane>,
    options: Options,
    stop: CancellationToken,
) -> io::Result<()> {
    let guard = Arc::new(Guard::new(listener.local_addr()?.ip(), &options));
    let drain = options.drain;
    let places = Arc::new(Semaphore::new(options.connections_max));
    let lanes = Lanes::start(options.lanes)?;
    let gateway = Gateway::new(plane, options, stop.child_token());
    let kill = CancellationToken::new();
    while let Some((stream, place)) = accept(&listener, &places, &stop).await {
        let with = Connection { gateway: gateway.clone(), guard: guard.clone(), kill: kill.clone() };
        lanes.take(stream, with, place).await;
    }
    drop(listener);
    let connections = lanes.connections();
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "closed while calls were running: the drain limit is over");
    }
    kill.cancel();
    connections.wait().await;
    gateway.finish().await;
    lanes.finish().await;
    Ok(())
}

/// The next connection, once there is a place for it. `None` when the gateway is stopped.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => return Some((stream, place)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}
