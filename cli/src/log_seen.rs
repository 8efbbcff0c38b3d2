//! Looks at a control plane's log and compares it with what was seen before: every client is an auditor.
//!
//! The key is believed at first sight. From then on the log may only grow: another key, fewer entries or another past is
//! refused, and stays refused until somebody who knows why removes what was kept.
use mcpctl_api::client::ClientError;
use mcpctl_api::server::evidence::LogName;
use mcpctl_tlog::consistency::{Fork, check, needs_proof};
use mcpctl_tlog::{Checkpoint, CheckpointError, Hash, LogKey};

use crate::failure::{Done, Failure};
use crate::home::{Home, Seen};
use crate::session::Session;

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
pub async fn look(session: &Session, log: LogName) -> Done<Looked> {
    let home = Home::find()?;
    let shown = session.client.log_key(log.as_str()).await?;
    let key = LogKey::read(&String::from_utf8_lossy(&shown)).map_err(|error| Failure::new(error.to_string()))?;
    let mut known = home.checkpoints()?;
    let expected = known.addresses.remove(&address(session, log)).unwrap_or_else(|| key.origin().to_owned());
    let seen = known.logs.remove(&expected);
    if let Some(why) = seen.as_ref().and_then(|seen| seen.refused.as_ref()) {
        return Err(refused(why, &home));
    }
    let shown = match seen.as_ref().filter(|seen| seen.key != key.as_str()) {
        Some(seen) => Err(format!("the log shows the key {}, and its key was {}", key.as_str(), seen.key)),
        None => newest(session, log, seen.as_ref(), key).await?,
    };
    match shown {
        Ok((looked, note)) => {
            let seen = Seen { key: looked.key.as_str().to_owned(), checkpoint: note, refused: None };
            keep(&home, session, log, &expected, seen)?;
            Ok(looked)
        }
        Err(why) => {
            keep(&home, session, log, &expected, Seen { refused: Some(why.clone()), ..seen.unwrap_or_default() })?;
            Err(refused(&why, &home))
        }
    }
}

/// Where a log is seen: the config log at the address of its control plane, another below it.
fn address(session: &Session, log: LogName) -> String {
    let address = session.client.address().to_string();
    if log == LogName::Config { address } else { format!("{}/log/{log}", address.trim_end_matches('/')) }
}

fn keep(home: &Home, session: &Session, log: LogName, origin: &str, seen: Seen) -> Done {
    home.update_checkpoints(|known| {
        known.logs.insert(origin.to_owned(), seen);
        if !session.client.address().is_loopback() {
            known.addresses.insert(address(session, log), origin.to_owned());
        }
    })
}

/// The same in passing: a control plane that shows no log (an older one, or to a token) is let be.
pub async fn glance(session: &Session) -> Done {
    match session.client.log_key(LogName::Config.as_str()).await {
        Ok(_) => look(session, LogName::Config).await.map(drop),
        Err(_) => {
            let home = Home::find()?;
            let known = home.checkpoints()?;
            let seen =
                known.addresses.get(&address(session, LogName::Config)).and_then(|origin| known.logs.get(origin));
            let why = seen.and_then(|seen| seen.refused.as_ref());
            why.map_or(Ok(()), |why| Err(refused(why, &home)))
        }
    }
}

/// What was decided about the log: it is believed, or why not.
type Judged<T> = Result<T, String>;

async fn newest(session: &Session, log: LogName, seen: Option<&Seen>, key: LogKey) -> Done<Judged<(Looked, String)>> {
    let note = session.client.log_checkpoint(log.as_str()).await?;
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
    Ok(match went_on(session, log, &key, &before, now, note).await? {
        Ok((checkpoint, note)) => Ok((Looked { checkpoint, key, before: Some(before.size) }, note)),
        Err(fork) => Err(fork.to_string()),
    })
}

async fn went_on(
    session: &Session,
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
    let shown = match session.client.log_consistency(log.as_str(), before.size).await {
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
