//! What if: the recorded calls decided in two states, and those that are decided otherwise in the second.
use std::collections::HashMap;

use mcpctl_core::access::{Asked, decide};
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::Uid;
use mcpctl_core::log::LogError;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World;

use super::again::tool_is_served;
use crate::access_wire::{Flip, RecordedCalls};
use crate::plane::AuditEntry;
use crate::server::audit::pin::opening;
use crate::server::audit::{AuditLog, harmless};

/// Most distinct questions that are kept apart; what comes beyond is counted as one that was left out.
const QUESTIONS_MAX: usize = 100_000;
/// Most flips of one answer.
const FLIPS_MAX: usize = 1_000;

/// Two states, looked at from one moment.
pub(in crate::server) struct TwoStates<'a> {
    /// As it is.
    pub now: &'a dyn World,
    /// As it would be.
    pub after: &'a dyn World,
    /// What has a time to live is looked at from here.
    pub moment: Timestamp,
}

/// What makes two recorded calls the same question.
#[derive(PartialEq, Eq, Hash)]
struct Question {
    subject: Uid,
    project: Option<String>,
    server: Option<String>,
    tool: Option<String>,
    asked: String,
}

/// How often something was asked, and how it is answered.
struct Answers {
    flip: Option<Flip>,
    count: u64,
    last: Timestamp,
}

/// Decides again, in both states, what was recorded since a moment. Each distinct question is decided once.
pub(in crate::server) fn flips(
    audit: &AuditLog,
    states: &TwoStates<'_>,
    since: Timestamp,
) -> Result<RecordedCalls, LogError> {
    let mut told = RecordedCalls { since, ..RecordedCalls::default() };
    let mut questions: HashMap<Question, Answers> = HashMap::new();
    audit.each(&mut |_, entry| {
        let Some(entry) = entry.filter(|entry| entry.at >= since) else { return true };
        let Some((actor, asked)) = question(states.now, &entry) else { return true };
        told.calls += 1;
        let key = key(&entry, &actor, &asked);
        if questions.len() == QUESTIONS_MAX && !questions.contains_key(&key) {
            told.left_out += 1;
            return true;
        }
        let decided = || Answers { flip: states.flip(&entry, &actor, &asked), count: 0, last: entry.at };
        let answers = questions.entry(key).or_insert_with(decided);
        answers.count += 1;
        answers.last = answers.last.max(entry.at);
        true
    })?;
    told.questions = questions.len() as u64;
    let flips = questions.into_values().filter_map(|answers| {
        let Answers { flip, count, last } = answers;
        flip.map(|flip| Flip { count, last, ..flip })
    });
    told.flips = flips.collect();
    // What is added comes first, and of that what was asked most.
    told.flips.sort_by(|a, b| {
        (b.allowed, b.count, &a.subject, &a.asked, &a.tool).cmp(&(a.allowed, a.count, &b.subject, &b.asked, &b.tool))
    });
    told.added = told.flips.iter().any(|flip| flip.allowed);
    told.left_out += told.flips.len().saturating_sub(FLIPS_MAX) as u64;
    told.flips.truncate(FLIPS_MAX);
    Ok(told)
}

/// Who asked for what, where that is known.
fn question(world: &dyn World, entry: &AuditEntry) -> Option<(Actor, Asked)> {
    let asked = entry.asked.clone().or_else(|| opening(world, entry.project.as_deref()?))?;
    Some((entry.actor.clone()?, asked))
}

fn key(entry: &AuditEntry, actor: &Actor, asked: &Asked) -> Question {
    let (server, tool) = call(entry);
    Question {
        subject: actor.uid,
        project: entry.project.clone(),
        server: server.map(str::to_owned),
        tool: tool.map(str::to_owned),
        asked: asked.to_string(),
    }
}

/// The server and the tool, when a tool was called: only then its filters decide.
fn call(entry: &AuditEntry) -> (Option<&str>, Option<&str>) {
    if entry.method == "tools/call" { (entry.server.as_deref(), entry.tool.as_deref()) } else { (None, None) }
}

impl TwoStates<'_> {
    fn flip(&self, entry: &AuditEntry, actor: &Actor, asked: &Asked) -> Option<Flip> {
        let [before, after] = [self.now, self.after].map(|world| self.allows(world, entry, actor, asked));
        let (server, tool) = call(entry);
        let text = |text: Option<&str>| text.map(|text| harmless(text).into_owned());
        (before != after).then(|| Flip {
            subject: actor.to_string(),
            owner: entry.owner.as_ref().map(ToString::to_string),
            project: text(entry.project.as_deref()),
            server: text(server),
            tool: text(tool),
            asked: asked.to_string(),
            allowed: after,
            count: 0,
            last: entry.at,
        })
    }

    fn allows(&self, world: &dyn World, entry: &AuditEntry, actor: &Actor, asked: &Asked) -> bool {
        let ask = asked.ask();
        let may = decide(world, actor, &ask, self.moment).allowed;
        may && match call(entry) {
            (Some(server), Some(tool)) => tool_is_served(world, &ask, server, tool),
            _ => true,
        }
    }
}
