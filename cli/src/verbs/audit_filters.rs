//! Which entries of the audit log: the filters that all of `mcpctl audit` shares.
use mcpctl_api::client::AuditFilter;
use mcpctl_core::time::{Timestamp, parse_span_ms};

use super::InProject;
use crate::completion;
use crate::failure::{Done, Failure};

/// Which entries. What is left out does not matter.
#[derive(clap::Args, Clone)]
pub struct Filters {
    #[command(flatten)]
    whose: Whose,
    /// Sort of event: call, list, refusal, session, login, secret-read, audit-read, call.admitted, session.cut
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Session, as the log shows it
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Server that was called
    #[arg(long, value_name = "NAME", add = completion::names_of(mcpctl_core::kinds::Kind::Server))]
    server: Option<String>,
    /// Tool that was called, under the server's own name
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// What came of it: ok, denied, error, tool-error, timeout, cancelled, cut, unavailable
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
    #[command(flatten)]
    span: Span,
}

/// Whose, and in which project.
#[derive(clap::Args, Clone)]
pub struct Whose {
    #[command(flatten)]
    project: InProject,
    /// E-mail address of who called
    #[arg(long, visible_alias = "user-name", value_name = "E-MAIL", add = completion::names_of(mcpctl_core::kinds::Kind::User))]
    user: Option<String>,
    /// Name of the token that called
    #[arg(long, visible_alias = "token-name", value_name = "NAME", add = completion::names_of(mcpctl_core::kinds::Kind::McpToken))]
    token: Option<String>,
    /// SHA-256 of the token that called, or its beginning
    #[arg(long, value_name = "SHA256")]
    token_sha: Option<String>,
}

/// From when to when.
#[derive(clap::Args, Clone)]
pub struct Span {
    /// Not before: a moment, a date, or how long ago, such as 1h
    #[arg(long, visible_alias = "since", value_name = "WHEN")]
    from: Option<String>,
    /// Not after
    #[arg(long, value_name = "WHEN")]
    to: Option<String>,
}

impl Filters {
    /// As query parameters. Spans are counted from `now`.
    pub fn of(&self, now: Timestamp) -> Done<AuditFilter> {
        let fields = [
            ("kind", &self.kind),
            ("session", &self.session),
            ("server", &self.server),
            ("tool", &self.tool),
            ("outcome", &self.outcome),
        ];
        let mut filter = of(&self.whose, &self.span, now)?;
        filter.fields.extend(fields.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        Ok(filter)
    }
}

impl Filters {
    /// As they were written, to be compared with another time's: spans before now move on.
    pub fn fixed(&self) -> Done<Vec<(&'static str, String)>> {
        let filters = Self { span: Span { from: None, to: None }, ..self.clone() };
        Ok(filters.of(Timestamp::default())?.fields)
    }

    /// Whether they say where to begin.
    pub const fn has_begin(&self) -> bool {
        self.span.from.is_some()
    }
}

/// Whose and when, as query parameters. Spans are counted from `now`.
pub fn of(whose: &Whose, span: &Span, now: Timestamp) -> Done<AuditFilter> {
    let when = |text: &Option<String>| text.as_deref().map(|text| moment(text, now)).transpose();
    let fields = [
        ("project", whose.project.project.clone()),
        ("userName", whose.user.clone()),
        ("tokenName", whose.token.clone()),
        ("tokenSha", whose.token_sha.clone()),
        ("from", when(&span.from)?),
        ("to", when(&span.to)?),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    Ok(AuditFilter { fields, ..AuditFilter::default() })
}

/// A moment, a date, or a span before now.
fn moment(text: &str, now: Timestamp) -> Done<String> {
    if let Ok(span) = parse_span_ms(text) {
        return Ok(Timestamp::from_millis(now.as_millis().saturating_sub(span)).to_string());
    }
    let parsed = text.parse::<Timestamp>();
    parsed
        .map(|at| at.to_string())
        .map_err(|error| Failure::usage(error.to_string()).hint("or how long ago, such as 30m or 7d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_may_be_said_as_how_long_ago() {
        let now: Timestamp = "2026-11-21T09:30:00Z".parse().unwrap();
        assert_eq!(moment("30m", now).unwrap(), "2026-11-21T09:00:00.000Z");
        assert_eq!(moment("2026-11-20", now).unwrap(), "2026-11-20T00:00:00.000Z");
        assert!(moment("yesterday", now).is_err());
    }
}
