//! Pages in a browser: none of another origin talks to the control plane, whatever bearer it got hold of.
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::problem::problem;

/// Programs send no `Origin`. A page that does is taken only from this machine: that is where inspectors run.
pub(super) async fn of_this_machine(request: Request, next: Next) -> Response {
    if from_elsewhere(request.headers()) {
        let detail = "the request comes from a page of another origin";
        return problem(StatusCode::FORBIDDEN, "origin", "Foreign page", detail)
            .hint("use the command line, or a program that sends no Origin")
            .into_response();
    }
    next.run(request).await
}

fn from_elsewhere(headers: &HeaderMap) -> bool {
    headers.get_all(header::ORIGIN).iter().any(|origin| {
        let url = origin.to_str().ok().and_then(|text| text.parse::<url::Url>().ok());
        !url.is_some_and(|url| match url.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        })
    })
}
