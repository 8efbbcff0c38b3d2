//! T1 to T4 as checks of one step or one state. The judge is the second reading of the rules (`reference.rs`), not the
//! code that decides.
use mcpctl_core::access::decide;
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::Uid;
use mcpctl_core::kinds::McpToken;
use mcpctl_core::record::{AuthzMode, Record};
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;

use crate::asked::{Asked, Question, actors};
use crate::reference::Reference;

/// T1, and C1 to C4 by their effect: whatever somebody was given, the giver held.
pub(crate) fn nobody_was_given_more_than_the_giver_held(
    was: &Reference,
    is: &Reference,
    giver: &Actor,
    subjects: &[Actor],
    all: &[Asked],
    now: u64,
) -> Result<(), String> {
    if giver.kind == ActorKind::System || was.may(giver.uid, &Question::Operation("bind"), now) {
        return Ok(());
    }
    for subject in subjects {
        for ask in all.iter().map(Asked::ask) {
            let asked = Question::of(&ask);
            let gained = is.granted(subject.uid, &asked) && !was.granted(subject.uid, &asked);
            if gained && !was.may(giver.uid, &asked, now) {
                return Err(format!("T1: {subject} was given {ask} by {giver}, who did not hold it"));
            }
        }
    }
    Ok(())
}

/// T3 by the second reading: whoever caused an event might do that, in the state before it.
pub(crate) fn each_event_was_allowed(
    was: &Reference,
    state: &State,
    caller: &Actor,
    batch: &[Record],
    now: u64,
) -> Result<(), String> {
    if caller.kind == ActorKind::System {
        return Ok(());
    }
    for Record { header, .. } in batch {
        let wrong = |what: String| format!("T3: {} {}.{}: {what}", header.seq, header.kind, header.event);
        if header.actor != *caller || header.authz.at != state.seq() {
            return Err(wrong("it says another actor or state".to_owned()));
        }
        let there = state.by_uid(header.object);
        let verb = match (header.authz.mode, header.event.as_str()) {
            (AuthzMode::System, _) => continue,
            // Whoever holds a token may end it with it.
            (AuthzMode::Own, "revoked") if header.object == caller.uid => continue,
            (_, "applied" | "minted") if there.is_none() => "create",
            (_, "applied" | "revoked") => "edit",
            (_, "deleted") => "delete",
            (mode, event) => return Err(wrong(format!("nobody does {event} by {mode:?}"))),
        };
        let (resource, project) = (header.kind.names().plural, header.project);
        let (name, uid) = (Some(header.name.as_str()), there.map(|object| object.meta.uid));
        if !was.may(caller.uid, &Question::Object { verb, resource, project, name, uid }, now) {
            return Err(wrong(format!("{caller} might not {verb}")));
        }
    }
    Ok(())
}

/// T2 and T4: what is decided is what the second reading says, and no token has what its owner has not. Looks at one pair
/// of subject and question in `stride`; answers how many.
pub(crate) fn every_answer_agrees(
    state: &State,
    known: &Reference,
    all: &[Asked],
    now: Timestamp,
    from: usize,
    stride: usize,
) -> Result<u64, String> {
    let (actors, mut compared) = (actors(state), 0);
    for pair in (from % stride..actors.len() * all.len()).step_by(stride) {
        let (actor, ask) = (&actors[pair % actors.len()], all[pair / actors.len()].ask());
        let (verdict, asked) = (decide(state, actor, &ask, now), Question::of(&ask));
        if verdict.allowed != known.may(actor.uid, &asked, now.as_millis()) {
            return Err(format!("T4: {actor} {ask}: decided {verdict:?}, and the reference says the opposite"));
        }
        if let Some(owner) = owner(state, actor.uid).filter(|_| verdict.allowed)
            && !decide(state, &owner, &ask, now).allowed
        {
            return Err(format!("T2: {actor} may {ask}, and its owner {owner} may not"));
        }
        compared += 1;
    }
    Ok(compared)
}

fn owner(state: &State, token: Uid) -> Option<Actor> {
    state.by_uid(token)?.of::<McpToken>()?.1.owner.clone()
}
