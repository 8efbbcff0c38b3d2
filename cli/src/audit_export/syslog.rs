//! Syslog messages of RFC 5424: a head, one element of structured data, a sentence.
use mcpctl_api::client::AuditItem;

use super::event::{Source, Weight, fields, sentence};

/// Facility "log audit".
const FACILITY: u8 = 13;
/// Name of the element. 32473 is the number that RFC 5612 keeps for examples: mcpctl has none of its own.
const ELEMENT: &str = "mcpctl@32473";

/// One message.
pub fn message(source: &Source, item: &AuditItem) -> String {
    around(source, item, &sentence(item))
}

/// One message that carries a text of another form.
pub fn around(source: &Source, item: &AuditItem, text: &str) -> String {
    let severity = match Weight::of(item) {
        Weight::Usual => 6,
        Weight::Failed => 5,
        Weight::Refused => 4,
        Weight::Grave => 2,
    };
    let (priority, at, host) = (FACILITY * 8 + severity, item.entry.at, &source.host);
    let message_id: String = item.entry.kind.chars().filter(char::is_ascii_graphic).take(32).collect();
    let message_id = if message_id.is_empty() { "-" } else { &message_id };
    let data: String = fields(item).iter().map(|(name, value)| format!(" {name}=\"{}\"", in_value(value))).collect();
    format!("<{priority}>1 {at} {host} mcpd - {message_id} [{ELEMENT}{data}] {text}")
}

fn in_value(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]")
}

#[cfg(test)]
mod tests {
    use mcpctl_api::plane::AuditEntry;
    use mcpctl_core::time::Timestamp;

    use super::*;

    #[test]
    fn no_name_of_a_tool_ends_its_value_its_element_or_its_line() {
        let entry = AuditEntry {
            at: Timestamp::from_millis(1_700_000_000_123),
            kind: "call x".to_owned(),
            tool: Some("a\"]\\ [evil@1 x=\"y\"]\n<0>1 - - - - - -".to_owned()),
            outcome: "denied".to_owned(),
            ..AuditEntry::default()
        };
        let text = message(&Source::of_host("mc p.example\n"), &AuditItem { position: 9.into(), entry });
        assert!(
            text.starts_with("<108>1 2023-11-14T22:13:20.123Z mcp.example mcpd - callx [mcpctl@32473 id=\"9\" "),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains(r#" tool="a\"\]\\ [evil@1 x=\"y\"\]\\u{000a}<0>1 - - - - - -" "#), "{text}");
    }

    #[test]
    fn a_host_without_a_visible_character_is_left_out() {
        assert_eq!(Source::of_host("\u{e4}\n").host, "-");
    }
}
