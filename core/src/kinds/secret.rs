//! `secret`: named values. The values lie in a backend, never in the log, the replica or a listing.
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::Verb;
use crate::ids::Digest;
use crate::kinds::{Kind, SecretBackend};
use crate::name::Name;
use crate::plaintext::Plaintext;
use crate::reference::Ref;
use crate::refusal::{Refusal, Violations};
use crate::resource::{ActRight, Column, Deciding, NamedEvent, Names, Resource};
use crate::time::Timestamp;

/// Most bytes that all values of one secret may have together.
pub const SECRET_BYTES_MAX: usize = 512 * 1024;

/// Named values for servers and models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secret {
    /// What the secret is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where its values lie; without one, in the default backend of the moment it is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Ref<SecretBackend>>,
    /// Values by key. Write-only; when given they replace all values, when left out the values stay.
    #[serde(default, skip_serializing)]
    pub data: Option<BTreeMap<String, Plaintext>>,
}

/// What events leave of a secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretStatus {
    /// The version in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<SecretVersion>,
}

/// One version of a secret's values, without the values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretVersion {
    /// Counts from 1.
    pub version: u32,
    /// Names of the keys.
    pub keys: Vec<String>,
    /// The backend that holds it.
    pub backend: String,
    /// SHA-256 over a random nonce and the sealed values.
    pub commitment: Digest,
}

/// What can be done with a secret beyond apply and delete.
#[derive(Clone, Debug)]
pub enum SecretAction {
    /// Put new values in force; they are in the backend already.
    Write(SecretVersion),
}

/// Facts about a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretEvent {
    /// New values were put in force.
    Written(SecretVersion),
}

impl NamedEvent for SecretEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Written(_) => "written",
        }
    }
    const NAMES: &'static [&'static str] = &["written"];
}

impl Resource for Secret {
    const KIND: Kind = Kind::Secret;
    const NAMES: Names = Names { singular: "secret", plural: "secrets", short: &[] };
    const SUMMARY: &'static str = "Named values, kept in a backend and never shown in a listing.";
    const EXAMPLE: &'static str =
        "kind: secret\nname: ha-token\ndescription: Token of the home automation\ndata:\n  token: example-value\n";
    type Status = SecretStatus;
    type Event = SecretEvent;
    type Action = SecretAction;

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                title: "BACKEND",
                cell: |row| {
                    let held = row.status.current.as_ref().map(|current| current.backend.clone());
                    held.or_else(|| row.spec.backend.as_ref().map(|b| b.name().to_string())).unwrap_or_default()
                },
            },
            Column {
                title: "KEYS",
                cell: |row| row.status.current.as_ref().map(|c| c.keys.join(",")).unwrap_or_default(),
            },
            Column { title: "VERSION", cell: |row| row.status.current.as_ref().map_or(0, |c| c.version).to_string() },
        ]
    }

    fn validate(&self, _name: &Name, violations: &mut Violations) {
        let Some(data) = &self.data else { return };
        for key in data.keys() {
            let good = !key.is_empty()
                && key.len() <= 253
                && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            if !good {
                violations.add(
                    "data",
                    format!(
                        "{:?} is not a key: use letters, digits, '-', '_' and '.'",
                        key.chars().take(80).collect::<String>()
                    ),
                );
            }
        }
        if data.values().map(|value| value.expose().len()).sum::<usize>() > SECRET_BYTES_MAX {
            violations.add("data", format!("the values have more than {SECRET_BYTES_MAX} bytes together"));
        }
    }

    fn right(_action: &SecretAction) -> ActRight {
        ActRight::Verb(Verb::Edit)
    }

    /// Two writers may have counted from the same version: the number is given here, where they are one after the other.
    fn decide(deciding: &Deciding<'_, Self>, action: &SecretAction) -> Result<Vec<SecretEvent>, Refusal> {
        let SecretAction::Write(written) = action;
        let version = deciding.status.current.as_ref().map_or(0, |current| current.version).saturating_add(1);
        Ok(vec![SecretEvent::Written(SecretVersion { version, ..written.clone() })])
    }

    fn action_of(events: &[SecretEvent]) -> Option<SecretAction> {
        match events {
            [SecretEvent::Written(version)] => Some(SecretAction::Write(version.clone())),
            _ => None,
        }
    }

    fn evolve(status: &mut SecretStatus, event: &SecretEvent, _at: Timestamp) {
        let SecretEvent::Written(version) = event;
        status.current = Some(version.clone());
    }
}
