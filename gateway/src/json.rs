//! JSON read one level deep and written by hand: what is not looked at is never decoded, and unknown members survive.
use std::borrow::Cow;
use std::fmt;

use mcpctl_api::json_key::Key;
use memchr::memmem;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Most members that an object which is looked into may have: finding doubles costs the square of it.
const MEMBERS_MAX: usize = 512;

/// The members of an object in their order, each value untouched. A member given twice is refused: two readers must never
/// see two different messages.
#[derive(Debug, Default)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    pub(crate) fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub(crate) fn read_bytes(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The members of a raw value, none if it is no object.
    pub(crate) fn of(raw: &'a RawValue) -> Self {
        Self::read(raw.get()).unwrap_or_default()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// A member that is a string.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(text)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (&**key, *value))
    }

    /// All but one.
    pub(crate) fn without(&self, name: &str) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.iter().filter(move |(key, _)| *key != name)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Shallow;
        impl<'de> Visitor<'de> for Shallow {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Self::Value = Vec::with_capacity(4);
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    if members.len() == MEMBERS_MAX || members.iter().any(|(known, _)| *known == key) {
                        return Err(A::Error::custom("a member is given twice, or there are too many"));
                    }
                    members.push((key, value));
                }
                Ok(members)
            }
        }
        d.deserialize_map(Shallow).map(Members)
    }
}

/// The text of a raw string; `None` for anything else.
pub(crate) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw.get()).ok().map(Cow::Owned)
}

/// The elements of a raw array, none if it is no array.
pub(crate) fn elements(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// Whether a text stands in JSON as it is.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\')
}

/// Appends a text as JSON, quoted.
fn push_quoted(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&quoted(text));
    }
}

/// A text as JSON, quoted.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string always serialises")
}

/// JSON that this program wrote.
pub(crate) fn raw(text: String) -> Box<RawValue> {
    RawValue::from_string(text).expect("written by this program, so it is JSON")
}

/// An object in the making.
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut text = String::with_capacity(bytes + 2);
        text.push('{');
        Self(text)
    }

    pub(crate) fn new() -> Self {
        Self::with_capacity(126)
    }

    /// Adds a member whose value is JSON already.
    pub(crate) fn json(&mut self, name: &str, value: &str) -> &mut Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        push_quoted(&mut self.0, name);
        self.0.push(':');
        self.0.push_str(value);
        self
    }

    /// Adds a member that is a string.
    pub(crate) fn text(&mut self, name: &str, value: &str) -> &mut Self {
        if is_plain(value) {
            self.json(name, "\"");
            self.0.push_str(value);
            self.0.push('"');
            return self;
        }
        self.json(name, &quoted(value))
    }

    /// Adds members as they are.
    pub(crate) fn members<'m>(&mut self, members: impl Iterator<Item = (&'m str, &'m RawValue)>) -> &mut Self {
        for (name, value) in members {
            self.json(name, value.get());
        }
        self
    }

    pub(crate) fn finish(&mut self) -> String {
        self.0.push('}');
        std::mem::take(&mut self.0)
    }
}

/// An object with one member replaced, or added at the end.
pub(crate) fn with_member(members: &Members<'_>, name: &str, value: &str) -> String {
    let size: usize = members.iter().map(|(key, value)| key.len() + value.get().len() + 4).sum();
    let mut object = Object::with_capacity(size + name.len() + value.len() + 4);
    let mut found = false;
    for (key, old) in members.iter() {
        found |= key == name;
        object.json(key, if key == name { value } else { old.get() });
    }
    if !found {
        object.json(name, value);
    }
    object.finish()
}

/// Whether a text may occur as a key anywhere in a JSON text. A cheap look before a dear one: escapes could hide it.
pub(crate) fn may_have_key(json: &str, key_in_quotes: &str) -> bool {
    memmem::find(json.as_bytes(), key_in_quotes.as_bytes()).is_some() || has_escaped_letters(json.as_bytes())
}

/// Whether a JSON text has a letter by its number. Backslashes are looked for and not `\u` itself: most texts have none, and
/// one byte is found faster than two.
fn has_escaped_letters(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        if rest.get(at + 1) == Some(&b'u') {
            return true;
        }
        // What a backslash stands before is no backslash of its own.
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}

/// Deepest nesting that a request may have.
const DEPTH_MAX: usize = 128;

/// Whether JSON nests deeper than allowed. Brackets within strings count only where there are many brackets at all.
pub(crate) fn too_deep(bytes: &[u8]) -> bool {
    if memchr::memchr2_iter(b'[', b'{', bytes).take(DEPTH_MAX + 1).count() <= DEPTH_MAX {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_bytes_and_doubles_are_refused() {
        let members = Members::read(r#"{"b": [1, 2] ,"a":1.0}"#).unwrap();
        assert_eq!(with_member(&members, "c", "3"), r#"{"b":[1, 2],"a":1.0,"c":3}"#);
        assert_eq!(with_member(&members, "a", "3"), r#"{"b":[1, 2],"a":3}"#);
        assert!(Members::read(r#"{"a":1,"\u0061":2}"#).unwrap_err().is_data());
    }

    #[test]
    fn depth_is_counted_outside_of_strings() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!too_deep(nested(DEPTH_MAX).as_bytes()));
        assert!(too_deep(nested(DEPTH_MAX + 1).as_bytes()));
        let text = format!("\"\\\"{}\"", "[".repeat(1000));
        assert!(!too_deep(text.as_bytes()));
        let wide = format!("[{}]", vec!["{}"; 1000].join(","));
        assert!(!too_deep(wide.as_bytes()));
    }

    #[test]
    fn a_key_is_suspected_where_it_stands_or_an_escape_could_hide_it() {
        let may = |json: &str| may_have_key(json, "\"isError\"");
        assert!(may(r#"{"isError":true}"#) && may(r#"{"is\u0045rror":true}"#) && may(r#"{"a":"\n\\\u0041"}"#));
        assert!(!may(r#"{"a":"no isError"}"#) && !may(r#"{"a":"\n\\users \" \\"}"#) && !may(r#"{"a":"x\"#) && !may(""));
    }

    #[test]
    fn texts_are_decoded_only_where_needed() {
        let plain: Box<RawValue> = raw(r#""plain""#.into());
        assert!(matches!(text(&plain), Some(Cow::Borrowed("plain"))));
        let escaped = raw(r#""a\u002fb""#.into());
        assert_eq!(text(&escaped).as_deref(), Some("a/b"));
        assert_eq!(text(&raw("7".into())), None);
    }
}
