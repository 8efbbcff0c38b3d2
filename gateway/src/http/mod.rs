//! The HTTP face: raw hyper, one task per connection, bounded in every direction.
mod body;
mod guard;
mod mcp;
mod overdue;
mod route;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mcpctl_api::cut::Cut;
use mcpctl_api::plane::Plane;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gateway::Gateway;
use crate::options::Options;
use body::Reset;
use guard::Guard;
use overdue::Carried;

/// Largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// Wait after a connection could not be accepted, such as for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Serves projects at `/projects/<name>/mcp` until it is stopped; then long streams end, running calls may finish within the
/// drain limit, and what is left is closed.
///
/// # Errors
/// When the listener is not a listening socket.
pub async fn serve(
    listener: TcpListener,
    plane: Arc<dyn Plane>,
    options: Options,
    stop: CancellationToken,
) -> io::Result<()> {
    let guard = Arc::new(Guard::new(listener.local_addr()?.ip(), &options));
    let drain = options.drain;
    let places = Arc::new(Semaphore::new(options.connections_max));
    let gateway = Gateway::new(plane, options, stop.child_token());
    let connections = TaskTracker::new();
    let kill = CancellationToken::new();
    while let Some((stream, place)) = accept(&listener, &places, &stop).await {
        let one = Connection { gateway: gateway.clone(), guard: guard.clone(), kill: kill.clone() };
        connections.spawn(one.serve(stream, place));
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "closed while calls were running: the drain limit is over");
    }
    kill.cancel();
    connections.wait().await;
    gateway.finish().await;
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

struct Connection {
    gateway: Arc<Gateway>,
    guard: Arc<Guard>,
    kill: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: TcpStream, _place: OwnedSemaphorePermit) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the connection was gone at once");
            return;
        }
        self.gateway.metrics.connections.inc();
        let (gateway, guard) = (self.gateway.clone(), self.guard.clone());
        let carried = Carried::new();
        let carries = carried.clone();
        let service = service_fn(move |request| {
            let (gateway, guard, carries) = (gateway.clone(), guard.clone(), carries.clone());
            async move {
                let response = route::answer(gateway, guard, request).await?;
                carries.carry(response.extensions().get::<Cut>().cloned());
                Ok::<_, Reset>(response)
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.gateway.options.header_read);
        http.max_header_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
        let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
        let stop = &self.gateway.stop;
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = carried.overdue() => Ok(()),
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    served = connection => served,
                    () = self.kill.cancelled() => Ok(()),
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a connection ended early");
        }
        self.gateway.metrics.connections.dec();
    }
}
