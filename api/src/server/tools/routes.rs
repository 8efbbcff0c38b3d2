//! `/projects/<p>/tools`: what agents of a project see, at any point of the past, and who decided so.
use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mcpctl_core::access::Verb;
use mcpctl_core::command::Deed;
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::{Kind, ProjectAction, TOOLS_AT_ONCE_MAX, ToolChoice};
use mcpctl_core::object::Object;
use mcpctl_core::refusal::Violation;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use serde_json::Value;

use super::{past, tell};
use crate::server::app::App;
use crate::server::auth::Authenticated;
use crate::server::json_body;
use crate::server::objects::{Call, finish};
use crate::server::point::Point;
use crate::server::problem::{Answer, Result, invalid, not_found, problem};
use crate::server::target::Target;
use crate::tools_wire::{ToolDecision, ToolDefinition, ToolEvent};
use crate::wire::List;

type Params = Path<HashMap<String, String>>;
type Queried = Query<HashMap<String, String>>;

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/projects/{name}/tools", get(list))
        .route("/api/v1/projects/{name}/tools/history", get(history))
        .route("/api/v1/projects/{name}/tools/definition", get(definition))
        .route("/api/v1/projects/{name}/tools/approve", post(approve))
        .route("/api/v1/projects/{name}/tools/reject", post(reject))
}

fn target(params: &HashMap<String, String>) -> Target {
    Target::of(Kind::Project, false, params, &HashMap::new())
}

/// The project as it is or was. Who may see it is decided now.
fn project(
    state: &State,
    caller: &Authenticated,
    params: &HashMap<String, String>,
    point: Option<Point>,
) -> Result<Arc<Object>> {
    let object = target(params).reachable(state, caller, Verb::View)?;
    let Some(point) = point else { return Ok(object) };
    let then = state.at(point.seq).by_uid(object.meta.uid).cloned();
    then.ok_or_else(|| not_found(format!("project/{} did not exist", object.meta.name)))
}

fn failed(why: impl std::fmt::Display) -> Answer {
    problem(StatusCode::SERVICE_UNAVAILABLE, "log", "The log can't be read", why.to_string())
}

async fn list(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Path(params): Params,
    Query(query): Queried,
) -> Result<Response> {
    let state = app.published.load();
    let point = Point::of(&state, &query)?;
    let object = project(&state, &caller, &params, point)?;
    let seq = point.map_or(state.seq(), |point| point.seq);
    let told = tokio::task::spawn_blocking(move || {
        let view = state.at(seq);
        let world: &dyn mcpctl_core::world::World = if seq == state.seq() { &*state } else { &view };
        let mut list = tell::list(world, &object, seq)?;
        let uids = tell::servers(world, &object).into_iter().map(|(name, server)| (name, server.meta.uid)).collect();
        tell::describe(&mut list, &uids, &app.definitions);
        Some(list)
    });
    let told = told.await.map_err(failed)?.ok_or_else(|| not_found("it is no project".to_owned()))?;
    Ok(axum::Json(told).into_response())
}

/// `server` and `tool` of a query.
fn named(query: &HashMap<String, String>) -> Result<(String, String)> {
    let field =
        |name: &str| query.get(name).filter(|text| !text.is_empty()).cloned().ok_or_else(|| wrong(name, "is missing"));
    Ok((field("server")?, field("tool")?))
}

fn wrong(field: &str, message: &str) -> Answer {
    invalid(vec![Violation { field: field.to_owned(), message: message.to_owned(), hint: None }])
}

async fn history(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Path(params): Params,
    Query(query): Queried,
) -> Result<Response> {
    let state = app.published.load();
    let point = Point::of(&state, &query)?;
    let object = project(&state, &caller, &params, point)?;
    let (server, tool) = named(&query)?;
    let until = point.map_or(state.seq(), |point| point.seq);
    let uid = {
        let view = state.at(until);
        let servers = tell::servers(&view, &object);
        servers.iter().find(|(name, _)| *name == server).map(|(_, server)| server.meta.uid)
    };
    let uid = uid.ok_or_else(|| no_server(&object, &server))?;
    let (log, revision, project) = (app.log.clone(), state.seq(), object.meta.uid);
    let read = tokio::task::spawn_blocking(move || {
        past::events(&*log, &past::About { project, server: uid, tool: &tool, until })
    });
    let items: Vec<ToolEvent> = read.await.map_err(failed)?.map_err(failed)?;
    Ok(axum::Json(List { items, next: None, revision }).into_response())
}

fn no_server(project: &Object, server: &str) -> Answer {
    let server: String = server.chars().take(80).collect();
    not_found(format!("project/{} has no server {server:?}", project.meta.name))
}

async fn definition(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Path(params): Params,
    Query(query): Queried,
) -> Result<Response> {
    let state = app.published.load();
    let object = project(&state, &caller, &params, None)?;
    let (server, tool) = named(&query)?;
    let asked = query.get("definition").ok_or_else(|| wrong("definition", "is missing"))?;
    let definition: Digest = asked.parse().map_err(|_| wrong("definition", "is no hash: 64 hexadecimal digits"))?;
    let uid = tell::noticed(&*state, &object, &server, &tool, definition).ok_or_else(|| {
        not_found("the tool was not noticed with this definition, or it is forgotten".to_owned())
            .hint("`mcpctl tools history` shows the newest ones")
    })?;
    let read = tokio::task::spawn_blocking(move || app.definitions.read(uid, definition));
    let text = read.await.map_err(failed)?.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    Ok(axum::Json(ToolDefinition { server, tool, definition, text }).into_response())
}

async fn approve(
    shared: Shared<Arc<App>>,
    caller: Authenticated,
    params: Params,
    query: Queried,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response> {
    let approve = |tools, note| ProjectAction::Approve { tools, note };
    decide(shared, caller, params, query, headers, body, approve).await
}

async fn reject(
    shared: Shared<Arc<App>>,
    caller: Authenticated,
    params: Params,
    query: Queried,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response> {
    let reject = |tools, note| ProjectAction::Reject { tools, note };
    decide(shared, caller, params, query, headers, body, reject).await
}

async fn decide(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Path(params): Params,
    Query(query): Queried,
    headers: HeaderMap,
    body: Bytes,
    action: impl FnOnce(Vec<ToolChoice>, Option<String>) -> ProjectAction,
) -> Result<Response> {
    let target = target(&params);
    let state = app.published.load();
    let object = target.reachable(&state, &caller, Verb::Edit)?;
    let asked = json_body::object(&headers, &body)?;
    let asked: ToolDecision =
        serde_json::from_value(Value::Object(asked)).map_err(|error| json_body::malformed(error.to_string()))?;
    if asked.tools.len() > TOOLS_AT_ONCE_MAX {
        return Err(wrong("tools", &format!("has more than {TOOLS_AT_ONCE_MAX}")));
    }
    let choice = |one: crate::tools_wire::ToolAsked| ToolChoice {
        server: one.server,
        tool: one.tool,
        definition: one.definition,
    };
    let action = action(asked.tools.into_iter().map(choice).collect(), asked.note);
    let call = Call { app, caller, target, query, headers };
    finish(&call, &object, Deed::Act(Box::new(action))).await
}
