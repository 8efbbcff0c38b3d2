//! REST for every kind through one path: a loop over `Kind::ALL`, and no word about any of them.
use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mcpctl_core::access::{Ask, Verb, decide};
use mcpctl_core::command::{Command, Deed, Mode, Outcome};
use mcpctl_core::ids::{RequestId, Seq, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::manifest::{self, Manifest};
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::object::Object;
use mcpctl_core::resource::Scope;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use serde_json::{Map, Value, json};

use super::app::App;
use super::auth::Authenticated;
use super::problem::{Answer, Result, invalid, not_found, problem};
use super::writer::{Committed, Submission};
use super::{clock, history, prepare};
use crate::wire::{Done, OUTCOME, REQUEST_ID};

/// Query of a request.
pub type Queried = Query<HashMap<String, String>>;

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

/// Path parameters: `{name}` is the project in front of project-scoped kinds, else the object.
type Params = Path<HashMap<String, String>>;

fn of_kind(router: Router<Arc<App>>, kind: Kind, base: &str, in_project: bool) -> Router<Arc<App>> {
    let object = if in_project { "object" } else { "name" };
    let target = move |params: &HashMap<String, String>, query: &HashMap<String, String>| Target {
        kind,
        project: if in_project { params.get("name").cloned() } else { query.get("project").cloned() },
        name: params.get(object).cloned().unwrap_or_default(),
    };
    let collection = get(move |Shared(app): Shared<Arc<App>>, caller: Authenticated, Path(params): Params, Query(query): Queried| async move {
        list(&app, &caller, &target(&params, &query), &query)
    })
    .post(move |Shared(app): Shared<Arc<App>>, caller: Authenticated, Path(params): Params, Query(query): Queried, headers: HeaderMap, body: Bytes| async move {
        write(&app, &caller, &target(&params, &query), Mode::Create, &query, &headers, &body).await
    });
    let single = get(move |Shared(app): Shared<Arc<App>>, caller: Authenticated, Path(params): Params, Query(query): Queried| async move {
        read(&app, &caller, &target(&params, &query))
    })
    .put(move |Shared(app): Shared<Arc<App>>, caller: Authenticated, Path(params): Params, Query(query): Queried, headers: HeaderMap, body: Bytes| async move {
        write(&app, &caller, &target(&params, &query), Mode::Upsert, &query, &headers, &body).await
    })
    .delete(move |Shared(app): Shared<Arc<App>>, caller: Authenticated, Path(params): Params, Query(query): Queried, headers: HeaderMap| async move {
        delete(&app, &caller, &target(&params, &query), &query, &headers).await
    });
    let past = get(
        move |Shared(app): Shared<Arc<App>>, caller: Authenticated, Path(params): Params, Query(query): Queried| async move {
            history::answer(&app, &caller, &target(&params, &query))
        },
    );
    let router = router
        .route(base, collection)
        .route(&format!("{base}/{{{object}}}"), single)
        .route(&format!("{base}/{{{object}}}/history"), past);
    if kind == Kind::McpToken {
        let revoke = post(
            move |Shared(app): Shared<Arc<App>>,
                  caller: Authenticated,
                  Path(params): Params,
                  Query(query): Queried,
                  headers: HeaderMap| async move {
                super::tokens::revoke(&app, &caller, &target(&params, &query), &query, &headers).await
            },
        );
        return router.route(&format!("{base}/{{{object}}}/revoke"), revoke);
    }
    router
}

/// What a request is about, as its path and query say.
pub struct Target {
    /// Kind.
    pub kind: Kind,
    /// Project, as text.
    pub project: Option<String>,
    /// Name or uid, as text; empty for a collection.
    pub name: String,
}

impl Target {
    /// The project's identity, where one is named.
    pub(super) fn project_uid(&self, state: &State) -> Result<Option<Uid>> {
        let Some(text) = &self.project else { return Ok(None) };
        let name = Name::parse(NameRule::Label, text).map_err(|error| not_found(error.to_string()))?;
        let object = state.by_name(Kind::Project, None, &name);
        object.map(|object| Some(object.meta.uid)).ok_or_else(|| not_found(format!("project/{name} does not exist")))
    }

    /// The object, by name or uid.
    pub(super) fn find(&self, state: &State) -> Result<Option<Arc<Object>>> {
        if let Some(object) = self.name.parse().ok().and_then(|uid| state.by_uid(uid)) {
            return Ok(Some(object.clone()).filter(|object| object.meta.kind == self.kind));
        }
        let Ok(name) = self.parsed_name() else { return Ok(None) };
        let project = self.project_uid(state)?;
        if self.kind.scope() == Scope::Project && project.is_none() {
            let mut named = state.all(self.kind).filter(|object| object.meta.name == name);
            return match (named.next(), named.next()) {
                (Some(_), Some(_)) => Err(problem(
                    StatusCode::BAD_REQUEST,
                    "ambiguous",
                    "Ambiguous",
                    format!("several projects have a {} {name:?}", self.kind),
                )
                .hint("say which with ?project= (-p PROJECT)")),
                (first, _) => Ok(first.cloned()),
            };
        }
        Ok(state.by_name(self.kind, project, &name).cloned())
    }

    /// The name, checked by the rule of the kind.
    pub(super) fn parsed_name(&self) -> Result<Name> {
        let rule = self.kind.untyped().name_rule();
        Name::parse(rule, &self.name).map_err(|error| not_found(error.to_string()))
    }

    fn title(&self) -> String {
        format!("{}/{}", self.kind, self.name.chars().take(80).collect::<String>())
    }
}

/// Whether a caller may see an object.
pub(super) fn may_view(state: &State, caller: &Authenticated, object: &Object) -> bool {
    decide(state, &caller.actor, &Ask::on(Verb::View, object), clock::now().max(state.last_at())).allowed
}

/// The object, when the caller may see it; else the same refusal for one that is hidden and one that is not there.
pub(super) fn visible(state: &State, caller: &Authenticated, target: &Target) -> Result<Arc<Object>> {
    let now = clock::now().max(state.last_at());
    match target.find(state)? {
        Some(object) if decide(state, &caller.actor, &Ask::on(Verb::View, &object), now).allowed => Ok(object),
        _ => Err(hidden(state, caller, target)),
    }
}

/// Who may see the whole kind is told that it is not there; everybody else that they may not.
pub(super) fn hidden(state: &State, caller: &Authenticated, target: &Target) -> Answer {
    let name = target.parsed_name().ok();
    let resource = mcpctl_core::access::ResourceName::Kind(target.kind);
    let project = target.project_uid(state).ok().flatten();
    let ask = Ask::Object { verb: Verb::View, resource, project, name: name.as_ref(), uid: None };
    let verdict = decide(state, &caller.actor, &ask, clock::now().max(state.last_at()));
    if verdict.allowed {
        return not_found(format!("{} does not exist", target.title()))
            .hint(format!("see `mcpctl get {}`", target.kind.names().plural));
    }
    mcpctl_core::refusal::Refusal::Forbidden {
        actor: caller.actor.to_string(),
        missing: format!("view {}/{}", target.kind.names().plural, target.name),
        at: verdict.at,
    }
    .into()
}

fn list(app: &App, caller: &Authenticated, target: &Target, query: &HashMap<String, String>) -> Result<Response> {
    let state = app.published.load();
    let project = target.project_uid(&state)?;
    let in_project =
        |object: &&Arc<Object>| project.is_none() || object.meta.project.as_ref().map(|p| p.uid) == project;
    let shown: Vec<&Arc<Object>> =
        state.all(target.kind).filter(in_project).filter(|object| may_view(&state, caller, object)).collect();
    let body = if query.get("view").is_some_and(|view| view == "table") {
        super::table::of(app, target.kind, &shown, state.seq())
    } else {
        let items: Vec<Map<String, Value>> = shown.into_iter().map(|object| super::table::full(app, object)).collect();
        json!({ "items": items, "revision": state.seq() })
    };
    Ok(axum::Json(body).into_response())
}

fn read(app: &App, caller: &Authenticated, target: &Target) -> Result<Response> {
    let state = app.published.load();
    let object = visible(&state, caller, target)?;
    let mut fields = super::table::full(app, &object);
    let used_by: Vec<String> = state
        .referrers(object.meta.uid)
        .into_iter()
        .filter(|other| may_view(&state, caller, other))
        .map(|other| other.title())
        .collect();
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("usedBy".into(), used_by.into());
    }
    Ok(axum::Json(fields).into_response())
}

/// Reads the fields of a body: a JSON object of at most the body limit.
fn fields_of(headers: &HeaderMap, body: &[u8]) -> Result<Map<String, Value>> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.trim().to_ascii_lowercase().starts_with("application/json") {
        return Err(problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content-type",
            "Unsupported content type",
            format!("the body is {content_type:?}"),
        )
        .hint("send one object as application/json"));
    }
    serde_json::from_slice(body).map_err(|error| {
        problem(
            StatusCode::BAD_REQUEST,
            "malformed",
            "Malformed JSON",
            format!("the body is not a JSON object: {error}"),
        )
    })
}

fn manifest_of(target: &Target, mut fields: Map<String, Value>) -> Result<Manifest> {
    if !target.name.is_empty() {
        let said = fields.entry("name").or_insert_with(|| target.name.clone().into());
        if said.as_str() != Some(target.name.as_str()) {
            return Err(one_violation("name", format!("is {said} in the body and {:?} in the path", target.name)));
        }
    }
    if let (Some(project), Scope::Project) = (&target.project, target.kind.scope()) {
        let said = fields.entry("project").or_insert_with(|| project.clone().into());
        if said.as_str() != Some(project.as_str()) {
            return Err(one_violation("project", format!("is {said} in the body and {project:?} in the path")));
        }
    }
    manifest::read_kind(target.kind, fields).map_err(invalid)
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

async fn write(
    app: &App,
    caller: &Authenticated,
    target: &Target,
    mode: Mode,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response> {
    let manifest = manifest_of(target, fields_of(headers, body)?)?;
    let expected = if mode == Mode::Create { None } else { expected_version(headers, manifest.resource_version)? };
    let request = request_id(headers)?;
    let submission = |body, then| Submission {
        command: Command {
            kind: manifest.kind,
            name: manifest.name.clone(),
            project: manifest.project.clone(),
            deed: Deed::Apply { body, mode, expected, then },
        },
        caller: caller.actor.clone(),
        request: request.clone(),
    };
    let plain = prepare::without_secrets(&manifest.body);
    let mut foreseen = app.writer.dry_run(submission(plain.clone(), Vec::new())).await?;
    if is_dry_run(query) {
        if foreseen.outcome == Outcome::Unchanged && prepare::would_change(app, &manifest) {
            foreseen.outcome = Outcome::Changed;
        }
        return Ok(written(app, &foreseen, None));
    }
    let prepared = prepare::effects(app, &manifest, foreseen.outcome).await?;
    let committed = app.writer.submit(submission(plain, prepared.actions)).await?;
    let raw = prepared.token.filter(|_| committed.outcome == Outcome::Created && !committed.repeated);
    Ok(written(app, &committed, raw.as_ref().map(|raw| raw.expose())))
}

fn written(app: &App, committed: &Committed, token: Option<&str>) -> Response {
    let status = if committed.outcome == Outcome::Created { StatusCode::CREATED } else { StatusCode::OK };
    let mut fields = committed.object.as_ref().map(|object| super::table::full(app, object)).unwrap_or_default();
    if let Some(token) = token {
        fields.insert("token".into(), token.into());
    }
    let mut response = (status, axum::Json(fields)).into_response();
    response.headers_mut().insert(OUTCOME, HeaderValue::from_static(outcome_word(committed.outcome)));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn delete(
    app: &App,
    caller: &Authenticated,
    target: &Target,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
) -> Result<Response> {
    let state = app.published.load();
    let expected = expected_version(headers, None)?;
    let Some(object) = target.find(&state)? else { return repeat_or_hidden(app, caller, target, headers).await };
    let deed = Deed::Delete { expected };
    finish(app, caller, &object, deed, query, headers).await
}

/// A deletion that is retried finds nothing, and is answered as it was.
async fn repeat_or_hidden(app: &App, caller: &Authenticated, target: &Target, headers: &HeaderMap) -> Result<Response> {
    let state = app.published.load();
    let done = request_id(headers)?.and_then(|request| state.request(caller.actor.uid, &request));
    match done {
        Some((_, seq)) => Ok(axum::Json(Done { outcome: "deleted".to_owned(), seq, also: Vec::new() }).into_response()),
        None => Err(hidden(&state, caller, target)),
    }
}

/// Does a command about an existing object and answers what became of it.
pub(super) async fn finish(
    app: &App,
    caller: &Authenticated,
    object: &Object,
    deed: Deed,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
) -> Result<Response> {
    let submission = Submission {
        command: Command {
            kind: object.meta.kind,
            name: object.meta.name.clone(),
            project: object.meta.project.as_ref().map(|project| project.name.clone()),
            deed,
        },
        caller: caller.actor.clone(),
        request: request_id(headers)?,
    };
    let committed = if is_dry_run(query) {
        app.writer.dry_run(submission).await?
    } else {
        let committed = app.writer.submit(submission).await?;
        prepare::clean_up(app, &committed);
        committed
    };
    let outcome = outcome_word(committed.outcome);
    let done = Done { outcome: outcome.to_owned(), seq: committed.seq, also: committed.also };
    let mut response = axum::Json(done).into_response();
    response.headers_mut().insert(OUTCOME, HeaderValue::from_static(outcome));
    Ok(response)
}

pub(super) const fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Changed => "changed",
        Outcome::Unchanged => "unchanged",
        Outcome::Deleted => "deleted",
    }
}
