//! Values of secrets: written to their backend before the event, read when something is started or revealed.
use std::collections::BTreeMap;
use std::sync::Arc;

use mcpctl_core::kinds::{BackendType, Kind, Secret, SecretBackend, SecretVersion};
use mcpctl_core::name::Name;
use mcpctl_core::object::Object;
use mcpctl_core::plaintext::Plaintext;
use mcpctl_core::world::World;
use zeroize::Zeroizing;

use super::sealed_store::{Purpose, SealError, SealedStore};

/// Values by key.
pub type Values = BTreeMap<String, Zeroizing<String>>;

/// Why values could not be written or read. No message holds a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The sealed store failed.
    #[error(transparent)]
    Sealed(#[from] SealError),
    /// The backend is of a type that this version can't write to.
    #[error(
        "the backend {0:?} is of type openbao, which this version can't read or write yet: use a backend of type plaintext"
    )]
    NotAvailable(String),
    /// The backend is not there yet: a batch that makes it can't put values into it.
    #[error("the backend {0:?} does not exist yet: apply it first, then the secret with its data")]
    NoBackend(String),
    /// The secret has no values.
    #[error("the secret {0:?} has no values yet: apply it with data")]
    Empty(String),
    /// The values are not what they should be.
    #[error("the values of the secret {0:?} are damaged: write them again")]
    Damaged(String),
}

/// Writes values, durably, as the version after the current one. Nothing to do (`None`) when they are in force already.
///
/// # Errors
/// When the backend can't take them.
pub fn write(
    store: &SealedStore,
    world: &dyn World,
    object: Option<&Object>,
    backend: Option<&Name>,
    data: &BTreeMap<String, Plaintext>,
) -> Result<Option<SecretVersion>, SecretError> {
    let backend = choose_backend(world, backend)?;
    let current = object.and_then(|object| object.of::<Secret>()?.1.current.clone());
    let plain: Zeroizing<Vec<u8>> = encode(data);
    if let Some(current) = &current
        && current.backend == backend
        && store.unseal(Purpose::Secret, &current.commitment).is_ok_and(|old| *old == *plain)
    {
        return Ok(None);
    }
    let commitment = store.seal(Purpose::Secret, &plain)?;
    let version = current.map_or(0, |current| current.version).saturating_add(1);
    Ok(Some(SecretVersion { version, keys: data.keys().cloned().collect(), backend, commitment }))
}

/// Reads all values of a secret.
///
/// # Errors
/// When it has none or the backend can't give them.
pub fn read(store: &SealedStore, object: &Object) -> Result<Values, SecretError> {
    let name = || object.meta.name.to_string();
    let current = object.of::<Secret>().and_then(|(_, status)| status.current.as_ref());
    let current = current.ok_or_else(|| SecretError::Empty(name()))?;
    let plain = store.unseal(Purpose::Secret, &current.commitment)?;
    decode(&plain).ok_or_else(|| SecretError::Damaged(name()))
}

/// The backend that takes the values of a secret: the one that it names, else the default.
///
/// # Errors
/// When there is none of this name, or it is of a type that takes none yet.
pub fn choose_backend(world: &dyn World, named: Option<&Name>) -> Result<String, SecretError> {
    let is_default = |object: &&Arc<Object>| object.of::<SecretBackend>().is_some_and(|(spec, _)| spec.default);
    let chosen = match named {
        Some(name) => Some(
            world.by_name(Kind::SecretBackend, None, name).ok_or_else(|| SecretError::NoBackend(name.to_string()))?,
        ),
        None => world.all(Kind::SecretBackend).find(is_default),
    };
    // Without any default the root of trust takes it.
    let Some(object) = chosen else { return Ok("plaintext".to_owned()) };
    match object.of::<SecretBackend>() {
        Some((spec, _)) if spec.backend_type == BackendType::Plaintext => Ok(object.meta.name.to_string()),
        _ => Err(SecretError::NotAvailable(object.meta.name.to_string())),
    }
}

/// Length-prefixed keys and values: no text form of the whole is ever made, so none is left behind in memory.
fn encode(data: &BTreeMap<String, Plaintext>) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::new());
    let mut put = |bytes: &[u8]| {
        out.extend((bytes.len() as u64).to_le_bytes());
        out.extend(bytes);
    };
    for (key, value) in data {
        put(key.as_bytes());
        put(value.expose().as_bytes());
    }
    out
}

fn decode(mut bytes: &[u8]) -> Option<Values> {
    let mut values = Values::new();
    while !bytes.is_empty() {
        let key = take(&mut bytes)?.to_owned();
        values.insert(key, Zeroizing::new(take(&mut bytes)?.to_owned()));
    }
    Some(values)
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let text = rest.get(..length)?;
    *bytes = &rest[length..];
    std::str::from_utf8(text).ok()
}
