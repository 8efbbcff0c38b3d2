//! What one object was before: each version as what differs from the one after it, so that a small change takes few bytes.
use std::sync::Arc;

use mcpctl_core::ids::Seq;
use serde::{Deserialize, Serialize};

use crate::varint;

/// Versions in a block: a version is rebuilt from the end of its block. The last of a full block stands on its own.
const BLOCK: u64 = 64;
/// By how much the bytes of an open block grow at a time: many objects have few versions.
const GROWTH: usize = 64;

/// The versions that are over, oldest first.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Chain {
    closed: Vec<Arc<Block>>,
    open: Block,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Block {
    first: Seq,
    last: Seq,
    count: u64,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

/// A version, found again.
pub(crate) struct Former {
    /// The event that made it.
    pub(crate) from: Seq,
    /// Whose event that was, as a number.
    pub(crate) by: u64,
    /// What it was.
    pub(crate) content: Vec<u8>,
}

/// One version in a block: what to keep of the one after it at both ends, and what stands between.
struct Entry<'b> {
    from: Seq,
    by: u64,
    prefix: usize,
    suffix: usize,
    middle: &'b [u8],
}

impl Chain {
    /// Adds the version that is over now. `next` is what followed; `None` when the object is gone.
    pub(crate) fn push(&mut self, from: Seq, by: u64, content: &[u8], next: Option<&[u8]>) {
        let open = &mut self.open;
        if open.count == 0 {
            (open.first, open.last) = (from, from);
        }
        let full = open.count + 1 == BLOCK;
        let (prefix, suffix) = next.filter(|_| !full).map_or((0, 0), |next| same_ends(content, next));
        let middle = &content[prefix..content.len() - suffix];
        let mut entry = Vec::with_capacity(middle.len() + 12);
        for number in [from.0 - open.last.0, by, prefix as u64, suffix as u64, middle.len() as u64] {
            varint::put(&mut entry, number);
        }
        entry.extend_from_slice(middle);
        if open.bytes.capacity() - open.bytes.len() < entry.len() {
            open.bytes.reserve_exact(entry.len().max(GROWTH));
        }
        open.bytes.extend_from_slice(&entry);
        open.last = from;
        open.count += 1;
        if full {
            let mut block = std::mem::take(open);
            block.bytes.shrink_to_fit();
            self.closed.push(Arc::new(block));
        }
    }

    /// The first event of the object.
    pub(crate) fn first(&self) -> Seq {
        self.closed.first().map_or(self.open.first, |block| block.first)
    }

    /// The events of the versions that are over, those after `from` and up to `to`, in order.
    pub(crate) fn seqs_between(&self, from: Seq, to: Seq) -> impl Iterator<Item = Seq> {
        let blocks = self.closed.iter().map(|block| &**block).chain([&self.open]);
        let within = blocks.filter(move |block| block.count > 0 && block.first <= to && block.last > from);
        within.flat_map(|block| block.entries().map(|entry| entry.from)).filter(move |seq| from < *seq && *seq <= to)
    }

    /// The last version made at a seq or before. `now` is what the object is now, where that is needed to tell.
    pub(crate) fn at(&self, seq: Seq, now: impl FnOnce() -> Vec<u8>) -> Option<Former> {
        if self.open.count > 0 && self.open.first <= seq {
            return self.open.at(seq, now);
        }
        let next = self.closed.partition_point(|block| block.first <= seq);
        self.closed.get(next.checked_sub(1)?)?.at(seq, Vec::new)
    }
}

impl Block {
    fn at(&self, seq: Seq, now: impl FnOnce() -> Vec<u8>) -> Option<Former> {
        let entries: Vec<Entry<'_>> = self.entries().collect();
        let found = entries.partition_point(|entry| entry.from <= seq).checked_sub(1)?;
        let stands_alone = |entry: &Entry<'_>| entry.prefix == 0 && entry.suffix == 0;
        let begin = entries[found..].iter().position(stands_alone).map(|after| found + after);
        let mut content = if begin.is_none() { now() } else { Vec::new() };
        for entry in entries[found..=begin.unwrap_or(entries.len() - 1)].iter().rev() {
            let end = content.len() - entry.suffix;
            content.splice(entry.prefix..end, entry.middle.iter().copied());
        }
        Some(Former { from: entries[found].from, by: entries[found].by, content })
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let (mut rest, mut from) = (&self.bytes[..], self.first);
        (0..self.count).map(move |_| {
            from = Seq(from.0 + varint::take(&mut rest));
            let by = varint::take(&mut rest);
            let [prefix, suffix, length] = [(); 3].map(|()| varint::take(&mut rest) as usize);
            let (middle, after) = rest.split_at(length);
            rest = after;
            Entry { from, by, prefix, suffix, middle }
        })
    }
}

/// How many bytes are the same at the front, and of the rest at the back.
fn same_ends(one: &[u8], other: &[u8]) -> (usize, usize) {
    let prefix = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[prefix..], &other[prefix..]);
    (prefix, one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_given_back_at_every_seq() {
        let contents: Vec<Vec<u8>> = (0..300u64)
            .map(|n| match n % 4 {
                0 => format!("begin {n} end").into_bytes(),
                1 => format!("begin {n} {n} end").into_bytes(),
                2 => format!("{n}").into_bytes(),
                _ => Vec::new(),
            })
            .collect();
        for length in [1, 2, 63, 64, 65, 128, 129, 300] {
            for gone in [false, true] {
                let mut chain = Chain::default();
                let over = if gone { length } else { length - 1 };
                for index in 0..over {
                    let next = (index + 1 < length).then(|| &contents[index + 1][..]);
                    chain.push(Seq(10 + 3 * index as u64), index as u64, &contents[index], next);
                }
                for index in 0..over {
                    for seq in 0..3 {
                        let found = chain.at(Seq(10 + 3 * index as u64 + seq), || contents[length - 1].clone());
                        let found = found.expect("a version holds until the next");
                        assert_eq!((found.by, &found.content), (index as u64, &contents[index]), "of {length}");
                    }
                }
                assert!(chain.at(Seq(9), Vec::new).is_none());
                assert!(over == 0 || chain.first() == Seq(10));
            }
        }
    }

    #[test]
    fn a_small_change_takes_few_bytes() {
        let mut chain = Chain::default();
        let content = |n: u64| format!("{} change {n} {}", "x".repeat(200), "y".repeat(200)).into_bytes();
        for n in 1..64 {
            chain.push(Seq(n), 0, &content(n), Some(&content(n + 1)));
        }
        assert!(chain.open.bytes.len() < 64 * 10, "{}", chain.open.bytes.len());
    }
}
