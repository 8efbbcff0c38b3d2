//! Who a request is from: always the credential, never the body.
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Digest, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::time::Timestamp;
use mcpctl_core::token::{LOGIN_PREFIX, PAT_PREFIX, is_well_formed};
use mcpctl_core::world::World as _;
use mcpctl_projections::State;

use super::app::App;
use super::problem::{Answer, problem, unauthorized};
use super::{impersonation, token_scope};

/// A caller whose credential was checked against the newest state.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// By whose rights the request is decided: the identity of the credential, or the service account that it acts as.
    pub actor: Actor,
    /// The identity of the credential, when it acts as `actor` (`X-Service-Account`).
    pub impersonator: Option<Actor>,
    /// SHA-256 of the credential.
    pub digest: Digest,
    /// The project of a token; `None` for a login.
    pub project: Option<Uid>,
    /// When the credential ends.
    pub expires_at: Option<Timestamp>,
    /// The moment at which it was checked: by it the request is decided.
    pub at: Timestamp,
}

impl Authenticated {
    /// The identity of the credential, whoever it acts as.
    #[must_use]
    pub fn credential(&self) -> &Actor {
        self.impersonator.as_ref().unwrap_or(&self.actor)
    }

    /// The service account that the credential acts as.
    #[must_use]
    pub fn on_behalf_of(&self) -> Option<&Actor> {
        self.impersonator.as_ref().map(|_| &self.actor)
    }
}

/// The bearer of a request, if it has one.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    // Of two nobody knows which was meant, and who looked at the request before may have taken the other one.
    let (value, None) = (all.next()?.to_str().ok()?, all.next()) else { return None };
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Checks a bearer against a state: shape, checksum, look-up by digest, life.
///
/// # Errors
/// Says which of these failed; nothing more.
pub fn authenticate(state: &State, raw: &str, now: Timestamp) -> Result<Authenticated, &'static str> {
    if !is_well_formed(PAT_PREFIX, raw) && !is_well_formed(LOGIN_PREFIX, raw) {
        return Err("the bearer is neither a login nor a project token of mcpctl");
    }
    by_digest(state, Digest::sha256(raw.as_bytes()), now)
}

/// Checks a credential that is known by its digest alone: one that was presented before.
///
/// # Errors
/// Says why it opens nothing.
pub fn by_digest(state: &State, digest: Digest, now: Timestamp) -> Result<Authenticated, &'static str> {
    let object = state.credential(&digest).and_then(|uid| state.by_uid(uid)).ok_or("the token is unknown")?;
    let credential = object.body.credentials().into_iter().find(|credential| credential.digest == digest);
    let credential = credential.ok_or("the token is unknown")?;
    match credential.ended {
        Some("revoked") => return Err("the token is revoked"),
        Some("expired") => return Err("the token is expired"),
        Some(other) => return Err(other),
        None if credential.expires_at.is_some_and(|at| at <= now) => return Err("the token is expired"),
        None => {}
    }
    let kind = match object.meta.kind {
        Kind::User => ActorKind::User,
        Kind::McpToken => ActorKind::McpToken,
        _ => return Err("the token is unknown"),
    };
    let actor = Actor { kind, uid: object.meta.uid, name: object.meta.name.to_string() };
    let project = object.meta.project.as_ref().map(|project| project.uid);
    Ok(Authenticated { actor, impersonator: None, digest, project, expires_at: credential.expires_at, at: now })
}

impl FromRequestParts<Arc<App>> for Authenticated {
    type Rejection = Answer;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Answer> {
        let raw = bearer(&parts.headers).ok_or_else(|| unauthorized("the request carries no bearer"))?;
        let (state, now) = (app.published.load(), app.published.now());
        let caller = authenticate(&state, raw, now.max(state.last_at())).map_err(unauthorized)?;
        if caller.actor.kind == ActorKind::User && !app.idle.used(caller.digest, now) {
            return Err(unauthorized("the login was idle for more than 30 minutes"));
        }
        if let Some(project) = caller.project.and_then(|uid| state.by_uid(uid))
            && !token_scope::reaches(parts.uri.path(), parts.uri.query(), project.meta.name.as_str())
        {
            return Err(problem(
                axum::http::StatusCode::FORBIDDEN,
                "outside-project",
                "Outside the token's project",
                "a project token reaches /api/v1/projects/<its project>/…, its own introspection and /auth/me, and nothing else",
            ));
        }
        impersonation::act_as(&state, caller, &parts.headers, now)
    }
}
