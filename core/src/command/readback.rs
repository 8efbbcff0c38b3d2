//! Which commands may have left the events of a log.
use std::sync::Arc;

use super::redecide::NotAllowed;
use super::{Command, Deed, Mode};
use crate::erased::{APPLIED, AnyAction, DELETED};
use crate::name::Name;
use crate::record::{AuthzMode, Record};
use crate::world::World;

/// The commands that may have left these events, the likeliest first. None of them is known to have done so.
pub(super) fn candidates(world: &dyn World, records: &[Record]) -> Result<Vec<Command>, NotAllowed> {
    let (first, last) = (&records[0], &records[records.len() - 1]);
    if last.header.event == DELETED {
        return Ok(vec![command(world, last, Deed::Delete { expected: None })?]);
    }
    let main = main(records);
    if first.header.event == APPLIED {
        return applies(world, first, records);
    }
    let Some(action) = action_of(main, records)? else { return Ok(Vec::new()) };
    let mut found = vec![command(world, main, Deed::Act(action))?];
    // A manifest may ask for the same spec and an action: a password that is set by `apply`.
    let there = world.by_uid(main.header.object).filter(|object| object.meta.kind == main.header.kind);
    if let (Some(object), Some(again)) = (there, action_of(main, records)?) {
        let body = object.body.clone();
        let deed = Deed::Apply { body, mode: Mode::Upsert, expected: None, then: vec![again] };
        found.push(command(world, main, deed)?);
    }
    Ok(found)
}

/// The event that the command was about; the others are what went with it.
fn main(records: &[Record]) -> &Record {
    records.iter().find(|record| record.header.authz.mode != AuthzMode::System).unwrap_or(&records[0])
}

fn applies(world: &dyn World, first: &Record, records: &[Record]) -> Result<Vec<Command>, NotAllowed> {
    let body = first.header.kind.untyped().spec_of(&first.header, &first.payload)?;
    let apply = |then: Vec<AnyAction>| {
        let deed = Deed::Apply { body: Arc::clone(&body), mode: Mode::Upsert, expected: None, then };
        command(world, first, deed)
    };
    // What ends with an object that is disabled looks like an action of the control plane: both are tried.
    let with_action = action_of(first, records)?.map(|action| apply(vec![action])).transpose()?;
    Ok(with_action.into_iter().chain([apply(Vec::new())?]).collect())
}

/// The action on the object that left the named events about it, by the same way as the main event.
fn action_of(main: &Record, records: &[Record]) -> Result<Option<AnyAction>, NotAllowed> {
    let header = &main.header;
    let named = records.iter().filter(|record| {
        let other = &record.header;
        let is_named = other.event != APPLIED && other.event != DELETED;
        is_named && other.object == header.object && other.authz.mode == header.authz.mode
    });
    let events: Vec<_> = named.map(|record| (&record.header, record.payload.as_slice())).collect();
    if events.is_empty() { Ok(None) } else { Ok(header.kind.untyped().action_of(&events)?) }
}

fn command(world: &dyn World, about: &Record, deed: Deed) -> Result<Command, NotAllowed> {
    let header = &about.header;
    let project = |uid| {
        let object = world.by_uid(uid);
        let name: Option<Name> = object.map(|object| object.meta.name.clone());
        name.ok_or_else(|| NotAllowed::Unexplained(format!("there is no project {uid}")))
    };
    Ok(Command {
        kind: header.kind,
        name: header.name.clone(),
        project: header.project.map(project).transpose()?,
        deed,
    })
}
