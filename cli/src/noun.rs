//! Nouns: which kind a word means, and what was meant by a word that means none.
use mcpctl_api::client::Target;
use mcpctl_core::kinds::Kind;
use mcpctl_core::resource::Scope;

use crate::failure::{Done, Failure};
use crate::session::Session;

/// What `get`, `describe` and `logs` can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noun {
    /// Objects of a kind.
    Kind(Kind),
    /// Running copies of servers, which are derived and never made by hand.
    Instance,
    /// Gateways that have a stream, which have no identity.
    Gateway,
}

/// Words for [`Noun::Instance`].
const INSTANCE: [&str; 3] = ["instance", "instances", "inst"];
/// Words for [`Noun::Gateway`].
const GATEWAY: [&str; 3] = ["gateway", "gateways", "gw"];

impl Noun {
    /// What a word means.
    pub fn parse(word: &str) -> Done<Self> {
        if INSTANCE.contains(&word.to_ascii_lowercase().as_str()) {
            return Ok(Self::Instance);
        }
        if GATEWAY.contains(&word.to_ascii_lowercase().as_str()) {
            return Ok(Self::Gateway);
        }
        kind(word).map(Self::Kind)
    }
}

/// The kind that a word means.
pub fn kind(word: &str) -> Done<Kind> {
    let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.names().singular).collect();
    Kind::from_noun(word).ok_or_else(|| match INSTANCE.contains(&word.to_ascii_lowercase().as_str()) {
        true => Failure::usage("instances are made by reconciliation, never by hand")
            .hint("they follow their server: see `mcpctl get instances` and `mcpctl edit server NAME`"),
        false => unknown("kind", word, &known),
    })
}

/// Says that a word is unknown, what was perhaps meant, and what there is.
pub fn unknown(what: &str, word: &str, known: &[&str]) -> Failure {
    let shown: String = word.chars().take(60).collect();
    let failure = Failure::usage(format!("unknown {what} {shown:?}"));
    match nearest(word, known) {
        Some(near) => failure.hint(format!("did you mean {near}? There are: {}", known.join(", "))),
        None if known.is_empty() => failure.hint(format!("there is no {what} yet")),
        None => failure.hint(format!("there are: {}", known.join(", "))),
    }
}

/// The known word that is at most two slips away (one, for short words).
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let allowed = if word.len() < 5 { 1 } else { 2 };
    let far = |candidate: &str| slips(&word, candidate).min(slips(word.trim_end_matches('s'), candidate));
    known
        .iter()
        .copied()
        .map(|candidate| (far(candidate), candidate))
        .filter(|(far, _)| *far <= allowed)
        .min()
        .map(|(_, near)| near)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn slips(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().take(60).collect(), other.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

/// A noun and names as they stand on the command line: `KIND [NAME…]` or `KIND/NAME…`.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    /// What it is about.
    pub noun: Noun,
    /// Names; each may carry its project as `PROJECT/NAME`.
    pub names: Vec<String>,
}

impl Named {
    /// Reads the words.
    pub fn parse(words: &[String]) -> Done<Vec<Self>> {
        let [first, rest @ ..] = words else {
            return Err(Failure::usage("say of what kind").hint("KIND NAME, or KIND/NAME"));
        };
        if !first.contains('/') {
            return Ok(vec![Self { noun: Noun::parse(first)?, names: rest.to_vec() }]);
        }
        let split =
            |word: &String| match word.split_once('/') {
                Some((noun, name)) if !name.is_empty() => {
                    Ok(Self { noun: Noun::parse(noun)?, names: vec![name.to_owned()] })
                }
                _ => Err(Failure::usage(format!("{word:?} is not KIND/NAME"))
                    .hint("write KIND NAME…, or KIND/NAME for each")),
            };
        words.iter().map(split).collect()
    }
}

/// An object of a kind by name, with its project from the name, the flag or the context.
pub fn target(session: &Session, kind: Kind, name: &str, project: Option<&str>) -> Done<Target> {
    let (project, name) = match (kind.scope(), name.split_once('/')) {
        (Scope::Project, Some((inside, name))) => (Some(inside), name),
        _ => (project, name),
    };
    if name.is_empty() {
        return Err(Failure::usage(format!("the name of the {kind} is empty"))
            .hint("leave out what stands for an unset variable"));
    }
    Ok(Target { kind, name: name.to_owned(), project: session.project_for(kind, project)? })
}

/// All objects that the words name.
pub fn targets(session: &Session, words: &[String], project: Option<&str>) -> Done<Vec<Target>> {
    let mut found = Vec::new();
    for named in Named::parse(words)? {
        let Noun::Kind(kind) = named.noun else { return Err(kind("instance").expect_err("an instance is no kind")) };
        for name in &named.names {
            found.push(target(session, kind, name, project)?);
        }
    }
    if found.is_empty() { Err(Failure::usage("no name is given").hint("KIND NAME, or KIND/NAME")) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_answered_with_what_was_meant() {
        for (word, meant) in
            [("servr", "server"), ("sevrers", "server"), ("projcts", "project"), ("mcptokne", "mcptoken"), ("grp", "")]
        {
            let failure = kind(word).unwrap_err().to_string();
            assert!(failure.contains(&format!("unknown kind {word:?}")), "{failure}");
            assert_eq!(failure.contains("did you mean"), !meant.is_empty(), "{failure}");
            assert!(meant.is_empty() || failure.contains(&format!("did you mean {meant}?")), "{failure}");
        }
    }

    #[test]
    fn every_noun_of_every_kind_is_understood() {
        for kind in Kind::ALL {
            let names = kind.names();
            for word in [names.singular, names.plural].iter().chain(names.short) {
                assert_eq!(Noun::parse(&word.to_uppercase()).unwrap(), Noun::Kind(*kind));
            }
        }
        assert_eq!(Noun::parse("instances").unwrap(), Noun::Instance);
    }

    #[test]
    fn both_ways_to_name_objects_are_read() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let one = Named::parse(&words("server a b")).unwrap();
        assert_eq!(one, vec![Named { noun: Noun::Kind(Kind::Server), names: words("a b") }]);
        let each = Named::parse(&words("server/a token/web/ci")).unwrap();
        assert_eq!(each[1], Named { noun: Noun::Kind(Kind::McpToken), names: words("web/ci") });
        assert!(Named::parse(&words("server/a b")).is_err());
        assert!(Named::parse(&words("server/")).is_err());
    }
}
