//! Every state that can be reached, breadth first, so that a violation is found with the fewest steps.
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// What an exploration comes to.
pub struct Found<S> {
    /// States that were looked at.
    pub states: usize,
    /// What is broken first, and the steps to there.
    pub violation: Option<(&'static str, Vec<String>)>,
    /// Whether a state with an answer was among them.
    pub answered: bool,
    _of: std::marker::PhantomData<S>,
}

/// What an explorer needs of a state.
pub trait Explored: Copy + Eq + Hash {
    /// Whether the question was answered in it.
    fn answered(&self) -> bool;
}

/// Multiplies and folds: the states are small and their fields are not chosen by anybody.
#[derive(Default)]
pub struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// Looks at every state that `next` leads to, until `broken` says that one is.
pub fn explore<S: Explored>(
    initial: Vec<S>,
    next: impl Fn(&S) -> Vec<(&'static str, S)>,
    broken: impl Fn(&S) -> Option<&'static str>,
) -> Found<S> {
    // For each state: its number, the number of the state before it, and the step between them.
    let mut known: HashMap<S, u32, BuildHasherDefault<Mix>> = HashMap::default();
    let (mut states, mut from): (Vec<S>, Vec<(u32, &'static str)>) = (Vec::new(), Vec::new());
    let mut answered = false;
    for state in initial {
        if let Entry::Vacant(place) = known.entry(state) {
            place.insert(u32::try_from(states.len()).unwrap());
            states.push(state);
            from.push((u32::MAX, ""));
        }
    }
    let mut at = 0;
    while at < states.len() {
        let state = states[at];
        answered |= state.answered();
        if let Some(what) = broken(&state) {
            let steps = steps(&from, at);
            return Found {
                states: states.len(),
                violation: Some((what, steps)),
                answered,
                _of: std::marker::PhantomData,
            };
        }
        for (step, after) in next(&state) {
            if let Entry::Vacant(place) = known.entry(after) {
                place.insert(u32::try_from(states.len()).unwrap());
                states.push(after);
                from.push((u32::try_from(at).unwrap(), step));
            }
        }
        at += 1;
    }
    Found { states: states.len(), violation: None, answered, _of: std::marker::PhantomData }
}

fn steps(from: &[(u32, &'static str)], mut at: usize) -> Vec<String> {
    let mut steps = Vec::new();
    while from[at].0 != u32::MAX {
        steps.push(from[at].1.to_owned());
        at = from[at].0 as usize;
    }
    steps.reverse();
    steps
}
