//! `secretbackend`: where secret values lie.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kinds::{Kind, Secret};
use crate::name::Name;
use crate::object::Meta;
use crate::reference::Ref;
use crate::refusal::Violations;
use crate::resource::{Column, Names, NoAction, NoEvent, NoStatus, Resource};
use crate::world::World;

/// Where secret values lie: sealed beside the log (`plaintext`), or in OpenBao or Vault (`openbao`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretBackend {
    /// What holds the values.
    #[serde(rename = "type")]
    pub backend_type: BackendType,
    /// Whether secrets that name no backend go here. At most one has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// What the backend is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Address of the server (openbao).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Mount of the KV version 2 engine (openbao).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// Put in front of every path (openbao).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// Namespace (openbao).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// How the control plane signs in there (openbao).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<BackendAuth>,
}

/// What holds the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackendType {
    /// Sealed files beside the log. Always there, as the root of trust.
    Plaintext,
    /// OpenBao, or Vault's KV version 2.
    Openbao,
}

/// How the control plane signs in to a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BackendAuth {
    /// With a token.
    #[serde(rename_all = "camelCase")]
    Token {
        /// A key of a secret in a `plaintext` backend.
        secret_ref: BackendKeyRef,
    },
    /// With an AppRole.
    #[serde(rename_all = "camelCase")]
    AppRole {
        /// The role's id.
        role_id: String,
        /// Its secret id, in a `plaintext` backend.
        secret_ref: BackendKeyRef,
    },
    /// With the service account token of the pod.
    #[serde(rename_all = "camelCase")]
    Kubernetes {
        /// The role.
        role: String,
    },
}

/// A key of a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendKeyRef {
    /// The secret.
    pub name: Ref<Secret>,
    /// The key in it.
    pub key: String,
}

impl Resource for SecretBackend {
    const KIND: Kind = Kind::SecretBackend;
    const NAMES: Names = Names { singular: "secretbackend", plural: "secretbackends", short: &["sb"] };
    const SUMMARY: &'static str = "Where secret values lie; one is the default.";
    const EXAMPLE: &'static str = "kind: secretbackend\nname: vault\ntype: openbao\nurl: https://vault.example.com:8200\nmount: secret\nauth:\n  token:\n    secretRef:\n      name: base\n      key: token\n";
    type Status = NoStatus;
    type Event = NoEvent;
    type Action = NoAction;

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                title: "TYPE",
                cell: |row| match row.spec.backend_type {
                    BackendType::Plaintext => "plaintext".to_owned(),
                    BackendType::Openbao => "openbao".to_owned(),
                },
            },
            Column { title: "DEFAULT", cell: |row| if row.spec.default { "*" } else { "" }.to_owned() },
            Column { title: "URL", cell: |row| row.spec.url.clone().unwrap_or_default() },
        ]
    }

    fn validate(&self, name: &Name, violations: &mut Violations) {
        match self.backend_type {
            BackendType::Plaintext => {
                let extra =
                    [("url", self.url.is_some()), ("mount", self.mount.is_some()), ("auth", self.auth.is_some())];
                for (field, _) in extra.iter().filter(|(_, given)| *given) {
                    violations.hint(*field, "is for openbao", "leave it out, or set type: openbao");
                }
            }
            BackendType::Openbao => {
                if !self.url.as_deref().is_some_and(|url| url.starts_with("https://") || url.starts_with("http://")) {
                    violations.hint("url", "is missing or no URL", "write https://host:8200");
                }
                if self.auth.is_none() {
                    violations.hint("auth", "is missing", "give token, appRole or kubernetes");
                }
            }
        }
        if name.as_str() == "plaintext" && self.backend_type != BackendType::Plaintext {
            violations.hint("type", "the backend named plaintext stays of type plaintext", "choose another name");
        }
    }

    fn validate_in(&self, world: &dyn World, meta: Option<&Meta>, violations: &mut Violations) {
        let other_default = self.default.then(|| {
            world.all(Kind::SecretBackend).find(|object| {
                Some(object.meta.uid) != meta.map(|meta| meta.uid)
                    && object.of::<Self>().is_some_and(|(spec, _)| spec.default)
            })
        });
        if let Some(Some(other)) = other_default {
            violations.hint(
                "default",
                format!("{} is the default", other.meta.name),
                "apply that one with default: false first",
            );
        }
    }
}
