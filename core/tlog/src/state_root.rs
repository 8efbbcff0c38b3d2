//! A state root: which facts hold after an event, in one entry of a log of its own; and a file of facts proved against it.
//!
//! Both are lines of text, so that Go and Python read them with what comes with them.
use tlog_tiles::tlog::Hash;

use crate::facts::{End, FactError, FactProof};

const HEAD: &str = "mcpctl state root v1";
const FACTS_HEAD: &str = "mcpctl facts v1";
/// Most facts in a file, and most hashes of a path.
const FACTS_MAX: usize = 1_000;
const PATH_MAX: usize = 256;

/// Entry *n* of the state log says which facts hold after the event of seq *n + 1*.
#[derive(Clone, Debug, PartialEq)]
pub struct StateRoot {
    /// The event.
    pub seq: u64,
    /// When it was, RFC 3339.
    pub at: String,
    /// Leaf hash of the event in the config log: the two logs speak of the same past.
    pub event: Hash,
    /// Root of the facts.
    pub root: Hash,
}

impl StateRoot {
    /// The entry as it is stored.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { seq, at, event, root } = self;
        format!("{HEAD}\nseq {seq}\nat {at}\nevent {event}\nroot {root}\n")
    }

    /// Reads an entry. Only the one spelling is read.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(bytes: &[u8]) -> Result<Self, FactError> {
        let bad = || FactError::Malformed("it has no state root");
        let text = std::str::from_utf8(bytes).map_err(|_| bad())?;
        let mut lines = text.lines();
        let head = lines.next();
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        let (seq, at, event, root) = (field("seq"), field("at"), field("event"), field("root"));
        let hash = |text: Option<String>| Hash::parse_hash(&text.ok_or_else(bad)?).map_err(|_| bad());
        let seq = seq.and_then(|seq| seq.parse().ok()).ok_or_else(bad)?;
        let found = Self { seq, at: at.ok_or_else(bad)?, event: hash(event)?, root: hash(root)? };
        if head == Some(HEAD) && found.to_text().as_bytes() == bytes { Ok(found) } else { Err(bad()) }
    }
}

/// A fact, whether it holds, and the proof of that.
#[derive(Clone, Debug, PartialEq)]
pub struct ProvedFact {
    /// The fact.
    pub fact: String,
    /// Its value; `None` when it does not hold.
    pub value: Option<String>,
    /// The proof.
    pub proof: FactProof,
}

/// A file of facts, with their proofs.
#[must_use]
pub fn write_facts(facts: &[ProvedFact]) -> String {
    let mut text = format!("{FACTS_HEAD}\n");
    for ProvedFact { fact, value, proof } in facts {
        text.push_str(&format!("\nfact {fact}\n"));
        text.push_str(&value.as_ref().map_or_else(|| "absent\n".to_owned(), |value| format!("value {value}\n")));
        for hash in &proof.siblings {
            text.push_str(&format!("beside {hash}\n"));
        }
        match &proof.end {
            End::Nothing => text.push_str("end nothing\n"),
            End::Leaf { place, value } => text.push_str(&format!("end {place} {value}\n")),
        }
    }
    text
}

/// Reads a file of facts.
///
/// # Errors
/// When it is none.
pub fn read_facts(bytes: &[u8]) -> Result<Vec<ProvedFact>, FactError> {
    use FactError::Malformed;
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed("it is not text"))?;
    let rest = text.strip_prefix(FACTS_HEAD).ok_or(Malformed("its first line is another"))?;
    let blocks: Vec<&str> = rest.split("\n\n").skip(1).collect();
    if blocks.len() > FACTS_MAX {
        return Err(Malformed("it has too many facts"));
    }
    blocks.into_iter().map(read_fact).collect()
}

fn read_fact(block: &str) -> Result<ProvedFact, FactError> {
    use FactError::Malformed;
    let hash = |text: &str| Hash::parse_hash(text).map_err(|_| Malformed("a hash can't be read"));
    let mut lines = block.lines();
    let fact = lines.next().and_then(|line| line.strip_prefix("fact ")).ok_or(Malformed("a fact is missing"))?;
    let value = match lines.next() {
        Some("absent") => None,
        Some(line) => Some(line.strip_prefix("value ").ok_or(Malformed("a value is missing"))?.to_owned()),
        None => return Err(Malformed("a value is missing")),
    };
    let (mut siblings, mut end) = (Vec::new(), None);
    for line in lines {
        match (line.strip_prefix("beside "), line.strip_prefix("end ")) {
            _ if end.is_some() => return Err(Malformed("something follows the end of a path")),
            (Some(beside), _) if siblings.len() < PATH_MAX => siblings.push(hash(beside)?),
            (None, Some("nothing")) => end = Some(End::Nothing),
            (None, Some(leaf)) => {
                let (place, value) = leaf.split_once(' ').ok_or(Malformed("an end can't be read"))?;
                end = Some(End::Leaf { place: hash(place)?, value: hash(value)? });
            }
            _ => return Err(Malformed("a line can't be read")),
        }
    }
    let end = end.ok_or(Malformed("a path has no end"))?;
    Ok(ProvedFact { fact: fact.to_owned(), value, proof: FactProof { siblings, end } })
}

#[cfg(test)]
mod tests {
    use tlog_tiles::tlog::record_hash;

    use super::*;
    use crate::facts::Facts;

    #[test]
    fn a_state_root_is_read_as_it_is_written_and_in_no_other_way() {
        let root = StateRoot {
            seq: 41,
            at: "2026-11-21T09:30:00.000Z".to_owned(),
            event: record_hash(b"x"),
            root: record_hash(b"y"),
        };
        let text = root.to_text();
        assert_eq!(StateRoot::read(text.as_bytes()).unwrap(), root);
        for wrong in [
            text.replace("seq 41", "seq 041"),
            text.replace("v1", "v2"),
            format!("{text}\n"),
            text.replace("\nat", "\n at"),
            text.trim_end().to_owned(),
            String::new(),
        ] {
            assert!(StateRoot::read(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn facts_come_back_and_a_cut_file_is_noticed() {
        let mut facts = Facts::default();
        (0..20).for_each(|n| facts.insert(&format!("fact {n}"), &format!("value {n}")));
        let proved: Vec<ProvedFact> = (10..30)
            .map(|n| ProvedFact {
                fact: format!("fact {n}"),
                value: (n < 20).then(|| format!("value {n}")),
                proof: facts.prove(&format!("fact {n}")),
            })
            .collect();
        let text = write_facts(&proved);
        assert_eq!(read_facts(text.as_bytes()).unwrap(), proved);
        assert_eq!(read_facts(write_facts(&[]).as_bytes()).unwrap(), []);
        let end = text.rfind("\nend").unwrap();
        assert!(read_facts(&text.as_bytes()[..end]).is_err());
        assert!(read_facts(b"facts").is_err());
    }
}
