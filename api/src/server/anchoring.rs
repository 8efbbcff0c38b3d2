//! Has the log of events say where the audit log stands when no change has said so for a while: in a house in which nothing is
//! changed, an audit log could else be cut back by months without anybody missing anything.
use std::sync::Arc;
use std::time::Duration;

use mcpctl_core::ids::Seq;
use mcpctl_core::time::Timestamp;
use mcpctl_projections::State;
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::evidence::LogName;

/// An audit log that has grown since the last event that says where it stood is told of after so long. At most 288 events a
/// day come of it, and none while nothing is recorded.
const SAY_AFTER_MS: u64 = 5 * 60 * 1000;
/// How often it is looked at: two loads, without a lock.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks, and has it said, until stopped.
pub(super) async fn keep(app: Arc<App>, stop: CancellationToken) {
    let mut clock = app.published.clock().clone();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.turned() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        // A log that takes no writes is tried again by others.
        let writes = app.writer.figures().broken.lock().is_none();
        let signed = app.evidence_of(LogName::Audit).anchor();
        if writes && signed.is_some_and(|now| is_due(&app.published.load(), now.size, app.published.now())) {
            app.writer.anchor().await;
        }
    }
}

/// Whether the size of the audit log, as it is signed, is to be said by an event of its own.
fn is_due(state: &State, size: u64, now: Timestamp) -> bool {
    let (seq, said) = state.anchored().map_or((Seq(1), 0), |(seq, anchor)| (seq, anchor.size));
    size != said && state.time_of(seq).is_some_and(|then| now.since(then) >= SAY_AFTER_MS)
}

#[cfg(test)]
mod tests {
    use mcpctl_core::actor::Actor;
    use mcpctl_core::command::{Asking, Place, anchor};
    use mcpctl_core::ids::Digest;
    use mcpctl_core::record::{AuditAnchor, Record};
    use mcpctl_core::world::World as _;

    use super::*;

    /// A state in which the event at a moment says that the audit log had so many entries.
    fn said(size: u64, at: Timestamp) -> State {
        let mut state = State::default();
        let actor = Actor::system("evidence");
        let asking = Asking::by(&actor, at, 0);
        let draft = anchor(&state);
        let place = Place {
            seq: state.seq().next(),
            id: uuid::Uuid::nil(),
            at,
            prev: state.head(),
            actor: asking.actor(),
            on_behalf_of: None,
            request: None,
            reason: None,
        };
        let mut header = draft.header(place);
        header.audit = (size > 0).then_some(AuditAnchor { size, root: Digest::default() });
        state.fold(&Record { header, payload: draft.event.payload }, Digest::default()).unwrap();
        state
    }

    #[test]
    fn it_is_said_after_a_while_when_the_audit_log_grew_and_not_otherwise() {
        let at = Timestamp::from_millis(1_800_000_000_000);
        let later = |ms: u64| at.plus_millis(ms);
        assert!(!is_due(&State::default(), 7, later(SAY_AFTER_MS)), "nothing ever happened");
        for (before, size, after_ms, due) in [
            (7, 7, SAY_AFTER_MS * 100, false),
            (7, 8, SAY_AFTER_MS - 1, false),
            (7, 8, SAY_AFTER_MS, true),
            // One that was lost, and that somebody said to know of.
            (7, 3, SAY_AFTER_MS, true),
            (0, 1, SAY_AFTER_MS - 1, false),
            (0, 1, SAY_AFTER_MS, true),
        ] {
            assert_eq!(is_due(&said(before, at), size, later(after_ms)), due, "{before} {size} {after_ms}");
        }
        // The clock was set back: it is said when its time has come again.
        assert!(!is_due(&said(7, at), 8, Timestamp::from_millis(0)));
    }
}
