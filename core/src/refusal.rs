//! Refusals: a decision of no, with the field it is about and what to do next.
use serde::{Deserialize, Serialize};

use crate::ids::Seq;

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Path of the field, such as `env[2].valueFrom.secretRef.name`; empty for the whole document.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// All that is wrong with a document; empty when nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(pub Vec<Violation>);

impl Violations {
    /// Adds one.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Violation { field: field.into(), message: message.into(), hint: None });
    }

    /// Adds one that says what to do.
    pub fn hint(&mut self, field: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Violation { field: field.into(), message: message.into(), hint: Some(hint.into()) });
    }

    /// `Ok` when there is none.
    ///
    /// # Errors
    /// When there is one.
    pub fn check(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::Invalid(self.0)) }
    }
}

/// A decision of no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The document breaks rules.
    #[error("{}", first_violation(.0))]
    Invalid(Vec<Violation>),
    /// There is no such object (or none that the caller may know of).
    #[error("{object} does not exist")]
    NotFound {
        /// `kind/name`.
        object: String,
    },
    /// It was to be created and is there already.
    #[error("{object} exists already")]
    AlreadyExists {
        /// `kind/name`.
        object: String,
    },
    /// It changed since the caller read it.
    #[error(
        "{object} is at version {found}, and the change was made to version {expected}: read it again and repeat the change"
    )]
    Conflict {
        /// `kind/name`.
        object: String,
        /// Version the caller expected.
        expected: Seq,
        /// Version it has.
        found: Seq,
    },
    /// The caller lacks a right.
    #[error("{actor} may not {missing}")]
    Forbidden {
        /// Who asked.
        actor: String,
        /// The smallest right that is missing, such as `edit servers/my-ha`.
        missing: String,
        /// The state decided on.
        at: Seq,
    },
    /// Others refer to it.
    #[error("{object} is used by {}: remove it there first", by.join(", "))]
    InUse {
        /// `kind/name`.
        object: String,
        /// Those that refer to it.
        by: Vec<String>,
    },
    /// It can't be done in the state the object is in.
    #[error("{what}")]
    Impossible {
        /// What and why.
        what: String,
        /// What to do.
        hint: String,
    },
}

fn first_violation(violations: &[Violation]) -> String {
    match violations {
        [] => "the document is invalid".to_owned(),
        [one] => one_line(one),
        [one, rest @ ..] => format!("{} (and {} more)", one_line(one), rest.len()),
    }
}

fn one_line(violation: &Violation) -> String {
    if violation.field.is_empty() {
        violation.message.clone()
    } else {
        format!("{}: {}", violation.field, violation.message)
    }
}
