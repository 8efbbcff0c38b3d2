//! Refusals of callers while nobody can say who may: the first is a line of its own, those that follow are counted into one more
//! line every few seconds.
//!
//! Nothing was decided about them, and whoever tries again without a pause would fill the spool that the entries of all
//! other callers wait in: after that nobody could be served, even with the control plane back.
use std::collections::HashMap;

use mcpctl_api::plane::{AuditEntry, CallerBearer};
use mcpctl_core::ids::Digest;
use parking_lot::Mutex;

/// Callers whose refusals are counted at once. Beyond that each refusal is a line.
const CALLERS_MAX: usize = 4_096;

type Caller = (Digest, Option<String>);

/// Refusals that no line tells of yet.
#[derive(Default)]
pub(crate) struct Unserved(Mutex<HashMap<Caller, More>>);

#[derive(Default)]
struct More {
    count: u64,
    last: Option<(CallerBearer, AuditEntry)>,
}

impl Unserved {
    /// Counts a refusal. `true`: a line that comes later tells of it. `false`: it is to be a line of its own.
    pub(crate) fn counts(&self, bearer: Option<&CallerBearer>, entry: &AuditEntry) -> bool {
        let Some(bearer) = bearer else { return false };
        let mut all = self.0.lock();
        let caller = (bearer.digest(), entry.project.clone());
        match all.get_mut(&caller) {
            Some(more) => {
                more.count += 1;
                more.last = Some((bearer.clone(), entry.clone()));
                true
            }
            None => {
                if all.len() < CALLERS_MAX {
                    all.insert(caller, More::default());
                }
                false
            }
        }
    }

    /// A line for each caller that was refused since this was asked last. Who was not may have a line of its own again.
    pub(crate) fn lines(&self) -> Vec<(CallerBearer, AuditEntry)> {
        let mut lines = Vec::new();
        self.0.lock().retain(|_, more| {
            let Some((bearer, mut entry)) = more.last.take() else { return false };
            let before = std::mem::take(&mut more.count) - 1;
            if before > 0 {
                entry.reason = Some(format!("{} ({before} more before)", entry.reason.unwrap_or_default()));
            }
            lines.push((bearer, entry));
            true
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(project: &str, tool: &str) -> AuditEntry {
        let (project, tool) = (Some(project.to_owned()), Some(tool.to_owned()));
        AuditEntry { project, tool, reason: Some("no connection".to_owned()), ..AuditEntry::default() }
    }

    #[test]
    fn each_refusal_is_a_line_or_is_counted_into_one() {
        let (unserved, bearers) = (Unserved::default(), ["a", "b"].map(|raw| CallerBearer::new(raw.to_owned())));
        let (mut own, mut later) = (0, 0);
        let mut told = |lines: Vec<(CallerBearer, AuditEntry)>| {
            for (_, entry) in &lines {
                let reason = entry.reason.as_deref().unwrap();
                let more = reason.split(['(', ' ']).find_map(|word| word.parse::<u64>().ok());
                later += 1 + more.unwrap_or(0);
            }
            lines.len()
        };
        for (bearer, project, times) in [(0, "p", 100), (1, "p", 1), (0, "q", 2)] {
            for n in 0..times {
                own += u64::from(!unserved.counts(Some(&bearers[bearer]), &entry(project, &n.to_string())));
            }
        }
        assert_eq!(told(unserved.lines()), 2, "one that was refused once has its line already");
        assert!(unserved.counts(Some(&bearers[0]), &entry("p", "again")), "it goes on");
        assert_eq!(told(unserved.lines()), 1);
        assert_eq!(told(unserved.lines()), 0);
        assert_eq!((own, later), (3, 101), "104 refusals");
        assert!(unserved.0.lock().is_empty());
        assert!(!unserved.counts(Some(&bearers[0]), &entry("p", "x")), "a line of its own again");
        assert!(!unserved.counts(None, &entry("p", "x")));
    }

    #[test]
    fn no_more_callers_are_counted_than_there_is_room_for() {
        let unserved = Unserved::default();
        for n in 0..CALLERS_MAX + 10 {
            assert!(!unserved.counts(Some(&CallerBearer::new(n.to_string())), &entry("p", "x")));
        }
        assert_eq!(unserved.0.lock().len(), CALLERS_MAX);
        assert!(!unserved.counts(Some(&CallerBearer::new((CALLERS_MAX + 1).to_string())), &entry("p", "x")));
    }
}
