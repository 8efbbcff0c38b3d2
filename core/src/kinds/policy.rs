//! `policy`: what holds for the whole organisation, whoever holds which rights.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kinds::Kind;
use crate::name::{Name, NameRule};
use crate::refusal::Violations;
use crate::resource::{Column, Names, NoAction, NoEvent, NoStatus, Resource};
use crate::time::parse_span_ms;
use crate::world::World;

/// The name of the one object there is.
pub const ORGANISATION: &str = "organisation";
/// Longest chain of grants that a policy may allow: longer ones nobody can follow.
const DEPTH_MAX: u32 = 64;

/// Shortest time that audit entries may be kept: nobody drops the day in which they did something.
const AUDIT_RETENTION_MS_MIN: u64 = 24 * 60 * 60 * 1000;

/// What holds for the whole organisation. There is one, named `organisation`; without it nothing is limited.
/// It binds what is made from then on: a token that lives longer goes on to its end, and is listed by `review`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Why it is as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Longest time to live of a token, such as `90d`. A token that never expires is refused then, whoever owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<String>,
    /// How long a chain of grants may be, 1 to 64. With 1, only those who were made administrators by the first start or
    /// by local recovery give rights; with 2, those to whom they gave, too; and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation_depth: Option<u32>,
    /// How long entries of the audit log are kept, such as `365d`; at least a day. Older ones are dropped in whole segments,
    /// and their hashes stay, so that the log is verified as before. Left out, nothing is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_retention: Option<String>,
}

impl Policy {
    /// The policy in force.
    #[must_use]
    pub fn of(world: &dyn World) -> Option<&Self> {
        let name = Name::parse(NameRule::Label, ORGANISATION).ok()?;
        world.by_name(Kind::Policy, None, &name)?.of::<Self>().map(|(spec, _)| spec)
    }

    /// Longest time to live of a token, in milliseconds.
    #[must_use]
    pub fn max_ttl_ms(&self) -> Option<u64> {
        self.max_ttl.as_deref().and_then(|text| parse_span_ms(text).ok())
    }
}

impl Policy {
    /// How long audit entries are kept, in milliseconds.
    #[must_use]
    pub fn audit_retention_ms(&self) -> Option<u64> {
        self.audit_retention.as_deref().and_then(|text| parse_span_ms(text).ok())
    }
}

impl Resource for Policy {
    const KIND: Kind = Kind::Policy;
    const NAMES: Names = Names { singular: "policy", plural: "policies", short: &[] };
    const SUMMARY: &'static str =
        "What holds for the whole organisation: how long tokens live, how far rights are passed on.";
    const EXAMPLE: &'static str = "kind: policy\nname: organisation\nmaxTtl: 90d\ndelegationDepth: 3\n";
    type Status = NoStatus;
    type Event = NoEvent;
    type Action = NoAction;

    fn columns() -> &'static [Column<Self>] {
        &[
            Column { title: "MAX-TTL", cell: |row| row.spec.max_ttl.clone().unwrap_or_else(|| "unlimited".to_owned()) },
            Column {
                title: "DELEGATION-DEPTH",
                cell: |row| row.spec.delegation_depth.map_or_else(|| "unlimited".to_owned(), |depth| depth.to_string()),
            },
        ]
    }

    fn validate(&self, name: &Name, violations: &mut Violations) {
        if name.as_str() != ORGANISATION {
            let message = format!("{:?} can't be: there is one policy, named {ORGANISATION}", name.as_str());
            violations.hint("name", message, format!("name it {ORGANISATION}"));
        }
        if let Some(error) = self.max_ttl.as_ref().and_then(|text| parse_span_ms(text).err()) {
            violations.hint("maxTtl", error.to_string(), "leave it out for no limit");
        }
        match self.audit_retention.as_deref().map(parse_span_ms) {
            Some(Err(error)) => violations.hint("auditRetention", error.to_string(), "leave it out to keep everything"),
            Some(Ok(span)) if span < AUDIT_RETENTION_MS_MIN => {
                violations.hint("auditRetention", "is less than a day".to_owned(), "write 1d or more");
            }
            _ => {}
        }
        if self.delegation_depth.is_some_and(|depth| !(1..=DEPTH_MAX).contains(&depth)) {
            violations.hint("delegationDepth", format!("is not 1 to {DEPTH_MAX}"), "leave it out for no limit");
        }
    }
}
