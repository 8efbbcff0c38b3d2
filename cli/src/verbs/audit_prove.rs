//! `mcpctl audit prove` and `audit verify`: evidence of an event for somebody who trusts nobody.
use std::path::PathBuf;

use mcpctl_api::server::evidence::LogName;
use mcpctl_core::record::Record;
use mcpctl_tlog::{LogKey, Proof, proof_file};
use serde_json::json;

use super::InProject;
use crate::failure::{Done, Failure};
use crate::home::{Home, write_whole};
use crate::log_seen::look;
use crate::session::{Global, Session};
use crate::{noun, out};

/// The log that events are in.
const LOG: &str = LogName::Config.as_str();

/// What to prove.
#[derive(clap::Args)]
pub struct Prove {
    /// Seq of an event, or KIND/NAME for the last event of an object
    #[arg(value_name = "SEQ|KIND/NAME")]
    what: String,
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
        let looked = look(&session, LogName::Config).await?;
        let seq = self.seq(&session).await?;
        let event = session.client.log_event(LOG, seq).await?;
        let proof = Proof::read(&session.client.log_proof(LOG, seq).await?).map_err(unproved)?;
        // What is handed on was checked here, against the key that this machine knows.
        let checkpoint = proof.verify(&event, &looked.key).map_err(unproved)?;
        if proof.index + 1 != seq {
            return Err(Failure::new("the control plane proved another event than was asked for"));
        }
        let archive = proof_file::write(&event, &readable(&event)?, &proof, &looked.key);
        write_whole(&self.output, &archive, 0o644)?;
        out::note(&format!(
            "Event {seq} is in the log {} of {} events; the proof is in {}.",
            checkpoint.origin,
            checkpoint.size,
            self.output.display()
        ));
        Ok(())
    }

    async fn seq(&self, session: &Session) -> Done<u64> {
        if let Ok(seq) = self.what.parse() {
            return Ok(seq);
        }
        let targets = noun::targets(session, std::slice::from_ref(&self.what), self.project.name())?;
        let target = targets.first().ok_or_else(|| Failure::usage("no object is named"))?;
        let events = session.client.history(target, None).await?;
        let last = events.items.last().ok_or_else(|| Failure::new(format!("{} has no events", self.what)))?;
        Ok(last.seq.0)
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
        out::print(&readable(&shown.event)?)?;
        out::note(&format!(
            "Event {} is in the log {} of {} events.",
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
