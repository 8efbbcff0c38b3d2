//! What a sign-in at the provider does to the log: a user at the first, memberships by claim, a login. One batch.
use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;
use mcpctl_core::actor::Actor;
use mcpctl_core::command::{Command, Deed, Mode};
use mcpctl_core::erased::{AnyAction, Body};
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::{Group, GroupAction, Identity, Kind, User, UserAction, UserStatus, user_of};
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::object::Object;
use mcpctl_core::refusal::Refusal;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;

use super::id_token::Said;
use crate::server::app::{App, LOGIN_MS};
use crate::server::effects::mint_token;
use crate::server::problem::{Answer, Result, problem};
use crate::server::revocation::{self, Wait};
use crate::server::writer::{Submission, WriteError};
use crate::wire::LoginAnswer;

/// Signs in whom the provider named. Answers the login and the user.
///
/// # Errors
/// When the person is disabled, can't be given a name, or the log takes no writes.
pub(super) async fn sign_in(app: &App, said: &Said) -> Result<(LoginAnswer, Arc<Object>)> {
    match once(app, said).await {
        // Somebody signed in for the first time twice at once: the second time they are there.
        Err(Failed::Exists) => once(app, said).await.map_err(|failed| failed.answer(said)),
        other => other.map_err(|failed| failed.answer(said)),
    }
}

enum Failed {
    /// The name of a new user is taken.
    Exists,
    Answer(Answer),
}

impl Failed {
    fn answer(self, said: &Said) -> Answer {
        match self {
            Self::Exists => taken(said.name.as_deref().unwrap_or_default()),
            Self::Answer(answer) => answer,
        }
    }
}

async fn once(app: &App, said: &Said) -> std::result::Result<(LoginAnswer, Arc<Object>), Failed> {
    let state = app.published.load();
    let first = match user_of(&*state, &said.identity) {
        Some(user) if !user.body.enabled() => return Err(Failed::Answer(disabled(&user.meta.name))),
        Some(_) => Vec::new(),
        None => vec![newcomer(said).map_err(Failed::Answer)?],
    };
    let (raw, digest) = mint_token::draw_login();
    let expires_at = app.published.now().plus_millis(LOGIN_MS);
    let (identity, groups) = (said.identity.clone(), said.groups.clone());
    let following = move |state: &State| follow_up(state, &identity, &groups, digest, expires_at);
    let done = app.writer.submit_then(first, following).await;
    let committed = done.map_err(|error| match error {
        WriteError::Refused { refusal: Refusal::AlreadyExists { .. }, .. } => Failed::Exists,
        other => Failed::Answer(other.into()),
    })?;
    // A membership that ended takes access away: who signs in waits until that is true everywhere.
    revocation::fenced(&app.hub, Wait::UntilDead, &committed).await.map_err(|error| Failed::Answer(error.into()))?;
    // The login comes last.
    let user = committed.into_iter().next_back().and_then(|committed| committed.object);
    let user = user.ok_or_else(|| Failed::Answer(gone()))?;
    let answer = LoginAnswer { token: raw.expose().to_owned(), expires_at, user: user.meta.name.to_string() };
    Ok((answer, user))
}

fn system(kind: Kind, name: Name, deed: Deed) -> Submission {
    Submission::of(Actor::system("oidc"), Command { kind, name, project: None, deed })
}

fn act(kind: Kind, name: &Name, action: AnyAction) -> Submission {
    system(kind, name.clone(), Deed::Act(action))
}

/// A user without any right, named by the provider.
fn newcomer(said: &Said) -> Result<Submission> {
    let name = said.name.as_deref().ok_or_else(nameless)?;
    let name = Name::parse(NameRule::Email, name).map_err(|_| nameless())?;
    let spec = User { display_name: None, disabled: false, identity: Some(said.identity.clone()), password: None };
    let body = Arc::new(Body::<User> { spec, status: UserStatus::default() });
    Ok(system(Kind::User, name, Deed::Apply { body, mode: Mode::Create, expected: None, then: Vec::new() }))
}

/// What follows for whoever has the identity now: level memberships, then the login.
fn follow_up(
    state: &State,
    identity: &Identity,
    said: &BTreeSet<String>,
    digest: Digest,
    expires_at: Timestamp,
) -> Vec<Submission> {
    let Some(user) = user_of(state, identity) else { return Vec::new() };
    let (uid, name) = (user.meta.uid, &user.meta.name);
    let concerned = |group: &&Arc<Object>| {
        group.of::<Group>().is_some_and(|(spec, status)| {
            status.claimed.contains_key(&uid) || spec.claims.iter().any(|claim| said.contains(claim))
        })
    };
    let level = |group: &Arc<Object>| {
        let action = GroupAction::Level { user: uid, name: name.clone(), said: said.clone() };
        act(Kind::Group, &group.meta.name, Box::new(action))
    };
    let mut all: Vec<Submission> = state.all(Kind::Group).filter(concerned).map(level).collect();
    let open = UserAction::OpenLoginBy { digest, expires_at, identity: identity.clone() };
    all.push(act(Kind::User, name, Box::new(open)));
    all
}

fn disabled(name: &Name) -> Answer {
    problem(StatusCode::FORBIDDEN, "disabled", "Not allowed", format!("the user {name} is disabled"))
        .hint("ask an administrator of this control plane")
}

fn nameless() -> Answer {
    problem(
        StatusCode::FORBIDDEN,
        "no-name",
        "Not allowed",
        "the identity provider names no verified e-mail address, and a new user is named by it",
    )
    .hint("verify the address at the provider, or set MCPD_OIDC_SCOPES and MCPD_OIDC_NAME_CLAIM to get one")
}

/// The address is the same, the person at the provider is not: whoever is there under that name is somebody else.
fn taken(name: &str) -> Answer {
    let name = Name::parse(NameRule::Email, name).map(|name| name.to_string()).unwrap_or_default();
    let detail = format!("there is a user {name} already, who is somebody else for the identity provider");
    problem(StatusCode::CONFLICT, "name-taken", "The name is taken", detail).hint(format!(
        "an administrator who knows that it is you sets `identity` (issuer and subject) with `mcpctl edit user {name}`, or \
         deletes that user"
    ))
}

fn gone() -> Answer {
    problem(StatusCode::CONFLICT, "impossible", "Not possible now", "the user was deleted in the meantime")
        .hint("sign in again")
}
