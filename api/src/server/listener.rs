//! The API's connections: raw hyper, one task for each, bounded in every direction, and all joined at the end.
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Most connections at once; one more waits to be accepted.
const CONNECTIONS_MAX: usize = 4096;
/// How long the head of a request may take to arrive, and a connection may lie idle between two.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// Largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// Wait after a connection could not be accepted, such as for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// How long an answer that is over may take to be read to its end.
const READ_WITHIN: Duration = Duration::from_secs(1);

/// On an answer without end: when this is cancelled it is over, and a client that does not read on loses its connection.
#[derive(Clone)]
pub(super) struct EndsWith(pub(super) CancellationToken);

/// Serves until stopped; then requests that run may go on for `drain`, and what is left is closed.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    drain: Duration,
) -> io::Result<()> {
    listener.local_addr()?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (connections, kill) = (TaskTracker::new(), CancellationToken::new());
    while let Some((stream, from, place)) = accept(&listener, &places, &stop).await {
        connections.spawn(one(stream, from, place, router.clone(), stop.clone(), kill.clone()));
    }
    drop((listener, router));
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "closed while requests were running: the drain limit is over");
    }
    kill.cancel();
    connections.wait().await;
    Ok(())
}

/// The next connection, once there is a place for it. `None` when stopped.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
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
            Ok((stream, from)) => return Some((stream, from, place)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn one(
    stream: TcpStream,
    from: SocketAddr,
    _place: OwnedSemaphorePermit,
    router: Router,
    stop: CancellationToken,
    kill: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let (carries, mut carried) = watch::channel(None);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(from));
        let (answering, carries) = (service.call(request), carries.clone());
        async move {
            let response = answering.await?;
            carries.send_replace(response.extensions().get::<EndsWith>().cloned());
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT);
    http.max_header_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = unread(&mut carried) => Ok(()),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                served = connection => served,
                () = kill.cancelled() => Ok(()),
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Waits until an answer without end is over and its client had time to read that.
async fn unread(carried: &mut watch::Receiver<Option<EndsWith>>) {
    loop {
        let ends = carried.borrow_and_update().clone();
        let over = async {
            match ends {
                Some(EndsWith(over)) => over.cancelled().await,
                None => std::future::pending().await,
            }
            tokio::time::sleep(READ_WITHIN).await;
        };
        tokio::select! {
            // Whoever sends is the connection, which is looked at beside this.
            Ok(()) = carried.changed() => {}
            () = over => return,
        }
    }
}
