//! The gateway itself: what all requests share, and the tasks that it owns.
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use mcpctl_api::plane::Plane;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::assembled::Assembled;
use crate::audit::AnonymousBudget;
use crate::begun::Begun;
use crate::catalogue::Catalogue;
use crate::clients::Clients;
use crate::left_out::LeftOut;
use crate::metrics::Metrics;
use crate::mrtr::Seal;
use crate::mrtr::held::HeldCalls;
use crate::options::Options;
use crate::unserved::Unserved;

/// How often streams are looked after: a call that lasts so long is answered on a stream that can be taken up again.
const SWEEP_STREAMS: Duration = Duration::from_secs(1);
/// How often clients that are idle are looked for.
const SWEEP: Duration = Duration::from_secs(10);

/// What all requests share.
pub(crate) struct Gateway {
    pub(crate) plane: Arc<dyn Plane>,
    pub(crate) options: Options,
    pub(crate) clients: Clients,
    pub(crate) left_out: LeftOut,
    /// Lists that servers showed last.
    pub(crate) catalogue: Catalogue,
    /// Lists that were made of them last.
    pub(crate) assembled: Assembled,
    /// Calls that wait for their client to come back with answers.
    pub(crate) held: HeldCalls,
    /// Seals what ends with this process.
    pub(crate) seal: Seal,
    /// Tasks that callers began.
    pub(crate) begun: Begun,
    pub(crate) metrics: Metrics,
    pub(crate) anonymous: AnonymousBudget,
    /// Refusals while nobody can say who may.
    pub(crate) unserved: Unserved,
    /// Owner of whatever goes on in the background.
    pub(crate) tasks: TaskTracker,
    /// Cancelled when the gateway is stopped.
    pub(crate) stop: CancellationToken,
}

impl Gateway {
    pub(crate) fn new(plane: Arc<dyn Plane>, options: Options, stop: CancellationToken) -> Arc<Self> {
        let gateway = Arc::new(Self {
            plane,
            options,
            clients: Clients::default(),
            left_out: LeftOut::default(),
            catalogue: Catalogue::default(),
            assembled: Assembled::default(),
            held: HeldCalls::default(),
            seal: Seal::of_process(),
            begun: Begun::default(),
            metrics: Metrics::new(),
            anonymous: AnonymousBudget::default(),
            unserved: Unserved::default(),
            tasks: TaskTracker::new(),
            stop,
        });
        gateway.tasks.spawn(sweep(gateway.clone()));
        gateway.tasks.spawn(sweep_streams(gateway.clone()));
        gateway
    }

    /// Ends all conversations and waits for what goes on in the background, within the drain limit.
    pub(crate) async fn finish(&self) {
        self.stop.cancel();
        let ended = async {
            let all = self.clients.sweep(Duration::ZERO);
            join_all(all.iter().map(|client| client.end())).await;
            self.tell_unserved().await;
            self.tasks.close();
            self.tasks.wait().await;
        };
        if tokio::time::timeout(self.options.drain, ended).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "stopped without waiting any longer for what was going on");
        }
    }
}

impl Gateway {
    /// Records what was counted of refusals while nobody could say who may.
    async fn tell_unserved(&self) {
        for (bearer, entry) in self.unserved.lines() {
            if let Err(error) = self.plane.record(Some(&bearer), entry).await {
                tracing::error!(%error, "refusals could not be recorded");
            }
        }
    }
}

/// Looks after streams that can be taken up again.
async fn sweep_streams(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(SWEEP_STREAMS);
    loop {
        tokio::select! {
            biased;
            () = gateway.stop.cancelled() => return,
            _ = ticks.tick() => gateway.clients.sweep_streams(),
        }
    }
}

async fn sweep(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(SWEEP.min(gateway.options.session_idle));
    loop {
        tokio::select! {
            biased;
            () = gateway.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let idle = gateway.clients.sweep(gateway.options.session_idle);
        gateway.metrics.sessions.set(i64::try_from(gateway.clients.count()).unwrap_or(i64::MAX));
        join_all(idle.iter().map(|client| client.end())).await;
        gateway.tell_unserved().await;
    }
}
