//! What the audit log says of conversations with servers that ended because the access did.
use super::clock;
use crate::plane::{Admission, AuditEntry, kind};

/// The line of the conversations of one access with one server: their processes, where they are processes, have ended.
pub(super) fn of_conversations(admission: &Admission, server: &str, count: usize) -> AuditEntry {
    let why = admission.cut.why();
    let conversations = if count == 1 { "1 conversation".to_owned() } else { format!("{count} conversations") };
    AuditEntry {
        at: clock::now(),
        kind: kind::SESSION_CUT.to_owned(),
        method: "conversation".to_owned(),
        actor: Some(admission.caller.actor.clone()),
        owner: admission.caller.owner.clone(),
        token_sha: admission.caller.token_sha,
        project: Some(admission.project.name.clone()),
        server: Some(server.to_owned()),
        seq: why.seq,
        rule: Some(why.word.to_owned()),
        outcome: "cut".to_owned(),
        reason: Some(format!("{}; {conversations} with the server ended", why.text)),
        ..AuditEntry::default()
    }
}
