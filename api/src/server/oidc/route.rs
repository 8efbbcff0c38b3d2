//! `/auth/oidc`: where to sign in (GET), and the ID token that was got there (POST).
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::provider::{NotTaken, Provider, Unavailable};
use super::sign_in::sign_in;
use crate::server::app::App;
use crate::server::limits::too_many;
use crate::server::problem::{Answer, Result, not_found, problem};
use crate::server::rate_limit::Source;
use crate::server::{clock, json_body, login_audit};
use crate::wire::{OidcOffer, OidcSignIn};

/// The address; nobody has a bearer yet who comes here.
pub(in crate::server) const PATH: &str = "/api/v1/auth/oidc";

/// The routes.
pub(in crate::server) fn routes() -> Router<Arc<App>> {
    Router::new().route(PATH, get(offer).post(present))
}

fn provider(app: &App) -> Result<&Provider> {
    app.oidc.get().ok_or_else(|| {
        not_found("this control plane has no identity provider")
            .hint("sign in with a password: mcpctl login --user E-MAIL")
    })
}

async fn offer(Shared(app): Shared<Arc<App>>) -> Result<axum::Json<OidcOffer>> {
    let provider = provider(&app)?;
    let discovery = provider.discovery().await?;
    let settings = provider.settings();
    Ok(axum::Json(OidcOffer {
        issuer: settings.issuer.clone(),
        client_id: settings.client_id.clone(),
        scopes: settings.scopes.clone(),
        authorization_endpoint: discovery.authorization_endpoint.clone(),
        token_endpoint: discovery.token_endpoint.clone(),
        device_authorization_endpoint: discovery.device_authorization_endpoint.clone(),
    }))
}

async fn present(
    Shared(app): Shared<Arc<App>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response> {
    let provider = provider(&app)?;
    json_body::is_json(&headers)?;
    let asked: OidcSignIn = serde_json::from_slice(&body).map_err(|error| {
        // The parser's message may quote the input, and the input holds a token: its place is enough.
        let detail = format!("not a sign-in at line {}, column {}", error.line(), error.column());
        problem(StatusCode::BAD_REQUEST, "malformed", "Malformed JSON", detail)
            .hint("send {\"idToken\": …, \"verifier\": …}")
    })?;
    let source = Source::from(from.ip());
    app.limits.may_sign_in(source, Instant::now()).map_err(|limited| too_many(&limited))?;
    let refused = |why: &str| {
        app.limits.sign_in_failed(source, Instant::now());
        login_audit::refused_at_provider(&app, why, &from.ip().to_string());
    };
    let said = match provider.take(&asked.id_token, &asked.verifier, clock::now()).await {
        Ok(said) => said,
        Err(NotTaken::Unavailable(unavailable)) => return Err(unavailable.into()),
        Err(not_taken) => {
            refused(&not_taken.to_string());
            return Err(not_taken.into());
        }
    };
    let (answer, user) = sign_in(&app, &said).await.inspect_err(|answer| {
        // A log that takes no writes is nobody's guess.
        if answer.0.status < 500 {
            refused(&answer.0.title);
        }
    })?;
    login_audit::opened_at_provider(&app, &user);
    let mut response = axum::Json(answer).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl From<Unavailable> for Answer {
    fn from(unavailable: Unavailable) -> Self {
        let hint = match unavailable {
            Unavailable::OtherIssuer => "compare --oidc-issuer with `issuer` in its /.well-known/openid-configuration",
            _ => "try again in a moment; who has a password signs in with `mcpctl login --user E-MAIL`",
        };
        let status = StatusCode::SERVICE_UNAVAILABLE;
        problem(status, "identity-provider", "The identity provider can't be used", unavailable.to_string())
            .hint(hint)
            .retry_after(5)
    }
}

impl From<NotTaken> for Answer {
    fn from(not_taken: NotTaken) -> Self {
        let hint = match &not_taken {
            NotTaken::Refused(refused) => refused.hint(),
            _ => "sign in again: mcpctl login",
        };
        match not_taken {
            NotTaken::Unavailable(unavailable) => unavailable.into(),
            other => problem(
                StatusCode::UNAUTHORIZED,
                "id-token",
                "Not signed in",
                format!("the ID token is not taken: {other}"),
            )
            .hint(hint),
        }
    }
}
