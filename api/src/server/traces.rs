//! A span of each request to the API, for whoever collects traces: by its route, never by its path.
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::app::App;
use crate::otel::{Attribute, Parent, Place, SpanKind, TRACEPARENT, TRACESTATE};

/// Where in a trace a request is handled: handlers find it among the request's extensions.
#[derive(Clone)]
pub(super) struct Traced(pub(super) Arc<Place>);

/// Addresses that are looked at every few seconds, and say nothing in a trace.
const UNTRACED: [&str; 3] = ["/healthz", "/health", "/metrics"];

/// Makes the span of a request.
pub(super) async fn span(Shared(app): Shared<Arc<App>>, mut request: Request, next: Next) -> Response {
    let Some(tracer) = app.tracer.get().filter(|_| !UNTRACED.contains(&request.uri().path())) else {
        return next.run(request).await;
    };
    let Some(place) = tracer.enter(parent(request.headers()), Instant::now()) else { return next.run(request).await };
    let method = match request.method().as_str() {
        known @ ("GET" | "POST" | "PUT" | "DELETE" | "HEAD" | "OPTIONS" | "PATCH") => known.to_owned(),
        _ => "_OTHER".to_owned(),
    };
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let place = Arc::new(place);
    request.extensions_mut().insert(Traced(place.clone()));
    let response = next.run(request).await;
    // Who has no credential does not fill anybody's traces.
    if response.status() != StatusCode::UNAUTHORIZED {
        end(&place, method, route, response.status());
    }
    response
}

fn end(place: &Place, method: String, route: Option<String>, status: StatusCode) {
    let name = route.as_ref().map_or_else(|| method.clone(), |route| format!("{method} {route}"));
    let mut attributes: Vec<(&'static str, Attribute)> = vec![
        ("http.request.method", method.into()),
        ("http.response.status_code", Attribute::Int(status.as_u16().into())),
        ("url.scheme", "http".into()),
    ];
    attributes.extend(route.map(|route| ("http.route", route.into())));
    let error = status.is_server_error().then(|| status.as_u16().to_string().into());
    place.end(SpanKind::Server, name, attributes, error);
}

/// The span before, as the headers say it.
fn parent(headers: &HeaderMap) -> Option<Parent> {
    let all =
        |name: &str| -> Vec<&str> { headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("")).collect() };
    Parent::read(all(TRACEPARENT).into_iter(), all(TRACESTATE).into_iter())
}

/// Figures of spans, for `/metrics`; nothing where nobody collects them.
pub(super) fn figures(app: &App) -> Vec<super::metrics::Figure> {
    use super::metrics::Figure::{Level, Total};
    let Some(figures) = app.tracer.get().map(|tracer| tracer.figures()) else { return Vec::new() };
    #[expect(clippy::cast_precision_loss, reason = "a figure is read by a person or a graph")]
    let [exported, crowded_out, undelivered, waiting] =
        [figures.exported, figures.crowded_out, figures.undelivered, figures.waiting].map(|count| count as f64);
    vec![
        Total("spans_exported", "Spans that the collector took", exported),
        Total("spans_crowded_out", "Spans that were dropped because too many waited", crowded_out),
        Total("spans_undelivered", "Spans that were dropped because the collector did not take them", undelivered),
        Level("spans_waiting", "Spans that wait to be sent", waiting),
    ]
}
