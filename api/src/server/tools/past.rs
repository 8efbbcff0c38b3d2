//! The events about one tool of a project: what its server was noticed to show, and what was decided about it.
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::kinds::{Kind, ProjectEvent, ServerEvent};
use mcpctl_core::log::{LogError, LogReader};
use mcpctl_core::record::{Header, Record};

use crate::server::audit::harmless;
use crate::tools_wire::ToolEvent;

/// Most events of one answer: the newest.
const EVENTS_MAX: usize = 1_000;

/// Which tool, and how far to look.
pub(super) struct About<'a> {
    pub(super) project: Uid,
    pub(super) server: Uid,
    pub(super) tool: &'a str,
    pub(super) until: Seq,
}

/// The newest events, in the order of the log.
///
/// # Errors
/// When the log can't be read.
pub(super) fn events(log: &dyn LogReader, about: &About<'_>) -> Result<Vec<ToolEvent>, LogError> {
    let mut seqs = log.of_object(about.server)?;
    seqs.extend(log.of_object(about.project)?);
    seqs.sort_unstable();
    seqs.dedup();
    let mut found = Vec::new();
    for seq in seqs.into_iter().filter(|seq| *seq <= about.until).rev() {
        let Some(bytes) = log.read(seq)? else { continue };
        let record = Record::load(&bytes).map_err(|source| LogError::Record { seq, source })?;
        found.extend(of_record(&record, about).into_iter().rev());
        if found.len() >= EVENTS_MAX {
            break;
        }
    }
    found.truncate(EVENTS_MAX);
    found.reverse();
    Ok(found)
}

fn of_record(record: &Record, about: &About<'_>) -> Vec<ToolEvent> {
    let Record { header, payload } = record;
    if !header.event.starts_with("tool.") {
        return Vec::new();
    }
    match header.kind {
        Kind::Server => rmp_serde::from_slice(payload).map(|event| noticed(header, event, about)).unwrap_or_default(),
        Kind::Project => rmp_serde::from_slice(payload).map(|event| decided(header, event, about)).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn event(header: &Header) -> ToolEvent {
    ToolEvent {
        seq: header.seq,
        at: header.at,
        event: header.event.clone(),
        actor: header.actor.clone(),
        on_behalf_of: header.on_behalf_of.clone(),
        definition: None,
        old: None,
        diff: Vec::new(),
        note: None,
    }
}

fn noticed(header: &Header, payload: ServerEvent, about: &About<'_>) -> Vec<ToolEvent> {
    match payload {
        ServerEvent::Seen { tools } => {
            let of = tools.into_iter().filter(|one| one.tool == about.tool);
            of.map(|one| ToolEvent { definition: Some(one.definition), ..event(header) }).collect()
        }
        ServerEvent::Drifted { tool, old, new, diff } if tool == about.tool => {
            vec![ToolEvent { definition: Some(new), old: Some(old), diff, ..event(header) }]
        }
        ServerEvent::Drifted { .. } | ServerEvent::Failed(_) | ServerEvent::Recovered(_) => Vec::new(),
    }
}

fn decided(header: &Header, payload: ProjectEvent, about: &About<'_>) -> Vec<ToolEvent> {
    let said = |note: Option<String>| note.map(|note| harmless(&note).into_owned());
    let is_it = |server: Uid, tool: &str| server == about.server && tool == about.tool;
    match payload {
        ProjectEvent::Approved { tools, note, .. } => {
            let note = said(note);
            let of = tools.into_iter().filter(|one| is_it(one.server, &one.tool));
            of.map(|one| ToolEvent { definition: Some(one.definition), note: note.clone(), ..event(header) }).collect()
        }
        ProjectEvent::Rejected { tools, note, .. } => {
            let note = said(note);
            let of = tools.into_iter().filter(|one| is_it(one.server, &one.tool));
            of.map(|one| ToolEvent { definition: one.definition, note: note.clone(), ..event(header) }).collect()
        }
    }
}
