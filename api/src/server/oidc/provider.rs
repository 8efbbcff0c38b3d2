//! The configured provider: what it says of itself and the keys it signs with, both kept for a while.
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcpctl_core::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use super::fetch::{self, FetchError};
use super::flags::Settings;
use super::id_token::{self, Refused, Said};
use super::keys::Keys;
use super::used::{First, Used};

/// How long what the provider says of itself is believed.
const DISCOVERY_KEPT: Duration = Duration::from_secs(3600);
/// How long keys are believed: a key that the provider took back opens nothing after that.
const KEYS_KEPT: Duration = Duration::from_secs(600);
/// How long after a failure nobody asks again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How often an unknown key may make us ask again: so many times within that span.
const REFETCHES: (usize, Duration) = (5, Duration::from_secs(60));
/// How long a sign-in waits for another's question to the provider.
const TURN: Duration = Duration::from_secs(10);

/// What a provider says of itself (OpenID Connect Discovery 1.0), as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Discovery {
    issuer: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    jwks_uri: String,
    pub(super) device_authorization_endpoint: Option<String>,
}

/// Why nobody can sign in at the provider now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unavailable {
    #[error("the identity provider: {0}")]
    Fetch(#[from] FetchError),
    #[error("the identity provider calls itself otherwise than --oidc-issuer says")]
    OtherIssuer,
    #[error("the identity provider's {0} can't be read")]
    Odd(&'static str),
    #[error("too many people sign in at once")]
    Busy,
    #[error("the identity provider could not be asked a moment ago")]
    AMomentAgo,
}

/// Why a token opens nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("it was used already")]
    Again,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Default)]
struct Known {
    discovery: Option<(Arc<Discovery>, bool, Instant)>,
    keys: Option<(Arc<Keys>, Instant)>,
    fetched: Vec<Instant>,
    failed: Option<Instant>,
}

/// The provider that people sign in at.
pub struct Provider {
    settings: Settings,
    known: Mutex<Known>,
    used: Used,
}

impl Provider {
    /// The provider of these settings. It is asked when somebody signs in, not before: a control plane starts without it.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, known: Mutex::default(), used: Used::default() }
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    async fn known(&self) -> Result<tokio::sync::MutexGuard<'_, Known>, Unavailable> {
        tokio::time::timeout(TURN, self.known.lock()).await.map_err(|_| Unavailable::Busy)
    }

    /// What the provider says of itself.
    pub(super) async fn discovery(&self) -> Result<Arc<Discovery>, Unavailable> {
        let mut known = self.known().await?;
        Ok(self.discovered(&mut known).await?.0)
    }

    async fn discovered(&self, known: &mut Known) -> Result<(Arc<Discovery>, bool), Unavailable> {
        if let Some((discovery, private, at)) = &known.discovery
            && at.elapsed() < DISCOVERY_KEPT
        {
            return Ok((discovery.clone(), *private));
        }
        known.may_ask()?;
        let (discovery, private) = self.ask().await.inspect_err(|error| known.note_failure(error))?;
        let discovery = Arc::new(discovery);
        known.discovery = Some((discovery.clone(), private, Instant::now()));
        Ok((discovery, private))
    }

    async fn ask(&self) -> Result<(Discovery, bool), Unavailable> {
        let issuer = self.settings.issuer.trim_end_matches('/');
        let url = parse(&format!("{issuer}/.well-known/openid-configuration"))?;
        let fetched = fetch::json(&url, true).await?;
        let discovery =
            Discovery::deserialize(&fetched.document).map_err(|_| Unavailable::Odd("discovery document"))?;
        // OpenID Connect Discovery 1.0, section 4.3: otherwise one provider could speak for another.
        if discovery.issuer != self.settings.issuer {
            return Err(Unavailable::OtherIssuer);
        }
        Ok((discovery, fetched.private))
    }

    /// The keys, the newest when the token was signed with one that is not known yet.
    async fn keys_for(&self, token: &str) -> Result<Arc<Keys>, NotTaken> {
        let signed = id_token::header(token)?;
        let mut known = self.known().await?;
        let fresh = known.keys.clone().filter(|(_, at)| at.elapsed() < KEYS_KEPT).map(|(keys, _)| keys);
        if let Some(keys) = fresh
            && (keys.find(signed.kid.as_deref(), signed.signing).is_some() || !known.may_refetch())
        {
            return Ok(keys);
        }
        let (discovery, private) = self.discovered(&mut known).await?;
        known.may_ask()?;
        let fetched = match parse(&discovery.jwks_uri) {
            Ok(url) => fetch::json(&url, private).await.map_err(Unavailable::from),
            Err(error) => Err(error),
        };
        let keys = fetched.and_then(|fetched| read_keys(&fetched.document)).inspect_err(|e| known.note_failure(e))?;
        let (keys, now) = (Arc::new(keys), Instant::now());
        known.keys = Some((keys.clone(), now));
        known.fetched.push(now);
        Ok(keys)
    }

    /// Takes a token from whoever knows the verifier of its nonce, once.
    pub(super) async fn take(&self, token: &str, verifier: &str, now: Timestamp) -> Result<Said, NotTaken> {
        let keys = self.keys_for(token).await?;
        let said = id_token::check(token, verifier, &keys, &self.settings, now)?;
        match self.used.take(token, now) {
            First::Yes => Ok(said),
            First::Again => Err(NotTaken::Again),
            First::Full => Err(Unavailable::Busy.into()),
        }
    }
}

impl Known {
    /// Whoever asks all the time does not make us ask the provider all the time.
    fn may_ask(&self) -> Result<(), Unavailable> {
        if self.failed.is_some_and(|at| at.elapsed() < ASK_AGAIN_AFTER) { Err(Unavailable::AMomentAgo) } else { Ok(()) }
    }

    fn may_refetch(&mut self) -> bool {
        let (most, span) = REFETCHES;
        self.fetched.retain(|at| at.elapsed() < span);
        self.fetched.len() < most
    }

    fn note_failure(&mut self, error: &Unavailable) {
        tracing::warn!(error = %crate::server::process::chain(error), "the identity provider can't be used");
        self.failed = Some(Instant::now());
    }
}

fn parse(url: &str) -> Result<Url, Unavailable> {
    url.parse().map_err(|_| Unavailable::Odd("discovery document"))
}

fn read_keys(document: &Value) -> Result<Keys, Unavailable> {
    Keys::read(document).ok_or(Unavailable::Odd("key set"))
}

#[cfg(test)]
#[path = "provider_tests.rs"]
mod tests;
