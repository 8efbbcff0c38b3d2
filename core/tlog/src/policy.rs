//! Which witnesses a log has, and how many of which must have cosigned (C2SP tlog-policy): a file that people edit.
//!
//! ```text
//! log example.com/config+1f8e+AY…
//! witness w1 w1.example.com+9a7b+BK… https://w1.example.com
//! witness w2 w2.example.com+77aa+BM… https://w2.example.com
//! group both all w1 w2
//! quorum both
//! ```
use std::collections::BTreeMap;

use crate::checkpoint::LogKey;
use crate::cosignature::WitnessKey;

/// Most witnesses and groups.
const NAMES_MAX: usize = 100;

/// A line of a policy can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the policy: {why}")]
pub struct InvalidPolicy {
    /// Which, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

/// A witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyWitness {
    /// What the policy calls it.
    pub name: String,
    /// Its key.
    pub key: WitnessKey,
    /// Where it answers; without it, cosignatures come in another way.
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    needed: usize,
    members: Vec<String>,
}

/// A policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The logs, if any are named.
    pub logs: Vec<LogKey>,
    /// The witnesses.
    pub witnesses: Vec<PolicyWitness>,
    groups: BTreeMap<String, Group>,
    quorum: Option<String>,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// When a line can't be read, names something twice, or something that does not stand above it.
    pub fn read(text: &str) -> Result<Self, InvalidPolicy> {
        let mut policy = Self::default();
        for (index, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            policy.take(&words).map_err(|why| InvalidPolicy { line: index + 1, why })?;
        }
        Ok(policy)
    }

    fn take(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            [] => Ok(()),
            ["log", key] | ["log", key, _] => {
                self.logs.push(LogKey::read(key).map_err(|error| error.to_string())?);
                Ok(())
            }
            ["witness", name, key] => self.witness(name, key, None),
            ["witness", name, key, url] => self.witness(name, key, Some((*url).to_owned())),
            ["group", name, needed, members @ ..] => self.group(name, needed, members),
            ["quorum", "none"] if self.quorum.is_none() => {
                self.quorum = Some("none".to_owned());
                Ok(())
            }
            ["quorum", name] if self.quorum.is_none() => {
                self.known(name)?;
                self.quorum = Some((*name).to_owned());
                Ok(())
            }
            ["quorum", _] => Err("a quorum is given twice".to_owned()),
            [word, ..] => Err(format!("{word:?} is no line of a policy: log, witness, group or quorum")),
        }
    }

    fn known(&self, name: &str) -> Result<(), String> {
        let there = self.witnesses.iter().any(|witness| witness.name == name) || self.groups.contains_key(name);
        if there { Ok(()) } else { Err(format!("there is no witness and no group {name:?} above it")) }
    }

    fn free(&self, name: &str) -> Result<(), String> {
        if name == "none" || self.known(name).is_ok() {
            return Err(format!("the name {name:?} is taken"));
        }
        if self.witnesses.len() + self.groups.len() >= NAMES_MAX {
            return Err(format!("there are more than {NAMES_MAX} names"));
        }
        Ok(())
    }

    fn witness(&mut self, name: &str, key: &str, url: Option<String>) -> Result<(), String> {
        self.free(name)?;
        let key = WitnessKey::read(key).map_err(|error| error.to_string())?;
        self.witnesses.push(PolicyWitness { name: name.to_owned(), key, url });
        Ok(())
    }

    fn group(&mut self, name: &str, needed: &str, members: &[&str]) -> Result<(), String> {
        self.free(name)?;
        members.iter().try_for_each(|member| self.known(member))?;
        let needed = match needed {
            "any" => Some(1),
            "all" => Some(members.len()),
            number => number.parse().ok(),
        };
        let needed = needed.filter(|needed| (1..=members.len()).contains(needed));
        let needed = needed.ok_or_else(|| format!("a group of {} needs 1 to that many, any or all", members.len()))?;
        let members = members.iter().map(|member| (*member).to_owned()).collect();
        self.groups.insert(name.to_owned(), Group { needed, members });
        Ok(())
    }

    /// The policy with one more witness. Without a group of its own making, all witnesses make the quorum.
    ///
    /// # Errors
    /// When the name is taken, or the key is none.
    pub fn with(&self, name: &str, key: &str, url: Option<&str>, needed: Option<usize>) -> Result<String, String> {
        let mut more = self.clone();
        more.witness(name, key, url.map(str::to_owned))?;
        let count = more.witnesses.len();
        let needed = needed.unwrap_or(count);
        if !(1..=count).contains(&needed) {
            return Err(format!("of {count} witnesses 1 to {count} can be asked for"));
        }
        let logs: String = more.logs.iter().map(|log| format!("log {}\n", log.as_str())).collect();
        let witnesses: String = more.witnesses.iter().map(PolicyWitness::line).collect();
        let names: Vec<&str> = more.witnesses.iter().map(|witness| witness.name.as_str()).collect();
        Ok(format!("{logs}{witnesses}group witnesses {needed} {}\nquorum witnesses\n", names.join(" ")))
    }

    /// Whether a note has the cosignatures that the policy asks for.
    #[must_use]
    pub fn satisfied(&self, note: &[u8]) -> bool {
        match self.quorum.as_deref() {
            None | Some("none") => true,
            Some(name) => self.has(name, note, 0),
        }
    }

    fn has(&self, name: &str, note: &[u8], depth: usize) -> bool {
        if let Some(witness) = self.witnesses.iter().find(|witness| witness.name == name) {
            return witness.key.cosigned(note).is_some();
        }
        // A group names only what stands above it, so that this ends.
        let Some(group) = self.groups.get(name).filter(|_| depth < NAMES_MAX) else { return false };
        group.members.iter().filter(|member| self.has(member, note, depth + 1)).count() >= group.needed
    }
}

impl PolicyWitness {
    fn line(&self) -> String {
        let url = self.url.as_ref().map_or_else(String::new, |url| format!(" {url}"));
        format!("witness {} {}{url}\n", self.name, self.key.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::LogSigner;
    use crate::cosignature::WitnessSigner;

    fn witness(name: &str, byte: u8) -> WitnessSigner {
        WitnessSigner::read(&WitnessSigner::generate(name, &[byte; 32]).unwrap()).unwrap()
    }

    #[test]
    fn a_quorum_counts_witnesses_and_groups_of_them() {
        let log = LogSigner::read(&LogSigner::generate("example.com/log", &[1; 32]).unwrap()).unwrap();
        let (a, b, c) = (witness("a", 2), witness("b", 3), witness("c", 4));
        let text = format!(
            "log {} # ours\nwitness a {} https://a.example.com\nwitness b {}\nwitness c {}\n\ngroup two 2 a b c\ngroup g all c two\nquorum g\n",
            log.key().as_str(),
            a.key().as_str(),
            b.key().as_str(),
            c.key().as_str(),
        );
        let policy = Policy::read(&text).unwrap();
        let note = log.sign(1, crate::record_hash(b"x")).unwrap();
        let cosigned = |by: &[&WitnessSigner]| {
            by.iter().fold(note.clone(), |note, by| by.key().add(&note, &by.cosign(&note, 1).unwrap()).unwrap())
        };
        for (by, enough) in
            [(&[][..], false), (&[&a, &b], false), (&[&c], false), (&[&c, &a], true), (&[&a, &b, &c], true)]
        {
            assert_eq!(policy.satisfied(&cosigned(by)), enough);
        }
        assert!(Policy::read("quorum none\n").unwrap().satisfied(&note) && Policy::default().satisfied(&note));
        assert_eq!(policy.witnesses[0].url.as_deref(), Some("https://a.example.com"));
    }

    #[test]
    fn a_line_that_can_t_be_read_is_named() {
        let key = witness("a", 2).key().as_str().to_owned();
        for (text, line) in [
            ("what is this".to_owned(), 1),
            (format!("witness a {key}\nwitness a {key}"), 2),
            (format!("witness a {key}\ngroup g 2 a"), 2),
            ("group g any a".to_owned(), 1),
            ("quorum a".to_owned(), 1),
            ("witness none x".to_owned(), 1),
            ("\n\nlog x".to_owned(), 3),
        ] {
            assert_eq!(Policy::read(&text).unwrap_err().line, line, "{text}");
        }
    }

    #[test]
    fn a_witness_is_added_and_the_policy_reads_back() {
        let (a, b) = (witness("a", 2), witness("b", 3));
        let one = Policy::default().with("a", a.key().as_str(), Some("http://127.0.0.1:1"), None).unwrap();
        let two = Policy::read(&one).unwrap().with("b", b.key().as_str(), None, Some(1)).unwrap();
        let policy = Policy::read(&two).unwrap();
        assert_eq!(policy.witnesses.len(), 2);
        assert!(Policy::read(&two).unwrap().with("b", b.key().as_str(), None, None).is_err());
        assert!(Policy::read(&one).unwrap().with("b", b.key().as_str(), None, Some(3)).is_err());
    }
}
