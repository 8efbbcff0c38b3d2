//! `mcpctl-verify`: checks a proof of an event, a call or a grant. It links nothing of the server: a stranger can read all of it.
use std::process::ExitCode;

use mcpctl_tlog::LogKey;
use mcpctl_tlog::grant_proof::said_of_grant;
use mcpctl_tlog::proof_file::{About, Shown, verify};

const USAGE: &str = "usage: mcpctl-verify PROOF.tar [KEY]\n\n\
    Checks that what a proof shows (an event, a call, a grant) is in the log of that key. KEY is the log's public key, as text or as a file; \
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
    let Shown { seq, checkpoint, key, event, about } = shown;
    println!("entry {seq} ({} bytes) is in the log {}", event.len(), checkpoint.origin);
    println!("size {}, root {}", checkpoint.size, checkpoint.root);
    println!("key {}{}", key.as_str(), if trusted { "" } else { " (from the proof itself: compare it)" });
    match about {
        About::Entry => {}
        About::Call(details) => println!("call {}", String::from_utf8_lossy(details)),
        About::Grant { shown, state, next } => {
            println!("{}", said_of_grant(shown));
            let until =
                next.as_ref().map_or_else(String::new, |next| format!(" until event {} at {}", next.seq, next.at));
            println!("that holds from event {} at {}{until}", state.seq, state.at);
        }
    }
    ExitCode::SUCCESS
}
