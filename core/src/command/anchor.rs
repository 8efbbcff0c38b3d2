//! The event that says where the audit log stands when no other event has for a while. It is about the organisation as a whole
//! and of no object, changes nothing, and is written by the control plane alone.
use super::Draft;
use super::deciding::system_authz;
use crate::erased::{ANCHORED, anchored};
use crate::ids::Uid;
use crate::kinds::{Kind, ORGANISATION};
use crate::name::{Name, NameRule};
use crate::record::{AuthzMode, Record};
use crate::world::World;

/// What the event is about: the control plane itself, as the actor of what it does.
const ITSELF: Uid = Uid::fixed(0);

/// The event, decided on a state. Where the audit log stands is said in its header.
#[must_use]
pub fn anchor(world: &dyn World) -> Draft {
    Draft {
        kind: Kind::Policy,
        object: ITSELF,
        name: Name::parse(NameRule::Label, ORGANISATION).expect("a word of small letters is a label"),
        project: None,
        event: anchored(),
        authz: system_authz(world),
    }
}

/// Whether events of one command are this one, with nothing more in it.
pub(super) fn is_anchor(records: &[Record]) -> bool {
    let [Record { header, payload }] = records else { return false };
    let about = (header.kind, header.object, header.name.as_str()) == (Kind::Policy, ITSELF, ORGANISATION);
    let alone = header.project.is_none() && header.on_behalf_of.is_none() && header.request.is_none();
    let by_itself = header.authz.mode == AuthzMode::System && header.authz.via.is_empty();
    let says = header.event == ANCHORED && header.audit.is_some() && header.reason.is_none();
    about && alone && by_itself && says && *payload == anchored().payload
}
