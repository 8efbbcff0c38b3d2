//! Printing: data to the standard output, everything said about it to the standard error.
use std::io::{ErrorKind, IsTerminal, Write};

use anstyle::{AnsiColor, Style};

use crate::failure::{Done, Failure};

/// Prints data. When the reader has gone away, the command ends, quietly.
pub fn print(text: &str) -> Done {
    let mut stdout = anstream::stdout().lock();
    finish(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// Prints bytes as they are, for logs.
pub fn print_bytes(bytes: &[u8]) -> Done {
    if is_terminal() {
        return print(&clean_lines(&String::from_utf8_lossy(bytes)));
    }
    let mut stdout = std::io::stdout().lock();
    finish(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

fn finish(result: std::io::Result<()>) -> Done {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::silent(0)),
        Err(error) => Err(Failure::new(format!("the output can't be written: {error}"))),
    }
}

/// Says something on the standard error. Nobody may be listening: that is no failure.
pub fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Whether data is printed to a terminal, for a person to read.
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether there is somebody to ask.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// A colour; it is taken out again where there is no terminal, or where `NO_COLOR` is set.
pub const fn style(color: AnsiColor) -> Style {
    color.on_default().bold()
}

/// One line without control characters: what others wrote must not steer the reader's terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

fn clean_lines(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}
