//! References between objects: a field of type `Ref<K>` names an object of kind `K`, and everything else follows.
use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::kinds::Kind;
use crate::name::Name;
use crate::resource::Resource;

/// The name of another object, of kind `K`. Its existence, order of apply, "used by" and refusal to delete follow from the type.
pub struct Ref<K> {
    name: Name,
    kind: PhantomData<fn() -> K>,
}

impl<K> Ref<K> {
    /// A reference to the object of this name.
    #[must_use]
    pub const fn to(name: Name) -> Self {
        Self { name, kind: PhantomData }
    }

    /// The name referred to.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }
}

impl<K> Clone for Ref<K> {
    fn clone(&self) -> Self {
        Self::to(self.name.clone())
    }
}
impl<K> PartialEq for Ref<K> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
impl<K> Eq for Ref<K> {}
impl<K> PartialOrd for Ref<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Ref<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name.cmp(&other.name)
    }
}
impl<K> fmt::Debug for Ref<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ref({})", self.name)
    }
}

/// Written as a newtype whose name carries the kind, so that [`crate::ref_walk`] can find it in any spec; every format writes a plain string.
impl<K: Resource> Serialize for Ref<K> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_newtype_struct(K::KIND.ref_mark(), &self.name)
    }
}

impl<'de, K> Deserialize<'de> for Ref<K> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Name::deserialize(d).map(Self::to)
    }
}

impl<K: Resource> JsonSchema for Ref<K> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Ref_{}", K::NAMES.singular).into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "x-mcpctl-ref": K::NAMES.singular })
    }
    fn inline_schema() -> bool {
        true
    }
}

/// One reference found in a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUse {
    /// Path of the field, such as `servers[1]`.
    pub field: String,
    /// Kind referred to.
    pub kind: Kind,
    /// Name referred to.
    pub name: Name,
}
