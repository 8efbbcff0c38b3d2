//! Texts that look like secrets: by the prefixes that their makers gave them so that they can be found.
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::Found;

/// A prefix, how many characters must follow it, and what it is.
const PREFIXES: &[(&str, usize, &str)] = &[
    ("mcpctl_pat_", 20, "mcpctl token"),
    ("mcpctl_login_", 20, "mcpctl login"),
    ("ghp_", 30, "GitHub token"),
    ("gho_", 30, "GitHub token"),
    ("ghu_", 30, "GitHub token"),
    ("ghs_", 30, "GitHub token"),
    ("ghr_", 30, "GitHub token"),
    ("github_pat_", 30, "GitHub token"),
    ("glpat-", 20, "GitLab token"),
    ("sk-ant-", 20, "Anthropic key"),
    ("sk-proj-", 20, "OpenAI key"),
    ("sk-", 32, "API key"),
    ("sk_live_", 16, "Stripe key"),
    ("rk_live_", 16, "Stripe key"),
    ("xoxb-", 16, "Slack token"),
    ("xoxp-", 16, "Slack token"),
    ("xoxa-", 16, "Slack token"),
    ("xapp-", 16, "Slack token"),
    ("AKIA", 16, "AWS key id"),
    ("ASIA", 16, "AWS key id"),
    ("AIza", 35, "Google key"),
    ("ya29.", 20, "Google token"),
    ("npm_", 36, "npm token"),
    ("pypi-", 50, "PyPI token"),
    ("hvs.", 20, "Vault token"),
    ("hvb.", 20, "Vault token"),
    ("dop_v1_", 32, "DigitalOcean token"),
    ("SG.", 40, "SendGrid key"),
    ("AGE-SECRET-KEY-1", 30, "age key"),
];

/// Names in front of `=` or `:` whose value is a secret.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "client_secret",
    "private_key",
    "authorization",
];

const fn of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+' | b'/' | b'=' | b'~')
}

/// Whether a word may begin here: what goes before is no part of it.
fn begins(bytes: &[u8], at: usize) -> bool {
    at == 0 || !bytes[at - 1].is_ascii_alphanumeric()
}

/// How many bytes from here on may be of a token.
fn run(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().take_while(|byte| of_token(**byte)).count()
}

/// Whether a text has anything by which one of the searches below begins. One look at each byte: most texts are names.
fn may_hold(text: &str) -> bool {
    static MARKS: LazyLock<AhoCorasick> = LazyLock::new(|| {
        let prefixes = PREFIXES.iter().map(|(prefix, ..)| *prefix);
        let marks = prefixes.chain(NAMES.iter().copied()).chain(["bearer ", "basic ", "eyJ", "://", "-----BEGIN "]);
        let search = AhoCorasick::builder().ascii_case_insensitive(true).build(marks);
        search.expect("few short marks make a small search")
    });
    MARKS.is_match(text)
}

/// What looks like a secret.
pub(super) fn find(text: &str) -> Vec<Found> {
    if text.len() < 12 || !may_hold(text) {
        return Vec::new();
    }
    all(text)
}

/// The same without the first look.
fn all(text: &str) -> Vec<Found> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    found.extend(prefixed(bytes));
    found.extend(after_schemes(bytes));
    found.extend(web_tokens(bytes));
    found.extend(named(text));
    found.extend(in_addresses(text));
    found.extend(keys(text));
    found
}

fn prefixed(bytes: &[u8]) -> Vec<Found> {
    let at = |(prefix, least, what): &(&str, usize, &str)| {
        let mut found = Vec::new();
        for from in memchr::memmem::find_iter(bytes, prefix.as_bytes()) {
            let to = from + prefix.len() + run(bytes, from + prefix.len());
            if begins(bytes, from) && to - from >= prefix.len() + least {
                found.push(Found { from, to, what: (*what).to_owned() });
            }
        }
        found
    };
    PREFIXES.iter().flat_map(at).collect()
}

/// `Bearer …` and `Basic …`.
fn after_schemes(bytes: &[u8]) -> Vec<Found> {
    let lower = bytes.to_ascii_lowercase();
    let mut found = Vec::new();
    for (scheme, what) in [(&b"bearer "[..], "bearer"), (&b"basic "[..], "credentials")] {
        for at in memchr::memmem::find_iter(&lower, scheme) {
            let from = at + scheme.len();
            let to = from + run(bytes, from);
            // "a bearer token" is a sentence.
            let secret = bytes[from..to].iter().any(u8::is_ascii_digit) || to - from > 20;
            if begins(bytes, at) && to - from >= 8 && secret {
                found.push(Found { from, to, what: what.to_owned() });
            }
        }
    }
    found
}

/// `header.payload.signature` in base64url, the first of which is JSON.
fn web_tokens(bytes: &[u8]) -> Vec<Found> {
    let part = |at: usize| {
        bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count()
    };
    let mut found = Vec::new();
    for from in memchr::memmem::find_iter(bytes, b"eyJ") {
        let first = from + part(from);
        if !begins(bytes, from) || bytes.get(first) != Some(&b'.') || first - from < 10 {
            continue;
        }
        let second = first + 1 + part(first + 1);
        let to = if bytes.get(second) == Some(&b'.') { second + 1 + part(second + 1) } else { second };
        if second - first > 4 {
            found.push(Found { from, to, what: "JSON web token".to_owned() });
        }
    }
    found
}

/// `password=…`, `"apiKey": "…"`.
fn named(text: &str) -> Vec<Found> {
    let (bytes, lower) = (text.as_bytes(), text.to_ascii_lowercase());
    let mut found = Vec::new();
    for name in NAMES {
        for at in memchr::memmem::find_iter(lower.as_bytes(), name.as_bytes()) {
            let mut from = at + name.len();
            let mut assigned = false;
            while let Some(byte) =
                bytes.get(from).filter(|byte| matches!(byte, b'=' | b':' | b' ' | b'"' | b'\'' | b'\\'))
            {
                assigned |= matches!(byte, b'=' | b':');
                from += 1;
            }
            let ends = |byte: &u8| {
                byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'&' | b',' | b';' | b')' | b'}')
            };
            let to = from + bytes[from..].iter().take_while(|byte| !ends(byte)).count();
            // A value of three characters is no secret that is worth a text nobody can read.
            if assigned && to - from >= 4 && text.is_char_boundary(from) && text.is_char_boundary(to) {
                found.push(Found { from, to, what: "value of a field that names a secret".to_owned() });
            }
        }
    }
    found
}

/// `scheme://user:password@host`.
fn in_addresses(text: &str) -> Vec<Found> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("://") {
        let rest = &text[at + 3..];
        let authority = rest.split(['/', '?', '#', ' ', '"']).next().unwrap_or_default();
        let Some((user, _)) = authority.rsplit_once('@') else { continue };
        let Some(colon) = user.find(':') else { continue };
        let (from, to) = (at + 3 + colon + 1, at + 3 + user.len());
        if to > from {
            found.push(Found { from, to, what: "password of an address".to_owned() });
        }
    }
    found
}

/// Private keys in PEM, to their end or to the end of the text.
fn keys(text: &str) -> Vec<Found> {
    let mut found = Vec::new();
    for (from, _) in text.match_indices("-----BEGIN ") {
        let head = &text[from..];
        if !head[11..].split("-----").next().is_some_and(|name| name.ends_with("PRIVATE KEY")) {
            continue;
        }
        let end = head.find("-----END ").and_then(|end| Some(end + 9 + head[end + 9..].find("-----")? + 5));
        found.push(Found { from, to: from + end.unwrap_or(head.len()), what: "private key".to_owned() });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut text = text.to_owned();
        let found = find(&text);
        super::super::take_out(&mut text, found);
        text
    }

    #[test]
    fn what_looks_like_a_secret_is_taken_out_and_nothing_of_it_stays() {
        let long = "Ab0".repeat(20);
        for (text, what) in [
            (format!("tool mcpctl_pat_{long}!"), "tool [redacted mcpctl token]!"),
            (format!("Authorization: BEARER {long}"), "Authorization: [redacted"),
            (format!("basic {long}=="), "basic [redacted credentials]"),
            (format!("(ghp_{long})"), "([redacted GitHub token])"),
            ("AKIAIOSFODNN7EXAMPLE".to_owned(), "[redacted AWS key id]"),
            (format!("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.{long} x"), "[redacted JSON web token] x"),
            ("postgres://app:s3cr@t@db/x".to_owned(), "postgres://app:[redacted password of an address]@db/x"),
            ("x?password=hunter2&y=1".to_owned(), "x?password=[redacted value of a field that names a secret]&y=1"),
            (r#"{"apiKey": "hunter22"}"#.to_owned(), r#"{"apiKey": "[redacted"#),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE".to_owned(), "[redacted private key]"),
        ] {
            let safe = shown(&text);
            assert!(safe.starts_with(what), "{text:?} became {safe:?}");
            for secret in [&*long, "IOSFODNN7", "s3cr", "hunter", "MIIE"] {
                assert!(!safe.contains(secret), "{text:?} became {safe:?}");
            }
        }
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        for text in [
            "echo",
            "everything/get-token-count",
            "may not run:impersonate",
            "wrong e-mail address or password for \"a@example.com\" from 127.0.0.1",
            "the token is for another project",
            "send it as a bearer token, please",
            "https://example.com/a:b@c",
            "task-0123456789012345678901234567890123456789",
            "the secret: no",
            "sk-short",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(text in "(password=|://|@|:|eyJ|\\.|bearer |-----BEGIN |PRIVATE KEY-----|ä|[a-z0-9])*") {
            shown(&text);
        }

        #[test]
        fn the_first_look_leaves_nothing_out(
            text in "(PASSword=|api-key: |://|@|:|eyJ|\\.|Bearer |basic |sk-|ghp_|npm_|AKIA|SG\\.|-----BEGIN |PRIVATE KEY-----|[a-z0-9]{20})*"
        ) {
            proptest::prop_assert!(may_hold(&text) || all(&text).is_empty());
        }
    }
}
