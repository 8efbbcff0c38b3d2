//! Hands entries on: a batch is given to the receiver, and only when it is safe there the cursor moves. What is not taken
//! is offered again, in the same order.
use std::time::{Duration, Instant};

use mcpctl_api::client::AuditItem;
use mcpctl_core::ids::Seq;

use super::{Cursor, Form, Sink, Source};
use crate::failure::{Done, Failure};
use crate::out;

/// Waits between two offers.
const WAIT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// A delivery.
pub struct Deliver {
    /// As what.
    pub form: Form,
    /// From where.
    pub source: Source,
    /// To whom.
    pub sink: Sink,
    /// How far it has come.
    pub cursor: Option<Cursor>,
    /// How long a batch is offered before the delivery gives up.
    pub patience: Duration,
    /// Entries delivered.
    pub delivered: u64,
}

impl Deliver {
    /// Delivers a batch, and takes down that everything before `next` was.
    ///
    /// # Errors
    /// When the receiver refuses it for good, takes nothing for too long, or the cursor can't be written.
    pub async fn batch(&mut self, items: &[AuditItem], next: Seq) -> Done {
        if !items.is_empty() {
            self.offer(items).await?;
            self.delivered += items.len() as u64;
        }
        match &mut self.cursor {
            Some(cursor) => cursor.write(next),
            None => Ok(()),
        }
    }

    async fn offer(&mut self, items: &[AuditItem]) -> Done {
        let (begun, mut wait) = (Instant::now(), WAIT.0);
        loop {
            let refused = match self.sink.take(self.form, &self.source, items).await {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            let first = items.first().map(|item| item.position.to_string()).unwrap_or_default();
            let failure = |why: &str| {
                Failure::new(format!("{} {why} (from position {first} on)", self.sink))
                    .hint("nothing is lost: run it again with the same --cursor-file, or with --position")
            };
            if refused.for_good {
                return Err(failure(&format!("refuses the entries: {}", refused.why)));
            }
            if begun.elapsed() + wait > self.patience {
                return Err(failure(&format!("takes no entries: {}", refused.why)));
            }
            out::note(&format!("{} takes no entries: {}; trying again", self.sink, refused.why));
            tokio::time::sleep(refused.after.unwrap_or(wait).min(WAIT.1)).await;
            wait = (wait * 2).min(WAIT.1);
        }
    }
}
