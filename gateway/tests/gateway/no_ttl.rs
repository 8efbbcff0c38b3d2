//! Nobody keeps authority for a while: what a caller may do is followed on a lease, never believed until a moment comes.
//!
//! A file that holds admissions may look at a clock only if it is named here, with what the clock is for. (Crates that cache
//! with a time to live are refused by `.cargo/deny.toml`.)
use std::path::Path;

/// Files that hold admissions and look at a clock, and why that is no time to live.
const KNOWN: &[(&str, &str)] = &[
    ("gateway/src/audit.rs", "how long a call took"),
    ("api/src/client/remote_plane/mod.rs", "the lease, by the clock that goes on in suspend"),
    ("api/src/client/remote_plane/views.rs", "the lease, by the clock that goes on in suspend"),
];

const HOLDS: &[&str] = &["Admission", "Admitted"];
const CLOCKS: &[&str] = &["Instant", "SystemTime", "elapsed()", "Boottime", "Timestamp::now", "clock::now"];

#[test]
fn no_file_that_holds_admissions_looks_at_a_clock_but_those_that_say_why() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for folder in ["gateway/src", "api/src/client", "api/src/cut.rs", "api/src/lease.rs", "api/src/plane.rs"] {
        look(&root, folder, &mut found);
    }
    let known: Vec<String> = KNOWN.iter().map(|(path, _)| (*path).to_owned()).collect();
    found.sort();
    let mut known = known;
    known.sort();
    assert_eq!(found, known, "left is what was found: say here what the clock is for, or do without it");
}

/// Notes each file below `path` that holds admissions and looks at a clock.
fn look(root: &Path, path: &str, found: &mut Vec<String>) {
    let full = root.join(path);
    if full.is_dir() {
        for entry in std::fs::read_dir(full).unwrap().map(Result::unwrap) {
            look(root, &format!("{path}/{}", entry.file_name().to_string_lossy()), found);
        }
        return;
    }
    let text = std::fs::read_to_string(full).unwrap();
    // What is said about a clock in a comment is no look at it; tests keep nothing.
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let names = |words: &[&str]| code.iter().any(|line| words.iter().any(|word| line.contains(word)));
    if path.ends_with(".rs") && !path.ends_with("tests.rs") && names(HOLDS) && names(CLOCKS) {
        found.push(path.to_owned());
    }
}
