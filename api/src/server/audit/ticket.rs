//! Tickets: whose access an entry is about, for a gateway that delivers the entry when the caller and the bearer are gone.
//!
//! A gateway has no identity and keeps no bearer on its disk. With an introspection it is given a ticket, which says who the
//! caller is and is signed with a key of this control plane. It opens nothing: entries may be recorded with it, attributed to
//! that caller, and that is all.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::Digest;
use serde::{Deserialize, Serialize};

use crate::plane::Admission;

/// Longest ticket that is looked at.
const TICKET_BYTES_MAX: usize = 4096;

/// What a ticket says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct Ticket {
    pub(in crate::server) project: String,
    pub(in crate::server) actor: Actor,
    pub(in crate::server) owner: Option<Actor>,
    pub(in crate::server) token_sha: Option<Digest>,
}

impl From<&Admission> for Ticket {
    fn from(admission: &Admission) -> Self {
        let caller = &admission.caller;
        Self {
            project: admission.project.name.clone(),
            actor: caller.actor.clone(),
            owner: caller.owner.clone(),
            token_sha: caller.token_sha,
        }
    }
}

/// The key that tickets are signed with.
pub(in crate::server) struct Tickets([u8; 32]);

impl Tickets {
    pub(super) fn of(key: &[u8; 32]) -> Self {
        Self(blake3::derive_key("mcpctl audit tickets 1", key))
    }

    /// Writes and signs.
    pub(in crate::server) fn sign(&self, ticket: &Ticket) -> String {
        let said = URL_SAFE_NO_PAD.encode(serde_json::to_vec(ticket).unwrap_or_default());
        let signature = blake3::keyed_hash(&self.0, said.as_bytes()).to_hex();
        format!("{said}.{signature}")
    }

    /// Reads one that this control plane signed.
    pub(in crate::server) fn read(&self, text: &str) -> Option<Ticket> {
        let (said, signature) = text.rsplit_once('.').filter(|_| text.len() <= TICKET_BYTES_MAX)?;
        let signature = blake3::Hash::from_hex(signature).ok()?;
        // Compared in constant time.
        if blake3::keyed_hash(&self.0, said.as_bytes()) != signature {
            return None;
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(said).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_by_who_signed_it_and_as_it_was() {
        let (mine, other) = (Tickets::of(&[1; 32]), Tickets::of(&[2; 32]));
        let ticket = Ticket { project: "web".into(), actor: Actor::system("x"), owner: None, token_sha: None };
        let text = mine.sign(&ticket);
        assert_eq!(mine.read(&text), Some(ticket));
        assert_eq!(other.read(&text), None);
        let end = text.find('.').unwrap();
        for index in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[index] = if bytes[index] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(changed == text || mine.read(&changed).is_none(), "byte {index} of {end}");
        }
        for bad in ["", ".", "x", "..", &"a".repeat(10_000)] {
            assert_eq!(mine.read(bad), None);
        }
    }
}
