//! A made-up past: commands that are decided, stored and folded as the writer does it, but with a counter for a clock.
use mcpctl_core::actor::Actor;
use mcpctl_core::command::{Asking, Command, Decided, Deed, Mode, Place, decide};
use mcpctl_core::kinds::Kind;
use mcpctl_core::manifest::read_kind;
use mcpctl_core::record::{Record, StoredRecord};
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World;
use mcpctl_projections::State;
use serde_json::Value;

/// The state so far.
#[derive(Default)]
pub struct Past {
    pub state: State,
    steps: u64,
}

impl Past {
    /// Applies an object and answers the records to append.
    pub fn apply(&mut self, kind: Kind, fields: Value) -> Vec<StoredRecord> {
        let Value::Object(fields) = fields else { panic!("a manifest is a mapping") };
        let manifest = read_kind(kind, fields).unwrap();
        let deed = Deed::Apply { body: manifest.body, mode: Mode::Upsert, expected: None, then: Vec::new() };
        let command = Command { kind, name: manifest.name, project: manifest.project, deed };
        self.steps += 1;
        let actor = Actor::system("bench");
        let now = Timestamp::from_millis(1_700_000_000_000 + self.steps);
        let decided = decide(&self.state, &Asking::by(&actor, now, self.steps.into()), &command);
        self.fold(decided.unwrap(), now, &actor)
    }

    fn fold(&mut self, decided: Decided, now: Timestamp, actor: &Actor) -> Vec<StoredRecord> {
        let mut stored = Vec::with_capacity(decided.drafts.len());
        for draft in decided.drafts {
            let id = uuid::Uuid::from_u128((u128::from(now.as_millis()) << 80) | (7 << 76) | u128::from(self.steps));
            let seq = self.state.seq().next();
            let place = Place {
                seq,
                id,
                at: now,
                prev: self.state.head(),
                actor,
                on_behalf_of: None,
                request: None,
                reason: None,
            };
            let record = Record { header: draft.header(place), payload: draft.event.payload };
            let bytes = record.store().unwrap();
            self.state.fold(&record, bytes.hash).unwrap();
            stored.push(bytes);
        }
        stored
    }
}
