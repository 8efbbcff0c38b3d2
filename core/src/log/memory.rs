//! A log in memory, for tests: it promises what the durable one promises, but for surviving.
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::chain::Chain;
use super::{EventLog, LogError, LogReader};
use crate::ids::{Digest, Seq, Uid};
use crate::record::StoredRecord;

/// A log in memory.
#[derive(Debug, Default)]
pub struct MemoryLog {
    chain: Chain,
    kept: Arc<MemoryReader>,
}

#[derive(Debug, Default)]
struct MemoryReader(RwLock<Kept>);

#[derive(Debug, Default)]
struct Kept {
    records: Vec<Arc<[u8]>>,
    objects: HashMap<Uid, Vec<Seq>>,
}

impl EventLog for MemoryLog {
    fn head(&self) -> (Seq, Digest) {
        (self.chain.seq, self.chain.hash)
    }

    fn append(&mut self, batch: &[StoredRecord]) -> Result<(), LogError> {
        let (chain, links) = self.chain.follow_batch(batch)?;
        let mut kept = self.kept.0.write().unwrap_or_else(PoisonError::into_inner);
        for (record, link) in batch.iter().zip(links) {
            kept.records.push(record.bytes.as_slice().into());
            kept.objects.entry(link.object).or_default().push(record.seq);
        }
        self.chain = chain;
        Ok(())
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::clone(&self.kept) as Arc<dyn LogReader>
    }
}

impl MemoryReader {
    fn kept(&self) -> RwLockReadGuard<'_, Kept> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, seq: Seq) -> Option<Arc<[u8]>> {
        let index = usize::try_from(seq.0.checked_sub(1)?).ok()?;
        self.kept().records.get(index).cloned()
    }
}

impl LogReader for MemoryReader {
    fn head(&self) -> Seq {
        Seq(self.kept().records.len() as u64)
    }

    fn read(&self, seq: Seq) -> Result<Option<Vec<u8>>, LogError> {
        Ok(self.record(seq).map(|record| record.to_vec()))
    }

    fn scan(&self, from: Seq, each: &mut dyn FnMut(Seq, &[u8]) -> bool) -> Result<(), LogError> {
        let head = self.head();
        // No lock is held while `each` runs: it may read, or wait for a writer.
        for seq in (from.0.max(1)..=head.0).map(Seq) {
            if !self.record(seq).is_some_and(|record| each(seq, &record)) {
                break;
            }
        }
        Ok(())
    }

    fn of_object(&self, object: Uid) -> Result<Vec<Seq>, LogError> {
        Ok(self.kept().objects.get(&object).cloned().unwrap_or_default())
    }
}
