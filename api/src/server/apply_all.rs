//! `POST /apply`: many manifests as one batch. All of them, or nothing.
use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use mcpctl_core::command::{Command, Deed, Mode, Outcome};
use mcpctl_core::erased::{AnyAction, AnyBody};
use mcpctl_core::ids::RequestId;
use mcpctl_core::manifest::{self, INPUT_BYTES_MAX, Manifest};
use mcpctl_core::refusal::Violation;
use serde_json::{Map, Value, json};

use super::app::App;
use super::auth::Authenticated;
use super::json_body;
use super::objects::{is_dry_run, outcome_word, request_id};
use super::prepare::{self, Prepared};
use super::problem::{Answer, Result, invalid, problem};
use super::revocation::{self, Wait};
use super::table;
use super::writer::{Committed, Submission, WriteError};

/// Most manifests in one batch: one batch is one durable write.
pub const MANIFESTS_MAX: usize = 1_000;

/// The route.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/v1/apply", post(apply).layer(DefaultBodyLimit::max(INPUT_BYTES_MAX)))
}

async fn apply(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response> {
    let manifests = read(&headers, &body)?;
    let request = request_id(&headers)?;
    let foreseen = decide(&app, &caller, &manifests, request.as_ref()).await?;
    if is_dry_run(&query) {
        let words = manifests.iter().zip(&foreseen).map(|(manifest, foreseen)| row(manifest, foreseen.outcome, None));
        return Ok(answer(words.collect(), &foreseen));
    }
    let (mut actions, mut tokens, mut sealed) = (Vec::new(), Vec::new(), Vec::new());
    for (manifest, foreseen) in manifests.iter().zip(&foreseen) {
        let prepared = match foreseen.repeated {
            true => Prepared::default(),
            false => prepare::effects(&app, manifest, foreseen.outcome)
                .await
                .inspect_err(|_| prepare::give_up(&app, &sealed))?,
        };
        actions.push(prepared.actions);
        tokens.push(prepared.token);
        sealed.push(prepared.sealed);
    }
    let submissions = submissions(&caller, &manifests, actions, request.as_ref());
    let committed = prepare::complete(app.clone(), submissions, sealed).await;
    let committed = committed.map_err(|error| about(&manifests, error))?;
    let fenced = revocation::fenced(&app.hub, Wait::of(&query, &headers), &committed).await?;
    let rows = manifests.iter().zip(&committed).zip(&tokens).map(|((manifest, committed), token)| {
        let new = committed.outcome == Outcome::Created && !committed.repeated;
        let mut row = row(manifest, committed.outcome, token.as_ref().filter(|_| new).map(|token| token.expose()));
        if let Some(object) = &committed.object {
            row.insert("object".into(), table::full(&app, object).into());
        }
        row
    });
    let mut response = answer(rows.collect(), &committed);
    revocation::say(&mut response, fenced.as_ref());
    Ok(response)
}

/// Reads `{"items": […]}`: every manifest, or all that is wrong with any.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Manifest>> {
    let form = "send {\"items\": [manifest, …]}";
    let document = json_body::object(headers, body).map_err(|answer| answer.hint(form))?;
    let Some(Value::Array(items)) = document.get("items") else {
        return Err(json_body::malformed("the body has no list of items".to_owned()).hint(form));
    };
    if items.len() > MANIFESTS_MAX {
        return Err(problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-many",
            "Too many manifests",
            format!("{} manifests in one batch", items.len()),
        )
        .hint(format!("send at most {MANIFESTS_MAX} at a time")));
    }
    let (mut manifests, mut errors) = (Vec::with_capacity(items.len()), Vec::new());
    for (index, item) in items.iter().enumerate() {
        let fields: Map<String, Value> = item.as_object().cloned().unwrap_or_default();
        let read = manifest::read(fields).and_then(|manifest| prepare::check(&manifest).map(|()| manifest));
        match read {
            Ok(manifest) => manifests.push(manifest),
            Err(violations) => errors.extend(violations.into_iter().map(|violation| at(index, violation))),
        }
    }
    refuse_repeats(&manifests, &mut errors);
    if errors.is_empty() { Ok(manifests) } else { Err(invalid(errors)) }
}

fn at(index: usize, violation: Violation) -> Violation {
    let dot = if violation.field.is_empty() { "" } else { "." };
    Violation { field: format!("items[{index}]{dot}{}", violation.field), ..violation }
}

/// The same object twice in one input is a mistake: which of the two was meant can't be known.
fn refuse_repeats(manifests: &[Manifest], errors: &mut Vec<Violation>) {
    let mut seen = std::collections::BTreeSet::new();
    for (index, manifest) in manifests.iter().enumerate() {
        if !seen.insert((manifest.kind, manifest.project.clone(), manifest.name.clone())) {
            let message = format!("{} stands twice in the input", title(manifest));
            errors.push(Violation {
                field: format!("items[{index}]"),
                message,
                hint: Some("remove one of the two".to_owned()),
            });
        }
    }
}

pub(super) fn title(manifest: &Manifest) -> String {
    mcpctl_core::object::title(manifest.kind, manifest.project.as_ref(), manifest.name.as_str())
}

pub(super) fn submissions(
    caller: &Authenticated,
    manifests: &[Manifest],
    actions: Vec<Vec<AnyAction>>,
    request: Option<&RequestId>,
) -> Vec<Submission> {
    let each = manifests.iter().zip(actions).enumerate().map(|(index, (manifest, then))| {
        let body: Arc<dyn AnyBody> = prepare::without_secrets(&manifest.body);
        let deed = Deed::Apply { body, mode: Mode::Upsert, expected: manifest.resource_version, then };
        let command =
            Command { kind: manifest.kind, name: manifest.name.clone(), project: manifest.project.clone(), deed };
        // Each command of the batch is a request of its own, so that a retry finds each again.
        let request = request.and_then(|id| RequestId::try_from(format!("{}.{index}", id.as_str())).ok());
        Submission::by(caller, command, request)
    });
    each.collect()
}

async fn decide(
    app: &App,
    caller: &Authenticated,
    manifests: &[Manifest],
    request: Option<&RequestId>,
) -> Result<Vec<Committed>> {
    let foreseen = manifests.iter().map(|manifest| prepare::foreseen(app, caller, manifest)).collect::<Result<_>>()?;
    let submissions = submissions(caller, manifests, foreseen, request);
    app.writer.dry_run_all(submissions).await.map_err(|error| about(manifests, error))
}

/// A refusal that says which manifest it is about.
pub(super) fn about(manifests: &[Manifest], error: WriteError) -> Answer {
    let which = match &error {
        WriteError::Refused { index, .. } => manifests.get(*index).map(|manifest| (*index, title(manifest))),
        _ => None,
    };
    let mut answer = Answer::from(error);
    if let Some((index, title)) = which {
        answer.0.detail = format!("{title}: {}", answer.0.detail);
        answer.0.errors =
            std::mem::take(&mut answer.0.errors).into_iter().map(|violation| at(index, violation)).collect();
    }
    answer
}

fn row(manifest: &Manifest, outcome: Outcome, token: Option<&str>) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("kind".into(), manifest.kind.names().singular.into());
    row.insert("name".into(), manifest.name.as_str().into());
    if let Some(project) = &manifest.project {
        row.insert("project".into(), project.as_str().into());
    }
    row.insert("outcome".into(), outcome_word(outcome).into());
    if let Some(token) = token {
        row.insert("token".into(), token.into());
    }
    row
}

fn answer(rows: Vec<Map<String, Value>>, committed: &[Committed]) -> Response {
    let seq = committed.iter().map(|committed| committed.seq).max().unwrap_or_default();
    let mut response = axum::Json(json!({ "items": rows, "revision": seq })).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
