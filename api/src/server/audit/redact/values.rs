//! The values of secrets that are in use, looked for as they are and as others write them: base64, hexadecimal, percent,
//! JSON. They are in memory only, and level with the state within a moment.
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use mcpctl_core::kinds::Kind;
use mcpctl_core::world::World as _;
use tokio_util::sync::CancellationToken;

use super::{Found, Redactor};
use crate::server::app::App;
use crate::server::effects::secret_values;

/// Shorter values would shred texts in which they stand by chance.
const BYTES_MIN: usize = 6;
/// Of a longer value its lines are looked for, from this length on: a key is rarely repeated as a whole.
const LINE_BYTES_MIN: usize = 16;
/// Most values that are looked for.
const VALUES_MAX: usize = 20_000;

/// What is looked for.
#[derive(Default)]
pub(super) struct Values {
    search: Option<AhoCorasick>,
    names: Vec<Arc<str>>,
}

impl Values {
    fn of(values: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let (mut patterns, mut names) = (Vec::new(), Vec::new());
        for (name, value) in values.into_iter().take(VALUES_MAX) {
            let name: Arc<str> = name.into();
            for part in parts(&value) {
                for written in writings(part) {
                    patterns.push(written);
                    names.push(name.clone());
                }
            }
        }
        let search = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&patterns);
        Self { search: search.ok().filter(|_| !patterns.is_empty()), names }
    }

    pub(super) fn find(&self, text: &str) -> Vec<Found> {
        let Some(search) = &self.search else { return Vec::new() };
        let within = |at: usize| text.is_char_boundary(at);
        let all = search.find_iter(text).filter(|hit| within(hit.start()) && within(hit.end()));
        all.map(|hit| Found {
            from: hit.start(),
            to: hit.end(),
            what: self.names[hit.pattern().as_usize()].to_string(),
        })
        .collect()
    }
}

/// A value, and its lines when it has several.
fn parts(value: &[u8]) -> Vec<&[u8]> {
    let value = value.trim_ascii();
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| line.len() >= LINE_BYTES_MIN);
    let lines: Vec<&[u8]> = if value.contains(&b'\n') { lines.collect() } else { Vec::new() };
    [value].into_iter().filter(|value| value.len() >= BYTES_MIN).chain(lines).collect()
}

/// How a value may be written.
fn writings(value: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    let percent = |keep: fn(u8) -> bool| -> String {
        value
            .iter()
            .map(|byte| if keep(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") })
            .collect()
    };
    let strict = percent(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~'));
    let form = strict.replace("%20", "+");
    let mut all = vec![
        value.to_vec(),
        hex.to_uppercase().into(),
        hex.into(),
        strict.to_lowercase().into(),
        strict.into(),
        form.into(),
    ];
    if let Ok(text) = std::str::from_utf8(value) {
        let json = serde_json::to_string(text).unwrap_or_default();
        all.push(json.trim_matches('"').as_bytes().to_vec());
    }
    // In base64 a value looks different at each of three places of a longer text; its first and last characters depend on
    // what stands beside it and are left out.
    for shift in 0..3 {
        let shifted = [&[0; 2][..shift], value].concat();
        let whole = shifted.len() / 3 * 3;
        for text in [STANDARD_NO_PAD.encode(&shifted[..whole]), URL_SAFE_NO_PAD.encode(&shifted[..whole])] {
            let core = text.as_bytes()[if shift == 0 { 0 } else { 4 }..].to_vec();
            if core.len() >= 8 {
                all.push(core);
            }
        }
    }
    all.sort();
    all.dedup();
    all
}

impl Redactor {
    /// From now on these values are taken out, and no others.
    pub(super) fn know(&self, values: impl IntoIterator<Item = (String, Vec<u8>)>) {
        self.values.store(Arc::new(Values::of(values)));
    }
}

/// Keeps the values level with the state until the control plane stops.
pub(in crate::server) async fn keep_level(app: Arc<App>, known: Versions, stop: CancellationToken) {
    let mut states = app.published.follow();
    let mut known = Some(known);
    loop {
        states.borrow_and_update();
        let reading = app.clone();
        let before = known.take();
        let Ok(now) = tokio::task::spawn_blocking(move || learn(&reading, before)).await else { return };
        known = Some(now);
        tokio::select! {
            () = stop.cancelled() => return,
            changed = states.changed() => if changed.is_err() { return },
        }
    }
}

/// Which secrets there are, in which versions.
pub(in crate::server) type Versions = Vec<(mcpctl_core::ids::Uid, mcpctl_core::ids::Seq)>;

/// Reads the values when another secret is in use than before.
pub(in crate::server) fn learn(app: &App, before: Option<Versions>) -> Versions {
    let state = app.published.load();
    let secrets: Vec<_> = state.all(Kind::Secret).collect();
    let now: Versions = secrets.iter().map(|secret| (secret.meta.uid, secret.meta.resource_version)).collect();
    if before.as_ref() == Some(&now) {
        return now;
    }
    let mut values = Vec::new();
    for secret in secrets {
        // A value that can't be read now can't be in use either.
        let Ok(read) = secret_values::read(&app.sealed, secret) else { continue };
        values
            .extend(read.iter().map(|(key, value)| {
                (format!("secret {}/{key}", secret.meta.name), value.as_str().as_bytes().to_vec())
            }));
    }
    app.audit.redactor().know(values);
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_however_it_is_written_and_wherever_it_stands() {
        let secret = "correct/horse battery+staple\u{e4}";
        let values = Values::of([("secret x/y".to_owned(), secret.as_bytes().to_vec())]);
        let mut texts = vec![secret.to_owned(), url::form_urlencoded::byte_serialize(secret.as_bytes()).collect()];
        texts.push(secret.bytes().map(|byte| format!("{byte:02X}")).collect());
        texts.push(serde_json::to_string(secret).unwrap());
        for before in ["", "a", "ab", "abc"] {
            for after in ["", "z", "zy"] {
                let whole = format!("{before}{secret}{after}");
                texts.push(base64::engine::general_purpose::STANDARD.encode(&whole));
                texts.push(URL_SAFE_NO_PAD.encode(&whole));
            }
        }
        for text in texts {
            assert_eq!(values.find(&format!("x {text} y")).len(), 1, "{text}");
        }
        assert_eq!(values.find("correct horse battery staple"), []);
    }

    #[test]
    fn a_short_value_shreds_no_text() {
        assert_eq!(Values::of([("x".to_owned(), b"true".to_vec())]).find("it is true"), []);
    }

    #[test]
    fn a_line_of_a_long_value_is_found_alone() {
        let key = "-----BEGIN-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\nEFAASCBKcwggSjAgEAAoIBAQ\n";
        let values = Values::of([("x".to_owned(), key.as_bytes().to_vec())]);
        assert_eq!(values.find("see EFAASCBKcwggSjAgEAAoIBAQ!").len(), 1);
    }
}
