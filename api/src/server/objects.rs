//! REST for every kind through one path: a loop over `Kind::ALL`, and no word about any of them.
use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mcpctl_core::access::Verb;
use mcpctl_core::command::{Command, Deed, Mode, Outcome};
use mcpctl_core::ids::{RequestId, Seq};
use mcpctl_core::kinds::Kind;
use mcpctl_core::manifest::{self, Manifest};
use mcpctl_core::object::Object;
use mcpctl_core::resource::Scope;
use mcpctl_core::world::World as _;
use serde_json::{Map, Value, json};

use super::app::App;
use super::auth::Authenticated;
use super::point::Point;
use super::prepare::Prepared;
use super::problem::{Answer, Result, invalid};
use super::revocation::{self, Wait};
use super::target::{Target, may_view};
use super::writer::{Committed, Submission};
use super::{access, history, json_body, point, prepare, table, tools};
use crate::wire::{Done, Fenced, OUTCOME, REQUEST_ID};

/// Query of a request.
type Queried = Query<HashMap<String, String>>;
/// Parameters of a path.
type Params = Path<HashMap<String, String>>;

/// Routes of every kind.
pub fn routes() -> Router<Arc<App>> {
    Kind::ALL.iter().fold(Router::new(), |router, kind| {
        let router = of_kind(router, *kind, &format!("/api/v1/{}", kind.names().plural), false);
        match kind.scope() {
            Scope::Global => router,
            Scope::Project => {
                of_kind(router, *kind, &format!("/api/v1/projects/{{name}}/{}", kind.names().plural), true)
            }
        }
    })
}

fn of_kind(router: Router<Arc<App>>, kind: Kind, base: &str, below: bool) -> Router<Arc<App>> {
    let collection = get(
        move |Shared(app): Shared<Arc<App>>, caller: Authenticated, Path(params): Params, Query(query): Queried| async move {
            list(&app, &caller, &Target::of(kind, below, &params, &query), &query)
        },
    )
    .post(
        move |Shared(app), caller: Authenticated, Path(params): Params, Query(query): Queried, headers, body| async move {
            let call = Call { app, caller, target: Target::of(kind, below, &params, &query), query, headers };
            write(&call, Mode::Create, body).await
        },
    );
    let single = get(
        move |Shared(app): Shared<Arc<App>>, caller: Authenticated, Path(params): Params, Query(query): Queried| async move {
            read(&app, &caller, &Target::of(kind, below, &params, &query), &query)
        },
    )
    .put(
        move |Shared(app), caller: Authenticated, Path(params): Params, Query(query): Queried, headers, body| async move {
            let call = Call { app, caller, target: Target::of(kind, below, &params, &query), query, headers };
            write(&call, Mode::Upsert, body).await
        },
    )
    .delete(move |Shared(app), caller: Authenticated, Path(params): Params, Query(query): Queried, headers| async move {
        let call = Call { app, caller, target: Target::of(kind, below, &params, &query), query, headers };
        delete(&call).await
    });
    let past = get(
        move |Shared(app): Shared<Arc<App>>, caller: Authenticated, Path(params): Params, Query(query): Queried| async move {
            history::answer(&app, &caller, &Target::of(kind, below, &params, &query), &query)
        },
    );
    let one = format!("{base}/{{{}}}", if below { "object" } else { "name" });
    let router = router.route(base, collection).route(&one, single).route(&format!("{one}/history"), past);
    let restore = post(
        move |Shared(app), caller: Authenticated, Path(params): Params, Query(query): Queried, headers| async move {
            let call = Call { app, caller, target: Target::of(kind, below, &params, &query), query, headers };
            super::undo::restore(&call).await
        },
    );
    let router = router.route(&format!("{one}/restore"), restore);
    if kind == Kind::McpToken {
        let revoke = post(
            move |Shared(app), caller: Authenticated, Path(params): Params, Query(query): Queried, headers| async move {
                let call = Call { app, caller, target: Target::of(kind, below, &params, &query), query, headers };
                super::tokens::revoke(&call).await
            },
        );
        return router.route(&format!("{one}/revoke"), revoke);
    }
    if kind == Kind::Rbac {
        let attest = post(
            move |Shared(app),
                  caller: Authenticated,
                  Path(params): Params,
                  Query(query): Queried,
                  headers,
                  body: Bytes| async move {
                let call = Call { app, caller, target: Target::of(kind, below, &params, &query), query, headers };
                super::attest::attest(&call, &body).await
            },
        );
        return router.route(&format!("{one}/attest"), attest);
    }
    router
}

/// A mutation that somebody asks for.
pub(super) struct Call {
    pub app: Arc<App>,
    pub caller: Authenticated,
    pub target: Target,
    pub query: HashMap<String, String>,
    pub headers: HeaderMap,
}

impl Call {
    fn wait(&self) -> Wait {
        Wait::of(&self.query, &self.headers)
    }
}

fn list(app: &App, caller: &Authenticated, target: &Target, query: &HashMap<String, String>) -> Result<Response> {
    let state = app.published.load();
    if let Some(point) = Point::of(&state, query)? {
        return point::list(&state, caller, target, query, point);
    }
    target.check_project(&state, caller)?;
    let project = target.project_uid(&state);
    let in_project = |object: &&Arc<Object>| {
        target.project.is_none() || (project.is_some() && object.meta.project.as_ref().map(|p| p.uid) == project)
    };
    let shown: Vec<&Arc<Object>> =
        state.all(target.kind).filter(in_project).filter(|object| may_view(&state, caller, object)).collect();
    let body = if query.get("view").is_some_and(|view| view == "table") {
        table::of(app, target.kind, &shown, state.seq())
    } else {
        let items: Vec<Map<String, Value>> = shown.into_iter().map(|object| table::full(app, object)).collect();
        json!({ "items": items, "revision": state.seq() })
    };
    Ok(axum::Json(body).into_response())
}

fn read(app: &App, caller: &Authenticated, target: &Target, query: &HashMap<String, String>) -> Result<Response> {
    let state = app.published.load();
    if let Some(point) = Point::of(&state, query)? {
        return point::read(&state, caller, target, point);
    }
    let object = target.reachable(&state, caller, Verb::View)?;
    let mut fields = table::full(app, &object);
    let used_by: Vec<String> = state
        .referrers(object.meta.uid)
        .into_iter()
        .filter(|other| may_view(&state, caller, other))
        .map(|other| other.title())
        .collect();
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("usedBy".into(), used_by.into());
    }
    if let Some(access) = access::of(&state, &*state, caller, &object)
        && let Some(status) = fields.get_mut("status").and_then(Value::as_object_mut)
    {
        status.insert("access".into(), access);
    }
    if target.kind == Kind::Project
        && let Some(told) = tools::summary(&*state, &object)
        && let Some(status) = fields.get_mut("status").and_then(Value::as_object_mut)
    {
        status.insert("tools".into(), told);
    }
    Ok(axum::Json(fields).into_response())
}

fn manifest_of(target: &Target, mut fields: Map<String, Value>) -> Result<Manifest> {
    if !target.name.is_empty() {
        let said = fields.entry("name").or_insert_with(|| target.name.clone().into());
        if said.as_str() != Some(target.name.as_str()) {
            return Err(one_violation("name", format!("is not {:?}, as the path says", target.name)));
        }
    }
    if let Some(project) = &target.project {
        let said = fields.entry("project").or_insert_with(|| project.clone().into());
        if said.as_str() != Some(project.as_str()) {
            return Err(one_violation("project", format!("is not {project:?}, as the path or the query says")));
        }
    }
    let manifest = manifest::read_kind(target.kind, fields).map_err(invalid)?;
    prepare::check(&manifest).map_err(invalid)?;
    Ok(manifest)
}

fn one_violation(field: &str, message: String) -> Answer {
    invalid(vec![mcpctl_core::refusal::Violation { field: field.to_owned(), message, hint: None }])
}

/// The version that the caller read: `If-Match`, or `metadata.resourceVersion` of the body.
fn expected_version(headers: &HeaderMap, body: Option<Seq>) -> Result<Option<Seq>> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(body) };
    let text = value.to_str().unwrap_or_default().trim_matches('"');
    text.parse().map(Some).map_err(|_| one_violation("If-Match", format!("{text:?} is not a resourceVersion")))
}

pub(super) fn request_id(headers: &HeaderMap) -> Result<Option<RequestId>> {
    let Some(value) = headers.get(REQUEST_ID) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().to_owned();
    RequestId::try_from(text).map(Some).map_err(|error| one_violation(REQUEST_ID, error.to_string()))
}

pub(super) fn is_dry_run(query: &HashMap<String, String>) -> bool {
    query.get("dryRun").is_some_and(|value| value == "true" || value.is_empty() || value == "1")
}

async fn write(call: &Call, mode: Mode, body: Bytes) -> Result<Response> {
    let app = &call.app;
    let manifest = manifest_of(&call.target, json_body::object(&call.headers, &body)?)?;
    let expected = match mode {
        Mode::Create => None,
        Mode::Upsert => expected_version(&call.headers, manifest.resource_version)?,
    };
    let request = request_id(&call.headers)?;
    let submission = |then| {
        let body = prepare::without_secrets(&manifest.body);
        let deed = Deed::Apply { body, mode, expected, then };
        let (name, project) = (manifest.name.clone(), manifest.project.clone());
        let command = Command { kind: manifest.kind, name, project, deed };
        Submission::by(&call.caller, command, request.clone())
    };
    let foreseen = app.writer.dry_run(submission(prepare::foreseen(app, &call.caller, &manifest)?)).await?;
    if is_dry_run(&call.query) || foreseen.repeated {
        let fenced = match is_dry_run(&call.query) {
            true => None,
            false => revocation::fenced(&app.hub, call.wait(), std::slice::from_ref(&foreseen)).await?,
        };
        return Ok(written(app, &foreseen, None, fenced.as_ref()));
    }
    let Prepared { actions, token, sealed } = prepare::effects(app, &manifest, foreseen.outcome).await?;
    let committed = prepare::complete(app.clone(), vec![submission(actions)], vec![sealed]).await?;
    let fenced = revocation::fenced(&app.hub, call.wait(), &committed).await?;
    let committed = committed.into_iter().next().ok_or(super::writer::WriteError::Busy)?;
    let raw = token.filter(|_| committed.outcome == Outcome::Created && !committed.repeated);
    Ok(written(app, &committed, raw.as_ref().map(|raw| raw.expose()), fenced.as_ref()))
}

fn written(app: &App, committed: &Committed, token: Option<&str>, fenced: Option<&Fenced>) -> Response {
    let status = if committed.outcome == Outcome::Created { StatusCode::CREATED } else { StatusCode::OK };
    let mut fields = committed.object.as_ref().map(|object| table::full(app, object)).unwrap_or_default();
    if let Some(token) = token {
        fields.insert("token".into(), token.into());
    }
    let mut response = (status, axum::Json(fields)).into_response();
    response.headers_mut().insert(OUTCOME, HeaderValue::from_static(outcome_word(committed.outcome)));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    revocation::say(&mut response, fenced);
    response
}

async fn delete(call: &Call) -> Result<Response> {
    let expected = expected_version(&call.headers, None)?;
    let state = call.app.published.load();
    match call.target.reachable(&state, &call.caller, Verb::Delete) {
        Ok(object) => finish(call, &object, Deed::Delete { expected }).await,
        Err(refused) => match repeated_deletion(call, &state)? {
            Some(seq) => {
                let fenced = match call.wait() {
                    Wait::UntilDead => Some(call.app.hub.fence(seq).await?),
                    Wait::Not => None,
                };
                Ok(done_answer(Outcome::Deleted, seq, Vec::new(), fenced))
            }
            None => Err(refused),
        },
    }
}

/// A deletion that is retried finds nothing, and is answered as it was.
fn repeated_deletion(call: &Call, state: &mcpctl_projections::State) -> Result<Option<Seq>> {
    let done = request_id(&call.headers)?.and_then(|request| state.request(call.caller.credential().uid, &request));
    let (Some((first, last)), Ok(name)) = (done, call.target.parsed_name()) else { return Ok(None) };
    let uids = state.uids_named(call.target.kind, call.target.project_uid(state), &name);
    let it = |uid| {
        let was_there = state.object_at(uid, Seq(first.0.saturating_sub(1))).is_some();
        was_there && state.object_at(uid, last).is_none()
    };
    Ok(uids.into_iter().any(it).then_some(last))
}

/// Does a command about an existing object and answers what became of it.
pub(super) async fn finish(call: &Call, object: &Object, deed: Deed) -> Result<Response> {
    let command = Command {
        kind: object.meta.kind,
        name: object.meta.name.clone(),
        project: object.meta.project.as_ref().map(|project| project.name.clone()),
        deed,
    };
    let submission = Submission::by(&call.caller, command, request_id(&call.headers)?);
    if is_dry_run(&call.query) {
        let foreseen = call.app.writer.dry_run(submission).await?;
        return Ok(done_answer(foreseen.outcome, foreseen.seq, foreseen.also, None));
    }
    let mut all = prepare::complete(call.app.clone(), vec![submission], Vec::new()).await?;
    let fenced = revocation::fenced(&call.app.hub, call.wait(), &all).await?;
    let committed = all.pop().ok_or(super::writer::WriteError::Busy)?;
    Ok(done_answer(committed.outcome, committed.seq, committed.also, fenced))
}

fn done_answer(outcome: Outcome, seq: Seq, also: Vec<String>, revocation: Option<Fenced>) -> Response {
    let outcome = outcome_word(outcome);
    let mut response = axum::Json(Done { outcome: outcome.to_owned(), seq, revocation, also }).into_response();
    response.headers_mut().insert(OUTCOME, HeaderValue::from_static(outcome));
    response
}

pub(super) const fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Changed => "changed",
        Outcome::Unchanged => "unchanged",
        Outcome::Deleted => "deleted",
    }
}
