//! Running copies of servers, their logs, and the status of it all.
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State as Shared};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::StreamExt as _;
use mcpctl_core::access::{Ask, ResourceName, Verb, decide};
use mcpctl_core::ids::Uid;
use mcpctl_core::kinds::Kind;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::app::App;
use super::auth::Authenticated;
use super::health;
use super::problem::{Answer, Result, not_found};
use super::target::{Target, may_view};
use crate::upstream::{InstanceStatus, LogLine};
use crate::wire::{Instance, List, Status};

const LOG_LINES_MAX: usize = 2_000;

/// Routes of instances, logs and status.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/instances", get(list))
        .route("/api/v1/instances/{name}/logs", get(logs))
        .route("/api/v1/status", get(status))
        .route("/api/v1/secrets/{name}/values", get(secret_values))
}

fn may_see(state: &State, caller: &Authenticated, server: Uid) -> bool {
    let Some(object) = state.by_uid(server) else { return false };
    let ask = Ask::Object {
        verb: Verb::View,
        resource: ResourceName::Instances,
        project: None,
        name: Some(&object.meta.name),
        uid: None,
    };
    may_view(state, caller, object) || decide(state, &caller.actor, &ask, caller.at.max(state.last_at())).allowed
}

fn wired(status: InstanceStatus) -> Instance {
    let since = status.since.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Instance {
        name: status.name,
        server: status.server_name,
        state: format!("{:?}", status.state).to_uppercase(),
        pid: status.pid,
        era: status.era.map(|era| format!("{era:?}").to_lowercase()),
        since: Some(Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or_default())),
        restarts: status.restarts,
        last_error: status.last_error,
    }
}

fn visible_instances(app: &App, state: &State, caller: &Authenticated) -> Vec<Instance> {
    let all = app.fleet.instances().into_iter();
    all.filter(|instance| may_see(state, caller, instance.server)).map(wired).collect()
}

async fn list(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Query(query): Query<HashMap<String, String>>,
) -> axum::Json<List<Instance>> {
    let state = app.published.load();
    let mut items = visible_instances(&app, &state, &caller);
    if let Some(server) = query.get("server") {
        items.retain(|instance| instance.server == *server);
    }
    axum::Json(List { items, next: None, revision: state.seq() })
}

async fn status(Shared(app): Shared<Arc<App>>, caller: Authenticated) -> axum::Json<Status> {
    let state = app.published.load();
    let count = |kind: &Kind| state.all(*kind).filter(|object| may_view(&state, &caller, object)).count();
    let objects: BTreeMap<String, usize> =
        Kind::ALL.iter().map(|kind| (kind.names().plural.to_owned(), count(kind))).collect();
    let broken = app.writer.figures().broken.lock().clone();
    axum::Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seq: state.seq(),
        log: match (app.alarm(), broken) {
            (Some(why), _) => format!("altered: {why}"),
            (None, Some(why)) => format!("read-only: {why}"),
            (None, None) => {
                let alarms = [app.witnesses.alarms(), app.witnesses.silent()].concat();
                if alarms.is_empty() { "ok".to_owned() } else { format!("not witnessed: {}", alarms.join("; ")) }
            }
        },
        objects,
        servers: health::visible(&app, &state, &caller),
        instances: visible_instances(&app, &state, &caller),
    })
}

fn refuse(app: &App, caller: &Authenticated, ask: &Ask<'_>) -> Result<()> {
    let state = app.published.load();
    let verdict = decide(&*state, &caller.actor, ask, caller.at.max(state.last_at()));
    if verdict.allowed {
        return Ok(());
    }
    Err(Answer::from(mcpctl_core::refusal::Refusal::Forbidden {
        actor: caller.actor.to_string(),
        missing: ask.to_string(),
        at: verdict.at,
    }))
}

async fn logs(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response> {
    refuse(&app, &caller, &Ask::Operation("logs"))?;
    let found = app.fleet.find(&name);
    let Some((server, instance)) = found else {
        return Err(not_found(format!(
            "no server or instance {:?} is running",
            name.chars().take(80).collect::<String>()
        ))
        .hint("see `mcpctl status`"));
    };
    let tail = query.get("tail").and_then(|text| text.parse().ok()).unwrap_or(200).min(LOG_LINES_MAX);
    let follower = query.get("follow").filter(|value| *value == "true").and_then(|_| app.fleet.follow_logs(server));
    let mut text = String::new();
    for line in app.fleet.logs(server, instance.as_deref(), tail) {
        print(&mut text, &line);
    }
    let body = match follower {
        None => Body::from(text),
        Some(lines) => {
            let stop = app.stop.clone().cancelled_owned();
            Body::from_stream(followed(text, lines, instance).take_until(stop))
        }
    };
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

/// What was kept, then every new line as it comes.
fn followed(
    kept: String,
    lines: broadcast::Receiver<LogLine>,
    instance: Option<String>,
) -> impl futures::Stream<Item = std::result::Result<String, std::convert::Infallible>> {
    let later = futures::stream::unfold((lines, instance), |(mut lines, instance)| async move {
        loop {
            let mut text = String::new();
            match lines.recv().await {
                Ok(line) if instance.as_ref().is_none_or(|name| line.instance == *name) => print(&mut text, &line),
                Ok(_) => continue,
                Err(RecvError::Lagged(missed)) => {
                    let _ = writeln!(text, "… {missed} lines missed: the reader was too slow");
                }
                Err(RecvError::Closed) => return None,
            }
            return Some((Ok(text), (lines, instance)));
        }
    });
    futures::stream::once(async move { Ok(kept) }).chain(later)
}

/// Lines of a program are material from outside: control characters are shown, never sent to a terminal.
fn print(text: &mut String, line: &LogLine) {
    let since = line.at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let at = Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or_default());
    let shown: String = line
        .text
        .chars()
        .flat_map(|c| if c.is_control() && c != '\t' { c.escape_default().collect() } else { vec![c] })
        .collect();
    let _ = writeln!(text, "{at} {} {shown}", line.instance);
}

async fn secret_values(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Path(name): Path<String>,
) -> Result<Response> {
    let target = Target { kind: Kind::Secret, project: None, name };
    let look = || -> Result<_> {
        let state = app.published.load();
        let object = target.reachable(&state, &caller, Verb::View)?;
        for verb in [Verb::Edit, Verb::Run] {
            refuse(&app, &caller, &Ask::on(verb, &object))?;
        }
        let values = super::effects::secret_values::read(&app.sealed, &object)?;
        Ok((object, values))
    };
    // Values that were replaced while they were looked up are gone: then the new ones are there.
    let (object, values) = look().or_else(|_| look())?;
    super::login_audit::secret_read(&app, &caller, &object)?;
    let data: serde_json::Map<String, serde_json::Value> =
        values.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(serde_json::json!({ "data": data }))).into_response())
}
