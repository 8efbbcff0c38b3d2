//! Runs the commands of a `console` block of the README in one shell and compares what they print.
//!
//! A line that begins with `$ ` is a command; one that ends with `\` goes on, and one with `<<END` or `<<'END'` to the line
//! `END`. What follows is what it prints: `…` stands
//! for anything within a line, a line of its own `…` for any lines, and `[exit N]` for another exit code than 0.
use std::process::Command;
use std::time::Duration;

use super::process::run;

/// A command and what the document says about it.
#[derive(Debug, Default)]
struct Step {
    command: String,
    expected: Vec<String>,
    exit: i32,
}

/// How long the whole tour may take.
const LIMIT: Duration = Duration::from_secs(180);

/// Runs the first `console` block below a heading. `shell` is bash with everything set that the tour needs; `rename`
/// adapts text that differs on every run, such as ports.
///
/// # Panics
/// At the first step that does something else than the document says.
pub fn walk(document: &str, heading: &str, shell: Command, rename: impl Fn(&str) -> String) {
    let steps = steps(&rename(block(document, heading)));
    assert!(!steps.is_empty(), "no commands below {heading:?}");
    take(&steps, shell);
}

/// The same with every `console` block of a document, one after the other in the same shell.
///
/// # Panics
/// At the first step that does something else than the document says.
pub fn walk_all(document: &str, shell: Command, rename: impl Fn(&str) -> String) {
    let blocks = document.split("```console\n").skip(1).map(|rest| rest.split_once("\n```").expect("a block ends").0);
    let steps: Vec<Step> = blocks.flat_map(|block| steps(&rename(block))).collect();
    assert!(!steps.is_empty(), "the document has no commands");
    take(&steps, shell);
}

fn take(steps: &[Step], mut shell: Command) {
    let script = steps.iter().enumerate().fold("exec 2>&1\n".to_owned(), |script, (number, step)| {
        format!("{script}{}\nprintf '\\n@@{number} %s@@\\n' $?\n", step.command)
    });
    let ran = run(shell.arg("-c").arg(script), None, LIMIT);
    let mut rest = ran.stdout.as_str();
    for (number, step) in steps.iter().enumerate() {
        let mark = format!("\n@@{number} ");
        let (printed, after) = rest.split_once(&mark).unwrap_or_else(|| panic!("the shell stopped:\n{}", ran.said()));
        let (exit, after) = after.split_once("@@\n").expect("the mark ends");
        rest = after;
        step.check(printed, exit);
    }
}

impl Step {
    fn check(&self, printed: &str, exit: &str) {
        assert_eq!(exit, self.exit.to_string(), "exit code of `{}`, which printed:\n{printed}", self.command);
        let lines: Vec<&str> = printed.lines().collect();
        let expected: Vec<&str> = self.expected.iter().map(String::as_str).collect();
        assert!(
            lines_match(&expected, &lines),
            "`{}` printed:\n{printed}\nand the document says:\n{}",
            self.command,
            expected.join("\n")
        );
    }
}

/// The first console block below a heading.
fn block<'a>(document: &'a str, heading: &str) -> &'a str {
    let below = document.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading:?}")).1;
    let inside = below.split_once("```console\n").expect("a console block stands below the heading").1;
    inside.split_once("\n```").expect("the block ends").0
}

fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut goes_on = false;
    let mut document = false;
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command: command.to_owned(), ..Step::default() }),
            (None, Some(step)) if goes_on => step.command = format!("{}\n{line}", step.command),
            (None, Some(step)) => match line.strip_prefix("[exit ").and_then(|l| l.strip_suffix(']')) {
                Some(code) => step.exit = code.parse().expect("an exit code is a number"),
                None => step.expected.push(line.trim_end().to_owned()),
            },
            (None, None) => panic!("the block begins with {line:?}, and not with a command"),
        }
        document = (document || line.starts_with("$ ") && (line.ends_with("<<END") || line.ends_with("<<'END'")))
            && line != "END";
        goes_on = document || line.ends_with('\\');
    }
    steps
}

fn lines_match(expected: &[&str], lines: &[&str]) -> bool {
    match (expected, lines) {
        ([], lines) => lines.iter().all(|line| line.trim().is_empty()),
        (["…", rest @ ..], _) => (0..=lines.len()).any(|skip| lines_match(rest, &lines[skip..])),
        ([first, rest @ ..], [line, more @ ..]) => line_matches(first, line.trim_end()) && lines_match(rest, more),
        (_, []) => expected.iter().all(|line| line.trim().is_empty()),
    }
}

/// Whether a line is what the pattern says; `…` stands for anything, and columns may be as wide as they need to be.
fn line_matches(pattern: &str, line: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (words(pattern), words(line));
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn a_documented_line_matches_what_it_stands_for_and_nothing_else() {
    assert!(line_matches("NAME  STATUS", "NAME   STATUS"));
    assert!(line_matches("token mcpctl_pat_… (shown once)", "token mcpctl_pat_abc (shown once)"));
    assert!(!line_matches("token mcpctl_pat_… (shown once)", "token none"));
    assert!(lines_match(&["a", "…", "z"], &["a", "b", "c", "z"]));
    assert!(!lines_match(&["a", "z"], &["a", "b", "z"]));
    assert!(!lines_match(&["a"], &[]));
}

#[test]
fn a_block_becomes_commands_with_their_output_and_exit_code() {
    let steps = steps("$ one \\\n  two\nsaid\n$ three\n[exit 1]");
    assert_eq!(steps.len(), 2);
    assert_eq!((steps[0].command.as_str(), steps[0].expected.join("")), ("one \\\n  two", "said".to_owned()));
    assert_eq!((steps[1].command.as_str(), steps[1].exit), ("three", 1));
}

#[test]
fn a_command_may_have_a_document_in_it() {
    let steps = steps("$ cat > f <<END\n{\n}\nEND\nsaid\n$ two");
    assert_eq!(
        (steps[0].command.as_str(), steps[0].expected.join("")),
        ("cat > f <<END\n{\n}\nEND", "said".to_owned())
    );
}
