//! Reading events back into what was asked: the half of the untyped twin that a replay needs.
use std::sync::Arc;

use crate::erased::{APPLIED, AnyAction, AnyBody, Applied, Body, DELETED, FoldError, Twin, pack};
use crate::record::Header;
use crate::resource::Resource;
use crate::upcast;

/// What a kind at run time reads back from its events.
pub trait ReadBack {
    /// The spec that an apply asked for.
    ///
    /// # Errors
    /// When the payload is none of an apply.
    fn spec_of(&self, header: &Header, payload: &[u8]) -> Result<Arc<dyn AnyBody>, FoldError>;

    /// The action that left these events, in their order; `None` when no action leaves them.
    ///
    /// # Errors
    /// When a payload does not decode.
    fn action_of(&self, events: &[(&Header, &[u8])]) -> Result<Option<AnyAction>, FoldError>;

    /// The payload as this program writes it today: two that say the same have the same bytes.
    ///
    /// # Errors
    /// When it does not decode.
    fn normal(&self, header: &Header, payload: &[u8]) -> Result<Vec<u8>, FoldError>;
}

fn decoded<T: serde::de::DeserializeOwned>(header: &Header, payload: &[u8]) -> Result<T, FoldError> {
    let fail = |why: String| FoldError { kind: header.kind, event: header.event.clone(), why };
    let payload = upcast::current(header, payload).map_err(|error| fail(error.to_string()))?;
    rmp_serde::from_slice(&payload).map_err(|error| fail(error.to_string()))
}

impl<K: Resource> ReadBack for Twin<K> {
    fn spec_of(&self, header: &Header, payload: &[u8]) -> Result<Arc<dyn AnyBody>, FoldError> {
        let applied: Applied<K> = decoded(header, payload)?;
        Ok(Arc::new(Body::<K> { spec: applied.spec, status: K::Status::default() }))
    }

    fn action_of(&self, events: &[(&Header, &[u8])]) -> Result<Option<AnyAction>, FoldError> {
        let events = events.iter().map(|(header, payload)| decoded::<K::Event>(header, payload));
        let events: Vec<K::Event> = events.collect::<Result<_, _>>()?;
        Ok(K::action_of(&events).map(|action| Box::new(action) as AnyAction))
    }

    fn normal(&self, header: &Header, payload: &[u8]) -> Result<Vec<u8>, FoldError> {
        match header.event.as_str() {
            APPLIED => decoded::<Applied<K>>(header, payload).map(|applied| pack(&applied)),
            DELETED => decoded::<serde_json::Map<String, serde_json::Value>>(header, payload).map(|none| pack(&none)),
            _ => decoded::<K::Event>(header, payload).map(|event| pack(&event)),
        }
    }
}
