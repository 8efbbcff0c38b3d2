//! A permission within an image: its parts in order, since an image has no names of fields.
use mcpctl_core::access::{Permission, ResourceName, Role, RoleBinding};
use mcpctl_core::name::Name;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
enum Parts {
    Operation(Role, String),
    Resource(Role, ResourceName, Option<Name>),
}

pub(crate) fn serialize<S: Serializer>(permission: &Permission, serializer: S) -> Result<S::Ok, S::Error> {
    match permission.clone() {
        RoleBinding::Operation { role, action } => Parts::Operation(role, action),
        RoleBinding::Resource { role, resource, name } => Parts::Resource(role, resource, name),
    }
    .serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Permission, D::Error> {
    Ok(match Parts::deserialize(deserializer)? {
        Parts::Operation(role, action) => RoleBinding::Operation { role, action },
        Parts::Resource(role, resource, name) => RoleBinding::Resource { role, resource, name },
    })
}
