//! Questions about rights, now and at any point of the past: can-i, why, why-not, who-can, what-can, and what differs
//! between two points (diff) or would after a change (simulate).
//!
//! Everybody may ask about themselves. To ask about somebody else takes `view` on that subject, and `who-can` tells only of
//! subjects that the caller may view, and whether that is all of them. These rights are looked at in the newest state,
//! whatever point of the past is asked about: who lost the right to look does not keep it for the past.
//! Project tokens reach none of this: they ask `/auth/me` about themselves.
mod asked;
pub(super) mod blast;
mod diff;
mod review;
#[cfg(test)]
mod review_tests;
mod simulate;
mod tell;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use mcpctl_core::access::questions::{Subject, acting, explain, what_can, who_can};
use mcpctl_core::access::{Ask, Verb, decide};
use mcpctl_core::actor::Actor;
use mcpctl_core::kinds::Kind;
use mcpctl_core::manifest::INPUT_BYTES_MAX;
use mcpctl_core::object::Object;
use mcpctl_core::refusal::{Refusal, Violation};
use mcpctl_core::world::World;
use mcpctl_projections::State;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use self::asked::Asked;
pub(super) use self::diff::diff;
pub use self::review::FINDINGS;
pub(super) use self::review::review;
use self::tell::Told;
use self::usage::Usage;
use super::app::App;
use super::auth::Authenticated;
use super::point::{Point, may_know};
use super::problem::{Answer, Result, invalid, problem};
use super::target::Target;
use super::{audit, clock};
use crate::access_wire::{Explanation, WhatCan, WhoCan};

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Yes or no.
    CanI,
    /// Why so: the chain, or what stands in the way.
    Why,
    /// The same, asked by somebody who expects a no.
    WhyNot,
    /// Everybody who may.
    WhoCan,
    /// Everything that somebody may.
    WhatCan,
}

impl Question {
    /// Every question and the last segment of its path.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::CanI, "can-i"),
        (Self::Why, "why"),
        (Self::WhyNot, "why-not"),
        (Self::WhoCan, "who-can"),
        (Self::WhatCan, "what-can"),
    ];
}

/// Routes of all questions.
pub fn routes() -> Router<Arc<App>> {
    let asked = Question::ALL.into_iter().fold(Router::new(), |router, (question, path)| {
        let handler =
            get(async move |Shared(app): Shared<Arc<App>>, caller: Authenticated, Query(query): Query<Queried>| {
                let state = app.published.load();
                aside(move || answer(question, &state, &caller, &query)).await
            });
        router.route(&format!("/api/v1/access/{path}"), handler)
    });
    let usage = Arc::new(Usage::default());
    let reviewed =
        get(async move |Shared(app): Shared<Arc<App>>, caller: Authenticated, Query(query): Query<Queried>| {
            look(app, caller, query, usage.clone()).await
        });
    asked
        .route("/api/v1/access/diff", get(differences))
        .route("/api/v1/access/simulate", simulated())
        .route("/api/v1/access/review", reviewed)
}

/// A review reads the audit log for those who may, and leaves an entry in it as every look does.
async fn look(app: Arc<App>, caller: Authenticated, query: Queried, usage: Arc<Usage>) -> Result<Response> {
    let state = app.published.load();
    let now = Point::newest(&state).at;
    let _place = place().await?;
    let verdict = decide(&*state, &caller.actor, &Ask::Operation(audit::RIGHT), now);
    aside(move || {
        let failed = |why: String| problem(StatusCode::SERVICE_UNAVAILABLE, "log", "The logs can't be read", why);
        let seen = match verdict.allowed {
            true => {
                let looked = audit::AuditQuery::default();
                let entry = audit::read_entry(&caller.actor, "GET /audit/events", &looked, &verdict, clock::now());
                app.audit.append(entry).map_err(|error| failed(error.to_string()))?;
                Some(usage.known(&*app.log, &app.audit).map_err(|error| failed(error.to_string()))?)
            }
            false => None,
        };
        Ok(axum::Json(review(&state, &caller, &query, seen.as_deref())?).into_response())
    })
    .await
}

type Queried = HashMap<String, String>;

async fn differences(
    Shared(app): Shared<Arc<App>>,
    caller: Authenticated,
    Query(query): Query<Queried>,
) -> Result<Response> {
    let (state, log) = (app.published.load(), app.log.clone());
    let _place = place().await?;
    aside(move || Ok(axum::Json(diff(&state, &*log, &caller, &query)?).into_response())).await
}

fn simulated() -> MethodRouter<Arc<App>> {
    post(simulate::answer).layer(DefaultBodyLimit::max(INPUT_BYTES_MAX))
}

/// Answers about many people or many events at once: so few, that others are not kept waiting.
static MANY: Semaphore = Semaphore::const_new(2);
/// How long such a question may wait for its place.
const PLACE_WAIT: Duration = Duration::from_secs(10);

async fn place() -> Result<SemaphorePermit<'static>> {
    match tokio::time::timeout(PLACE_WAIT, MANY.acquire()).await {
        Ok(Ok(place)) => Ok(place),
        _ => {
            let detail = "others ask as much: try again in a moment";
            Err(problem(StatusCode::SERVICE_UNAVAILABLE, "busy", "Busy", detail).retry_after(1))
        }
    }
}

/// With very many people around an answer takes milliseconds: not on a thread that serves others.
async fn aside<T: Send + 'static>(answer: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(answer).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a question was not answered");
        Err(problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", "see the log of mcpd"))
    })
}

fn answer(
    question: Question,
    state: &State,
    caller: &Authenticated,
    query: &HashMap<String, String>,
) -> Result<Response> {
    asking(state, caller, query, |asking| {
        Ok(match question {
            Question::CanI => axum::Json(asking.can_i()?).into_response(),
            Question::Why | Question::WhyNot => axum::Json(asking.why()?).into_response(),
            Question::WhoCan => axum::Json(asking.who_can()?).into_response(),
            Question::WhatCan => axum::Json(asking.what_can()?).into_response(),
        })
    })
}

/// The same as a value, for those who ask otherwise than over REST.
pub(super) fn told(
    question: Question,
    state: &State,
    caller: &Authenticated,
    query: &HashMap<String, String>,
) -> Result<Value> {
    let told = asking(state, caller, query, |asking| {
        Ok(match question {
            Question::CanI => serde_json::to_value(asking.can_i()?),
            Question::Why | Question::WhyNot => serde_json::to_value(asking.why()?),
            Question::WhoCan => serde_json::to_value(asking.who_can()?),
            Question::WhatCan => serde_json::to_value(asking.what_can()?),
        })
    });
    Ok(told?.unwrap_or_default())
}

fn asking<T>(
    state: &State,
    caller: &Authenticated,
    query: &HashMap<String, String>,
    answer: impl FnOnce(&Asking<'_>) -> Result<T>,
) -> Result<T> {
    let past = Point::of(state, query)?;
    let point = past.unwrap_or_else(|| Point::newest(state));
    let view;
    let world: &dyn World = match past {
        Some(_) => {
            view = state.at(point.seq);
            &view
        }
        None => state,
    };
    answer(&Asking { state, world, point, caller, query })
}

/// Who asks what, about which state.
struct Asking<'a> {
    state: &'a State,
    world: &'a dyn World,
    point: Point,
    caller: &'a Authenticated,
    query: &'a HashMap<String, String>,
}

impl Asking<'_> {
    /// Whom the question is about: the caller, unless somebody is named whom the caller may view.
    fn subject(&self) -> Result<(Actor, Option<&Arc<Object>>)> {
        let Some(text) = self.query.get("subject") else {
            return Ok((self.caller.actor.clone(), self.world.by_uid(self.caller.actor.uid)));
        };
        let subject: Subject = text.parse().map_err(|message| violation("subject", message))?;
        let found = subject.find(self.world).ok().filter(|object| may_know(self.state, self.caller, object));
        let Some(object) = found else { return Err(unknown_subject(self.state, self.caller, &subject)) };
        Ok((acting(object), Some(object)))
    }

    fn actor(&self) -> Result<Actor> {
        let (actor, object) = self.subject()?;
        match object.filter(|object| object.meta.kind == Kind::Group) {
            Some(group) => Err(violation(
                "subject",
                format!("{} is a group, which acts through its members: ask what-can about it", group.meta.name),
            )),
            None => Ok(actor),
        }
    }

    fn can_i(&self) -> Result<Explanation> {
        let told = self.why()?;
        Ok(Explanation { chain: Vec::new(), obstacles: Vec::new(), missing: Vec::new(), ..told })
    }

    fn why(&self) -> Result<Explanation> {
        let (actor, asked) = (self.actor()?, Asked::of(self.world, self.query)?);
        let ask = asked.ask();
        let told = Told { state: self.state, world: self.world, caller: self.caller };
        Ok(told.explanation(&actor, &ask, self.point, explain(self.world, &actor, &ask, self.point.at)))
    }

    fn who_can(&self) -> Result<WhoCan> {
        let asked = Asked::of(self.world, self.query)?;
        let told = Told { state: self.state, world: self.world, caller: self.caller };
        let all = who_can(self.world, &asked.ask(), self.point.at);
        let known = |uid| self.world.by_uid(uid).is_some_and(|object| may_know(self.state, self.caller, object));
        let items: Vec<_> = all.iter().filter(|proof| known(proof.subject.uid)).map(|proof| told.able(proof)).collect();
        let complete = items.len() == all.len();
        Ok(WhoCan { asked: asked.ask().to_string(), seq: self.point.seq, at: self.point.at, items, complete })
    }

    fn what_can(&self) -> Result<WhatCan> {
        let (actor, _) = self.subject()?;
        let told = Told { state: self.state, world: self.world, caller: self.caller };
        Ok(told.what_can(&what_can(self.world, &actor, self.point.at), self.point))
    }
}

/// One that is hidden and one that is not there are refused alike.
fn unknown_subject(state: &State, caller: &Authenticated, subject: &Subject) -> Answer {
    let (kind, project, name) = match subject {
        Subject::Token { project, name } => (Kind::McpToken, Some(project.to_string()), name.to_string()),
        Subject::Named(named) => {
            let text = named.to_string();
            let (kind, name) = text.split_once(':').unwrap_or(("User", &text));
            (Kind::from_noun(kind).unwrap_or(Kind::User), None, name.to_owned())
        }
    };
    Target { kind, project, name }.hidden(state, caller, Verb::View)
}

fn violation(field: &str, message: impl Into<String>) -> Answer {
    invalid(vec![Violation { field: field.to_owned(), message: message.into(), hint: None }])
}

/// What does not exist in the state that was asked.
fn missing(what: String) -> Answer {
    Refusal::NotFound { object: what }.into()
}
