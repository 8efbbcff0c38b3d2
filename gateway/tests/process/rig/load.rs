//! Callers that call without a pause, and remember when they were admitted last.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::modern;

/// What a caller saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// When the last call that was admitted was sent, and when it was answered.
    pub admitted: Option<(Instant, Instant)>,
    /// How many were.
    pub calls: u64,
    /// The last status.
    pub status: u16,
}

/// A caller with one token at one gateway.
pub struct Load {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Load {
    pub fn start(gateway: &str, token: &str) -> Self {
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let (into, until, gateway, token) = (seen.clone(), stop.clone(), gateway.to_owned(), token.to_owned());
        let task = tokio::spawn(async move {
            while !until.load(Ordering::Relaxed) {
                let sent = Instant::now();
                let call = json!({ "name": "whoami", "arguments": {} });
                let (status, body) = modern(&gateway, &token, "tools/call", call).await;
                let mut seen = into.lock();
                seen.status = status;
                if status == 200 && body["result"]["content"].is_array() && body["result"]["isError"] != true {
                    seen.admitted = Some((sent, Instant::now()));
                    seen.calls += 1;
                }
            }
        });
        Self { seen, stop, task }
    }

    pub fn seen(&self) -> Seen {
        *self.seen.lock()
    }

    /// Waits until a call was admitted.
    pub async fn admitted(&self) {
        let begun = Instant::now();
        while self.seen().calls == 0 {
            assert!(begun.elapsed().as_secs() < 60, "never admitted: {:?}", self.seen());
            tokio::task::yield_now().await;
        }
    }

    /// Waits until a call was refused, and stops.
    pub async fn refused(mut self) -> Seen {
        let begun = Instant::now();
        while self.seen().status == 200 {
            assert!(begun.elapsed().as_secs() < 60, "never refused: {:?}", self.seen());
            tokio::task::yield_now().await;
        }
        self.stop.store(true, Ordering::Relaxed);
        (&mut self.task).await.unwrap();
        self.seen()
    }
}
