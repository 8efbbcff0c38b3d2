//! `mcpctl audit prove` and `audit verify`: evidence of an event, a call or a grant for somebody who trusts nobody.
use std::path::PathBuf;

use mcpctl_api::client::ClientError;
use mcpctl_api::server::evidence::LogName;
use mcpctl_core::record::Record;
use mcpctl_tlog::commitment::NONCE_BYTES;
use mcpctl_tlog::grant_proof::said_of_grant;
use mcpctl_tlog::proof_file::{self, About, Beside, Shown};
use mcpctl_tlog::{LogKey, Proof};
use serde_json::json;

use super::InProject;
use crate::failure::{Done, Failure};
use crate::home::{Home, write_whole};
use crate::log_seen::look;
use crate::session::{Global, Session};
use crate::{noun, out};

/// What to prove.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl audit prove event 41 -o proof.tar
  mcpctl audit prove mcptoken/ci -p web -o proof.tar
  mcpctl audit prove call 1234 -o call.tar
  mcpctl audit prove grant User:alice@example.com role:edit,resource:servers --at 2026-11-01 -o grant.tar

A call is named by its position, as `mcpctl audit events -o json` shows it. A grant is proved to have been in force at
that point, to the subject itself or through a group, or to have been not.")]
pub struct Prove {
    /// `event SEQ`, `KIND/NAME` for the last event of an object, `call POSITION`, or `grant SUBJECT BINDING`
    #[arg(value_name = "WHAT", num_args = 1..=3, required = true)]
    what: Vec<String>,
    /// Of a grant: at which point; without it, now
    #[arg(long, value_name = "SEQ|TIME")]
    at: Option<String>,
    #[command(flatten)]
    project: InProject,
    /// File to write
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: PathBuf,
}

/// What to check.
#[derive(clap::Args)]
pub struct Verify {
    /// A file that `audit prove` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Public key of the log, or a file with it; without it, the key that was seen at that log before
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

impl Prove {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let words: Vec<&str> = self.what.iter().map(String::as_str).collect();
        if self.at.is_some() && words.first() != Some(&"grant") {
            return Err(Failure::usage("--at is for grants: an event and a call have their own time"));
        }
        match words[..] {
            ["grant", subject, binding] => self.grant(&session, subject, binding).await,
            ["call", position] => {
                let position = position.parse();
                self.call(&session, position.map_err(|_| Failure::usage("the position of a call is a number"))?).await
            }
            ["event", what] | [what] => self.event(&session, what).await,
            _ => Err(Failure::usage("this names nothing that can be proved")
                .hint("event SEQ, KIND/NAME, call POSITION, or grant SUBJECT BINDING")),
        }
    }

    async fn event(&self, session: &Session, what: &str) -> Done {
        let looked = look(&session.client, LogName::Config).await?;
        let seq = self.seq(session, what).await?;
        let (event, proof, size) = proved(session, LogName::Config, seq, &looked.key).await?;
        let archive = proof_file::write(&event, &readable(&event)?, &proof, &looked.key, Beside::Nothing);
        self.write(&archive)?;
        let origin = looked.key.origin();
        self.told(&format!("Event {seq} is in the log {origin} of {size} events"));
        Ok(())
    }

    async fn call(&self, session: &Session, position: u64) -> Done {
        let looked = look(&session.client, LogName::Audit).await?;
        let (header, proof, size) = proved(session, LogName::Audit, position, &looked.key).await?;
        let details = match session.client.audit_details(position).await {
            Ok(bytes) => Some(bytes),
            Err(ClientError::Refused(problem)) if problem.status == 410 => None,
            Err(error) => return Err(error.into()),
        };
        let parts = details.as_ref().and_then(|bytes| bytes.split_at_checked(NONCE_BYTES));
        let beside = parts.map_or(Beside::Nothing, |(nonce, details)| Beside::Call { nonce, details });
        let readable = String::from_utf8_lossy(parts.map_or(&header, |(_, details)| details)).into_owned();
        let archive = proof_file::write(&header, &readable, &proof, &looked.key, beside);
        proof_file::verify(&archive, Some(&looked.key)).map_err(unproved)?;
        self.write(&archive)?;
        let origin = looked.key.origin();
        self.told(&format!("Call {position} is in the log {origin} of {size} entries"));
        if parts.is_none() {
            out::note("Its details were erased: the proof shows that it was made, when, and by which grants.");
        }
        Ok(())
    }

    async fn grant(&self, session: &Session, subject: &str, binding: &str) -> Done {
        let looked = look(&session.client, LogName::State).await?;
        let shown = session.client.grant_proof(subject, binding, self.at.as_deref()).await?;
        let proof = Proof::read(shown.root.proof.as_bytes()).map_err(unproved)?;
        let next = shown.next.as_ref().map(|next| {
            let proof = Proof::read(next.proof.as_bytes()).map_err(unproved)?;
            Ok::<_, Failure>((next.record.as_bytes(), proof))
        });
        let next = next.transpose()?;
        let beside = Beside::Grant { facts: &shown.facts, next: next.as_ref().map(|(record, proof)| (*record, proof)) };
        let archive = proof_file::write(shown.root.record.as_bytes(), &shown.facts, &proof, &looked.key, beside);
        // What is handed on was checked here, against the key that this machine knows.
        let checked = proof_file::verify(&archive, Some(&looked.key)).map_err(unproved)?;
        self.write(&archive)?;
        out::print(&format!("{}\n", said(&checked)))?;
        self.told(&format!("As of event {}, in the log {}", checked.seq, checked.checkpoint.origin));
        Ok(())
    }

    fn write(&self, archive: &[u8]) -> Done {
        write_whole(&self.output, archive, 0o644)
    }

    fn told(&self, what: &str) {
        out::note(&format!("{what}; the proof is in {}.", self.output.display()));
    }

    async fn seq(&self, session: &Session, what: &str) -> Done<u64> {
        if let Ok(seq) = what.parse() {
            return Ok(seq);
        }
        let targets = noun::targets(session, &[what.to_owned()], self.project.name())?;
        let target = targets.first().ok_or_else(|| Failure::usage("no object is named"))?;
        let events = session.client.history(target, None).await?;
        let last = events.items.last().ok_or_else(|| Failure::new(format!("{what} has no events")))?;
        Ok(last.seq.0)
    }
}

/// An entry and its proof, checked against a key, and the size of the log.
async fn proved(session: &Session, log: LogName, seq: u64, key: &LogKey) -> Done<(Vec<u8>, Proof, u64)> {
    let entry = session.client.log_event(log.as_str(), seq).await?;
    let proof = Proof::read(&session.client.log_proof(log.as_str(), seq).await?).map_err(unproved)?;
    let checkpoint = proof.verify(&entry, key).map_err(unproved)?;
    if proof.index + 1 != seq {
        return Err(Failure::new("the control plane proved another entry than was asked for"));
    }
    Ok((entry, proof, checkpoint.size))
}

/// What a proof shows, in words.
fn said(shown: &Shown) -> String {
    match &shown.about {
        About::Entry => String::from_utf8_lossy(&shown.event).into_owned(),
        About::Call(details) => {
            format!("{}\n{}", String::from_utf8_lossy(&shown.event), String::from_utf8_lossy(details))
        }
        About::Grant { shown, state, next } => {
            let until = next.as_ref().map_or_else(
                || " on: no event followed".to_owned(),
                |next| format!(" until event {} at {}", next.seq, next.at),
            );
            format!("{}\nThat holds from event {} at {}{until}", said_of_grant(shown), state.seq, state.at)
        }
    }
}

impl Verify {
    pub fn run(&self) -> Done {
        let bytes =
            std::fs::read(&self.file).map_err(|error| crate::failure::file("can't read", &self.file, &error))?;
        let given = self.key.as_ref().map(|key| std::fs::read_to_string(key).unwrap_or_else(|_| key.clone()));
        let shown = proof_file::verify(&bytes, None).map_err(unproved)?;
        let known = match given {
            Some(key) => Some(LogKey::read(&key).map_err(unproved)?),
            None => Home::find()?
                .checkpoints()?
                .logs
                .get(shown.key.origin())
                .map(|seen| LogKey::read(&seen.key).map_err(unproved))
                .transpose()?,
        };
        let shown = proof_file::verify(&bytes, known.as_ref()).map_err(unproved)?;
        // An event is MessagePack, the header of a call is JSON, and a state root lines of text.
        match (&shown.about, readable(&shown.event)) {
            (About::Entry, Ok(event)) => out::print(&event)?,
            _ => out::print(&format!("{}\n", said(&shown)))?,
        }
        out::note(&format!(
            "Entry {} is in the log {} of {} entries.",
            shown.seq, shown.checkpoint.origin, shown.checkpoint.size
        ));
        if known.is_none() {
            out::note(&format!(
                "The key came with the proof, and this machine never saw that log: compare it.\n{}",
                shown.key.as_str()
            ));
        }
        Ok(())
    }
}

fn unproved(error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("the proof does not hold: {error}"))
}

/// The event for people: its header, and the payload in hexadecimal.
fn readable(event: &[u8]) -> Done<String> {
    let record = Record::load(event).map_err(|error| Failure::new(error.to_string()))?;
    let payload: String = record.payload.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(crate::format::json(&json!({ "header": record.header, "payloadMessagePack": payload })))
}
