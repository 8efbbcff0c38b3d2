//! The witnesses of our logs: asked for cosignatures whenever a log grew, by the policy file of the data folder.
//!
//! A witness that does not answer is told of and waited for. One that *refuses* saw another log than this one: that is an
//! alarm in `status`, `/metrics` and the program's log, until it cosigns again.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mcpctl_tlog::policy::{Policy, PolicyWitness};
use mcpctl_tlog::witness::AddCheckpoint;
use mcpctl_tlog::{Hash, LogKey};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Evidence, EvidenceError, LogName, Signed};

/// Name of the policy, in the data folder.
pub const POLICY_FILE: &str = "log.policy";
/// Time between two rounds.
const ROUND_EVERY: Duration = Duration::from_secs(1);
/// How long one witness may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What is known of the witnesses.
pub struct Witnesses {
    policy: PathBuf,
    client: reqwest::Client,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Why the policy can't be used, if so.
    unreadable: Option<String>,
    of: BTreeMap<(LogName, String), Seen>,
    notes: BTreeMap<LogName, (u64, Vec<u8>)>,
}

/// One witness of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Size that it saw last, as far as we know.
    size: u64,
    /// Size that it was asked about last, and cosigned.
    cosigned: u64,
    silent: Option<String>,
    refused: Option<String>,
}

/// What came of asking a witness.
enum Asked {
    Cosigned(Vec<u8>),
    /// It saw another size than we thought: ask again from there.
    Behind(u64),
    Silent(String),
    Refused(String),
}

impl Witnesses {
    /// The witnesses of a data folder.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        let built =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(ANSWER_WITHIN).build();
        let client = built.unwrap_or_else(|error| {
            tracing::error!(%error, "the client for witnesses has no limits of its own");
            reqwest::Client::new()
        });
        Self { policy: data.join(POLICY_FILE), client, known: Mutex::default() }
    }

    /// The newest checkpoint of a log that has the cosignatures that the policy asks for.
    #[must_use]
    pub fn note(&self, log: LogName) -> Option<Vec<u8>> {
        self.known.lock().notes.get(&log).map(|(_, note)| note.clone())
    }

    /// Size of that checkpoint.
    #[must_use]
    pub fn witnessed(&self, log: LogName) -> u64 {
        self.known.lock().notes.get(&log).map_or(0, |(size, _)| *size)
    }

    /// What witnesses refused, and why the policy can't be used.
    #[must_use]
    pub fn alarms(&self) -> Vec<String> {
        let known = self.known.lock();
        let refused = known.of.iter().filter_map(|((log, name), seen)| {
            Some(format!("the witness {name} refuses the {log} log: {}", seen.refused.as_ref()?))
        });
        known.unreadable.clone().into_iter().chain(refused).collect()
    }

    /// Witnesses that did not answer.
    #[must_use]
    pub fn silent(&self) -> Vec<String> {
        let known = self.known.lock();
        let silent = known.of.iter().filter_map(|((log, name), seen)| {
            Some(format!("the witness {name} of the {log} log does not answer: {}", seen.silent.as_ref()?))
        });
        silent.collect()
    }

    /// Asks the witnesses whenever a log grew, until stopped.
    pub(in crate::server) async fn follow(self: Arc<Self>, logs: Vec<Arc<Evidence>>, stop: CancellationToken) {
        loop {
            if let Some(policy) = self.read_policy() {
                for evidence in &logs {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = self.round(&policy, evidence) => {}
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ROUND_EVERY) => {}
            }
        }
    }

    fn read_policy(&self) -> Option<Policy> {
        let read = match std::fs::read_to_string(&self.policy) {
            Ok(text) => Policy::read(&text).map_err(|error| error.to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                *self.known.lock() = Known::default();
                return None;
            }
            Err(error) => Err(error.to_string()),
        };
        let why = read.as_ref().err().map(|why| format!("{} can't be used: {why}", self.policy.display()));
        let mut known = self.known.lock();
        if let Some(why) = why.as_ref().filter(|why| known.unreadable.as_ref() != Some(*why)) {
            tracing::error!(%why, "no cosignatures are collected");
        }
        known.unreadable = why;
        let policy = read.ok()?;
        // Who is no witness any more refuses nothing.
        known.of.retain(|(_, name), _| policy.witnesses.iter().any(|witness| witness.name == *name));
        Some(policy)
    }

    /// One round for one log: all its witnesses at once, and once more those that saw another size than we thought.
    async fn round(&self, policy: &Policy, evidence: &Arc<Evidence>) {
        for _ in 0..2 {
            let log = evidence.name();
            let Some(size) = evidence.newest().map(|newest| newest.checkpoint.size).filter(|size| *size > 0) else {
                return;
            };
            let asked: Vec<&PolicyWitness> = policy.witnesses.iter().filter(|witness| witness.url.is_some()).collect();
            let level = |witness: &&PolicyWitness| self.seen(log, &witness.name).cosigned >= size;
            if asked.is_empty() || asked.iter().all(level) {
                return;
            }
            let olds: Vec<u64> = asked.iter().map(|witness| self.seen(log, &witness.name).size).collect();
            let tree = evidence.clone();
            let proved = tokio::task::spawn_blocking(move || tree.prove_prefixes(&olds)).await;
            let Ok(Ok((signed, proofs))) = proved else { return };
            let asking = asked.iter().zip(proofs).map(|(witness, (old, proof))| self.ask(witness, &signed, old, proof));
            let answers = futures::future::join_all(asking).await;
            if !self.take(policy, log, &signed, asked.iter().map(|witness| &*witness.name).zip(answers)) {
                return;
            }
        }
    }

    fn seen(&self, log: LogName, name: &str) -> Seen {
        self.known.lock().of.get(&(log, name.to_owned())).cloned().unwrap_or_default()
    }

    async fn ask(&self, witness: &PolicyWitness, signed: &Signed, old: u64, proof: Vec<Hash>) -> Asked {
        let url = format!("{}/add-checkpoint", witness.url.as_deref().unwrap_or_default().trim_end_matches('/'));
        let request = AddCheckpoint { old, proof, note: signed.note.clone() };
        let sent = self.client.post(url).body(request.to_bytes()).send().await;
        let mut answer = match sent {
            Ok(answer) => answer,
            Err(error) => return Asked::Silent(error.without_url().to_string()),
        };
        let (status, mut body) = (answer.status().as_u16(), Vec::new());
        while let Ok(Some(chunk)) = answer.chunk().await {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Asked::Silent("its answer is too long".to_owned());
            }
            body.extend_from_slice(&chunk);
        }
        judge(witness, signed, old, status, &String::from_utf8_lossy(&body))
    }

    /// Takes the answers in; whether some witness is to be asked again.
    fn take<'a>(
        &self,
        policy: &Policy,
        log: LogName,
        signed: &Signed,
        answers: impl Iterator<Item = (&'a str, Asked)>,
    ) -> bool {
        let (mut note, mut again, size) = (signed.note.clone(), false, signed.checkpoint.size);
        let mut known = self.known.lock();
        for (name, answer) in answers {
            let seen = known.of.entry((log, name.to_owned())).or_default();
            match answer {
                Asked::Cosigned(line) => {
                    note.extend_from_slice(&line);
                    *seen = Seen { size, cosigned: size, ..Seen::default() };
                }
                Asked::Behind(size) => {
                    again |= seen.size != size;
                    seen.size = size;
                }
                Asked::Silent(why) => seen.silent = Some(why),
                Asked::Refused(why) => {
                    if seen.refused.as_ref() != Some(&why) {
                        tracing::error!(%log, witness = name, %why, "a witness refuses to cosign: it saw another log");
                    }
                    (seen.refused, seen.silent) = (Some(why), None);
                }
            }
        }
        if policy.satisfied(&note) {
            known.notes.insert(log, (size, note));
        }
        again
    }
}

/// What an answer of a witness means.
fn judge(witness: &PolicyWitness, signed: &Signed, old: u64, status: u16, body: &str) -> Asked {
    let size = signed.checkpoint.size;
    let said = || body.trim().chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    match status {
        200 => match witness.key.add(&signed.note, body) {
            Some(note) => Asked::Cosigned(note[signed.note.len()..].to_vec()),
            None => Asked::Refused("it answered with a cosignature that is not by its key".to_owned()),
        },
        409 => match body.trim().parse::<u64>() {
            Ok(seen) if seen > size => {
                Asked::Refused(format!("it saw {seen} entries, and the log has {size}: entries were taken away"))
            }
            Ok(seen) if seen != old => Asked::Behind(seen),
            Ok(seen) => Asked::Refused(format!("it saw another log of {seen} entries")),
            Err(_) => Asked::Refused("it saw another log".to_owned()),
        },
        403 | 404 | 422 => Asked::Refused(format!("HTTP {status}: {}", said())),
        _ => Asked::Silent(format!("HTTP {status}: {}", said())),
    }
}

/// Adds a witness to the policy of a data folder; answers the policy.
///
/// # Errors
/// When the policy can't be read or written, or the witness can't be added.
pub fn add(data: &Path, name: &str, key: &str, url: Option<&str>, needed: Option<usize>) -> Result<String, String> {
    let path = data.join(POLICY_FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("can't read {}: {error}", path.display())),
    };
    let policy = Policy::read(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = policy.with(name, key, url, needed)?;
    let draft = path.with_extension("policy.new");
    let written = std::fs::write(&draft, &text).and_then(|()| std::fs::rename(&draft, &path));
    written.map_err(|error| format!("can't write {}: {error}", path.display()))?;
    Ok(text)
}

/// Public keys of the logs of a data folder, for a witness to be told of.
///
/// # Errors
/// When a key can't be used.
pub fn log_keys(data: &Path) -> Result<Vec<LogKey>, EvidenceError> {
    let config = super::key::open(data, LogName::Config, None)?;
    let of = |log: LogName| {
        let signer = super::key::open(data, log, Some(&log.beside(config.key().origin())))?;
        Ok(signer.key().clone())
    };
    LogName::ALL.into_iter().map(of).collect()
}
