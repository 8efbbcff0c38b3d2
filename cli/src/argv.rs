//! `--command npx -y pkg --env A=B`: the words after `--command` belong to it up to the next flag of `create` itself.
//!
//! clap gives an option either one word, or every word that follows whatever it looks like. So the words are rewritten
//! to one `--command=WORD` each before clap sees them.
use std::collections::BTreeSet;
use std::ffi::OsString;

use mcpctl_core::kinds::Kind;

use crate::flags::{self, Form};

/// The command line as clap takes it.
pub fn expand(words: Vec<OsString>) -> Vec<OsString> {
    let Some((at, kind)) = created_kind(&words) else { return words };
    let Some(field) = flags::fields(kind).into_iter().find(|field| field.form == Form::Argv) else { return words };
    let known = long_flags(kind);
    let (head, tail) = words.split_at(at + 1);
    let mut expanded = head.to_vec();
    let mut inside = false;
    let mut tail = tail.iter();
    while let Some(word) = tail.next() {
        let text = word.to_string_lossy();
        let name = text.strip_prefix("--").map(|rest| rest.split('=').next().unwrap_or_default());
        if name == Some("") {
            expanded.push(word.clone());
            expanded.extend(tail.cloned());
            break;
        }
        if name == Some(field.flag().as_str()) {
            inside = true;
            if text.contains('=') || tail.as_slice().is_empty() {
                expanded.push(word.clone());
            }
            continue;
        }
        inside = inside && !name.is_some_and(|name| known.contains(name));
        expanded.push(if inside { prefixed(&field.flag(), word) } else { word.clone() });
    }
    expanded
}

fn prefixed(flag: &str, word: &OsString) -> OsString {
    let mut whole = OsString::from(format!("--{flag}="));
    whole.push(word);
    whole
}

/// Where the noun of `create NOUN` stands, and its kind. At most `--context NAME` comes before.
fn created_kind(words: &[OsString]) -> Option<(usize, Kind)> {
    let create = words.iter().take(4).position(|word| word == "create")?;
    let kind = Kind::from_noun(words.get(create + 1)?.to_str()?)?;
    Some((create + 1, kind))
}

fn long_flags(kind: Kind) -> BTreeSet<String> {
    let mut known: BTreeSet<String> = ["context", "help"].map(str::to_owned).into();
    for arg in flags::command(kind).get_arguments() {
        known.extend(arg.get_long().map(str::to_owned));
        known.extend(arg.get_all_aliases().into_iter().flatten().map(str::to_owned));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(line: &str) -> String {
        let words = line.split(' ').map(OsString::from).collect();
        expand(words).iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_command_goes_up_to_the_next_flag_of_create_or_to_two_dashes() {
        for (line, expected) in [
            (
                "mcpctl create server x --command npx -y pkg --stdio --env A=1 --dry-run",
                "mcpctl create server x --command=npx --command=-y --command=pkg --command=--stdio --env A=1 --dry-run",
            ),
            ("mcpctl create srv x --command=npx -y --arg b", "mcpctl create srv x --command=npx --command=-y --arg b"),
            (
                "mcpctl --context c create server x --command a -- --env b",
                "mcpctl --context c create server x --command=a -- --env b",
            ),
            ("mcpctl create server x -- --command y", "mcpctl create server x -- --command y"),
            ("mcpctl create server x --command", "mcpctl create server x --command"),
        ] {
            assert_eq!(expanded(line), expected, "{line}");
        }
    }

    #[test]
    fn other_commands_are_left_as_they_are() {
        for line in
            ["mcpctl get server x", "mcpctl create project p --description --command", "mcpctl", "mcpctl create"]
        {
            assert_eq!(expanded(line), line);
        }
    }
}
