//! Texts of an entry: short enough when written, harmless to a terminal when read.
use std::borrow::Cow;
use std::fmt::Write as _;

use crate::plane::AuditEntry;

/// Most bytes that a text of an entry keeps.
const TEXT_BYTES_MAX: usize = 512;
/// Most grants that an entry names.
const VIA_MAX: usize = 64;

/// Cuts what a caller could make as long as it likes, so that an entry always fits into a record.
pub(super) fn clip(entry: &mut AuditEntry) {
    texts(entry, &mut |text| {
        if text.len() > TEXT_BYTES_MAX {
            let end = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
    });
    entry.via.truncate(VIA_MAX);
}

/// Writes what could be taken for something else, in every text of an entry.
pub(super) fn escape(entry: &mut AuditEntry) {
    texts(entry, &mut |text| {
        if let Cow::Owned(safe) = harmless(text) {
            *text = safe;
        }
    });
}

/// Writes control characters, and those that reorder or break lines, as `\u{…}`: a tool's name may not draw on the
/// terminal of whoever reads about it, nor pretend to be a line of its own.
pub(in crate::server) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().fold(String::with_capacity(text.len() + 16), |mut safe, c| {
        if is_harmful(c) {
            let _ = write!(safe, "\\u{{{:04x}}}", u32::from(c));
        } else {
            safe.push(c);
        }
        safe
    }))
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Every text of an entry. The pattern is whole, so that a new field can't be forgotten here.
fn texts(entry: &mut AuditEntry, each: &mut dyn FnMut(&mut String)) {
    let AuditEntry {
        id,
        at: _,
        kind,
        method,
        actor,
        on_behalf_of,
        owner,
        token_sha: _,
        project,
        session,
        server,
        tool,
        allowed: _,
        seq: _,
        via: _,
        asked: _,
        rule,
        outcome,
        reason,
        duration_us: _,
        request_bytes: _,
        answer_bytes: _,
        definition: _,
        arguments: _,
        answer: _,
        redacted: _,
    } = entry;
    [kind, method, outcome].into_iter().for_each(&mut *each);
    [id, project, session, server, tool, rule, reason].into_iter().flatten().for_each(&mut *each);
    [actor, on_behalf_of, owner].into_iter().flatten().for_each(|actor| each(&mut actor.name));
}
