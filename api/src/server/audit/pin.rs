//! Decisions pinned: what was asked of which state, and by which rule it was answered, so that anybody can ask again.
use mcpctl_core::access::{Ask, Asked, Verb, Verdict, decide};
use mcpctl_core::actor::Actor;
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World;
use mcpctl_projections::State;

use crate::plane::{AuditEntry, kind};

/// What is asked of who opens a project: the right to run it. A project that is not there is asked about by its name.
pub(in crate::server) fn opening(world: &dyn World, project: &str) -> Option<Asked> {
    let name = Name::parse(NameRule::Label, project).ok()?;
    let object = world.by_name(Kind::Project, None, &name);
    let ask =
        object.map_or_else(|| Ask::named(Verb::Run, Kind::Project, None, &name), |object| Ask::on(Verb::Run, object));
    Some(Asked::from(&ask))
}

impl AuditEntry {
    /// Pins a verdict to it.
    #[must_use]
    pub fn decided(mut self, ask: &Ask<'_>, verdict: &Verdict) -> Self {
        self.asked = Some(Asked::from(ask));
        self.rule = Some(verdict.rule.word().to_owned());
        (self.allowed, self.seq) = (verdict.allowed, verdict.at);
        self.via.clone_from(&verdict.via);
        self
    }
}

/// Pins what a gateway served or refused to the state that it was decided in: the right to open the project. A refusal that
/// names no state is pinned to this one, if it is refused there.
pub(in crate::server) fn pin(state: &State, entry: &mut AuditEntry) {
    if entry.seq.0 == 0 {
        entry.seq = state.seq();
    }
    let (Some(actor), Some(project)) = (entry.actor.clone(), entry.project.clone()) else { return };
    // The end of an access was decided by the event that it names, and is no answer to a question.
    if entry.asked.is_some() || entry.kind == kind::SESSION_CUT {
        return;
    }
    let at = entry.seq.min(state.seq());
    if at == state.seq() {
        opened(state, &actor, &project, entry)
    } else {
        opened(&state.at(at), &actor, &project, entry)
    }
}

fn opened(world: &dyn World, actor: &Actor, project: &str, entry: &mut AuditEntry) {
    let Some(asked) = opening(world, project) else { return };
    let now = if entry.allowed { entry.at } else { ended(entry) };
    let verdict = decide(world, actor, &asked.ask(), now);
    // What is refused for another reason (a malformed request, a server that does not answer) was not decided here.
    if entry.allowed != verdict.allowed && entry.rule.is_none() {
        return;
    }
    entry.rule.get_or_insert_with(|| verdict.rule.word().to_owned());
    entry.asked = Some(asked);
}

/// When what an entry is about was over: a refusal was decided by then, and not before it began.
pub(in crate::server) fn ended(entry: &AuditEntry) -> Timestamp {
    entry.at.plus_millis(entry.duration_us.div_ceil(1000))
}
