//! Refusals and failures as `application/problem+json`: the one table from what went wrong to HTTP.
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mcpctl_core::ids::Seq;
use mcpctl_core::refusal::{Refusal, Violation};

use super::effects::password::PasswordError;
use super::effects::sealed_store::SealError;
use super::effects::secret_values::SecretError;
use super::writer::WriteError;
use crate::plane::Denial;
use crate::wire::Problem;

/// An answer of no, after how many seconds it may be another, and the right that is missing.
#[derive(Debug)]
pub struct Answer(pub Box<Problem>, pub Option<u64>, Option<Missing>);

/// The right that a caller lacked, in the words of the refusal, and the state that it was looked for in. It goes with the
/// response, for the audit log.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    pub(super) right: String,
    pub(super) at: Seq,
}

/// What handlers return.
pub type Result<T> = std::result::Result<T, Answer>;

/// A problem of a stable name.
#[must_use]
pub fn problem(status: StatusCode, name: &str, title: &str, detail: impl Into<String>) -> Answer {
    Answer(
        Box::new(Problem {
            kind: format!("urn:mcpctl:problem:{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            ..Problem::default()
        }),
        None,
        None,
    )
}

impl Answer {
    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says when to come again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.1 = Some(seconds);
        self
    }

    fn errors(mut self, errors: Vec<Violation>) -> Self {
        self.0.errors = errors;
        self
    }

    fn at(mut self, seq: Seq) -> Self {
        self.0.seq = Some(seq);
        self
    }

    fn missing(mut self, right: String, at: Seq) -> Self {
        self.2 = Some(Missing { right, at });
        self.at(at)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&*self.0).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"mcpctl\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.1 {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(missing) = self.2 {
            response.extensions_mut().insert(missing);
        }
        response
    }
}

/// A document that can't be read.
#[must_use]
pub fn invalid(errors: Vec<Violation>) -> Answer {
    let detail = Refusal::Invalid(errors.clone()).to_string();
    let hint = errors.iter().find_map(|error| error.hint.clone());
    let answer =
        problem(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The document breaks rules", detail).errors(errors);
    if let Some(hint) = hint { answer.hint(hint) } else { answer }
}

/// No credential, or one that opens nothing.
#[must_use]
pub fn unauthorized(detail: impl Into<String>) -> Answer {
    problem(StatusCode::UNAUTHORIZED, "unauthorized", "Not signed in", detail).hint("run `mcpctl login`")
}

/// Nothing at this address.
#[must_use]
pub fn not_found(detail: impl Into<String>) -> Answer {
    problem(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::Invalid(errors) => invalid(errors),
            Refusal::NotFound { .. } => not_found(detail),
            Refusal::AlreadyExists { .. } => problem(StatusCode::CONFLICT, "already-exists", "Already exists", detail)
                .hint("change it with `mcpctl apply` or `mcpctl edit`"),
            Refusal::Conflict { found, .. } => {
                problem(StatusCode::CONFLICT, "conflict", "Changed in the meantime", detail).at(found)
            }
            Refusal::Forbidden { at, missing, .. } => {
                problem(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
                    .hint(format!("ask somebody who holds it for the right to {missing}"))
                    .missing(missing, at)
            }
            Refusal::InUse { by, .. } => problem(StatusCode::CONFLICT, "in-use", "In use", detail).hint(format!(
                "see `mcpctl describe {}`",
                by.iter()
                    .find(|title| title.contains('/'))
                    .map_or_else(|| "KIND NAME".to_owned(), |title| title.replacen('/', " ", 1))
            )),
            Refusal::Impossible { hint, .. } => {
                problem(StatusCode::CONFLICT, "impossible", "Not possible now", detail).hint(hint)
            }
        }
    }
}

impl From<WriteError> for Answer {
    fn from(error: WriteError) -> Self {
        let detail = error.to_string();
        match error {
            WriteError::Refused { refusal, .. } => refusal.into(),
            WriteError::ReadOnly(_) => problem(StatusCode::SERVICE_UNAVAILABLE, "read-only", "Read-only", detail)
                .hint("nothing was changed; see the log of mcpd, free space on its disk, and try again"),
            WriteError::Busy => problem(StatusCode::SERVICE_UNAVAILABLE, "busy", "Busy", detail).retry_after(1),
            WriteError::NoAnswer => problem(StatusCode::SERVICE_UNAVAILABLE, "no-answer", "No answer", detail)
                .hint("send it again with the same Mcpctl-Request-Id, or look first"),
            WriteError::Bug => problem(StatusCode::INTERNAL_SERVER_ERROR, "bug", "Failed", detail)
                .hint("see the log of mcpd, and report it"),
        }
    }
}

impl From<SealError> for Answer {
    fn from(error: SealError) -> Self {
        tracing::error!(%error, "the sealed store failed");
        problem(StatusCode::SERVICE_UNAVAILABLE, "sealed-store", "The sealed store failed", error.to_string())
    }
}

impl From<PasswordError> for Answer {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Sealed(error) => error.into(),
            PasswordError::Busy => {
                problem(StatusCode::SERVICE_UNAVAILABLE, "busy", "Busy", error.to_string()).retry_after(5)
            }
        }
    }
}

impl From<SecretError> for Answer {
    fn from(error: SecretError) -> Self {
        let detail = error.to_string();
        match error {
            SecretError::Sealed(error) => error.into(),
            SecretError::NotAvailable(_) | SecretError::NoBackend(_) | SecretError::Empty(_) => {
                problem(StatusCode::CONFLICT, "impossible", "Not possible now", detail)
            }
            SecretError::Damaged(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "damaged", "Damaged", detail),
        }
    }
}

impl From<Denial> for Answer {
    fn from(denial: Denial) -> Self {
        let detail = denial.to_string();
        match denial {
            Denial::NotAToken(_) | Denial::Ended(_) => unauthorized(detail),
            Denial::OtherProject | Denial::Forbidden(_) => {
                problem(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
            }
            Denial::NoProject(_) => not_found(detail),
            Denial::Unavailable(_) => problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unavailable", detail),
        }
    }
}
