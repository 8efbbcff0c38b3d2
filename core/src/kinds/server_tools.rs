//! What is known of the tools of a server: each definition that it was noticed to show, as events of the control plane.
//!
//! The control plane notices definitions itself, in the answers of the servers that it runs or reaches. Nobody reports them,
//! so nobody can make up one in another's name. A server writes what it likes and as often as it likes: what of it becomes
//! events is bounded here.
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::definition::DefinitionChange;
use crate::ids::Digest;
use crate::pins;
use crate::refusal::Refusal;
use crate::resource::{Deciding, NamedEvent};
use crate::time::Timestamp;

use super::Server;
use super::server_health::{Answers, FAILED, Failing, HealthAction, RECOVERED, Unhealthy};

/// Tools of one server that are known at most. What comes beyond is no event, and under quarantine it stays hidden.
pub const TOOLS_MAX: usize = 2_000;
/// Longest name of a tool that is known, in bytes: that of the specification.
pub const TOOL_BYTES_MAX: usize = 128;
/// Newest definitions of one tool that are remembered.
pub const NOTICED_MAX: usize = 16;
/// Changed definitions of one server in an hour that become events, but for those that take a tool away: these are as many
/// as somebody approved.
pub const DRIFTS_PER_HOUR_MAX: u32 = 60;
/// A tool that goes back to a definition that it had is an event once in this time.
pub const RETURNS_AFTER_MS: u64 = HOUR_MS;
/// Tools in one event: it has to fit into a record of the log.
const TOOLS_OF_EVENT_MAX: usize = 128;
const HOUR_MS: u64 = 3_600_000;

/// What events leave of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerStatus {
    /// Its tools, by their own names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, KnownTool>,
    /// When the hour began in which drifts are counted.
    #[serde(skip_serializing_if = "is_none_yet")]
    pub counted_from: Timestamp,
    /// Drifts in that hour.
    #[serde(skip_serializing_if = "is_zero")]
    pub drifts: u32,
    /// Since when it is left alone because it fails, and why; nothing while it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failing>,
}

fn is_none_yet(at: &Timestamp) -> bool {
    *at == Timestamp::default()
}
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A tool that a server was noticed to have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownTool {
    /// Its definitions, each as it was noticed; the last is the newest. The oldest are forgotten.
    pub noticed: Vec<Digest>,
    /// How often a definition was noticed, the forgotten ones too.
    pub count: u64,
    /// When the first was.
    pub first: Timestamp,
    /// When the last was.
    pub last: Timestamp,
}

impl KnownTool {
    /// The newest definition.
    #[must_use]
    pub fn newest(&self) -> Digest {
        self.noticed.last().copied().unwrap_or_default()
    }

    /// The newest definition that is another one.
    #[must_use]
    pub fn other_than(&self, definition: Digest) -> Digest {
        self.noticed.iter().rev().copied().find(|one| *one != definition).unwrap_or(definition)
    }

    fn notice(&mut self, definition: Digest, at: Timestamp) {
        self.noticed.push(definition);
        if self.noticed.len() > NOTICED_MAX {
            self.noticed.remove(0);
        }
        self.count += 1;
        self.last = at;
    }
}

/// A definition that a server showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Noticed {
    /// The tool's own name.
    pub tool: String,
    /// Hash of its definition.
    pub definition: Digest,
    /// How it differs from the newest that was known.
    pub diff: Vec<DefinitionChange>,
}

/// What the control plane does with a server beyond apply and delete.
#[derive(Clone, Debug)]
pub enum ServerAction {
    /// Notices definitions of tools.
    Notice(Vec<Noticed>),
    /// Notes that it fails, or answers again.
    Health(HealthAction),
}

/// A tool and its definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenTool {
    /// The tool's own name.
    pub tool: String,
    /// Hash of its definition.
    pub definition: Digest,
}

/// Facts about a server that can't be said in YAML.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ServerEvent {
    /// Tools were seen for the first time.
    #[serde(rename = "tool.seen")]
    Seen {
        /// They.
        tools: Vec<SeenTool>,
    },
    /// A tool has another definition than it was noticed to have before.
    #[serde(rename = "tool.drifted")]
    Drifted {
        /// The tool's own name.
        tool: String,
        /// The definition that was the newest.
        old: Digest,
        /// The one that is.
        new: Digest,
        /// Where they differ, as far as it is told; empty when the old one was not kept.
        diff: Vec<DefinitionChange>,
    },
    /// It is left alone but for trials.
    #[serde(rename = "failed")]
    Failed(Unhealthy),
    /// It answers again.
    #[serde(rename = "recovered")]
    Recovered(Answers),
}

impl NamedEvent for ServerEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Seen { .. } => "tool.seen",
            Self::Drifted { .. } => "tool.drifted",
            Self::Failed(_) => FAILED,
            Self::Recovered(_) => RECOVERED,
        }
    }
    const NAMES: &'static [&'static str] = &["tool.seen", "tool.drifted", FAILED, RECOVERED];
}

impl ServerStatus {
    /// Whether a definition would be an event. `takes_away` says whether somebody could call the tool by another one.
    #[must_use]
    pub fn is_news(&self, tool: &str, definition: Digest, takes_away: impl FnOnce() -> bool, now: Timestamp) -> bool {
        let Some(known) = self.tools.get(tool) else { return is_name(tool) && self.tools.len() < TOOLS_MAX };
        let returns = known.newest() != definition && now.since(known.last) >= RETURNS_AFTER_MS;
        let due = returns || !known.noticed.contains(&definition);
        // A definition that is known takes the tool away all the same where another one is approved: also the newest, when
        // somebody approved an earlier one since.
        (due && self.drifts_at(now) < DRIFTS_PER_HOUR_MAX) || takes_away()
    }

    fn drifts_at(&self, now: Timestamp) -> u32 {
        if now.since(self.counted_from) < HOUR_MS { self.drifts } else { 0 }
    }

    fn drifted(&mut self, at: Timestamp) {
        if at.since(self.counted_from) >= HOUR_MS {
            (self.counted_from, self.drifts) = (at, 0);
        }
        self.drifts = self.drifts.saturating_add(1);
    }

    /// Folds an event.
    pub(super) fn evolve(&mut self, event: &ServerEvent, at: Timestamp) {
        match event {
            ServerEvent::Seen { tools } => {
                for SeenTool { tool, definition } in tools {
                    let new = KnownTool { noticed: Vec::new(), count: 0, first: at, last: at };
                    self.tools.entry(tool.clone()).or_insert(new).notice(*definition, at);
                }
            }
            ServerEvent::Drifted { tool, new, .. } => {
                if let Some(known) = self.tools.get_mut(tool) {
                    known.notice(*new, at);
                }
                self.drifted(at);
            }
            ServerEvent::Failed(what) => self.failing = Some(Failing { since: at, cause: what.cause }),
            ServerEvent::Recovered(_) => self.failing = None,
        }
    }
}

/// Whether the text can be a name of a tool here: not longer than the specification lets it be, and without anything that
/// could steer a reader's terminal.
fn is_name(tool: &str) -> bool {
    (1..=TOOL_BYTES_MAX).contains(&tool.len()) && !tool.chars().any(char::is_control)
}

/// Decides which of the definitions are events.
pub(super) fn decide(deciding: &Deciding<'_, Server>, all: &[Noticed]) -> Result<Vec<ServerEvent>, Refusal> {
    let (mut status, mut seen, mut drifted, mut names) =
        (deciding.status.clone(), Vec::new(), Vec::new(), BTreeSet::new());
    let asking = pins::Asking::of(deciding.world, deciding.meta.uid);
    for Noticed { tool, definition, diff } in all {
        let takes_away = || asking.lose(deciding.status, tool, *definition);
        if !names.insert(tool.as_str()) || !status.is_news(tool, *definition, takes_away, deciding.now) {
            continue;
        }
        let event = match status.tools.get(tool) {
            None => {
                let new = SeenTool { tool: tool.clone(), definition: *definition };
                seen.push(new.clone());
                ServerEvent::Seen { tools: vec![new] }
            }
            Some(known) => {
                let (tool, old, new) = (tool.clone(), known.other_than(*definition), *definition);
                let diff = diff.clone();
                let event = ServerEvent::Drifted { tool, old, new, diff };
                drifted.push(event.clone());
                event
            }
        };
        status.evolve(&event, deciding.now);
    }
    let seen = seen.chunks(TOOLS_OF_EVENT_MAX).map(|tools| ServerEvent::Seen { tools: tools.to_vec() });
    Ok(seen.chain(drifted).collect())
}

/// The action that left these events.
pub(super) fn action_of(events: &[ServerEvent]) -> ServerAction {
    if let [only] = events
        && let Some(action) = HealthAction::of(only)
    {
        return ServerAction::Health(action);
    }
    let of = |event: &ServerEvent| match event {
        ServerEvent::Seen { tools } => {
            let of =
                |seen: &SeenTool| Noticed { tool: seen.tool.clone(), definition: seen.definition, diff: Vec::new() };
            tools.iter().map(of).collect()
        }
        ServerEvent::Drifted { tool, new, diff, .. } => {
            vec![Noticed { tool: tool.clone(), definition: *new, diff: diff.clone() }]
        }
        ServerEvent::Failed(_) | ServerEvent::Recovered(_) => Vec::new(),
    };
    ServerAction::Notice(events.iter().flat_map::<Vec<Noticed>, _>(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(tools: &[&str]) -> ServerStatus {
        let mut status = ServerStatus::default();
        let seen = |tool: &&str| SeenTool { tool: (*tool).to_owned(), definition: Digest([1; 32]) };
        status.evolve(&ServerEvent::Seen { tools: tools.iter().map(seen).collect() }, Timestamp::from_millis(1));
        status
    }

    fn drift(status: &mut ServerStatus, tool: &str, new: u8, at: Timestamp) {
        let (old, new) = (status.tools[tool].newest(), Digest([new; 32]));
        status.evolve(&ServerEvent::Drifted { tool: tool.to_owned(), old, new, diff: Vec::new() }, at);
    }

    #[test]
    fn a_server_that_changes_with_each_list_is_bounded_within_the_hour() {
        let (mut status, begin) = (status(&["a"]), Timestamp::from_millis(10 * HOUR_MS));
        let mut events = 0;
        for turn in 0..10_000_u64 {
            let at = begin.plus_millis(turn * 1000);
            let definition = Digest::sha256(&turn.to_be_bytes());
            if status.is_news("a", definition, || false, at) {
                events += 1;
                let old = status.tools["a"].newest();
                status.evolve(&ServerEvent::Drifted { tool: "a".into(), old, new: definition, diff: Vec::new() }, at);
            }
        }
        // 10,000 s are two hours and a bit: three times the bound, and never more than remembered.
        assert_eq!(events, 3 * u64::from(DRIFTS_PER_HOUR_MAX));
        assert_eq!(status.tools["a"].noticed.len(), NOTICED_MAX);
        assert_eq!(status.tools["a"].count, events + 1);
    }

    #[test]
    fn what_takes_a_tool_away_is_an_event_beyond_every_bound() {
        let (mut status, at) = (status(&["a"]), Timestamp::from_millis(10 * HOUR_MS));
        (0..DRIFTS_PER_HOUR_MAX).for_each(|turn| drift(&mut status, "a", turn as u8 + 2, at));
        assert!(!status.is_news("a", Digest([200; 32]), || false, at));
        assert!(status.is_news("a", Digest([200; 32]), || true, at));
    }

    #[test]
    fn going_back_and_forth_is_an_event_once_an_hour() {
        let (mut status, at) = (status(&["a"]), Timestamp::from_millis(10 * HOUR_MS));
        drift(&mut status, "a", 2, at);
        let news =
            |status: &ServerStatus, later: u64| status.is_news("a", Digest([1; 32]), || false, at.plus_millis(later));
        assert!(!news(&status, 1000));
        assert!(news(&status, RETURNS_AFTER_MS));
    }

    #[test]
    fn names_that_no_tool_may_have_and_tools_beyond_the_bound_are_no_events() {
        let (status, at) = (status(&["a"]), Timestamp::from_millis(10 * HOUR_MS));
        for name in ["", "a\nb", "a\u{1b}[2J", &"x".repeat(TOOL_BYTES_MAX + 1)] {
            assert!(!status.is_news(name, Digest::default(), || true, at), "{name:?}");
        }
        let names: Vec<String> = (0..TOOLS_MAX).map(|n| n.to_string()).collect();
        let full = self::status(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!full.is_news("one more", Digest::default(), || true, at));
    }
}
