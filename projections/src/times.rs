//! When each event happened: exact to the millisecond, in about two bytes per event.
use std::sync::Arc;

use imbl::Vector;
use mcpctl_core::ids::Seq;
use mcpctl_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::varint;

/// Events in a block. An open block is copied when a published state shares it, so it is kept short.
const BLOCK: u64 = 256;

/// The moments of all events, in order. Time never goes back in the log.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Times {
    closed: Vector<Arc<Block>>,
    open: Arc<Block>,
}

/// A first moment, and how much later each of the others is than the one before.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Block {
    first_ms: u64,
    last_ms: u64,
    count: u64,
    #[serde(with = "serde_bytes")]
    later: Vec<u8>,
}

impl Times {
    /// Adds the next event.
    pub(crate) fn push(&mut self, at: Timestamp) {
        if self.open.count == BLOCK {
            let mut full = std::mem::take(&mut self.open);
            Arc::make_mut(&mut full).later.shrink_to_fit();
            self.closed.push_back(full);
        }
        let floor = self.closed.last().map_or(0, |block| block.last_ms);
        let open = Arc::make_mut(&mut self.open);
        if open.count == 0 {
            open.first_ms = at.as_millis().max(floor);
            open.last_ms = open.first_ms;
        } else {
            let later = at.as_millis().saturating_sub(open.last_ms);
            varint::put(&mut open.later, later);
            open.last_ms += later;
        }
        open.count += 1;
    }

    /// When an event happened.
    pub(crate) fn of(&self, seq: Seq) -> Option<Timestamp> {
        let index = seq.0.checked_sub(1)?;
        let block = self.block(usize::try_from(index / BLOCK).ok()?)?;
        (index % BLOCK < block.count).then(|| block.moments().nth((index % BLOCK) as usize)).flatten()
    }

    /// The last event that happened at a moment or before; 0 when none had.
    pub(crate) fn seq_at(&self, at: Timestamp) -> Seq {
        let blocks = self.closed.len() + usize::from(self.open.count > 0);
        let (mut low, mut high) = (0, blocks);
        while low < high {
            let middle = (low + high) / 2;
            if self.block(middle).is_some_and(|block| block.first_ms <= at.as_millis()) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let Some((before, block)) = low.checked_sub(1).and_then(|index| Some((index, self.block(index)?))) else {
            return Seq(0);
        };
        Seq(before as u64 * BLOCK + block.moments().take_while(|moment| *moment <= at).count() as u64)
    }

    fn block(&self, index: usize) -> Option<&Block> {
        if index == self.closed.len() { Some(&self.open) } else { self.closed.get(index).map(|block| &**block) }
    }
}

impl Block {
    fn moments(&self) -> impl Iterator<Item = Timestamp> {
        let (mut rest, mut at) = (&self.later[..], self.first_ms);
        (0..self.count).map(move |index| {
            if index > 0 {
                at += varint::take(&mut rest);
            }
            Timestamp::from_millis(at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_is_given_back_and_found() {
        let mut times = Times::default();
        let mut all = Vec::new();
        let mut at = 1_700_000_000_000;
        for step in 0..1_000u64 {
            at += [0, 1, 90, 200, 70_000][(step % 5) as usize];
            all.push(at);
            times.push(Timestamp::from_millis(at));
        }
        for (index, at) in all.iter().enumerate() {
            assert_eq!(times.of(Seq(index as u64 + 1)), Some(Timestamp::from_millis(*at)));
            for asked in [at - 1, *at, at + 1] {
                let expected = all.iter().filter(|at| **at <= asked).count() as u64;
                assert_eq!(times.seq_at(Timestamp::from_millis(asked)), Seq(expected), "{asked}");
            }
        }
        assert_eq!((times.of(Seq(0)), times.of(Seq(1_001))), (None, None));
        assert_eq!(times.seq_at(Timestamp::from_millis(u64::MAX)), Seq(1_000));
        assert_eq!(Times::default().seq_at(Timestamp::from_millis(5)), Seq(0));
    }
}
