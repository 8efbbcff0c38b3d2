//! A witness: watches logs of others, and cosigns each checkpoint that goes on from the last one it saw (C2SP tlog-witness).
//!
//! It needs no control plane. What it saw is durable before it answers: a witness that forgot could be shown another past.
#[cfg(test)]
mod interop_tests;
mod store;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mcpctl_tlog::LogKey;
use mcpctl_tlog::cosignature::{WitnessKey, WitnessSigner};
use mcpctl_tlog::witness::{AddCheckpoint, Refused};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::clock;
use store::Store;
pub use store::StoreError;

/// Most bytes of a request: a checkpoint and 63 hashes are far fewer.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long running requests may go on at the end.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// A witness.
pub struct Witness {
    signer: WitnessSigner,
    logs: Vec<LogKey>,
    store: Mutex<Store>,
}

impl Witness {
    /// Opens a witness in a folder: its key is made at the first start, under this name, and what it saw is kept there.
    ///
    /// # Errors
    /// When the folder can't be used, is in use, or its key is damaged, exposed, or of another name.
    pub fn open(folder: &Path, name: &str, logs: Vec<LogKey>) -> Result<Self, StoreError> {
        let (store, signer) = Store::open(folder, name)?;
        Ok(Self { signer, logs, store: Mutex::new(store) })
    }

    /// Its public key.
    #[must_use]
    pub const fn key(&self) -> &WitnessKey {
        self.signer.key()
    }

    /// Serves until stopped.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
        super::listener::serve(listener, self.router(), stop, DRAIN).await
    }

    fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/add-checkpoint", post(add))
            .route("/key", get(key))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self)
    }

    /// Decides about a request, one after the other, and remembers before it signs.
    ///
    /// # Errors
    /// When it does not cosign, or can't remember.
    pub fn add(&self, request: &[u8]) -> Result<String, NotCosigned> {
        let request = AddCheckpoint::read(request)?;
        let origin = request.origin()?;
        let log = self.logs.iter().find(|log| log.origin() == origin);
        let log = log.ok_or(Refused::UnknownLog(origin))?;
        let mut store = self.store.lock();
        let seen = store.seen(log)?;
        let now = request.decide(log, seen.as_ref()).inspect_err(|refused| {
            tracing::warn!(log = log.origin(), %refused, "a checkpoint was not cosigned");
        })?;
        if seen.as_ref() != Some(&now) {
            store.remember(log, &request.note)?;
        }
        let line = self.signer.cosign(&request.note, clock::now().as_millis() / 1000);
        line.map_err(|_| Refused::Malformed("it has no checkpoint").into())
    }
}

/// Why a witness gave no cosignature.
#[derive(Debug, thiserror::Error)]
pub enum NotCosigned {
    /// It refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It could not remember, so it must not sign.
    #[error(transparent)]
    Store(#[from] StoreError),
}

async fn add(Shared(witness): Shared<Arc<Witness>>, body: Bytes) -> Response {
    let added = tokio::task::spawn_blocking(move || witness.add(&body)).await;
    match added {
        Ok(Ok(line)) => (StatusCode::OK, line).into_response(),
        Ok(Err(NotCosigned::Refused(Refused::Conflict { seen, .. }))) => {
            (StatusCode::CONFLICT, [(header::CONTENT_TYPE, "text/x.tlog.size")], format!("{seen}\n")).into_response()
        }
        Ok(Err(NotCosigned::Refused(refused))) => {
            let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::BAD_REQUEST);
            (status, format!("{refused}\n")).into_response()
        }
        Ok(Err(NotCosigned::Store(error))) => {
            tracing::error!(%error, "the witness can't remember, and signs nothing");
            (StatusCode::SERVICE_UNAVAILABLE, "this witness can't write to its disk\n").into_response()
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "this is a bug in the witness\n").into_response(),
    }
}

async fn key(Shared(witness): Shared<Arc<Witness>>) -> String {
    format!("{}\n", witness.key().as_str())
}
