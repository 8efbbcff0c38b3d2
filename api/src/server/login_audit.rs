//! Logins, local recovery and reads of secrets in the audit log.
use mcpctl_core::access::{Ask, Verb, decide};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::name::Name;
use mcpctl_core::object::Object;
use mcpctl_core::refusal::Refusal;
use mcpctl_core::world::World as _;

use super::app::App;
use super::auth::Authenticated;
use crate::plane::{AuditEntry, rule};

fn entry(app: &App, kind: &str, method: &str, actor: Option<Actor>, allowed: bool) -> AuditEntry {
    AuditEntry {
        at: app.published.now(),
        kind: kind.to_owned(),
        method: method.to_owned(),
        actor,
        allowed,
        seq: app.published.load().seq(),
        outcome: if allowed { "ok" } else { "denied" }.to_owned(),
        ..AuditEntry::default()
    }
}

fn append(app: &App, entry: AuditEntry) {
    if let Err(error) = app.audit.append(entry) {
        tracing::error!(%error, "a login or a recovery could not be audited");
    }
}

/// A login that was opened.
pub(super) fn opened(app: &App, user: &Object) {
    let actor = Actor { kind: ActorKind::User, uid: user.meta.uid, name: user.meta.name.to_string() };
    let rule = Some(rule::PASSWORD.to_owned());
    append(app, AuditEntry { rule, ..entry(app, "login", "auth/login", Some(actor), true) });
}

/// A login that was refused. The address is kept, the password never.
pub(super) fn refused(app: &App, email: &str, from: &str) {
    let shown: String = email.chars().take(120).collect();
    let reason = Some(format!("wrong e-mail address or password for {shown:?} from {from}"));
    let rule = Some(rule::PASSWORD.to_owned());
    append(app, AuditEntry { reason, rule, ..entry(app, "login", "auth/login", None, false) });
}

/// A login that was opened with an ID token.
pub(super) fn opened_at_provider(app: &App, user: &Object) {
    let actor = Actor { kind: ActorKind::User, uid: user.meta.uid, name: user.meta.name.to_string() };
    append(app, entry(app, "login", "auth/oidc", Some(actor), true));
}

/// An ID token that was not taken. The reason is one of ours, and holds nothing of the token.
pub(super) fn refused_at_provider(app: &App, why: &str, from: &str) {
    let reason = Some(format!("an ID token from {from} was not taken: {why}"));
    append(app, AuditEntry { reason, ..entry(app, "login", "auth/oidc", None, false) });
}

/// Local recovery, before it is done; refused when it can't be audited.
pub(super) fn recovery(app: &App, by: &Actor, user: &Name) -> super::problem::Result<()> {
    let reason = Some(format!("{user} is made an administrator with a new password"));
    let line = AuditEntry { reason, ..entry(app, "recovery", "recover/admin", Some(by.clone()), true) };
    app.audit.append(line).map(drop).map_err(|error| unaudited(&error))
}

/// Local recovery that was refused.
pub(super) fn recovery_refused(app: &App, by: Option<Actor>, why: &str) {
    append(app, AuditEntry { reason: Some(why.to_owned()), ..entry(app, "recovery", "recover/admin", by, false) });
}

fn unaudited(error: &dyn std::error::Error) -> super::problem::Answer {
    super::problem::problem(axum::http::StatusCode::SERVICE_UNAVAILABLE, "audit", "Not audited", error.to_string())
}

/// A look at values of a secret; refused when it can't be audited.
pub(super) fn secret_read(app: &App, caller: &Authenticated, secret: &Object) -> super::problem::Result<()> {
    // The narrower of the two rights that it takes; the other was looked at in the same state or the one before.
    let ask = Ask::on(Verb::Run, secret);
    let verdict = decide(&*app.published.load(), &caller.actor, &ask, caller.at);
    let line = AuditEntry {
        tool: Some(secret.meta.name.to_string()),
        on_behalf_of: caller.on_behalf_of().cloned(),
        ..entry(app, "secret-read", "secrets/values", Some(caller.credential().clone()), true)
    }
    .decided(&ask, &verdict);
    if !verdict.allowed {
        let missing = ask.to_string();
        return Err(Refusal::Forbidden { actor: caller.actor.to_string(), missing, at: verdict.at }.into());
    }
    app.audit.append(line).map(drop).map_err(|error| unaudited(&error))
}
