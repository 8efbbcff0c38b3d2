//! `group`: a set of users, to give rights to all at once.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kinds::{Kind, SubjectRef, User};
use crate::reference::Ref;
use crate::resource::{Column, Names, NoAction, NoEvent, NoStatus, Resource};

/// A set of users. What is bound to the group is held by each member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// What the group is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// E-mail addresses of its members.
    #[serde(default)]
    pub members: Vec<Ref<User>>,
}

impl Resource for Group {
    const KIND: Kind = Kind::Group;
    const NAMES: Names = Names { singular: "group", plural: "groups", short: &[] };
    const SUMMARY: &'static str = "A set of users, to give rights to all at once.";
    const EXAMPLE: &'static str = "kind: group\nname: developers\nmembers:\n- base@example.com\n";
    type Status = NoStatus;
    type Event = NoEvent;
    type Action = NoAction;

    fn columns() -> &'static [Column<Self>] {
        &[
            Column { title: "MEMBERS", cell: |row| row.spec.members.len().to_string() },
            Column { title: "DESCRIPTION", cell: |row| row.spec.description.clone().unwrap_or_default() },
        ]
    }

    fn prepare(&mut self) {
        self.members.sort();
        self.members.dedup();
    }

    fn members(&self) -> Vec<SubjectRef> {
        self.members.iter().map(|name| SubjectRef::User { name: name.clone() }).collect()
    }

    fn drop_subject(&mut self, subject: &SubjectRef) -> bool {
        let before = self.members.len();
        if let SubjectRef::User { name } = subject {
            self.members.retain(|member| member != name);
        }
        self.members.len() != before
    }
}
