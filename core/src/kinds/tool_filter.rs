//! Which tools of a server are served, and how they are shown: said by the server and by each project.
use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::refusal::Violations;

/// Which tools are served: all that match an `allow` glob (all, without one) and no `deny` glob. `*` stands for any characters.
/// And how they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolFilter {
    /// Globs of tools that are served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Globs of tools that are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// Other names and descriptions, by the server's own name of the tool.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, ToolOverride>,
}

/// How a tool is shown to agents. Filters and approvals go by what the server says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolOverride {
    /// Another name; the server's own is not understood then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Another description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl ToolOverride {
    fn validate(&self, field: &str, violations: &mut Violations) {
        let is_name = |name: &String| {
            let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
            letters && (1..=64).contains(&name.len()) && !name.contains("__")
        };
        if self.name.as_ref().is_some_and(|name| !is_name(name)) {
            let hint = "1 to 64 of A-Z, a-z, 0-9, `_`, `.` and `-`, without `__`";
            violations.hint(format!("{field}.name"), "is no name for a tool", hint);
        }
        if self.description.as_ref().is_some_and(|text| text.is_empty() || text.len() > 8_192) {
            violations.add(format!("{field}.description"), "has 1 to 8192 bytes");
        }
        if self.name.is_none() && self.description.is_none() {
            violations.hint(field, "changes nothing", "give name or description, or remove the entry");
        }
    }
}

impl ToolFilter {
    /// Whether it filters nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Whether it neither filters nor changes anything.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.is_empty() && self.overrides.is_empty()
    }

    /// Whether a tool is served.
    #[must_use]
    pub fn serves(&self, tool: &str) -> bool {
        let any = |globs: &[String]| globs.iter().any(|glob| glob_matches(glob, tool));
        (self.allow.is_empty() || any(&self.allow)) && !any(&self.deny)
    }

    pub(crate) fn validate(&self, field: &str, violations: &mut Violations) {
        for (list, globs) in [("allow", &self.allow), ("deny", &self.deny)] {
            if let Some(index) = globs.iter().position(|glob| glob.is_empty() || glob.len() > 128) {
                violations.add(format!("{field}.{list}[{index}]"), "a glob has 1 to 128 characters");
            }
        }
        let mut names = BTreeSet::new();
        for (tool, shown) in &self.overrides {
            let field = format!("{field}.overrides.{tool}");
            shown.validate(&field, violations);
            if shown.name.as_ref().is_some_and(|name| !names.insert(name)) {
                violations.add(format!("{field}.name"), "is the name of two tools");
            }
        }
    }
}

/// Whether a glob matches: `*` stands for any characters, everything else for itself. Linear in the text for each star.
fn glob_matches(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(found) = rest.find(part) else { return false };
        rest = &rest[found + part.len()..];
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::glob_matches;

    #[test]
    fn globs_match_what_they_say() {
        for (glob, text, matches) in [
            ("*", "anything", true),
            ("read_*", "read_file", true),
            ("read_*", "write_file", false),
            ("*_file", "read_file", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
            ("ab*ba", "aba", false),
            ("", "", true),
        ] {
            assert_eq!(glob_matches(glob, text), matches, "{glob} on {text}");
        }
    }
}
