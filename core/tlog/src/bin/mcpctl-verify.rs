//! `mcpctl-verify`: checks a proof of an event. It links nothing of the server: a stranger can read all of it.
use std::process::ExitCode;

use mcpctl_tlog::LogKey;
use mcpctl_tlog::proof_file::{Shown, verify};

const USAGE: &str = "usage: mcpctl-verify PROOF.tar [KEY]\n\n\
    Checks that the event in a proof is in the log of that key. KEY is the log's public key, as text or as a file; \
    without it, the key in the proof is used, and only shown: compare it with one that you have from elsewhere.";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (path, key) = match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(path), key, None) if !path.starts_with('-') => (path, key),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&path, key.as_deref()) {
        Ok(shown) => report(&shown, key.is_some()),
        Err(error) => {
            eprintln!("the proof does not hold: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &str, key: Option<&str>) -> Result<Shown, Box<dyn std::error::Error>> {
    let trusted = key.map(|key| LogKey::read(&std::fs::read_to_string(key).unwrap_or_else(|_| key.to_owned())));
    Ok(verify(&std::fs::read(path)?, trusted.transpose()?.as_ref())?)
}

#[expect(clippy::print_stdout, reason = "it is what the program is for")]
fn report(shown: &Shown, trusted: bool) -> ExitCode {
    let Shown { seq, checkpoint, key, event } = shown;
    println!("event {seq} ({} bytes) is in the log {}", event.len(), checkpoint.origin);
    println!("size {}, root {}", checkpoint.size, checkpoint.root);
    println!("key {}{}", key.as_str(), if trusted { "" } else { " (from the proof itself: compare it)" });
    ExitCode::SUCCESS
}
