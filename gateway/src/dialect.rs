//! How one client is spoken to: its era, its version, and whether its tools' names may have a slash.
use mcpctl_api::upstream::Era;
use serde_json::value::RawValue;

use crate::json::Members;

/// The modern version that is spoken.
pub(crate) const MODERN: &str = "2026-07-28";
/// Legacy versions that are spoken, the newest first.
pub(crate) const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// The one legacy version that has batches; also what a client without a version header is taken to speak.
pub(crate) const WITH_BATCHES: &str = "2025-03-26";

/// JSON of how the gateway introduces itself.
pub(crate) const SERVER_INFO: &str = concat!("{\"name\":\"mcpctl\",\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}");

/// How one client is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) era: Era,
    pub(crate) version: &'static str,
    /// What stands between a server's name and its tool's.
    pub(crate) separator: &'static str,
}

/// Clients that hand names on to a model whose interface refuses slashes, by a piece of the name that they give.
const NO_SLASH: [&str; 18] = [
    "claude",
    "cursor",
    "visual studio code",
    "vscode",
    "codex",
    "windsurf",
    "zed",
    "gemini",
    "openai",
    "copilot",
    "cline",
    "roo",
    "continue",
    "goose",
    "librechat",
    "opencode",
    "amazon-q",
    "jetbrains",
];

impl Dialect {
    /// How modern clients are spoken to. The revision's grammar for names has no slash.
    pub(crate) const MODERN: Self = Self { era: Era::Modern, version: MODERN, separator: "__" };

    /// How a legacy client without a session is spoken to.
    pub(crate) const SESSIONLESS: Self = Self { era: Era::Legacy, version: WITH_BATCHES, separator: "/" };

    /// Answers `initialize`: the version that the client asked for where it is spoken, else the newest. Names have a slash
    /// unless the client can't take one: the grammar of 2025-11-25 has none, and some agents speak older revisions but hand
    /// the names to a model that refuses it. Both forms are understood in a call, whatever a client was shown.
    pub(crate) fn negotiate(wanted: Option<&str>, client: Option<&str>) -> Self {
        let version = LEGACY.into_iter().find(|known| Some(*known) == wanted).unwrap_or(LEGACY[0]);
        let client = client.unwrap_or_default().to_lowercase();
        let refuses = version == LEGACY[0] || NO_SLASH.iter().any(|piece| client.contains(piece));
        Self { era: Era::Legacy, version, separator: if refuses { "__" } else { "/" } }
    }

    pub(crate) fn is_modern(self) -> bool {
        self.era == Era::Modern
    }
}

/// All versions, the newest first, as JSON.
pub(crate) fn versions_json() -> String {
    let all: Vec<&str> = std::iter::once(MODERN).chain(LEGACY).collect();
    serde_json::to_string(&all).expect("strings serialise")
}

/// Whether a server said that it has something. One that said nothing at all is taken to have tools.
pub(crate) fn has(capabilities: Option<&RawValue>, name: &str) -> bool {
    match capabilities {
        Some(raw) => Members::of(raw).get(name).is_some(),
        None => name == "tools",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_version_is_kept_and_an_unknown_one_becomes_the_newest_legacy_one() {
        for version in LEGACY {
            assert_eq!(Dialect::negotiate(Some(version), None).version, version);
        }
        assert_eq!(Dialect::negotiate(Some("2026-07-28"), None).version, "2025-11-25");
        assert_eq!(Dialect::negotiate(None, None).version, "2025-11-25");
    }

    #[test]
    fn names_have_a_slash_unless_the_client_can_not_take_one() {
        let separator = |version, client| Dialect::negotiate(Some(version), Some(client)).separator;
        assert_eq!(separator("2025-06-18", "mcpctl test"), "/");
        assert_eq!(separator("2025-06-18", "claude-ai"), "__");
        assert_eq!(separator("2025-03-26", "Cursor"), "__");
        assert_eq!(separator("2025-11-25", "anything"), "__");
    }
}
