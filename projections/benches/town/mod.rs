//! A town for the benches: commands that are decided and folded as the writer does it.
#![allow(dead_code)]

use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::command::{self, Asking, Command, Deed, Mode, Place};
use mcpctl_core::kinds::Kind;
use mcpctl_core::manifest::read_kind;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::record::Record;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World;
use mcpctl_projections::State;
use serde_json::Value;

/// Commands that are decided and folded as the writer does it, with a counter for a clock.
#[derive(Default)]
pub struct Past {
    /// What came of the commands.
    pub state: State,
    steps: u64,
}

impl Past {
    /// Applies a manifest of a kind, one second after the one before.
    pub fn apply(&mut self, kind: Kind, fields: Value) {
        let Value::Object(fields) = fields else { panic!("a manifest is a mapping") };
        let manifest = read_kind(kind, fields).unwrap();
        let deed = Deed::Apply { body: manifest.body, mode: Mode::Upsert, expected: None, then: Vec::new() };
        let command = Command { kind, name: manifest.name, project: manifest.project, deed };
        self.steps += 1;
        let actor = Actor::system("bench");
        let now = Timestamp::from_millis(1_700_000_000_000 + 1_000 * self.steps);
        let asking = Asking::by(&actor, now, self.steps.into());
        for draft in command::decide(&self.state, &asking, &command).unwrap().drafts {
            let (seq, prev) = (self.state.seq().next(), self.state.head());
            let id = uuid::Uuid::nil();
            let place =
                Place { seq, id, at: now, prev, actor: &actor, on_behalf_of: None, request: None, reason: None };
            let record = Record { header: draft.header(place), payload: draft.event.payload };
            // As after a start: nothing is shared with the command that was decided.
            let stored = record.store().unwrap();
            self.state.fold(&Record::load(&stored.bytes).unwrap(), stored.hash).unwrap();
        }
    }
}

/// A name, an address of a person where it has an `@`.
pub fn name(text: &str) -> Name {
    Name::parse(if text.contains('@') { NameRule::Email } else { NameRule::Label }, text).unwrap()
}

/// The person of this number.
pub fn user(world: &dyn World, number: usize) -> Actor {
    let text = format!("user-{number}@example.com");
    let uid = world.by_name(Kind::User, None, &name(&text)).unwrap().meta.uid;
    Actor { kind: ActorKind::User, uid, name: text }
}

/// Resident memory of this process, in KiB.
pub fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
}
