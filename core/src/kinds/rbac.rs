//! `rbac`: who may do what.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::{Permission, RoleBinding};
use crate::kinds::{Kind, SubjectRef};
use crate::name::Name;
use crate::object::Meta;
use crate::refusal::Violations;
use crate::resource::{Column, Names, NoAction, NoEvent, NoStatus, Resource};
use crate::world::World;

/// Gives each of its subjects each of its bindings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rbac {
    /// Who is given the rights.
    pub subjects: Vec<SubjectRef>,
    /// What they are given: `{role, resource[, name]}`, or `{role: run, action}` for an operation.
    pub role_bindings: Vec<RoleBinding>,
}

impl Resource for Rbac {
    const KIND: Kind = Kind::Rbac;
    const NAMES: Names =
        Names { singular: "rbac", plural: "rbac", short: &["rbacdefinition", "rbacdefinitions", "rbacs"] };
    const SUMMARY: &'static str = "Gives subjects roles on resources, and operations.";
    const EXAMPLE: &'static str = "kind: rbac\nname: developers\nsubjects:\n- kind: User\n  name: base@example.com\nroleBindings:\n- role: edit\n  resource: servers\n- role: view\n  resource: servers\n  name: my-ha\n- role: run\n  action: logs\n";
    type Status = NoStatus;
    type Event = NoEvent;
    type Action = NoAction;

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
