//! `X-Service-Account`: a person acts as a machine subject, by its rights and with both names in the event (C7).
//!
//! It is looked at where the bearer is, so that no route can forget it. Here it is decided for looks; for a change the
//! writer decides it again, against the state that the change is made to.
use axum::http::{HeaderMap, StatusCode};
use mcpctl_core::access::{Ask, Verb, decide, impersonates};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::refusal::Refusal;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;

use super::auth::Authenticated;
use super::problem::{Answer, not_found, problem};
use crate::wire::SERVICE_ACCOUNT;

/// The caller, as the service account that the request names, if it names one and the caller may.
///
/// # Errors
/// The same refusal for an account that is not there and one that the caller may not act as.
pub(super) fn act_as(
    state: &State,
    caller: Authenticated,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Authenticated, Answer> {
    let Some(name) = named(headers)? else { return Ok(caller) };
    if caller.actor.kind == ActorKind::McpToken {
        let detail = "a token acts as nobody else, whoever owns it";
        return Err(problem(StatusCode::FORBIDDEN, "forbidden", "Forbidden", detail)
            .hint("log in, and send the login's bearer; a service account's own tokens need no X-Service-Account"));
    }
    let now = now.max(state.last_at());
    let Some(account) = state.by_name(Kind::ServiceAccount, None, &name) else {
        return Err(absent(state, &caller, &name, now));
    };
    if !impersonates(state, &caller.actor, account, now).allowed {
        return Err(forbidden(state, &caller, &name));
    }
    if !account.body.enabled() {
        let detail = format!("serviceaccount/{name} is disabled");
        return Err(problem(StatusCode::FORBIDDEN, "forbidden", "Forbidden", detail)
            .hint(format!("enable it: mcpctl edit serviceaccount {name}")));
    }
    let actor = Actor { kind: ActorKind::ServiceAccount, uid: account.meta.uid, name: name.to_string() };
    let impersonator = Some(caller.actor.clone());
    Ok(Authenticated { actor, impersonator, ..caller })
}

/// Only who could act as it, if it were there, is told that it is not.
fn absent(state: &State, caller: &Authenticated, name: &Name, now: Timestamp) -> Answer {
    let may = |ask: &Ask<'_>| decide(state, &caller.actor, ask, now).allowed;
    let one = Ask::named(Verb::Run, Kind::ServiceAccount, None, name);
    if may(&Ask::Operation(mcpctl_core::access::IMPERSONATE)) || may(&one) {
        return not_found(format!("serviceaccount/{name} does not exist")).hint("see `mcpctl get serviceaccounts`");
    }
    forbidden(state, caller, name)
}

fn forbidden(state: &State, caller: &Authenticated, name: &Name) -> Answer {
    let missing = format!("{} serviceaccounts/{name}", Verb::Run);
    Refusal::Forbidden { actor: caller.actor.to_string(), missing, at: state.seq() }.into()
}

/// The one name that a request gives; two are refused, because whoever reads the other one would see another caller.
fn named(headers: &HeaderMap) -> Result<Option<Name>, Answer> {
    let mut all = headers.get_all(SERVICE_ACCOUNT).iter();
    let (Some(value), more) = (all.next(), all.next()) else { return Ok(None) };
    let malformed = |what: String| {
        problem(StatusCode::BAD_REQUEST, "service-account", "Malformed header", what)
            .hint("send X-Service-Account once, with the name of a service account")
    };
    if more.is_some() {
        return Err(malformed("X-Service-Account is given twice".to_owned()));
    }
    let text = value.to_str().map_err(|_| malformed("X-Service-Account is no name".to_owned()))?;
    Name::parse(NameRule::Label, text).map(Some).map_err(|error| malformed(format!("X-Service-Account: {error}")))
}

/// For what is asked with a bearer alone: there the header would be left unread, and the caller believe otherwise.
pub(super) async fn refused_here(
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    use axum::response::IntoResponse as _;
    if request.headers().contains_key(SERVICE_ACCOUNT) {
        let detail = "this address is asked with a bearer alone";
        return problem(StatusCode::BAD_REQUEST, "service-account", "Not taken here", detail)
            .hint("leave X-Service-Account out")
            .into_response();
    }
    next.run(request).await
}
