//! How a command ends badly: what happened, what to do next, and the exit code.
use std::fmt;
use std::process::ExitCode;

use mcpctl_api::client::{ClientError, InvalidAddress};
use mcpctl_core::refusal::Violation;

use crate::out;

/// Exit code of a failure.
pub const FAILED: u8 = 1;
/// Exit code of wrong usage, and of a broken contract in `test mcp`.
pub const USAGE: u8 = 2;
/// Exit code of a failure of a command whose 1 is an answer (`simulate`, `review`).
pub const OTHER: u8 = 3;
/// Exit code after Ctrl-C, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// Result of a command.
pub type Done<T = ()> = Result<T, Failure>;

/// A command that did not do what was asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    message: Option<String>,
    details: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// It could not be done.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: FAILED, message: Some(message.into()), details: Vec::new(), hint: None }
    }

    /// It was asked in a wrong way.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::new(message) }
    }

    /// Everything was said already; only the exit code is left.
    pub const fn silent(code: u8) -> Self {
        Self { code, message: None, details: Vec::new(), hint: None }
    }

    /// The same with another exit code, unless it was wrong usage.
    #[must_use]
    pub const fn or_code(mut self, code: u8) -> Self {
        if self.code == FAILED {
            self.code = code;
        }
        self
    }

    /// What to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// One more line about what happened.
    #[must_use]
    pub fn note(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// What is wrong with which field, one line each.
    #[must_use]
    pub fn fields(mut self, violations: &[Violation]) -> Self {
        self.details = violations.iter().map(line_of).collect();
        self
    }

    /// The same about one thing of several.
    #[must_use]
    pub fn about(mut self, what: &str) -> Self {
        self.message =
            self.message.map(|message| if message.contains(what) { message } else { format!("{what}: {message}") });
        self
    }

    /// Says it on the standard error.
    pub fn report(&self) {
        if self.message.is_some() {
            out::note(&self.to_string());
        }
    }

    /// The exit code.
    pub fn exit_code(&self) -> ExitCode {
        self.code.into()
    }
}

fn line_of(violation: &Violation) -> String {
    let field = if violation.field.is_empty() { String::new() } else { format!("{}: ", violation.field) };
    let hint = violation.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{field}{}{hint}", violation.message)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (red, blue) = (out::style(anstyle::AnsiColor::Red), out::style(anstyle::AnsiColor::Cyan));
        write!(f, "{red}error:{red:#} {}", out::clean(self.message.as_deref().unwrap_or_default()))?;
        for detail in &self.details {
            write!(f, "\n  {}", out::clean(detail))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n{blue}hint:{blue:#} {}", out::clean(hint))?;
        }
        Ok(())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        // One violation is in the message already.
        let fields = if error.fields().len() > 1 { error.fields() } else { &[] };
        let hint = error
            .hint()
            .or_else(|| error.fields().first().and_then(|field| field.hint.clone()))
            .or_else(|| (error.status() == Some(401)).then(|| "log in: mcpctl login --user E-MAIL".to_owned()));
        let failure = Self::new(error.to_string()).fields(fields);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<InvalidAddress> for Failure {
    fn from(error: InvalidAddress) -> Self {
        Self::usage(error.to_string())
    }
}

/// A file that can't be read or written.
pub fn file(what: &str, path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_and_what_next() {
        let violations = [
            Violation { field: "ttl".into(), message: "is no span".into(), hint: Some("write 30d".into()) },
            Violation { field: String::new(), message: "too much".into(), hint: None },
        ];
        let failure = Failure::usage("no").fields(&violations).hint("try again");
        let text = anstream::adapter::strip_str(&failure.to_string()).to_string();
        assert_eq!(text, "error: no\n  ttl: is no span (write 30d)\n  too much\nhint: try again");
    }
}
