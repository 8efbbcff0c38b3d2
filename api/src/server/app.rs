//! What every handler may use: the parts of the control plane, put together once.
use std::collections::HashMap;
use std::sync::Arc;

use mcpctl_core::ids::Digest;
use mcpctl_core::log::LogReader;
use mcpctl_core::time::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::audit::AuditLog;
use super::effects::password::Passwords;
use super::effects::sealed_store::SealedStore;
use super::evidence::witnesses::Witnesses;
use super::evidence::{Evidence, LogName};
use super::metrics::Metrics;
use super::oidc::Provider;
use super::plane_local::LocalPlane;
use super::published::Published;
use super::rate_limit::RateLimits;
use super::revocation::Hub;
use super::tools::KeptDefinitions;
use super::writer::Writer;
use crate::otel::Tracer;
use crate::upstream::Fleet;

/// The parts of the control plane.
pub struct App {
    /// The newest state.
    pub published: Published,
    /// The way to change it.
    pub writer: Writer,
    /// The log's reading side.
    pub log: Arc<dyn LogReader>,
    /// Tree, checkpoints and proofs of the log.
    pub evidence: Arc<Evidence>,
    /// The same of the audit log.
    pub audit_evidence: Arc<Evidence>,
    /// Which facts about rights held after each event.
    pub state_evidence: Arc<Evidence>,
    /// Who cosigns our checkpoints.
    pub witnesses: Arc<Witnesses>,
    /// Values that may not enter the log.
    pub sealed: Arc<SealedStore>,
    /// Passwords.
    pub passwords: Passwords,
    /// Calls, refusals, logins.
    pub audit: Arc<AuditLog>,
    /// Definitions of tools in full.
    pub definitions: Arc<KeptDefinitions>,
    /// Running servers.
    pub fleet: Arc<Fleet>,
    /// What gateways ask, answered here.
    pub plane: Arc<LocalPlane>,
    /// Who serves by what was granted, and is told when it is taken away.
    pub hub: Arc<Hub>,
    /// When logins were last used.
    pub idle: Arc<IdleLogins>,
    /// The identity provider, when one was configured at the start.
    pub oidc: std::sync::OnceLock<Provider>,
    /// Makes spans, when somebody said at the start where they go.
    pub tracer: std::sync::OnceLock<Arc<Tracer>>,
    /// How many requests each principal may make.
    pub limits: RateLimits,
    /// What is counted as it happens.
    pub metrics: Metrics,
    /// Cancelled when the control plane stops: streams end.
    pub stop: CancellationToken,
}

impl App {
    /// Tree, checkpoints and proofs of a log.
    #[must_use]
    pub const fn evidence_of(&self, log: LogName) -> &Arc<Evidence> {
        match log {
            LogName::Config => &self.evidence,
            LogName::Audit => &self.audit_evidence,
            LogName::State => &self.state_evidence,
        }
    }

    /// All of them.
    #[must_use]
    pub fn all_evidence(&self) -> Vec<Arc<Evidence>> {
        LogName::ALL.iter().map(|log| self.evidence_of(*log).clone()).collect()
    }

    /// What is wrong with a log, if anything is: nothing more of it is signed.
    #[must_use]
    pub fn alarm(&self) -> Option<String> {
        LogName::ALL.iter().find_map(|log| Some(format!("{log} log: {}", self.evidence_of(*log).alarm()?)))
    }
}

/// How long a login may be idle.
pub const LOGIN_IDLE_MS: u64 = 30 * 60 * 1000;
/// How long a login lasts at most.
pub const LOGIN_MS: u64 = 12 * 60 * 60 * 1000;
const LOGINS_REMEMBERED_MAX: usize = 100_000;

/// When logins were last used. An observation, so no event; after a restart every open login counts as just used.
#[derive(Default)]
pub struct IdleLogins(Mutex<HashMap<Digest, LastUse>>);

/// When a login was last used, and whether that was too long ago once: then it is over, whatever the clock says later.
struct LastUse {
    at: Timestamp,
    over: bool,
}

impl IdleLogins {
    /// Notes a use, unless the login was idle for too long: then `false`.
    pub fn used(&self, login: Digest, now: Timestamp) -> bool {
        let mut seen = self.0.lock();
        if seen.len() >= LOGINS_REMEMBERED_MAX {
            seen.retain(|_, last| now.since(last.at) <= LOGIN_MS);
        }
        let last = seen.entry(login).or_insert(LastUse { at: now, over: false });
        last.over |= now.since(last.at) > LOGIN_IDLE_MS;
        last.at = last.at.max(now);
        !last.over
    }
}
