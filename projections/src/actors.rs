//! Who acted, each identity once: the past speaks of them by a small number.
use std::sync::Arc;

use imbl::{HashMap, Vector};
use mcpctl_core::actor::Actor;
use serde::{Deserialize, Serialize};

/// All identities that the past speaks of.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vector<Arc<Actor>>", into = "Vector<Arc<Actor>>")]
pub(crate) struct Actors {
    numbers: HashMap<Arc<Actor>, u64>,
    all: Vector<Arc<Actor>>,
}

impl From<Vector<Arc<Actor>>> for Actors {
    fn from(all: Vector<Arc<Actor>>) -> Self {
        Self { numbers: all.iter().cloned().zip(0..).collect(), all }
    }
}

impl From<Actors> for Vector<Arc<Actor>> {
    fn from(actors: Actors) -> Self {
        actors.all
    }
}

impl Actors {
    /// The number of an identity, a new one when it is new.
    pub(crate) fn number(&mut self, actor: &Actor) -> u64 {
        if let Some(number) = self.numbers.get(actor) {
            return *number;
        }
        let (actor, number) = (Arc::new(actor.clone()), self.all.len() as u64);
        self.all.push_back(actor.clone());
        self.numbers.insert(actor, number);
        number
    }

    /// The identity of a number.
    pub(crate) fn of(&self, number: u64) -> Option<Actor> {
        self.all.get(usize::try_from(number).ok()?).map(|actor| (**actor).clone())
    }
}
