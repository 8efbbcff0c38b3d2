//! The first start: an administrator, the project `default`, the embedded server, a token. One batch, all or nothing.
use std::sync::Arc;

use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::command::{Command, Deed, Mode};
use mcpctl_core::erased::AnyAction;
use mcpctl_core::kinds::{Kind, McpTokenAction, UserAction};
use mcpctl_core::manifest;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::plaintext::Plaintext;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use serde_json::json;

use super::app::App;
use super::clock;
use super::effects::mint_token;
use super::problem::{Result, invalid};
use super::writer::Submission;

/// The administrator of a first start.
pub const ADMINISTRATOR: &str = "admin@localhost";
/// The project of a first start.
pub const PROJECT: &str = "default";

/// What a first start made, to be shown once.
pub struct FirstStart {
    /// Password of the administrator.
    pub password: Plaintext,
    /// Token of the project `default`.
    pub token: Plaintext,
}

/// Makes what a first start makes, when the log is empty.
///
/// # Errors
/// When the log or the sealed store takes no writes; then nothing was made, and the next start tries again.
pub async fn first_start(app: &Arc<App>) -> Result<Option<FirstStart>> {
    if app.published.load().seq().0 > 0 {
        return Ok(None);
    }
    let password = Plaintext::new(draw_password());
    let (token, mint) = mint_token::draw_token();
    let set = app.passwords.set(&password, 0).await?;
    let McpTokenAction::Mint { sha256, prefix } = mint else { return Ok(None) };
    let system = Actor::system("bootstrap");
    let mut steps = Vec::new();
    let set_password: AnyAction = Box::new(UserAction::SetPassword(set));
    steps.push((json!({ "kind": "user", "name": ADMINISTRATOR, "displayName": "Administrator" }), vec![set_password]));
    steps.push((json!({ "kind": "secretbackend", "name": "plaintext", "type": "plaintext", "default": true }), vec![]));
    steps.push((administrators(), vec![]));
    steps.push((json!({ "kind": "server", "name": "mcpctl", "embedded": "mcpctl", "description": "The control plane itself: who am I, what is there, what happened" }), vec![]));
    steps.push((
        json!({ "kind": "project", "name": PROJECT, "description": "The first project", "servers": ["mcpctl"] }),
        vec![],
    ));
    let mut submissions: Vec<Submission> = Vec::new();
    for (fields, then) in steps {
        submissions.push(submission(&fields, system.clone(), then)?);
    }
    let mint: AnyAction = Box::new(McpTokenAction::Mint { sha256, prefix });
    let fields =
        json!({ "kind": "mcptoken", "name": "first", "project": PROJECT, "description": "Made at the first start" });
    let mut first_token = submission(&fields, system, vec![mint])?;
    let token_of_administrator = move |state: &State| {
        let administrator = administrator(state);
        administrator
            .map(|caller| {
                first_token.caller = caller;
                first_token
            })
            .into_iter()
            .collect()
    };
    // One batch: a kill in the middle leaves nothing, and the next start is the first again.
    app.writer.submit_then(submissions, token_of_administrator).await?;
    Ok(Some(FirstStart { password, token }))
}

fn administrators() -> serde_json::Value {
    json!({
        "kind": "rbac",
        "name": "administrators",
        "subjects": [{ "kind": "User", "name": ADMINISTRATOR }],
        "roleBindings": [{ "role": "edit", "resource": "*" }, { "role": "run", "resource": "*" }, { "role": "run", "action": "*" }],
    })
}

/// The administrator as an actor: the first token is theirs, so that it is bounded by their rights.
fn administrator(state: &State) -> Option<Actor> {
    let name = Name::parse(NameRule::Email, ADMINISTRATOR).ok()?;
    let user = state.by_name(Kind::User, None, &name)?;
    Some(Actor { kind: ActorKind::User, uid: user.meta.uid, name: ADMINISTRATOR.to_owned() })
}

fn submission(fields: &serde_json::Value, caller: Actor, then: Vec<AnyAction>) -> Result<Submission> {
    let fields = fields.as_object().cloned().unwrap_or_default();
    let manifest = manifest::read(fields).map_err(invalid)?;
    let deed = Deed::Apply { body: manifest.body, mode: Mode::Create, expected: None, then };
    let command = Command { kind: manifest.kind, name: manifest.name, project: manifest.project, deed };
    Ok(Submission::of(caller, command))
}

/// 24 characters of an alphabet without look-alikes: more than 130 bits.
pub(super) fn draw_password() -> String {
    const ALPHABET: &[u8; 54] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ234567";
    let mut text = String::new();
    while text.len() < 24 {
        for byte in clock::random::<32>() {
            // Bytes beyond the last whole multiple of the alphabet would favour its beginning.
            if byte < 216 && text.len() < 24 {
                text.push(char::from(ALPHABET[usize::from(byte % 54)]));
            }
        }
    }
    text
}
