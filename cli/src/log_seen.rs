//! Looks at a control plane's log and compares it with what was seen before: every client is an auditor.
//!
//! The key is believed at first sight. From then on the log may only grow: another key, fewer entries or another past is
//! refused, and stays refused until somebody who knows why removes what was kept.
use mcpctl_api::client::{Client, ClientError};
use mcpctl_api::server::evidence::LogName;
use mcpctl_api::wire::Consistency;
use mcpctl_tlog::seen::{self, judge};
use mcpctl_tlog::{Checkpoint, Hash, LogKey};

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
    let key = String::from_utf8_lossy(&client.log_key(log.as_str()).await?).into_owned();
    let key = LogKey::read(&key).map_err(|error| Failure::new(error.to_string()))?;
    let mut known = home.checkpoints()?;
    let expected = known.addresses.remove(&address(client, log)).unwrap_or_else(|| key.origin().to_owned());
    let seen = known.logs.remove(&expected);
    if let Some(why) = seen.as_ref().and_then(|seen| seen.refused.as_ref()) {
        return Err(refused(why, &home));
    }
    let before = seen.as_ref().and_then(|seen| Some(Checkpoint::unverified(seen.checkpoint.as_bytes()).ok()?.size));
    let shown = shown(client, log, before.unwrap_or_default()).await?;
    let kept = seen.as_ref().map(|seen| seen::Seen { key: &seen.key, note: seen.checkpoint.as_bytes() });
    let (note, proof) = (shown.checkpoint.as_bytes(), hashes(&shown.proof));
    match judge(kept, seen::Shown { key: key.as_str(), note, proof: &proof }) {
        Ok(checkpoint) => {
            let seen = Seen { key: key.as_str().to_owned(), checkpoint: shown.checkpoint, at: now(), refused: None };
            keep(&home, client, log, &expected, seen)?;
            Ok(Looked { checkpoint, key, before })
        }
        Err(why) if why.is_final() => {
            let why = why.to_string();
            keep(&home, client, log, &expected, Seen { refused: Some(why.clone()), ..seen.unwrap_or_default() })?;
            Err(refused(&why, &home))
        }
        Err(why) => Err(Failure::new(why.to_string())),
    }
}

/// The newest checkpoint, with the proof that the log goes on from an earlier size. A log that was never of that size has
/// none, and is judged without.
async fn shown(client: &Client, log: LogName, before: u64) -> Done<Consistency> {
    if before > 0 {
        match client.log_consistency(log.as_str(), before).await {
            Err(ClientError::Refused(problem)) if problem.status == 404 => {}
            shown => return Ok(shown?),
        }
    }
    let note = client.log_checkpoint(log.as_str()).await?;
    Ok(Consistency { checkpoint: String::from_utf8_lossy(&note).into_owned(), proof: Vec::new() })
}

/// What is no hash proves nothing.
fn hashes(proof: &[String]) -> Vec<Hash> {
    proof.iter().filter_map(|hash| Hash::parse_hash(hash).ok()).collect()
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
