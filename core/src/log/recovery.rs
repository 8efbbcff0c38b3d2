//! A journal after a failed write or sync: what is durable is made sure of, then it goes on.
//!
//! After a failed sync nothing that reading says about the unsynced end is worth anything: the system may have marked
//! pages as clean that never reached the disk. So that end, which nobody was told of, is cut off. The page in front of
//! it holds the end of the last good batch as well and may have been hit too: it is written again, synced, and the
//! whole segment read back from the disk and checked. Only then are writes taken.
use std::io;
use std::os::unix::fs::FileExt as _;

use super::LogError;
use super::disk::Disk;
use super::journal::{Active, Journal, Sync};
use super::segment::failed;
use super::walk::Walk;
use crate::record::RECORD_BYTES_MAX;

/// Bytes in front of the end that are written again: more than any page or block.
const END_BYTES: u64 = 64 * 1024;

impl Journal {
    /// After a failure: makes sure of what is durable and that there is space for a record, so that the next append may
    /// succeed. The batch that failed is not found by a later open.
    ///
    /// # Errors
    /// When the disk fails still, there is no space, or what had been durable is gone. With [`Sync::Later`] a broken
    /// journal stays broken until it is opened again: what was written and not synced was acknowledged there.
    pub fn recover(&mut self) -> Result<(), LogError> {
        if let Err(broken) = self.positions.check() {
            if self.options.sync == Sync::Later {
                return Err(broken);
            }
            if let Some(active) = &mut self.active {
                active.renew_end(self.disk).map_err(failed("write the end again of", &active.path))?;
            }
            self.check_active()?;
            self.positions.mend();
        }
        self.make_room(RECORD_BYTES_MAX as u64)
    }

    /// Reads the active segment back and checks that it holds every record that it should.
    fn check_active(&self) -> Result<(), LogError> {
        let Some(active) = &self.active else { return Ok(()) };
        self.disk.forget(&active.file);
        let Some(first) = self.positions.first_of_last() else { return Ok(()) };
        let mut walk = Walk::whole(active.path.clone(), first)?;
        while walk.next_frame()?.is_some() {}
        if walk.next == self.next {
            return Ok(());
        }
        Err(walk
            .damage(walk.offset, format!("it ends at seq {}, and was durable up to {}", walk.next.0 - 1, self.head())))
    }
}

impl Active {
    /// Cuts the unsynced end off, and writes what stands in front of it again, durably.
    fn renew_end(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let from = self.end.saturating_sub(END_BYTES);
        let mut end = vec![0; usize::try_from(self.end - from).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut end, from)?;
        disk.write_at(&self.path, &self.file, &end, from)?;
        self.cut(disk)
    }
}
