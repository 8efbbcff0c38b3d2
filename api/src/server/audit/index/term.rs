//! What an entry is found by: a field and a number of 64 bits made of its value.
//!
//! Two values may have the same number: then a query reads an entry in vain. The numbers are made under a key, so that
//! the files of the index tell nobody whom they are about.
use std::cell::RefCell;
use std::ops::RangeInclusive;

use mcpctl_core::actor::ActorKind;
use mcpctl_core::time::Timestamp;

use super::super::query::AuditQuery;
use crate::plane::AuditEntry;

/// A field that can be asked for. The numbers stand in files: they are never given another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(in crate::server::audit) enum Field {
    Project = 1,
    Kind = 2,
    User = 3,
    Token = 4,
    TokenSha = 5,
    Server = 6,
    Tool = 7,
    Outcome = 8,
    Session = 9,
}

/// A field with a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::server::audit) struct Term {
    /// [`Field`], as it stands in files.
    pub(in crate::server::audit) field: u8,
    pub(in crate::server::audit) key: u64,
}

/// Terms that a thread remembers.
const KNOWN_MAX: usize = 64;

/// A term that was made before, under which key, and of what.
#[derive(Default)]
struct Known {
    under: [u8; 32],
    value: String,
    term: Term,
}

/// Makes terms under a key.
#[derive(Clone)]
pub(in crate::server::audit) struct Hasher([u8; 32]);

/// Most digits of a token's digest that a term holds.
const SHA_DIGITS: usize = 16;

impl Hasher {
    pub(in crate::server::audit) const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The term of a value. Those of the last entries are remembered: of most fields there are few values.
    fn term(&self, field: Field, value: &str) -> Term {
        thread_local! {
            static KNOWN: RefCell<[Known; KNOWN_MAX]> = RefCell::new(std::array::from_fn(|_| Known::default()));
        }
        let place = value.bytes().fold(field as usize, |at, byte| at.wrapping_mul(31).wrapping_add(byte.into()));
        KNOWN.with_borrow_mut(|known| {
            let known = &mut known[place % KNOWN_MAX];
            if known.term.field != field as u8 || known.value != value || known.under != self.0 {
                let term = self.made(field, value);
                *known = Known { under: self.0, value: value.to_owned(), term };
            }
            known.term
        })
    }

    fn made(&self, field: Field, value: &str) -> Term {
        let mut hash = blake3::Hasher::new_keyed(&self.0);
        hash.update(&[field as u8]).update(value.as_bytes());
        let mut key = [0; 8];
        hash.finalize_xof().fill(&mut key);
        Term { field: field as u8, key: u64::from_be_bytes(key) }
    }

    /// A check of bytes that stand in a file, and of what they are about.
    pub(in crate::server::audit) fn check(&self, about: &[u8], bytes: &[u8]) -> [u8; 16] {
        let mut hash = blake3::Hasher::new_keyed(&self.0);
        hash.update(&(about.len() as u64).to_le_bytes()).update(about).update(bytes);
        let mut check = [0; 16];
        hash.finalize_xof().fill(&mut check);
        check
    }

    /// The terms by which an entry is found, each once.
    pub(in crate::server::audit) fn terms(&self, entry: &AuditEntry) -> Vec<Term> {
        let mut terms = Vec::with_capacity(10);
        let mut note = |field, value: Option<&str>| terms.extend(value.map(|value| self.term(field, value)));
        note(Field::Kind, Some(&entry.kind));
        note(Field::Outcome, Some(&entry.outcome));
        note(Field::Project, entry.project.as_deref());
        note(Field::Server, entry.server.as_deref());
        note(Field::Tool, entry.tool.as_deref());
        note(Field::Session, entry.session.as_deref());
        let acts = |kind| entry.actor.as_ref().filter(|actor| actor.kind == kind).map(|actor| &*actor.name);
        let (user, owner) = (acts(ActorKind::User), entry.owner.as_ref().map(|owner| &*owner.name));
        note(Field::User, user);
        note(Field::User, owner.filter(|owner| user != Some(*owner)));
        note(Field::Token, acts(ActorKind::McpToken));
        terms.extend(entry.token_sha.map(|sha| {
            let first: [u8; 8] = std::array::from_fn(|at| sha.0[at]);
            Term { field: Field::TokenSha as u8, key: u64::from_be_bytes(first) }
        }));
        terms
    }

    /// What a query wants of the index.
    pub(in crate::server::audit) fn wants(&self, query: &AuditQuery) -> Wants {
        let asked = [
            (Field::Project, &query.project),
            (Field::Kind, &query.kind),
            (Field::User, &query.user_name),
            (Field::Token, &query.token_name),
            (Field::Server, &query.server),
            (Field::Tool, &query.tool),
            (Field::Outcome, &query.outcome),
            (Field::Session, &query.session),
        ];
        let one = |(field, value): (Field, &Option<String>)| {
            let term = self.term(field, value.as_deref()?);
            Some(term..=term)
        };
        let mut all: Vec<RangeInclusive<Term>> = asked.into_iter().filter_map(one).collect();
        let mut nothing = false;
        if let Some(sha) = &query.token_sha {
            match beginning(sha) {
                Some(range) => all.push(range),
                None => nothing = true,
            }
        }
        Wants { all, from: query.from, to: query.to, nothing }
    }
}

/// The terms of all digests that begin with these digits; nothing when no digest does.
fn beginning(digits: &str) -> Option<RangeInclusive<Term>> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let digits = &digits[..digits.len().min(SHA_DIGITS)];
    let low = u64::from_str_radix(digits, 16).ok()?;
    let open = 4 * (SHA_DIGITS - digits.len()) as u32;
    let (low, high) = match open {
        0 => (low, low),
        open => (low << open, (low << open) | ((1 << open) - 1)),
    };
    let term = |key| Term { field: Field::TokenSha as u8, key };
    Some(term(low)..=term(high))
}

/// What must hold of an entry: a term of each range, and a moment between two.
#[derive(Clone, Debug)]
pub(in crate::server::audit) struct Wants {
    pub(super) all: Vec<RangeInclusive<Term>>,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
    /// No entry can match.
    pub(super) nothing: bool,
}

impl Wants {
    /// Whether entries between these two moments may match.
    pub(super) fn reaches(&self, earliest: Timestamp, latest: Timestamp) -> bool {
        self.from.is_none_or(|from| latest >= from) && self.to.is_none_or(|to| earliest <= to)
    }

    /// Whether moments matter.
    pub(super) const fn timed(&self) -> bool {
        self.from.is_some() || self.to.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_of_a_digest_reaches_all_digests_that_begin_so_and_no_others() {
        let key = |range: Option<RangeInclusive<Term>>| range.map(|range| (range.start().key, range.end().key));
        assert_eq!(key(beginning("ab")), Some((0xab00_0000_0000_0000, 0xabff_ffff_ffff_ffff)));
        assert_eq!(key(beginning("ABABABABABABABAB")), Some((0xabab_abab_abab_abab, 0xabab_abab_abab_abab)));
        assert_eq!(key(beginning(&"ab".repeat(32))), Some((0xabab_abab_abab_abab, 0xabab_abab_abab_abab)));
        assert_eq!(key(beginning("")), None);
        assert_eq!(key(beginning("xy")), None);
        assert_eq!(key(beginning("äbc")), None);
    }

    #[test]
    fn the_same_value_in_two_fields_or_under_two_keys_is_two_terms() {
        let [one, other] = [1, 2].map(|key| Hasher::new([key; 32]));
        assert_ne!(one.term(Field::Server, "x"), one.term(Field::Tool, "x"));
        assert_ne!(one.term(Field::Tool, "x").key, one.term(Field::Server, "x").key);
        assert_ne!(one.term(Field::Tool, "x"), other.term(Field::Tool, "x"));
    }

    #[test]
    fn a_term_that_was_remembered_is_the_one_that_would_be_made() {
        let hashers = [1, 2].map(|key| Hasher::new([key; 32]));
        // Far more values than are remembered, each asked for again when its place was taken by others.
        for round in 0..3 {
            for (n, hasher) in (0..4 * KNOWN_MAX).zip(hashers.iter().cycle()) {
                let value = format!("value-{}", n * (round + 1));
                for field in [Field::Server, Field::Tool] {
                    assert_eq!(hasher.term(field, &value), hasher.made(field, &value));
                }
            }
        }
    }
}
