use std::sync::Arc;
use std::time::{Duration, Instant};

use mcpctl_core::log::journal::{JournalOptions, Sync};

use super::gated_disk::GatedDisk;
use super::log::AuditLog;
use crate::plane::AuditEntry;

const OPTIONS: JournalOptions = JournalOptions { segment_bytes: 64 * 1024, ahead_bytes: 4096, sync: Sync::Later };

struct Kept {
    log: Arc<AuditLog>,
    disk: &'static GatedDisk,
    _dir: tempfile::TempDir,
}

impl Kept {
    fn new() -> Self {
        let (dir, disk) = (tempfile::tempdir().unwrap(), GatedDisk::new());
        Self { log: Arc::new(AuditLog::open_on(dir.path(), [7; 32], OPTIONS, disk).unwrap()), disk, _dir: dir }
    }

    async fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let waiting = async {
            while !so() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

/// A keeper that waits for the disk must not keep the test from ending.
impl Drop for Kept {
    fn drop(&mut self) {
        self.disk.hold(false);
    }
}

fn entry() -> AuditEntry {
    AuditEntry { kind: "call.admitted".to_owned(), allowed: true, ..AuditEntry::default() }
}

#[tokio::test]
async fn whoever_asks_for_it_has_a_durable_entry_when_it_is_answered() {
    let kept = Kept::new();
    for _ in 0..20 {
        let position = kept.log.append_durable(entry()).await.unwrap();
        assert!(kept.log.figures().durable >= position);
    }
}

#[tokio::test]
async fn nobody_is_answered_while_the_sync_goes_on_and_those_who_wait_share_the_next_one() {
    const CALLS: u64 = 64;
    let kept = Kept::new();
    kept.disk.hold(true);
    let append = |log: Arc<AuditLog>| tokio::spawn(async move { log.append_durable(entry()).await });
    let first = append(kept.log.clone());
    kept.until("the first sync begins", || kept.disk.begun() == 1).await;
    let rest: Vec<_> = (1..CALLS).map(|_| append(kept.log.clone())).collect();
    kept.until("all are written", || kept.log.figures().head.0 == CALLS).await;
    assert!(!first.is_finished() && rest.iter().all(|one| !one.is_finished()), "none is durable yet");
    kept.disk.hold(false);
    for one in rest.into_iter().chain([first]) {
        one.await.unwrap().unwrap();
    }
    assert!(kept.disk.begun() <= 3, "{} syncs for {CALLS} entries", kept.disk.begun());
}

#[tokio::test]
async fn a_disk_that_fails_is_said_at_once_and_entries_are_taken_when_it_works_again() {
    let kept = Kept::new();
    kept.disk.fail(true);
    let began = Instant::now();
    let refused = kept.log.append_durable(entry()).await.unwrap_err();
    assert!(refused.to_string().contains("the disk failed"), "{refused}");
    assert!(began.elapsed() < Duration::from_secs(1), "nobody waits for what will not come");
    assert!(kept.log.figures().failed >= 1);
    kept.disk.fail(false);
    let works = async {
        while kept.log.append_durable(entry()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), works).await.expect("it takes entries again");
}

#[tokio::test]
async fn a_disk_that_stands_still_is_not_waited_for_longer_than_the_limit() {
    let kept = Kept::new();
    kept.disk.hold(true);
    let began = Instant::now();
    let refused = kept.log.append_durable(entry()).await.unwrap_err();
    assert!(refused.to_string().contains("in time"), "{refused}");
    assert!((1_900..4_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}
