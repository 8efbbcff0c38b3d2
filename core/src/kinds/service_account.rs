//! `serviceaccount`: a machine subject.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kinds::Kind;
use crate::resource::{Column, Names, NoAction, NoEvent, NoStatus, Resource};

/// A machine subject: what must outlive people is owned by one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccount {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A disabled service account can do nothing, and its tokens end for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

impl Resource for ServiceAccount {
    const KIND: Kind = Kind::ServiceAccount;
    const NAMES: Names = Names { singular: "serviceaccount", plural: "serviceaccounts", short: &["sa"] };
    const SUMMARY: &'static str = "A machine subject.";
    const EXAMPLE: &'static str = "kind: serviceaccount\nname: ci\ndescription: Builds and deploys\n";
    type Status = NoStatus;
    type Event = NoEvent;
    type Action = NoAction;

    fn columns() -> &'static [Column<Self>] {
        &[
            Column { title: "STATUS", cell: |row| if row.spec.disabled { "disabled" } else { "active" }.to_owned() },
            Column { title: "DESCRIPTION", cell: |row| row.spec.description.clone().unwrap_or_default() },
        ]
    }

    fn enabled(&self) -> bool {
        !self.disabled
    }
}
