//! `rbac`: who may do what.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::{Permission, RoleBinding, Verb};
use crate::actor::Actor;
use crate::ids::Seq;
use crate::kinds::{Kind, SubjectRef};
use crate::name::Name;
use crate::object::Meta;
use crate::refusal::{Refusal, Violation, Violations};
use crate::resource::{ActRight, Column, Deciding, NamedEvent, Names, Resource};
use crate::time::Timestamp;
use crate::world::World;

/// Most bytes of the note of an attestation.
const NOTE_BYTES_MAX: usize = 2_000;

/// Gives each of its subjects each of its bindings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rbac {
    /// Who is given the rights.
    pub subjects: Vec<SubjectRef>,
    /// What they are given: `{role, resource[, name]}`, or `{role: run, action}` for an operation.
    pub role_bindings: Vec<RoleBinding>,
}

/// What events leave of an `rbac`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RbacStatus {
    /// The last time that somebody said that it is still right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested: Option<Attested>,
}

/// That somebody looked at what an `rbac` gives, and found it right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attested {
    /// Who.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// The version that was looked at: what was given later was not attested.
    pub of: Seq,
    /// What they said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What can be done with an `rbac` beyond apply and delete.
#[derive(Clone, Debug)]
pub enum RbacAction {
    /// Say that it is still right.
    Attest {
        /// What was checked, or by what request.
        note: Option<String>,
    },
}

/// Facts about an `rbac` that can't be said in YAML.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RbacEvent {
    /// A reviewer said that it is still right.
    #[serde(rename_all = "camelCase")]
    Attested {
        /// Who.
        by: Actor,
        /// The version that was looked at.
        of: Seq,
        /// What they said about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
}

impl NamedEvent for RbacEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Attested { .. } => "attested",
        }
    }
    const NAMES: &'static [&'static str] = &["attested"];
}

impl Resource for Rbac {
    const KIND: Kind = Kind::Rbac;
    const NAMES: Names =
        Names { singular: "rbac", plural: "rbac", short: &["rbacdefinition", "rbacdefinitions", "rbacs"] };
    const SUMMARY: &'static str = "Gives subjects roles on resources, and operations.";
    const EXAMPLE: &'static str = "kind: rbac\nname: developers\nsubjects:\n- kind: User\n  name: base@example.com\nroleBindings:\n- role: edit\n  resource: servers\n- role: view\n  resource: servers\n  name: my-ha\n- role: run\n  action: logs\n";
    type Status = RbacStatus;
    type Event = RbacEvent;
    type Action = RbacAction;

    fn columns() -> &'static [Column<Self>] {
        &[
            Column { title: "SUBJECTS", cell: |row| list(&row.spec.subjects) },
            Column { title: "BINDINGS", cell: |row| list(&row.spec.role_bindings) },
        ]
    }

    fn prepare(&mut self) {
        self.subjects.sort();
        self.subjects.dedup();
        self.role_bindings.sort();
        self.role_bindings.dedup();
    }

    fn validate(&self, _name: &Name, violations: &mut Violations) {
        if self.role_bindings.is_empty() {
            violations.hint("roleBindings", "is empty", "give at least one binding, or delete the object");
        }
    }

    fn validate_in(&self, world: &dyn World, _meta: Option<&Meta>, violations: &mut Violations) {
        for (index, subject) in self.subjects.iter().enumerate() {
            if let SubjectRef::McpToken { name } = subject
                && world.credential(&name.0).is_none()
            {
                violations.hint(
                    format!("subjects[{index}].name"),
                    "is the SHA-256 of no token",
                    "see `mcpctl describe mcptoken`",
                );
            }
        }
    }

    fn right(_action: &RbacAction) -> ActRight {
        ActRight::Verb(Verb::Edit)
    }

    /// Saying it again is worth an event of its own: a review happened.
    fn decide(deciding: &Deciding<'_, Self>, action: &RbacAction) -> Result<Vec<RbacEvent>, Refusal> {
        let RbacAction::Attest { note } = action;
        if note.as_ref().is_some_and(|note| note.len() > NOTE_BYTES_MAX) {
            let message = format!("has more than {NOTE_BYTES_MAX} bytes");
            return Err(Refusal::Invalid(vec![Violation { field: "note".to_owned(), message, hint: None }]));
        }
        let (by, of) = (deciding.caller.clone(), deciding.meta.resource_version);
        Ok(vec![RbacEvent::Attested { by, of, note: note.clone().filter(|note| !note.is_empty()) }])
    }

    fn action_of(events: &[RbacEvent]) -> Option<RbacAction> {
        match events {
            [RbacEvent::Attested { note, .. }] => Some(RbacAction::Attest { note: note.clone() }),
            _ => None,
        }
    }

    fn evolve(status: &mut RbacStatus, event: &RbacEvent, at: Timestamp) {
        let RbacEvent::Attested { by, of, note } = event.clone();
        status.attested = Some(Attested { by, at, of, note });
    }

    fn grants(&self, _name: &Name) -> Vec<(SubjectRef, Permission)> {
        let each = |subject: &SubjectRef| {
            let subject = subject.clone();
            self.role_bindings.iter().map(move |binding| (subject.clone(), binding.clone())).collect::<Vec<_>>()
        };
        self.subjects.iter().flat_map(each).collect()
    }

    fn drop_subject(&mut self, subject: &SubjectRef) -> bool {
        let before = self.subjects.len();
        self.subjects.retain(|other| other != subject);
        self.subjects.len() != before
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    const SHOWN: usize = 3;
    let mut text = items.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if items.len() > SHOWN {
        text.push_str(&format!(" +{}", items.len() - SHOWN));
    }
    text
}
