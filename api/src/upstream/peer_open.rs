//! How the conversation over a two-way channel is opened, whatever the generation of the server.
use std::sync::Arc;
use std::time::Duration;

use super::peer::Peer;
use super::{Era, Handshake, UpstreamError, handshake};

/// Longest wait for the answer to `server/discover`, as a part of the limit on the whole handshake.
const PROBE_SHARE: u32 = 2;

/// How the handshake failed.
pub(super) enum Unopened {
    /// The server ended when it was asked `server/discover`: ask a fresh one with `initialize` only.
    DiedOfProbe,
    /// It failed.
    Failed(UpstreamError),
}

impl From<UpstreamError> for Unopened {
    fn from(error: UpstreamError) -> Self {
        Self::Failed(error)
    }
}

impl Peer {
    /// Opens the conversation: asks a server of unknown generation `server/discover`, and on anything but a modern answer
    /// falls back to `initialize` on the same channel (2026-07-28, stdio, backward compatibility).
    pub(super) async fn open(self: &Arc<Self>, era: Option<Era>, limit: Duration) -> Result<Handshake, Unopened> {
        let opened = tokio::time::timeout(limit, self.open_unlimited(era, limit)).await;
        let said = opened.unwrap_or_else(|_| Err(self.too_slow(limit).into()))?;
        self.set_era(said.era);
        Ok(said)
    }

    async fn discover(self: &Arc<Self>) -> Result<handshake::Probe, UpstreamError> {
        let meta = handshake::meta(Era::Modern, None, None);
        let reply = self.ask("server/discover", None, &meta).await?;
        Ok(handshake::judge_discover(self.server(), &reply))
    }

    fn too_slow(&self, limit: Duration) -> UpstreamError {
        let why = format!(
            "it did not finish its handshake within {} s: `mcpctl logs` shows what it printed",
            limit.as_secs()
        );
        UpstreamError::Unavailable { server: self.server().to_string(), why }
    }

    async fn open_unlimited(self: &Arc<Self>, era: Option<Era>, limit: Duration) -> Result<Handshake, Unopened> {
        if era != Some(Era::Legacy) {
            let found = async {
                match self.discover().await {
                    Ok(handshake::Probe::Again) => self.discover().await,
                    found => found,
                }
            };
            match tokio::time::timeout(limit / PROBE_SHARE, found).await {
                Ok(Ok(found)) => match found {
                    handshake::Probe::Modern(said) => return Ok(said),
                    handshake::Probe::Foreign(why) => return Err(why.into()),
                    handshake::Probe::Legacy | handshake::Probe::Again => {}
                },
                Ok(Err(UpstreamError::Gone { .. })) => return Err(Unopened::DiedOfProbe),
                Ok(Err(why)) => return Err(why.into()),
                // Silence is how some old servers answer what they do not know.
                Err(_) => {}
            }
        }
        let params = handshake::initialize_params(self.capabilities());
        let reply = self.ask("initialize", Some(&params), &[]).await?;
        let said = handshake::of_initialize(self.server(), &reply)?;
        self.notify("notifications/initialized", None).await?;
        Ok(said)
    }
}
