//! A tree that grows leaf by leaf, and gives tiles, roots and proofs of what it holds.
use std::io;

use tlog_tiles::tile::{Tile, TileHashReader, TileReader};
use tlog_tiles::tlog::{Error, Hash, node_hash, prove_record, prove_tree};

use crate::{HASH_BYTES, TILE_WIDTH};

/// Height of a tile, in levels of the tree.
const HEIGHT: u8 = 8;

/// Gives back full tiles of leaf hashes: the tree keeps only the one that is being filled.
pub trait Leaves {
    /// The 256 leaf hashes of tile `n`, one after the other.
    ///
    /// # Errors
    /// When they can't be had.
    fn full(&self, n: u64) -> io::Result<Vec<u8>>;
}

/// Why the tree has no answer.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The tree has no such entry, or was never that small.
    #[error("the tree has {size} entries")]
    Outside {
        /// Its size.
        size: u64,
    },
    /// A tile is not the one that belongs to the tree.
    #[error("tile {n} of leaf hashes does not belong to the tree")]
    Tile {
        /// Which.
        n: u64,
    },
    /// A tile can't be read.
    #[error("a tile can't be read")]
    Read(#[from] io::Error),
    /// The proof could not be put together.
    #[error("no proof: {0}")]
    Proof(String),
}

/// A tree of records.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    size: u64,
    /// Roots of the complete subtrees, largest first, with their heights.
    peaks: Vec<(u8, Hash)>,
    /// Leaf hashes of the tile that is being filled.
    edge: Vec<Hash>,
    /// All hashes of each higher level of tiles: one for 256 of the level below.
    upper: Vec<Vec<Hash>>,
}

impl Tree {
    /// Number of entries.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds an entry by its leaf hash. Answers the tile of leaf hashes that is full now, if one is: it is not kept.
    pub fn push(&mut self, leaf: Hash) -> Option<(u64, Vec<u8>)> {
        self.raise(leaf);
        self.edge.push(leaf);
        self.size += 1;
        if self.edge.len() as u64 != TILE_WIDTH {
            return None;
        }
        let tile = bytes_of(&self.edge);
        self.edge.clear();
        self.complete(Tile::subtree_hash(&tile));
        Some((self.size / TILE_WIDTH - 1, tile))
    }

    fn raise(&mut self, leaf: Hash) {
        let mut node = (0, leaf);
        while let Some((height, left)) = self.peaks.pop_if(|(height, _)| *height == node.0) {
            node = (height + 1, node_hash(left, node.1));
        }
        self.peaks.push(node);
    }

    /// A tile of leaf hashes is complete: so may be tiles above it.
    fn complete(&mut self, hash: Hash) {
        let (mut level, mut hash) = (0, hash);
        loop {
            if self.upper.len() == level {
                self.upper.push(Vec::new());
            }
            self.upper[level].push(hash);
            let full = self.upper[level].len();
            if !full.is_multiple_of(TILE_WIDTH as usize) {
                return;
            }
            hash = Tile::subtree_hash(&bytes_of(&self.upper[level][full - TILE_WIDTH as usize..]));
            level += 1;
        }
    }

    /// Root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev().map(|(_, hash)| *hash);
        let Some(last) = peaks.next() else { return tlog_tiles::tlog::EMPTY_HASH };
        peaks.fold(last, |right, left| node_hash(left, right))
    }

    /// A tile: `width` hashes of level `level`, from `n * 256` on. `None` when the tree has not that many.
    ///
    /// # Errors
    /// When a tile of leaf hashes can't be had, or is not the one that belongs to the tree.
    pub fn tile(&self, level: u8, n: u64, width: u64, leaves: &dyn Leaves) -> Result<Option<Vec<u8>>, TreeError> {
        let at_level = self.size.checked_shr(u32::from(level) * u32::from(HEIGHT)).unwrap_or(0);
        let first = n.checked_mul(TILE_WIDTH);
        if first.and_then(|first| first.checked_add(width)).is_none_or(|end| end > at_level) || width > TILE_WIDTH {
            return Ok(None);
        }
        let (first, width) = ((n * TILE_WIDTH) as usize, width as usize);
        if level > 0 {
            return Ok(Some(bytes_of(&self.upper[usize::from(level) - 1][first..first + width])));
        }
        if n == self.size / TILE_WIDTH {
            return Ok(Some(bytes_of(&self.edge[..width])));
        }
        let mut tile = leaves.full(n)?;
        if !self.holds(n, &tile) {
            return Err(TreeError::Tile { n });
        }
        tile.truncate(width * HASH_BYTES);
        Ok(Some(tile))
    }

    /// Whether these are the leaf hashes of a full tile of the tree.
    #[must_use]
    pub fn holds(&self, n: u64, tile: &[u8]) -> bool {
        let root = usize::try_from(n).ok().and_then(|n| self.upper.first()?.get(n));
        tile.len() == TILE_WIDTH as usize * HASH_BYTES && root.is_some_and(|root| Tile::subtree_hash(tile) == *root)
    }

    /// The proof that entry `index`, counted from 0, is in the tree.
    ///
    /// # Errors
    /// When it is not, or a tile can't be had.
    pub fn prove_entry(&self, index: u64, leaves: &dyn Leaves) -> Result<Vec<Hash>, TreeError> {
        if index >= self.size {
            return Err(TreeError::Outside { size: self.size });
        }
        let reader = Reader { tree: self, leaves };
        prove_record(self.size, index, &TileHashReader::new(self.size, self.root(), &reader)).map_err(no_proof)
    }

    /// The proof that the tree goes on from the one of its first `size` entries.
    ///
    /// # Errors
    /// When it was never that small, or a tile can't be had.
    pub fn prove_prefix(&self, size: u64, leaves: &dyn Leaves) -> Result<Vec<Hash>, TreeError> {
        if size == 0 || size > self.size {
            return Err(TreeError::Outside { size: self.size });
        }
        let reader = Reader { tree: self, leaves };
        prove_tree(self.size, size, &TileHashReader::new(self.size, self.root(), &reader)).map_err(no_proof)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is an argument of map_err")]
fn no_proof(error: Error) -> TreeError {
    TreeError::Proof(error.to_string())
}

fn bytes_of(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

struct Reader<'a> {
    tree: &'a Tree,
    leaves: &'a dyn Leaves,
}

impl TileReader for Reader<'_> {
    fn height(&self) -> u8 {
        HEIGHT
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        let read = |tile: &Tile| {
            let found = self.tree.tile(tile.level(), tile.level_index(), tile.width().into(), self.leaves);
            found.map_err(|error| Error::InvalidInput(error.to_string()))?.ok_or(Error::IndexesNotInTree)
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use tlog_tiles::tlog::{check_record, check_tree, record_hash};

    use super::*;

    #[derive(Default)]
    struct Kept(RefCell<BTreeMap<u64, Vec<u8>>>);

    impl Leaves for Kept {
        fn full(&self, n: u64) -> io::Result<Vec<u8>> {
            self.0.borrow().get(&n).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }

    fn leaf(n: u64) -> Hash {
        record_hash(&n.to_be_bytes())
    }

    fn grown(size: u64) -> (Tree, Kept, Vec<Hash>) {
        let (mut tree, kept, mut roots) = (Tree::default(), Kept::default(), vec![Tree::default().root()]);
        for n in 0..size {
            if let Some((n, tile)) = tree.push(leaf(n)) {
                kept.0.borrow_mut().insert(n, tile);
            }
            roots.push(tree.root());
        }
        (tree, kept, roots)
    }

    /// RFC 6962, section 2.1, word for word.
    fn by_the_book(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => tlog_tiles::tlog::EMPTY_HASH,
            1 => leaves[0],
            n => {
                let k = n.next_power_of_two() / 2;
                node_hash(by_the_book(&leaves[..k]), by_the_book(&leaves[k..]))
            }
        }
    }

    #[test]
    fn the_root_is_that_of_rfc_6962_at_every_size() {
        let (_, _, roots) = grown(600);
        let leaves: Vec<Hash> = (0..600).map(leaf).collect();
        for (size, root) in roots.iter().enumerate() {
            assert_eq!(*root, by_the_book(&leaves[..size]), "size {size}");
        }
    }

    #[test]
    fn every_entry_and_every_earlier_tree_is_proved() {
        let (tree, kept, roots) = grown(70_000);
        for index in (0..70_000).step_by(997).chain([0, 255, 256, 65_535, 65_536, 69_999]) {
            let proof = tree.prove_entry(index, &kept).unwrap();
            check_record(&proof, tree.size(), tree.root(), index, leaf(index)).unwrap();
            check_record(&proof, tree.size(), tree.root(), index, leaf(index + 1)).unwrap_err();
        }
        for size in (1..=70_000).step_by(1_777).chain([1, 256, 65_536, 70_000]) {
            let proof = tree.prove_prefix(size, &kept).unwrap();
            check_tree(&proof, tree.size(), tree.root(), size, roots[size as usize]).unwrap();
        }
        assert!(matches!(tree.prove_entry(70_000, &kept), Err(TreeError::Outside { size: 70_000 })));
    }

    #[test]
    fn tiles_have_the_widths_that_the_tree_has_and_a_changed_one_is_noticed() {
        let (tree, kept, _) = grown(70_000);
        for (level, n, width, there) in
            [(0, 0, 256, true), (0, 273, 112, true), (0, 273, 113, false), (1, 1, 17, true), (1, 1, 18, false)]
        {
            let tile = tree.tile(level, n, width, &kept).unwrap();
            assert_eq!(
                tile.map(|tile| tile.len()),
                there.then_some(width as usize * HASH_BYTES),
                "{level} {n} {width}"
            );
        }
        assert_eq!(tree.tile(2, 0, 1, &kept).unwrap().unwrap().len(), HASH_BYTES);
        assert!(tree.tile(9, 0, 1, &kept).unwrap().is_none());
        assert!(tree.tile(0, u64::MAX, 1, &kept).unwrap().is_none());
        kept.0.borrow_mut().get_mut(&7).unwrap()[99] ^= 1;
        assert!(matches!(tree.tile(0, 7, 256, &kept), Err(TreeError::Tile { n: 7 })));
        assert!(tree.prove_entry(7 * 256, &kept).is_err());
    }
}
