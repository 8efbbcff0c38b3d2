//! Looks at a control plane's log and compares it with what was seen before: every client is an auditor.
//!
//! The key is believed at first sight. From then on the log may only grow: another key, fewer entries or another past is
//! refused, and stays refused until somebody who knows why removes what was kept.
use mcpctl_api::client::{Client, ClientError};
use mcpctl_api::server::evidence::LogName;
use mcpctl_tlog::consistency::{Fork, check, needs_proof};
use mcpctl_tlog::{Checkpoint, CheckpointError, Hash, LogKey};

use crate::failure::{Done, Failure};
use crate::format;
use crate::home::{Checkpoints, Home, Seen};

/// A log that goes on from what was seen before.
pub struct Looked {
    /// Its newest checkpoint.
    pub checkpoint: Checkpoint,
    /// Its key.
    pub key: LogKey,
    /// Its size when it was seen before; `None` at first sight.
    pub before: Option<u64>,
}

/// Looks at a log, and remembers it.
pub async fn look(client: &Client, log: LogName) -> Done<Looked> {
    let home = Home::find()?;
    let shown = client.log_key(log.as_str()).await?;
    let key = LogKey::read(&String::from_utf8_lossy(&shown)).map_err(|error| Failure::new(error.to_string()))?;
    let mut known = home.checkpoints()?;
    let expected = known.addresses.remove(&address(client, log)).unwrap_or_else(|| key.origin().to_owned());
    let seen = known.logs.remove(&expected);
    if let Some(why) = seen.as_ref().and_then(|seen| seen.refused.as_ref()) {
        return Err(refused(why, &home));
    }
    let shown = match seen.as_ref().filter(|seen| seen.key != key.as_str()) {
        Some(seen) => Err(format!("the log shows the key {}, and its key was {}", key.as_str(), seen.key)),
        None => newest(client, log, seen.as_ref(), key).await?,
    };
    match shown {
        Ok((looked, note)) => {
            let seen = Seen { key: looked.key.as_str().to_owned(), checkpoint: note, at: now(), refused: None };
            keep(&home, client, log, &expected, seen)?;
            Ok(looked)
        }
        Err(why) => {
            keep(&home, client, log, &expected, Seen { refused: Some(why.clone()), ..seen.unwrap_or_default() })?;
            Err(refused(&why, &home))
        }
    }
}

/// Where a log is seen: the config log at the address of its control plane, another below it.
fn address(client: &Client, log: LogName) -> String {
    let address = client.address().to_string();
    if log == LogName::Config { address } else { format!("{}/log/{log}", address.trim_end_matches('/')) }
}

fn keep(home: &Home, client: &Client, log: LogName, origin: &str, seen: Seen) -> Done {
    home.update_checkpoints(|known| {
        known.logs.insert(origin.to_owned(), seen);
        if !client.address().is_loopback() {
            known.addresses.insert(address(client, log), origin.to_owned());
        }
    })
}

/// A log that grew is looked at again after this many seconds; one that shows less than was seen, at once.
const LOOK_EVERY_SECONDS: u64 = 60;

/// After every command: what the answers said of the log must go on from what was seen before.
pub async fn contact(client: &Client) -> Done {
    let Some(shown) = client.newest_checkpoint() else { return Ok(()) };
    let home = Home::find()?;
    let due = || Ok::<_, Failure>(due(&home.checkpoints()?, &address(client, LogName::Config), &shown, now()));
    // A look that could not be had is no reason to fail a command that was done; one that showed another log is.
    if due()? == Due::Look && glance(client).await.is_ok() {
        return Ok(());
    }
    match due()? {
        Due::Refused(why) => Err(refused(&why, &home)),
        Due::Nothing | Due::Look => Ok(()),
    }
}

/// In seconds since 1970.
fn now() -> u64 {
    format::now().as_millis() / 1000
}

/// What is to be done about a log that was named in passing.
#[derive(Debug, PartialEq)]
enum Due {
    Nothing,
    Look,
    Refused(String),
}

fn due(known: &Checkpoints, address: &str, shown: &str, now: u64) -> Due {
    let mut words = shown.split(' ');
    let (Some(origin), Some(size), Some(root)) = (words.next(), words.next(), words.next()) else {
        return Due::Nothing;
    };
    let expected = known.addresses.get(address).map_or(origin, String::as_str);
    let Some(seen) = known.logs.get(expected) else { return Due::Look };
    if let Some(why) = &seen.refused {
        return Due::Refused(why.clone());
    }
    let (Ok(before), Ok(size)) = (Checkpoint::unverified(seen.checkpoint.as_bytes()), size.parse::<u64>()) else {
        return Due::Look;
    };
    let same = size == before.size && root == before.root.to_string();
    let soon = size > before.size && now.saturating_sub(seen.at) < LOOK_EVERY_SECONDS;
    if expected == origin && (same || soon) { Due::Nothing } else { Due::Look }
}

/// The same in passing: a control plane that shows no log (an older one, or to a token) is let be.
pub async fn glance(client: &Client) -> Done {
    match client.log_key(LogName::Config.as_str()).await {
        Ok(_) => look(client, LogName::Config).await.map(drop),
        Err(_) => {
            let home = Home::find()?;
            let known = home.checkpoints()?;
            let seen = known.addresses.get(&address(client, LogName::Config)).and_then(|origin| known.logs.get(origin));
            let why = seen.and_then(|seen| seen.refused.as_ref());
            why.map_or(Ok(()), |why| Err(refused(why, &home)))
        }
    }
}

/// What was decided about the log: it is believed, or why not.
type Judged<T> = Result<T, String>;

async fn newest(client: &Client, log: LogName, seen: Option<&Seen>, key: LogKey) -> Done<Judged<(Looked, String)>> {
    let note = client.log_checkpoint(log.as_str()).await?;
    let now = match key.open(&note) {
        Ok(now) => now,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let before = seen.map(|seen| key.open(seen.checkpoint.as_bytes())).transpose();
    let before = before.map_err(|error: CheckpointError| Failure::new(format!("what was kept of the log: {error}")))?;
    let Some(before) = before else {
        let text = String::from_utf8_lossy(&note).into_owned();
        return Ok(Ok((Looked { checkpoint: now, key, before: None }, text)));
    };
    Ok(match went_on(client, log, &key, &before, now, note).await? {
        Ok((checkpoint, note)) => Ok((Looked { checkpoint, key, before: Some(before.size) }, note)),
        Err(fork) => Err(fork.to_string()),
    })
}

async fn went_on(
    client: &Client,
    log: LogName,
    key: &LogKey,
    before: &Checkpoint,
    now: Checkpoint,
    note: Vec<u8>,
) -> Done<Result<(Checkpoint, String), Fork>> {
    match needs_proof(before, &now) {
        Err(fork) => return Ok(Err(fork)),
        Ok(false) => return Ok(Ok((now, String::from_utf8_lossy(&note).into_owned()))),
        Ok(true) => {}
    }
    let other = || Fork::Other { origin: before.origin.clone(), before: before.size };
    let shown = match client.log_consistency(log.as_str(), before.size).await {
        Err(ClientError::Refused(problem)) if problem.status == 404 => return Ok(Err(other())),
        shown => shown?,
    };
    let Ok(now) = key.open(shown.checkpoint.as_bytes()) else { return Ok(Err(other())) };
    let proof: Result<Vec<Hash>, _> = shown.proof.iter().map(|hash| Hash::parse_hash(hash)).collect();
    let Ok(proof) = proof else { return Ok(Err(other())) };
    Ok(check(before, &now, &proof).map(|()| (now, shown.checkpoint)))
}

fn refused(why: &str, home: &Home) -> Failure {
    Failure::new(format!("THE LOG IS NOT THE ONE THAT WAS SEEN BEFORE: {why}"))
        .note("Somebody changed or took away what had been recorded, or this is another control plane at the same address.")
        .hint(format!(
            "keep {0} as evidence and ask who runs it; if you know why (it was set up anew), remove its entry from {0}",
            home.folder().join("checkpoints").display()
        ))
}

#[cfg(test)]
mod tests {
    use mcpctl_tlog::{LogSigner, record_hash};

    use super::*;

    fn known() -> Checkpoints {
        let log = LogSigner::read(&LogSigner::generate("o", &[1; 32]).unwrap()).unwrap();
        let note = log.sign(7, record_hash(b"x")).unwrap();
        let checkpoint = String::from_utf8(note).unwrap();
        let seen = Seen { key: log.key().as_str().to_owned(), checkpoint, at: 1_000, refused: None };
        Checkpoints {
            logs: [("o".to_owned(), seen)].into(),
            addresses: [("https://a/".to_owned(), "o".to_owned())].into(),
        }
    }

    #[test]
    fn a_log_is_looked_at_when_it_shows_less_or_other_than_was_seen_and_else_once_a_minute() {
        let (known, root) = (known(), record_hash(b"x"));
        let due = |shown: String, now| due(&known, "https://a/", &shown, now);
        assert_eq!(due(format!("o 7 {root}"), 9_999), Due::Nothing, "nothing changed");
        assert_eq!(due("o 8 other".to_owned(), 1_030), Due::Nothing, "it grew, and was looked at just now");
        assert_eq!(due("o 8 other".to_owned(), 1_060), Due::Look);
        assert_eq!(due("o 7 other".to_owned(), 1_001), Due::Look, "another root at the same size");
        assert_eq!(due("o 6 other".to_owned(), 1_001), Due::Look, "it became shorter");
        assert_eq!(due("p 9 other".to_owned(), 1_001), Due::Look, "another log at this address");
        assert_eq!(due("nonsense".to_owned(), 1_001), Due::Nothing);
    }

    #[test]
    fn a_log_that_was_refused_once_is_refused_by_every_command() {
        let mut known = known();
        known.logs.get_mut("o").unwrap().refused = Some("it forked".to_owned());
        assert_eq!(due(&known, "https://a/", "o 9 x", 1_001), Due::Refused("it forked".to_owned()));
        assert_eq!(due(&known, "https://elsewhere/", "o 9 x", 1_001), Due::Refused("it forked".to_owned()));
    }
}
