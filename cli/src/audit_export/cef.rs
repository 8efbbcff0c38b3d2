//! Common Event Format, version 0: seven fields between pipes, then `key=value` with single spaces in between.
//!
//! Within the first part a pipe and a backslash are escaped, within values an equals sign and a backslash; ends of lines
//! can't be in here, they are written out before.
use mcpctl_api::client::AuditItem;

use super::event::{Weight, fields, visible};

/// One event.
pub fn event(item: &AuditItem) -> String {
    let entry = &item.entry;
    let severity = match Weight::of(item) {
        Weight::Usual => 2,
        Weight::Failed => 4,
        Weight::Refused => 6,
        Weight::Grave => 9,
    };
    let name = if entry.method.is_empty() { &entry.kind } else { &entry.method };
    let head = ["mcpctl", "mcpd", env!("CARGO_PKG_VERSION"), &entry.kind, name].map(in_head).join("|");
    let mut text = format!("CEF:0|{head}|{severity}|rt={}", entry.at.as_millis());
    for (name, value) in fields(item) {
        for (key, value) in keys(name, value) {
            text.push_str(&format!(" {key}={}", in_value(&value)));
        }
    }
    text
}

/// The keys of the standard where it has one; else one of the six texts and three numbers that are free, with their label.
fn keys(name: &'static str, value: String) -> Vec<(&'static str, String)> {
    let labelled = |key, label, value| vec![(label, name.to_owned()), (key, value)];
    match name {
        "id" => vec![("externalId", value)],
        "actor" => vec![("suser", value)],
        "actorUid" => vec![("suid", value)],
        "owner" => vec![("duser", value)],
        "method" => vec![("act", value)],
        "outcome" => vec![("outcome", value)],
        "reason" => vec![("reason", value)],
        "requestBytes" => vec![("in", value)],
        "answerBytes" => vec![("out", value)],
        "project" => labelled("cs1", "cs1Label", value),
        "server" => labelled("cs2", "cs2Label", value),
        "tool" => labelled("cs3", "cs3Label", value),
        "session" => labelled("cs4", "cs4Label", value),
        "tokenSha" => labelled("cs5", "cs5Label", value),
        "rule" => labelled("cs6", "cs6Label", value),
        "durationUs" => labelled("cn1", "cn1Label", value),
        "seq" => labelled("cn2", "cn2Label", value),
        "kind" => vec![("cat", value)],
        "allowed" => vec![("mcpctlAllowed", value)],
        "onBehalfOf" => vec![("mcpctlOnBehalfOf", value)],
        "arguments" => vec![("mcpctlArguments", value)],
        "answer" => vec![("mcpctlAnswer", value)],
        _ => vec![("mcpctlRedacted", value)],
    }
}

fn in_head(text: &str) -> String {
    visible(text).replace('\\', "\\\\").replace('|', "\\|")
}

fn in_value(text: &str) -> String {
    text.replace('\\', "\\\\").replace('=', "\\=")
}

#[cfg(test)]
mod tests {
    use mcpctl_api::plane::AuditEntry;

    use super::*;

    #[test]
    fn no_name_of_a_tool_makes_a_field_or_a_line_of_its_own() {
        let entry = AuditEntry {
            kind: "ca|ll".to_owned(),
            tool: Some("x|y\\ act=owned\nCEF:0|evil\r\u{85}\u{2028}".to_owned()),
            outcome: "ok".to_owned(),
            allowed: true,
            ..AuditEntry::default()
        };
        let text = event(&AuditItem { position: 7.into(), entry });
        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains('\r') && !text.contains('\u{85}') && !text.contains('\u{2028}'));
        assert!(text.starts_with(&format!(
            "CEF:0|mcpctl|mcpd|{}|ca\\|ll|ca\\|ll|2|rt=0 externalId=7 ",
            env!("CARGO_PKG_VERSION")
        )));
        assert!(text.contains(r"cs3=x|y\\ act\=owned\\u{000a}CEF:0|evil\\u{000d}\\u{0085}\\u{2028}"), "{text}");
    }
}
