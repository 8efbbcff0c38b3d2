//! Whose trace something belongs to: W3C Trace Context, as headers of HTTP and as members of `_meta` of MCP (SEP-414) have it.
use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Name of the header, and of the member of `_meta`, that says which span comes before.
pub const TRACEPARENT: &str = "traceparent";
/// Name of the header, and of the member of `_meta`, in which tracing systems keep what is their own.
pub const TRACESTATE: &str = "tracestate";

/// Most members of a `tracestate` (W3C Trace Context, 3.3.1.1).
const STATE_MEMBERS_MAX: usize = 32;
/// Longest `tracestate` that goes on, in bytes: eight times what everybody must pass on.
const STATE_BYTES_MAX: usize = 4096;

/// A place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never 0.
    pub trace: u128,
    /// The span; never 0.
    pub span: u64,
    /// Whether whoever began it keeps it.
    pub sampled: bool,
}

/// The text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no W3C trace context")]
pub struct NoContext;

impl FromStr for TraceContext {
    type Err = NoContext;

    /// Reads `00-<trace>-<span>-<flags>`. A later version may have more behind that, and is read as far as it is known.
    fn from_str(text: &str) -> Result<Self, NoContext> {
        let mut parts = text.trim_matches([' ', '\t']).split('-');
        let mut hex = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits).ok_or(NoContext)?;
            let lower = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            u128::from_str_radix(part, 16).ok().filter(|_| lower).ok_or(NoContext)
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let more = parts.next().is_some();
        if version == 0xff || (version == 0 && more) || trace == 0 || span == 0 {
            return Err(NoContext);
        }
        let span = u64::try_from(span).map_err(|_| NoContext)?;
        Ok(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for TraceContext {
    /// In version 00, with no flag but the one that is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// The span before, as somebody else said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Where it is.
    pub context: TraceContext,
    /// What tracing systems added, if it keeps to the rules.
    pub state: Option<Arc<str>>,
}

impl Parent {
    /// Reads what a carrier has. `None` when it has no context, one that breaks a rule, or two of them: then a new trace begins
    /// and nothing of the old one goes on. A state that breaks a rule is dropped by itself.
    pub fn read<'t>(mut parents: impl Iterator<Item = &'t str>, states: impl Iterator<Item = &'t str>) -> Option<Self> {
        let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
        Some(Self { context: parent.parse().ok()?, state: state(states) })
    }
}

/// Many headers of `tracestate` are one list.
fn state<'t>(states: impl Iterator<Item = &'t str>) -> Option<Arc<str>> {
    let text = states.collect::<Vec<_>>().join(",");
    let members: Vec<&str> =
        text.split(',').map(|one| one.trim_matches([' ', '\t'])).filter(|one| !one.is_empty()).collect();
    let mut keys = HashSet::new();
    let good = text.len() <= STATE_BYTES_MAX && (1..=STATE_MEMBERS_MAX).contains(&members.len());
    let mut pairs = members.iter().map(|member| member.split_once('=').unwrap_or_default());
    (good && pairs.all(|(key, value)| is_key(key) && is_value(value) && keys.insert(key)))
        .then(|| members.join(",").into())
}

/// `key`, or `tenant@system`.
fn is_key(key: &str) -> bool {
    let rest = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    let part = |part: &str, longest: usize, digits: bool| {
        let first =
            part.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || digits && byte.is_ascii_digit());
        first && part.len() <= longest && part.bytes().all(rest)
    };
    match key.split_once('@') {
        None => part(key, 256, true),
        Some((tenant, system)) => part(tenant, 241, true) && part(system, 14, false),
    }
}

fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && !value.ends_with(' ')
        && value.bytes().all(|byte| (0x20..=0x7e).contains(&byte) && byte != b',' && byte != b'=')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(parents: &[&str], states: &[&str]) -> Option<Parent> {
        Parent::read(parents.iter().copied(), states.iter().copied())
    }

    fn state_of(states: &[&str]) -> Option<String> {
        read(&[GOOD], states).unwrap().state.map(|state| state.to_string())
    }

    proptest! {
        #[test]
        fn every_context_is_written_and_read_back(trace in 1..=u128::MAX, span in 1..=u64::MAX, sampled: bool) {
            let context = TraceContext { trace, span, sampled };
            prop_assert_eq!(context.to_string().parse(), Ok(context));
        }

        #[test]
        fn a_later_version_is_read_as_far_as_it_is_known(version in 1_u8..=0xfe, flags: u8, more in "(-[!-~]{0,20})?") {
            let text = format!("{version:02x}-{}-{flags:02x}{more}", &GOOD[3..52]);
            let wanted = TraceContext { sampled: flags & 1 == 1, ..GOOD.parse().unwrap() };
            prop_assert_eq!(text.parse(), Ok(wanted));
        }

        #[test]
        fn one_wrong_character_anywhere_makes_it_none(place in 0..GOOD.len(), wrong in "[G-Zg-z+_ A-F.]") {
            let text = format!("{}{wrong}{}", &GOOD[..place], &GOOD[place + 1..]);
            prop_assert!(text.trim_matches(' ').parse::<TraceContext>().is_err(), "{}", text);
        }

        #[test]
        fn no_text_at_all_panics_and_what_is_read_is_a_context(text in ".{0,80}", state in ".{0,80}") {
            if let Some(parent) = Parent::read([&*text].into_iter(), [&*state].into_iter()) {
                prop_assert!(parent.context.trace != 0 && parent.context.span != 0);
            }
        }

        #[test]
        fn a_good_state_goes_on_member_by_member(
            all in prop::collection::btree_map("[a-z][a-z0-9_*/-]{0,20}(@[a-z]{1,14})?", "[!-+--<>-~]{1,30}", 1..=32)
        ) {
            let members: Vec<String> = all.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let text = members.join(" ,\t");
            prop_assume!(text.len() <= STATE_BYTES_MAX);
            prop_assert_eq!(state_of(&[&text]), Some(members.join(",")));
            let (first, rest) = members.split_at(members.len() / 2);
            prop_assert_eq!(state_of(&[&first.join(","), &rest.join(",")]), Some(members.join(",")), "in two headers");
        }
    }

    #[test]
    fn what_is_no_context_belongs_to_no_trace() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0100",
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(NoContext), "{text:?}");
        }
    }

    #[test]
    fn two_contexts_are_none() {
        assert_eq!(read(&[GOOD, GOOD], &["a=1"]), None);
        assert_eq!(read(&[], &["a=1"]), None);
        assert_eq!(read(&["x"], &["a=1"]), None);
    }

    #[test]
    fn a_state_that_breaks_a_rule_is_dropped_and_the_context_is_not() {
        assert_eq!(state_of(&["a=1, ,b@c=2,"]), Some("a=1,b@c=2".into()), "empty members are allowed");
        let many = (0..33).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        let long = format!("a={}", "x".repeat(257));
        for bad in
            ["", ",", "a", "=1", "a=", "A=1", "a=1,a=2", "a=b=c", "a b=1", "a@=1", "a@b@c=1", "a=\u{e4}", &many, &long]
        {
            assert_eq!(state_of(&[bad]), None, "{bad:?}");
        }
    }
}
