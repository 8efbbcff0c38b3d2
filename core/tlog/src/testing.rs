//! Trees for the tests of this crate.
use crate::checkpoint::LogSigner;
use crate::record_hash;
use crate::tree::{Leaves, Tree};

/// Keeps no tile: enough for trees smaller than one.
pub(crate) struct NoTiles;

impl Leaves for NoTiles {
    fn full(&self, _: u64) -> std::io::Result<Vec<u8>> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// A tree of so many entries, none of which stands in a tree `of` anything else.
pub(crate) fn tree(of: &str, size: u64) -> Tree {
    let mut tree = Tree::default();
    (0..size).for_each(|n| drop(tree.push(record_hash(format!("{of} {n}").as_bytes()))));
    tree
}

/// The key of the log `example.com/log` that is made of one byte.
pub(crate) fn signer(byte: u8) -> LogSigner {
    LogSigner::read(&LogSigner::generate("example.com/log", &[byte; 32]).expect("a key")).expect("a key")
}
