//! What must happen before a command: draw a token, seal values, hash a password; and what is left to do after one.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mcpctl_core::access::{Ask, Verb};
use mcpctl_core::command::Outcome;
use mcpctl_core::erased::{AnyAction, AnyBody, Body};
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::{Kind, PasswordVersion, Secret, SecretAction, SecretVersion, User, UserAction};
use mcpctl_core::manifest::Manifest;
use mcpctl_core::object::Object;
use mcpctl_core::plaintext::Plaintext;
use mcpctl_core::refusal::{Violation, Violations};
use mcpctl_core::resource::Resource as _;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;

use super::app::App;
use super::auth::Authenticated;
use super::effects::{mint_token, password, secret_values};
use super::problem::Result;
use super::target::may;
use super::writer::{Committed, Submission, WriteError};

/// Actions of the same batch, what is to be shown once, and what lies sealed for it.
#[derive(Default)]
pub struct Prepared {
    /// Actions for the command.
    pub actions: Vec<AnyAction>,
    /// A token that was drawn.
    pub token: Option<Plaintext>,
    /// What was sealed.
    pub sealed: Vec<Digest>,
}

/// The spec with everything taken out that may not enter an event.
#[must_use]
pub fn without_secrets(body: &Arc<dyn AnyBody>) -> Arc<dyn AnyBody> {
    if let Some(secret) = body.as_any().downcast_ref::<Body<Secret>>() {
        return Arc::new(Body::<Secret> {
            spec: Secret { data: None, ..secret.spec.clone() },
            status: secret.status.clone(),
        });
    }
    if let Some(user) = body.as_any().downcast_ref::<Body<User>>() {
        return Arc::new(Body::<User> {
            spec: User { password: None, ..user.spec.clone() },
            status: user.status.clone(),
        });
    }
    body.clone()
}

/// What is wrong with the values that [`without_secrets`] takes out: the decision never sees them.
///
/// # Errors
/// Names each field.
pub fn check(manifest: &Manifest) -> std::result::Result<(), Vec<Violation>> {
    let mut violations = Violations::default();
    if let Some(secret) = manifest.body.as_any().downcast_ref::<Body<Secret>>() {
        secret.spec.validate(&manifest.name, &mut violations);
    }
    if let Some(user) = manifest.body.as_any().downcast_ref::<Body<User>>() {
        user.spec.validate(&manifest.name, &mut violations);
    }
    if violations.0.is_empty() { Ok(()) } else { Err(violations.0) }
}

fn existing(app: &App, manifest: &Manifest) -> Option<Arc<Object>> {
    let state = app.published.load();
    let project = manifest.project.as_ref().and_then(|name| state.by_name(Kind::Project, None, name));
    state.by_name(manifest.kind, project.map(|project| project.meta.uid), &manifest.name).cloned()
}

/// Whether values in the manifest of a secret are others than those in force.
fn differs(app: &App, manifest: &Manifest, data: &BTreeMap<String, Plaintext>) -> bool {
    let Some(Ok(held)) = existing(app, manifest).map(|object| secret_values::read(&app.sealed, &object)) else {
        return true;
    };
    held.len() != data.len()
        || data.iter().any(|(key, value)| held.get(key).is_none_or(|held| held.as_str() != value.expose()))
}

/// The actions of a command before anything is drawn, sealed or hashed: what they are about is decided like the real ones.
///
/// # Errors
/// When the backend of a secret can't take values.
pub fn foreseen(app: &App, caller: &Authenticated, manifest: &Manifest) -> Result<Vec<AnyAction>> {
    let nothing = Digest::default();
    if manifest.kind == Kind::McpToken {
        return Ok(vec![Box::new(mint_token::draw_token().1)]);
    }
    if let Some(secret) = manifest.body.as_any().downcast_ref::<Body<Secret>>()
        && let Some(data) = &secret.spec.data
    {
        let backend = secret.spec.backend.as_ref().map(mcpctl_core::reference::Ref::name);
        let state = app.published.load();
        let backend = secret_values::choose_backend(&*state, backend)?;
        let keys = data.keys().cloned().collect();
        let version = SecretVersion { version: 0, keys, backend, commitment: nothing };
        let write: AnyAction = Box::new(SecretAction::Write(version));
        // For one who may not use the values, "unchanged" would be a way to guess them.
        let may_compare = may(&state, caller, &Ask::named(Verb::Run, Kind::Secret, None, &manifest.name));
        return Ok(if may_compare && !differs(app, manifest, data) { Vec::new() } else { vec![write] });
    }
    if manifest.body.as_any().downcast_ref::<Body<User>>().is_some_and(|user| user.spec.password.is_some()) {
        return Ok(vec![Box::new(UserAction::SetPassword(PasswordVersion { version: 0, commitment: nothing }))]);
    }
    Ok(Vec::new())
}

/// Does what must be done before the command; `foreseen` is what would become of the object.
///
/// # Errors
/// When the sealed store can't take it.
pub async fn effects(app: &App, manifest: &Manifest, foreseen: Outcome) -> Result<Prepared> {
    let mut prepared = Prepared::default();
    if manifest.kind == Kind::McpToken && foreseen == Outcome::Created {
        let (raw, action) = mint_token::draw_token();
        prepared.actions.push(Box::new(action));
        prepared.token = Some(raw);
    }
    if let Some(secret) = manifest.body.as_any().downcast_ref::<Body<Secret>>()
        && let Some(data) = &secret.spec.data
    {
        let state = app.published.load();
        let backend = secret.spec.backend.as_ref().map(mcpctl_core::reference::Ref::name);
        let object = existing(app, manifest);
        let version = secret_values::write(&app.sealed, &*state, object.as_deref(), backend, data)?;
        prepared.sealed.extend(version.as_ref().map(|version| version.commitment));
        prepared.actions.extend(version.map(|version| Box::new(SecretAction::Write(version)) as AnyAction));
    }
    if let Some(user) = manifest.body.as_any().downcast_ref::<Body<User>>()
        && let Some(new) = &user.spec.password
    {
        let current = password::version_of(existing(app, manifest).as_deref());
        // Applying the password in force again changes nothing, and ends nobody's login.
        let same = match &current {
            Some(_) => app.passwords.check(app.passwords.turn().await?, current.as_ref(), new).await,
            None => false,
        };
        if !same {
            let version = app.passwords.set(new, current.map_or(0, |current| current.version)).await?;
            prepared.sealed.push(version.commitment);
            prepared.actions.push(Box::new(UserAction::SetPassword(version)));
        }
    }
    Ok(prepared)
}

/// Submits commands with what was sealed for each, and shreds what no object needs after them. It goes on to its end when
/// the caller hangs up: what a kill leaves over is shredded at the next start.
///
/// # Errors
/// See [`WriteError`].
pub async fn complete(
    app: Arc<App>,
    submissions: Vec<Submission>,
    sealed: Vec<Vec<Digest>>,
) -> std::result::Result<Vec<Committed>, WriteError> {
    let work = async move {
        let result = app.writer.submit_all(submissions).await;
        match &result {
            Ok(all) => {
                for (index, committed) in all.iter().enumerate() {
                    shred_old(&app, committed, sealed.get(index).map_or(&[], Vec::as_slice));
                }
            }
            // Nothing of it became true, and nothing of it can any more.
            Err(WriteError::Refused { .. }) => give_up(&app, &sealed),
            // It may have become true all the same.
            Err(_) => {}
        }
        result
    };
    tokio::spawn(work).await.unwrap_or(Err(WriteError::NoAnswer))
}

/// Shreds what was sealed for commands that are not given after all.
pub fn give_up(app: &App, sealed: &[Vec<Digest>]) {
    sealed.iter().flatten().for_each(|commitment| shred(app, commitment));
}

/// Shreds what an object had sealed before and needs no more, and what was sealed in vain.
pub(super) fn shred_old(app: &App, committed: &Committed, sealed: &[Digest]) {
    let seals = |object: &&Arc<Object>| matches!(object.meta.kind, Kind::Secret | Kind::User);
    let Some(uid) = committed.object.as_ref().filter(seals).map(|object| object.meta.uid) else { return };
    let state = app.published.load();
    let in_force = state.by_uid(uid).and_then(|object| commitment_of(object));
    let before = committed.before.iter().filter_map(|object| commitment_of(object));
    let mut old: BTreeSet<Digest> = before.chain(sealed.iter().copied()).collect();
    old.retain(|commitment| Some(*commitment) != in_force);
    old.iter().for_each(|commitment| shred(app, commitment));
}

fn shred(app: &App, commitment: &Digest) {
    if let Err(error) = app.sealed.shred(commitment) {
        tracing::warn!(%error, "a sealed value could not be shredded; the next start tries again");
    }
}

fn commitment_of(object: &Object) -> Option<Digest> {
    if let Some((_, status)) = object.of::<Secret>() {
        return status.current.as_ref().map(|current| current.commitment);
    }
    object.of::<User>()?.1.password.as_ref().map(|password| password.commitment)
}

/// Commitments that the state speaks of: everything else in the sealed store is left over.
#[must_use]
pub fn live_commitments(state: &State) -> BTreeSet<Digest> {
    let sealed = [Kind::Secret, Kind::User];
    sealed.iter().flat_map(|kind| state.all(*kind)).filter_map(|object| commitment_of(object)).collect()
}
