//! What all forms have in common: where entries come from, how serious they are, and texts that stay what they are.
use mcpctl_api::client::AuditItem;

/// Where entries come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// Host of the control plane: visible ASCII, at most 255.
    pub host: String,
}

impl Source {
    /// By the host of an address.
    pub fn of_host(host: &str) -> Self {
        let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
        Self { host: if host.is_empty() { "-".to_owned() } else { host } }
    }
}

/// How serious an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// As it should be.
    Usual,
    /// Something did not work.
    Failed,
    /// Somebody was refused.
    Refused,
    /// Somebody was at the machine itself.
    Grave,
}

impl Weight {
    pub fn of(item: &AuditItem) -> Self {
        let entry = &item.entry;
        match (&*entry.kind, &*entry.outcome) {
            ("recovery", _) => Self::Grave,
            (_, "denied" | "cut") => Self::Refused,
            _ if !entry.allowed && entry.kind == "refusal" => Self::Refused,
            (_, "ok") => Self::Usual,
            _ => Self::Failed,
        }
    }
}

/// What makes an entry the same when it comes a second time.
pub fn id(item: &AuditItem) -> String {
    match item.position.as_u64() {
        Some(position) => position.to_string(),
        None => visible(&item.position.to_string()),
    }
}

/// Control characters, and those that break or reorder lines, written out: a text from outside stays one text.
pub fn visible(text: &str) -> String {
    let harms = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().fold(String::with_capacity(text.len()), |mut safe, c| {
        if harms(c) {
            safe.push_str(&format!("\\u{{{:04x}}}", u32::from(c)));
        } else {
            safe.push(c);
        }
        safe
    })
}

/// One sentence about an entry, for people.
pub fn sentence(item: &AuditItem) -> String {
    let entry = &item.entry;
    let who = entry.actor.as_ref().map_or_else(|| "somebody".to_owned(), ToString::to_string);
    let method = if entry.method.is_empty() { &entry.kind } else { &entry.method };
    let target: Vec<&str> = [entry.server.as_deref(), entry.tool.as_deref()].into_iter().flatten().collect();
    let target = if target.is_empty() { String::new() } else { format!(" {}", target.join("/")) };
    visible(&format!("{who} {method}{target}: {}", entry.outcome))
}

/// What an entry says, by names that are the same in every form.
pub fn fields(item: &AuditItem) -> Vec<(&'static str, String)> {
    let entry = &item.entry;
    let name = |actor: &Option<mcpctl_core::actor::Actor>| actor.as_ref().map(|actor| visible(&actor.to_string()));
    let text = |text: &Option<String>| text.as_deref().map(visible);
    let all = [
        ("id", Some(id(item))),
        ("kind", Some(visible(&entry.kind))),
        ("method", Some(visible(&entry.method)).filter(|method| !method.is_empty())),
        ("actor", name(&entry.actor)),
        ("actorUid", entry.actor.as_ref().map(|actor| actor.uid.to_string())),
        ("onBehalfOf", name(&entry.on_behalf_of)),
        ("owner", name(&entry.owner)),
        ("tokenSha", entry.token_sha.map(|sha| sha.to_string())),
        ("project", text(&entry.project)),
        ("session", text(&entry.session)),
        ("server", text(&entry.server)),
        ("tool", text(&entry.tool)),
        ("allowed", Some(entry.allowed.to_string())),
        ("seq", Some(entry.seq.to_string())),
        ("rule", text(&entry.rule)),
        ("outcome", Some(visible(&entry.outcome))),
        ("reason", text(&entry.reason)),
        ("durationUs", Some(entry.duration_us.to_string())),
        ("requestBytes", Some(entry.request_bytes.to_string())),
        ("answerBytes", Some(entry.answer_bytes.to_string())),
        ("definition", entry.definition.map(|digest| digest.to_string())),
        ("arguments", entry.arguments.map(|digest| digest.to_string())),
        ("answer", entry.answer.map(|digest| digest.to_string())),
        ("redacted", Some(visible(&entry.redacted.join(", "))).filter(|text| !text.is_empty())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
