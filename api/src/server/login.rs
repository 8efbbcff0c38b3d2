//! Signing in and out, and who one is: `/auth/login`, `/auth/logout`, `/auth/me`.
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mcpctl_core::access::effective;
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::command::{Command, Deed};
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::{Kind, McpToken, User, UserAction};
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::plaintext::Plaintext;
use mcpctl_core::world::World as _;

use super::app::{App, LOGIN_MS};
use super::auth::Authenticated;
use super::effects::{mint_token, password};
use super::limits::too_many;
use super::problem::{Result, problem, unauthorized};
use super::rate_limit::Source;
use super::revocation::{self, Wait};
use super::writer::Submission;
use super::{json_body, login_audit};
use crate::wire::{Done, LoginAnswer, LoginRequest, Me};

/// Routes of signing in.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/auth/login", post(login))
        .route("/api/v1/auth/logout", post(logout))
        .route("/api/v1/auth/me", get(me))
}

async fn login(
    Shared(app): Shared<Arc<App>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response> {
    json_body::is_json(&headers)?;
    let asked: LoginRequest = serde_json::from_slice(&body).map_err(|error| {
        // The parser's message may quote the input, and the input holds a password: its place is enough.
        problem(
            StatusCode::BAD_REQUEST,
            "malformed",
            "Malformed JSON",
            format!("not a login at line {}, column {}", error.line(), error.column()),
        )
        .hint("send {\"email\": …, \"password\": …}")
    })?;
    let email = asked.email.trim().to_ascii_lowercase();
    let source = Source::from(from.ip());
    let may_try = || app.limits.may_log_in(source, &email, Instant::now()).map_err(|limited| too_many(&limited));
    may_try()?;
    let turn = app.passwords.turn().await?;
    // Looked at again, since those before may have failed: guesses that come all at once are counted too.
    may_try()?;
    let password = Plaintext::new(asked.password);
    let state = app.published.load();
    let user =
        Name::parse(NameRule::Email, &email).ok().and_then(|name| state.by_name(Kind::User, None, &name).cloned());
    let version = password::version_of(user.as_deref());
    let right = app.passwords.check(turn, version.as_ref(), &password).await;
    let Some(user) = user.filter(|user| right && user.body.enabled()) else {
        app.limits.login_failed(source, &email, Instant::now());
        login_audit::refused(&app, &email, &from.ip().to_string());
        return Err(unauthorized("e-mail address or password is wrong"));
    };
    let answer = open_checked(&app, &user.meta.name, version.map(|version| version.commitment)).await?;
    login_audit::opened(&app, &user);
    let mut response = axum::Json(answer).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Opens a login for a user whose identity is established.
///
/// # Errors
/// When the log takes no writes.
pub async fn open(app: &App, user: &Name) -> Result<LoginAnswer> {
    open_checked(app, user, None).await
}

async fn open_checked(app: &App, user: &Name, checked: Option<Digest>) -> Result<LoginAnswer> {
    let (raw, digest) = mint_token::draw_login();
    let expires_at = app.published.now().plus_millis(LOGIN_MS);
    let action = UserAction::OpenLogin { digest, expires_at, checked };
    let command = Command { kind: Kind::User, name: user.clone(), project: None, deed: Deed::Act(Box::new(action)) };
    app.writer.submit(Submission::of(Actor::system("login"), command)).await?;
    Ok(LoginAnswer { token: raw.expose().to_owned(), expires_at, user: user.to_string() })
}

async fn logout(Shared(app): Shared<Arc<App>>, caller: Authenticated) -> Result<Response> {
    if caller.actor.kind != ActorKind::User {
        return Err(problem(
            StatusCode::BAD_REQUEST,
            "not-a-login",
            "Not a login",
            "a token is ended with `mcpctl revoke`",
        ));
    }
    let state = app.published.load();
    let name = state.by_uid(caller.actor.uid).map(|user| user.meta.name.clone());
    let Some(name) = name else { return Err(unauthorized("the user is gone")) };
    let action = UserAction::CloseLogin { digest: caller.digest };
    let command = Command { kind: Kind::User, name, project: None, deed: Deed::Act(Box::new(action)) };
    let committed = app.writer.submit(Submission::of(caller.actor, command)).await?;
    let revocation = revocation::fenced(&app.hub, Wait::UntilDead, std::slice::from_ref(&committed)).await?;
    let done = Done { outcome: "changed".to_owned(), seq: committed.seq, revocation, also: Vec::new() };
    Ok(axum::Json(done).into_response())
}

async fn me(Shared(app): Shared<Arc<App>>, caller: Authenticated) -> axum::Json<Me> {
    let state = app.published.load();
    let rights: BTreeSet<String> =
        effective(&*state, caller.actor.uid).into_iter().map(|grant| grant.permission.to_string()).collect();
    let groups = state
        .memberships(caller.actor.uid)
        .iter()
        .filter_map(|member| Some(state.by_uid(member.group)?.meta.name.to_string()));
    let token = state.by_uid(caller.actor.uid);
    axum::Json(Me {
        owner: token.and_then(|object| object.of::<McpToken>()?.1.owner.clone()),
        project: token.and_then(|object| object.meta.project.as_ref().map(|project| project.name.to_string())),
        groups: groups.collect(),
        identity: token.and_then(|object| object.of::<User>()?.0.identity.clone()),
        rights: rights.into_iter().collect(),
        expires_at: caller.expires_at,
        seq: state.seq(),
        on_behalf_of: caller.on_behalf_of().cloned(),
        actor: caller.credential().clone(),
    })
}
