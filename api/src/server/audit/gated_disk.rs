//! For tests: a disk whose syncs are counted, can be held back, and can be made to fail.
use std::fs::File;
use std::io;
use std::path::Path;

use mcpctl_core::log::disk::Disk;
use parking_lot::{Condvar, Mutex};

/// The disk.
#[derive(Debug, Default)]
pub(crate) struct GatedDisk {
    state: Mutex<Gate>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    held: bool,
    fails: bool,
    begun: u64,
}

impl GatedDisk {
    /// A journal keeps its disk for ever.
    pub(crate) fn new() -> &'static Self {
        Box::leak(Box::default())
    }

    /// Syncs wait from now on, or go on.
    pub(crate) fn hold(&self, held: bool) {
        self.state.lock().held = held;
        self.changed.notify_all();
    }

    /// Syncs fail from now on, or succeed.
    pub(crate) fn fail(&self, fails: bool) {
        self.state.lock().fails = fails;
    }

    /// How many syncs have begun.
    pub(crate) fn begun(&self) -> u64 {
        self.state.lock().begun
    }
}

impl Disk for GatedDisk {
    fn sync_data(&self, _path: &Path, file: &File) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begun += 1;
        self.changed.wait_while(&mut state, |state| state.held);
        if state.fails {
            return Err(io::Error::other("the test says so"));
        }
        drop(state);
        file.sync_data()
    }
}
