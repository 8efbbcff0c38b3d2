use mcpctl_core::log::journal::{JournalOptions, Sync};
use mcpctl_core::time::Timestamp;

use super::*;
use crate::plane::AuditEntry;

const OPTIONS: JournalOptions = JournalOptions { segment_bytes: 8 * 1024, ahead_bytes: 512, sync: Sync::Later };
const DAY: u64 = 24 * 60 * 60 * 1000;

#[test]
fn what_is_too_old_is_dropped_in_whole_segments_and_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let open = || AuditLog::open_sharded(dir.path(), [4; 32], OPTIONS, 64).unwrap();
    let log = open();
    for day in 0..300u64 {
        let tool = Some(format!("t{day}"));
        let at = Timestamp::from_millis(day * DAY);
        log.append(AuditEntry { at, tool, kind: "call".to_owned(), ..AuditEntry::default() }).unwrap();
    }
    assert_eq!(log.too_old(Timestamp::from_millis(DAY / 2)).unwrap(), None);
    let before = Timestamp::from_millis(150 * DAY);
    let kept = log.too_old(before).unwrap().unwrap();
    assert!(kept.0 > 100 && kept.0 <= 150, "{kept}");
    log.drop_before(kept, before, Timestamp::from_millis(300 * DAY)).unwrap();
    drop(log);
    let log = open();
    assert_eq!(log.count(), 301 - (kept.0 - 1));
    let of = |tool: u64| AuditQuery { tool: Some(format!("t{tool}")), ..AuditQuery::default() };
    assert_eq!(log.page(&of(10)).unwrap().0.len(), 0);
    assert_eq!(log.page(&of(149)).unwrap().0.len(), 1);
    let first = AuditQuery { position: Some(1), limit: Some(1), ..AuditQuery::default() };
    assert_eq!(log.page(&first).unwrap().0[0].position, kept.0);
    let said = AuditQuery { kind: Some("audit-retention".to_owned()), ..AuditQuery::default() };
    let said = log.page(&said).unwrap().0.remove(0);
    assert_eq!(said.position, 301);
    assert!(said.entry.reason.unwrap().contains(&format!("positions 1 to {}", kept.0 - 1)));
    assert_eq!(log.too_old(before).unwrap(), None, "once is enough");
}
