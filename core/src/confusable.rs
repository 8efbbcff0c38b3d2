//! Names that a person or a model could take for one another.
//!
//! A skeleton in the manner of UTS #39: names with the same skeleton look alike. Names of tools are `[A-Za-z0-9_.-]` by the
//! specification of MCP, so the table has what can be mixed up in that alphabet, and the Latin look-alikes of other scripts
//! that are used to deceive; it is not the whole table of Unicode. It errs towards telling: what looks alike is shown to
//! whoever approves, and refused to nobody.

/// What a name looks like: names of which it is the same are confusable.
#[must_use]
pub fn skeleton(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars().filter_map(latin).flat_map(char::to_lowercase) {
        match c {
            '_' | '-' | '.' | '/' | ' ' => {}
            'i' | 'l' | '1' | '|' | '!' => text.push('l'),
            '0' | 'o' => text.push('o'),
            '5' | 's' => text.push('s'),
            '2' | 'z' => text.push('z'),
            '8' | 'b' => text.push('b'),
            other => text.push(other),
        }
    }
    text.replace("rn", "m").replace("vv", "w")
}

/// A look-alike as the Latin letter that it looks like; nothing for what can't be seen at all.
fn latin(c: char) -> Option<char> {
    Some(match c {
        '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            return None;
        }
        '\u{ad}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e007f}' => return None,
        'а' | 'α' => 'a',
        'в' | 'В' | 'Β' => 'b',
        'с' | 'С' | 'ϲ' => 'c',
        'ԁ' => 'd',
        'е' | 'Е' | 'Ε' => 'e',
        'һ' | 'Н' | 'Η' => 'h',
        'і' | 'І' | 'Ι' | 'ι' | 'ӏ' => 'i',
        'ј' | 'Ј' => 'j',
        'к' | 'К' | 'Κ' | 'κ' => 'k',
        'М' | 'Μ' => 'm',
        'ո' | 'Ν' => 'n',
        'о' | 'О' | 'Ο' | 'ο' | 'օ' => 'o',
        'р' | 'Р' | 'Ρ' | 'ρ' => 'p',
        'ѕ' | 'Ѕ' => 's',
        'т' | 'Т' | 'Τ' | 'τ' => 't',
        'ν' | 'ѵ' => 'v',
        'ԝ' => 'w',
        'х' | 'Х' | 'Χ' | 'χ' => 'x',
        'у' | 'У' | 'Υ' | 'γ' => 'y',
        'Ζ' => 'z',
        'А' | 'Α' => 'a',
        // Full-width forms of ASCII.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        '‐' | '‑' | '‒' | '–' | '—' | '−' => '-',
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_alike_has_one_skeleton() {
        for (one, other) in [
            ("read_file", "read-file"),
            ("read_file", "readFile"),
            ("read_file", "read.file"),
            ("list", "1ist"),
            ("list", "Iist"),
            ("O0", "00"),
            ("modern", "modem"),
            ("send", "5end"),
            ("read_file", "reаd_file"),
            ("read_file", "read_\u{200b}file"),
            ("read_file", "ｒｅａｄ＿ｆｉｌｅ"),
        ] {
            assert_eq!(skeleton(one), skeleton(other), "{one} and {other}");
        }
    }

    #[test]
    fn what_does_not_look_alike_has_another() {
        for (one, other) in [("read_file", "write_file"), ("get", "set"), ("a", "b"), ("echo", "echo2")] {
            assert_ne!(skeleton(one), skeleton(other), "{one} and {other}");
        }
    }
}
