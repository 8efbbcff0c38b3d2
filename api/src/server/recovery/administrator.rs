//! What local recovery does: a person who can sign in, with a new password and all rights. One batch, all or nothing.
use std::sync::Arc;

use mcpctl_core::access::{Permission, ResourceName, Role, holds};
use mcpctl_core::actor::Actor;
use mcpctl_core::command::{Command, Deed, Mode};
use mcpctl_core::erased::AnyAction;
use mcpctl_core::kinds::{Kind, Rbac, SubjectRef, UserAction};
use mcpctl_core::manifest;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::object::Object;
use mcpctl_core::plaintext::Plaintext;
use mcpctl_core::reference::Ref;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use serde_json::{Map, Value, json};

use crate::local::Recovered;
use crate::server::app::App;
use crate::server::bootstrap::{ADMINISTRATOR, draw_password};
use crate::server::effects::password;
use crate::server::problem::{Result, invalid};
use crate::server::revocation::{self, Wait};
use crate::server::writer::{Submission, WriteError};
use crate::server::{login_audit, prepare};

/// The binding that gives back what somebody lost. Others are left as they are.
const BINDING: &str = "local-recovery";

/// Makes a person an administrator: there, enabled, with a new password, bound to everything.
///
/// # Errors
/// When the name is none, or log, audit log or sealed store take no writes; then nothing was done.
pub(super) async fn recover(app: &Arc<App>, by: &Actor, user: Option<String>) -> Result<Recovered> {
    let text = user.map_or_else(|| ADMINISTRATOR.to_owned(), |user| user.trim().to_ascii_lowercase());
    let name = Name::parse(NameRule::Email, &text).map_err(|error| {
        let (field, message) = ("user".to_owned(), error.to_string());
        invalid(vec![mcpctl_core::refusal::Violation { field, message, hint: None }])
    })?;
    let state = app.published.load();
    let person = state.by_name(Kind::User, None, &name).cloned();
    login_audit::recovery(app, by, &name)?;
    let new = Plaintext::new(draw_password());
    let current = password::version_of(person.as_deref()).map_or(0, |current| current.version);
    let version = app.passwords.set(&new, current).await?;
    let sealed = version.commitment;
    let set: AnyAction = Box::new(UserAction::SetPassword(version));
    let mut submissions = vec![submission(by, enabled(&name, person.as_deref()), vec![set])?];
    let bound = !person.as_ref().is_some_and(|person| holds_all(&state, person));
    if bound {
        submissions.push(submission(by, binding(&state, &name), Vec::new())?);
    }
    let committed = prepare::complete(app.clone(), submissions, vec![vec![sealed]]).await?;
    revocation::fenced(&app.hub, Wait::UntilDead, &committed).await?;
    let seq = committed.last().ok_or(WriteError::Busy)?.seq;
    Ok(Recovered { user: name.to_string(), password: new.expose().to_owned(), bound, seq })
}

/// All that the administrator of a first start has.
fn all() -> [Permission; 3] {
    [
        Permission::every(Role::Edit, ResourceName::Any),
        Permission::every(Role::Run, ResourceName::Any),
        Permission::operation("*"),
    ]
}

fn holds_all(state: &State, person: &Object) -> bool {
    all().iter().all(|permission| holds(state, person.meta.uid, permission).is_some())
}

/// The person as they are, but enabled.
fn enabled(name: &Name, person: Option<&Object>) -> Map<String, Value> {
    let mut fields = person.map(|person| person.body.spec_fields()).unwrap_or_default();
    fields.remove("disabled");
    fields.insert("kind".into(), "user".into());
    fields.insert("name".into(), name.as_str().into());
    fields
}

/// A binding of everything to this person. One that is there and gives everything already takes them in; another one of that
/// name is left alone, since what it gives to others is not to grow.
fn binding(state: &State, name: &Name) -> Map<String, Value> {
    let known = Name::parse(NameRule::Label, BINDING).ok().and_then(|name| state.by_name(Kind::Rbac, None, &name));
    let known = known.and_then(|object| object.of::<Rbac>()).map(|(spec, _)| spec);
    let (called, mut subjects) = match known {
        None => (BINDING.to_owned(), Vec::new()),
        Some(spec) if all().iter().all(|needed| spec.role_bindings.contains(needed)) => {
            (BINDING.to_owned(), spec.subjects.clone())
        }
        Some(_) => (format!("{BINDING}-{}", state.seq()), Vec::new()),
    };
    subjects.push(SubjectRef::User { name: Ref::to(name.clone()) });
    let fields = json!({ "kind": "rbac", "name": called, "subjects": subjects, "roleBindings": all() });
    fields.as_object().cloned().unwrap_or_default()
}

fn submission(by: &Actor, fields: Map<String, Value>, then: Vec<AnyAction>) -> Result<Submission> {
    let manifest = manifest::read(fields).map_err(invalid)?;
    let deed = Deed::Apply { body: manifest.body, mode: Mode::Upsert, expected: None, then };
    let command = Command { kind: manifest.kind, name: manifest.name, project: manifest.project, deed };
    Ok(Submission::of(by.clone(), command))
}
