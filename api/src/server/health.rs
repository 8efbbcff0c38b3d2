//! The health of servers as people see it, and the events that it leaves: a server is left alone, a server answers again.
//!
//! How a server is can change many times a second; the log is kept for ever. So each server has a budget of events: when it
//! is spent, changes are counted, and as soon as there is budget again the state of that moment is written down with the
//! count. What is written last is therefore always true, a little late at worst.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mcpctl_core::actor::Actor;
use mcpctl_core::command::{Command, Deed};
use mcpctl_core::ids::Uid;
use mcpctl_core::kinds::{Answers, FailureCause, HealthAction, Kind, Server, ServerAction, Unhealthy};
use mcpctl_core::object::Object;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::auth::Authenticated;
use super::target::may_view;
use super::writer::Submission;
use crate::upstream::{HealthState, ServerHealth};
use crate::wire;

/// Events of one server that may follow each other at once.
const EVENTS_MAX: u32 = 6;
/// Every so often a server may have one more event: 144 a day at most, however it comes and goes.
const EVENT_EVERY: Duration = Duration::from_secs(600);
/// How often servers are looked at when nothing is heard of them: for what could not be written at the time.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The events that a server may still have, and what came of its changes.
struct Budget {
    left: u32,
    refilled: Instant,
    /// Changes that were seen when the last event was written.
    seen: u64,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { left: EVENTS_MAX, refilled: now, seen: 0 }
    }

    /// Takes one, if there is one.
    fn take(&mut self, now: Instant) -> bool {
        while self.left < EVENTS_MAX && now.saturating_duration_since(self.refilled) >= EVENT_EVERY {
            self.left += 1;
            self.refilled += EVENT_EVERY;
        }
        if self.left == EVENTS_MAX {
            self.refilled = now;
        }
        let taken = self.left > 0;
        self.left -= u32::from(taken);
        taken
    }

    /// Changes since the last event, but for the one that is written now. A server that was replaced counts anew.
    fn unrecorded(&mut self, transitions: u64) -> u64 {
        let since = if transitions < self.seen { transitions } else { transitions - self.seen };
        self.seen = transitions;
        since.saturating_sub(1)
    }
}

/// Writes down when servers fail and answer again, until the control plane stops.
pub(super) async fn record(app: Arc<App>, stop: CancellationToken) {
    let mut changes = app.fleet.transitions();
    let mut budgets: HashMap<Uid, Budget> = HashMap::new();
    loop {
        changes.mark_unchanged();
        let state = app.published.load();
        budgets.retain(|server, _| state.by_uid(*server).is_some());
        for command in due(&app, &state, &mut budgets, Instant::now()) {
            let submission = Submission::of(Actor::system("health"), command);
            if let Err(error) = app.writer.submit(submission).await {
                tracing::warn!(%error, "the health of a server can't be written down now");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// What is to be written: of each server whose health is known and differs from what is written, if its budget allows.
fn due(app: &App, state: &State, budgets: &mut HashMap<Uid, Budget>, now: Instant) -> Vec<Command> {
    let servers = state.all(Kind::Server);
    servers
        .filter_map(|object| {
            let health = app.fleet.health(object.meta.uid)?;
            let failing = object.of::<Server>()?.1.failing.is_some();
            let differs = match health.state {
                HealthState::Unhealthy => !failing,
                HealthState::Healthy => failing,
                HealthState::Unknown | HealthState::Failing => false,
            };
            let budget = budgets.entry(object.meta.uid).or_insert_with(|| Budget::new(now));
            (differs && budget.take(now)).then(|| command(object, &health, budget.unrecorded(health.transitions)))
        })
        .collect()
}

fn command(object: &Object, health: &ServerHealth, unrecorded: u64) -> Command {
    let server = Some(object.meta.uid);
    let action = if health.state == HealthState::Unhealthy {
        let cause = health.last_failure.as_ref().map_or(FailureCause::Unavailable, |last| last.cause);
        HealthAction::Fail { server, what: Unhealthy { cause, unrecorded } }
    } else {
        HealthAction::Recover { server, what: Answers { unrecorded } }
    };
    let name = object.meta.name.clone();
    Command { kind: Kind::Server, name, project: None, deed: Deed::Act(Box::new(ServerAction::Health(action))) }
}

/// How a server is, as it is shown; nothing of what is no server.
pub(super) fn of(app: &App, object: &Object) -> Option<wire::ServerHealth> {
    let (spec, _) = object.of::<Server>()?;
    let health = app.fleet.health(object.meta.uid);
    Some(health.map_or_else(|| unknown(object), |health| wired(object, spec, health)))
}

/// How all servers are that a caller may see.
pub(super) fn visible(app: &App, state: &State, caller: &Authenticated) -> Vec<wire::ServerHealth> {
    state
        .all(Kind::Server)
        .filter(|object| may_view(state, caller, object))
        .filter_map(|object| of(app, object))
        .collect()
}

fn unknown(object: &Object) -> wire::ServerHealth {
    wire::ServerHealth { server: object.meta.name.to_string(), state: "UNKNOWN".to_owned(), ..Default::default() }
}

fn wired(object: &Object, spec: &Server, health: ServerHealth) -> wire::ServerHealth {
    let state = match health.state {
        HealthState::Unknown if spec.replicas == 0 => "IDLE",
        HealthState::Unknown => "UNKNOWN",
        HealthState::Healthy => "HEALTHY",
        HealthState::Failing => "FAILING",
        HealthState::Unhealthy => "UNHEALTHY",
    };
    wire::ServerHealth {
        server: object.meta.name.to_string(),
        state: state.to_owned(),
        since: Some(moment(health.since)),
        failures: health.failures,
        cause: health.last_failure.as_ref().map(|last| last.cause),
        last_error_at: health.last_failure.as_ref().map(|last| moment(last.at)),
        last_error: health.last_failure.map(|last| last.why),
        check: Some(health.check),
        last_probe: health.last_probe.map(|probed| wire::Probe {
            at: moment(probed.at),
            passed: probed.passed,
            took_ms: u64::try_from(probed.took.as_millis()).unwrap_or(u64::MAX),
        }),
        next_probe_at: health.next_probe.map(moment),
    }
}

fn moment(at: SystemTime) -> Timestamp {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_comes_and_goes_all_day_leaves_a_bounded_number_of_events() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let day = 24 * 3600;
        // It changes twice a second; each change is looked at.
        let events = (0..2 * day).filter(|half| budget.take(start + Duration::from_millis(half * 500))).count();
        assert_eq!(events as u64, u64::from(EVENTS_MAX) + (day - 1) / EVENT_EVERY.as_secs());
        let rested = start + Duration::from_secs(10 * day);
        let at_once = (0..100).filter(|_| budget.take(rested)).count();
        assert_eq!(at_once, EVENTS_MAX as usize, "what was not used is not kept beyond the first few");
    }

    #[test]
    fn changes_that_had_no_event_of_their_own_are_counted_once() {
        let mut budget = Budget::new(Instant::now());
        assert_eq!(budget.unrecorded(1), 0);
        assert_eq!(budget.unrecorded(8), 6);
        assert_eq!(budget.unrecorded(9), 0);
        assert_eq!(budget.unrecorded(1), 0, "the server was replaced");
    }
}
