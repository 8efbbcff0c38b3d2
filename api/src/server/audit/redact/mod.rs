//! Taking secrets out of an entry before it is stored: what looks like one, and the values of those that are in use.
//!
//! What was taken out is told, by the field and by what it was; the text says where. Nothing of the secret is kept.
mod shapes;
mod values;

pub(in crate::server) use values::{keep_level, learn};

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::plane::AuditEntry;
use values::Values;

/// Most texts that an entry says were taken out.
const TOLD_MAX: usize = 16;

/// A part of a text that must not be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    from: usize,
    to: usize,
    what: String,
}

/// Takes secrets out of entries. Cheap to clone.
#[derive(Clone, Default)]
pub struct Redactor {
    values: Arc<ArcSwap<Values>>,
}

impl Redactor {
    /// Takes secrets out of every text of an entry that somebody outside may have chosen.
    pub(super) fn redact(&self, entry: &mut AuditEntry) {
        let values = self.values.load();
        let mut told = Vec::new();
        for (field, text) in chosen_outside(entry) {
            let mut found = values.find(text);
            found.extend(shapes::find(text));
            if !found.is_empty() {
                told.extend(take_out(text, found).into_iter().map(|what| format!("{field}: {what}")));
            }
        }
        told.dedup();
        told.truncate(TOLD_MAX);
        // What a gateway says it took out stays said.
        entry.redacted.truncate(TOLD_MAX);
        entry.redacted.extend(told);
    }
}

impl Redactor {
    /// Takes secrets out of a text that somebody outside chose, before it is written where it stays.
    pub(in crate::server) fn redact_text(&self, text: &mut String) {
        let mut found = self.values.load().find(text);
        found.extend(shapes::find(text));
        if !found.is_empty() {
            take_out(text, found);
        }
    }
}

fn chosen_outside(entry: &mut AuditEntry) -> impl Iterator<Item = (&'static str, &mut String)> {
    let AuditEntry { method, project, session, server, tool, rule, reason, .. } = entry;
    let optional = [
        ("project", project),
        ("session", session),
        ("server", server),
        ("tool", tool),
        ("rule", rule),
        ("reason", reason),
    ];
    let optional = optional.into_iter().filter_map(|(field, text)| Some((field, text.as_mut()?)));
    [("method", method)].into_iter().chain(optional)
}

/// Puts words in place of what was found; answers what it was.
fn take_out(text: &mut String, mut found: Vec<Found>) -> Vec<String> {
    found.sort_by_key(|found| (found.from, usize::MAX - found.to));
    let (mut safe, mut end, mut told) = (String::with_capacity(text.len()), 0, Vec::new());
    for Found { from, to, what } in found {
        if to <= end {
            continue;
        }
        if from >= end {
            safe.push_str(&text[end..from]);
            safe.push_str(&format!("[redacted {what}]"));
            told.push(what);
        }
        end = to;
    }
    safe.push_str(&text[end..]);
    *text = safe;
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_is_taken_out_as_one_and_the_rest_stays() {
        let found = |from, to, what: &str| Found { from, to, what: what.to_owned() };
        let mut text = "0123456789".to_owned();
        let told = take_out(&mut text, vec![found(4, 6, "b"), found(2, 5, "a"), found(8, 9, "c"), found(3, 4, "d")]);
        assert_eq!((&*text, told), ("01[redacted a]67[redacted c]9", vec!["a".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn an_entry_says_what_was_taken_out_of_which_field() {
        let redactor = Redactor::default();
        redactor.know([("secret db/password".to_owned(), b"correct horse".to_vec())]);
        let mut entry = AuditEntry {
            tool: Some("file:///x?k=correct%20horse&t=ghp_0123456789abcdefghijABCDEFGHIJ012345".to_owned()),
            reason: Some("nothing in here".to_owned()),
            ..AuditEntry::default()
        };
        redactor.redact(&mut entry);
        assert_eq!(entry.tool.unwrap(), "file:///x?k=[redacted secret db/password]&t=[redacted GitHub token]");
        assert_eq!(entry.reason.unwrap(), "nothing in here");
        assert_eq!(entry.redacted, ["tool: secret db/password", "tool: GitHub token"]);
    }
}
