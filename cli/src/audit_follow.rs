//! Follows the audit log: every entry once, in order, from a place on; a stream that breaks is begun anew where it broke.
use std::time::Duration;

use futures::StreamExt as _;
use mcpctl_api::audit_wire::{TailEnd, TailWord};
use mcpctl_api::client::{AuditFilter, AuditItem, ClientError};
use mcpctl_core::ids::Seq;

use crate::failure::{Done, Failure};
use crate::out;
use crate::session::Session;

/// Most bytes of a line that is taken.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// How often a stream that broke is begun anew without hearing anything in between, and how long to wait before.
const TRIES_MAX: u32 = 20;
const TRY_AFTER: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// Hands over entries from where the filter says, some at a time, and the position behind them: everything before it was
/// handed over. With `on`, goes on for ever.
pub async fn follow(
    session: &Session,
    mut filter: AuditFilter,
    on: bool,
    mut each: impl AsyncFnMut(&[AuditItem], Seq) -> Done,
) -> Done {
    let mut tries = 0;
    loop {
        let ended = stream(session, &mut filter, on, &mut each, &mut tries).await?;
        match ended {
            Ended::Level => return Ok(()),
            Ended::Refused => {
                return Err(Failure::new("the right to read the audit log has ended").hint("it takes run:audit"));
            }
            Ended::Failed(why) if tries >= TRIES_MAX || !on => {
                let position = filter.position.clone().unwrap_or_default();
                return Err(Failure::new(why).hint(format!("go on where it broke: --position {position}")));
            }
            Ended::Failed(why) => {
                tries += 1;
                out::note(&format!("{why}; trying again"));
                tokio::time::sleep((TRY_AFTER.0 * tries).min(TRY_AFTER.1)).await;
            }
            Ended::Slow => out::note("the reader was too slow and is served again from where it was"),
        }
    }
}

/// How one stream ended.
enum Ended {
    Level,
    Refused,
    Slow,
    Failed(String),
}

async fn stream(
    session: &Session,
    filter: &mut AuditFilter,
    on: bool,
    each: &mut impl AsyncFnMut(&[AuditItem], Seq) -> Done,
    tries: &mut u32,
) -> Done<Ended> {
    let mut pieces = match session.client.audit_tail(filter, on).await {
        Ok(pieces) => pieces,
        // What was refused is refused; what could not be reached may be there again soon.
        Err(error @ ClientError::Refused(_)) if error.status().is_none_or(|status| status < 500) => {
            return Err(error.into());
        }
        Err(error) if *tries == 0 && filter.position.is_none() => return Err(error.into()),
        Err(error) => return Ok(Ended::Failed(error.to_string())),
    };
    let mut lines = Lines::default();
    while let Some(piece) = pieces.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => return Ok(Ended::Failed(error.to_string())),
        };
        let read = lines.read(&piece)?;
        if let Some(next) = read.next {
            *tries = 0;
            each(&read.items, next).await?;
            go_on(filter, next);
        }
        if let Some(end) = read.end {
            return Ok(ended(end));
        }
    }
    Ok(Ended::Failed("the stream broke off".to_owned()))
}

fn ended(end: TailEnd) -> Ended {
    match end {
        TailEnd::Level => Ended::Level,
        TailEnd::Refused => Ended::Refused,
        TailEnd::Slow => Ended::Slow,
        TailEnd::Stopping => Ended::Failed("the control plane stops".to_owned()),
        TailEnd::Failed => Ended::Failed("the control plane can't read its audit log".to_owned()),
    }
}

/// Lines of a stream, put together from its pieces.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

/// What whole lines said.
#[derive(Debug, Default)]
struct Read {
    items: Vec<AuditItem>,
    next: Option<Seq>,
    end: Option<TailEnd>,
}

impl Lines {
    fn read(&mut self, piece: &[u8]) -> Done<Read> {
        let mut read = Read::default();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if self.begun.len() > LINE_BYTES_MAX {
                return Err(Failure::new("the control plane sent a line that is too long"));
            }
            if part.ends_with(b"\n") {
                read.line(&self.begun)?;
                self.begun.clear();
            }
        }
        Ok(read)
    }
}

impl Read {
    fn line(&mut self, line: &[u8]) -> Done {
        if let Ok(TailWord { next, end }) = serde_json::from_slice(line) {
            (self.next, self.end) = (Some(next), end);
            return Ok(());
        }
        let item: AuditItem = serde_json::from_slice(line)
            .map_err(|error| Failure::new(format!("the control plane sent a line that is no entry: {error}")))?;
        let position = item.position.as_u64();
        let position = position.ok_or_else(|| Failure::new("the control plane sent an entry without a position"))?;
        self.next = Some(Seq(position + 1));
        self.items.push(item);
        Ok(())
    }
}

/// From now on the place is known: what it began with is not asked for again.
fn go_on(filter: &mut AuditFilter, next: Seq) {
    filter.position = Some(next.to_string());
    filter.limit = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_words_are_read_whatever_pieces_they_come_in() {
        let item =
            |position: u64| AuditItem { position: position.into(), entry: mcpctl_api::plane::AuditEntry::default() };
        let text = |item: &AuditItem| serde_json::to_string(item).unwrap();
        let stream = format!("{}\n{}\n{{\"next\":9,\"end\":\"slow\"}}\n", text(&item(3)), text(&item(4)));
        for cut in 0..stream.len() {
            let (one, other) = stream.as_bytes().split_at(cut);
            let mut lines = Lines::default();
            let (first, then) = (lines.read(one).unwrap(), lines.read(other).unwrap());
            let all: Vec<_> = first.items.iter().chain(&then.items).map(|item| item.position.as_u64()).collect();
            assert_eq!(all, [Some(3), Some(4)], "cut at {cut}");
            assert_eq!((then.next, then.end), (Some(Seq(9)), Some(TailEnd::Slow)));
        }
        assert!(Lines::default().read(b"{\n").is_err());
    }

    #[test]
    fn what_was_begun_with_is_not_asked_for_again() {
        let mut filter = AuditFilter { limit: Some(10), ..AuditFilter::default() };
        go_on(&mut filter, Seq(8));
        assert_eq!((filter.position.as_deref(), filter.limit), (Some("8"), None));
    }
}
