//! Bringing back what was.
use mcpctl_core::ids::Seq;
use reqwest::Method;

use super::objects::dry;
use super::transport::Ask;
use super::{Client, ClientError, Target, Write};
use crate::undo_wire::Undoing;

/// What is brought back.
#[derive(Clone, Debug)]
pub enum Undo {
    /// What was before an event, and those of the same command or request.
    Event(Seq),
    /// What an object was at a point of the past.
    Object {
        /// The object.
        target: Target,
        /// The point.
        at: String,
    },
}

impl Client {
    /// Brings back what was, or says what that would come to.
    ///
    /// # Errors
    /// See [`ClientError`]. With conflicts, unless it is forced or a dry run.
    pub async fn undo(&self, undo: &Undo, write: Write, force: bool) -> Result<Undoing, ClientError> {
        let mut url = match undo {
            Undo::Event(seq) => self.address().api(&["history", &seq.to_string(), "revert"]),
            Undo::Object { target, at } => {
                let mut url = self.object_url(target, &["restore"]);
                url.query_pairs_mut().append_pair("at", at);
                url
            }
        };
        if force {
            url.query_pairs_mut().append_pair("force", "true");
        }
        Ok(self.json(Ask::once(Method::POST, dry(url, write), None)).await?.body)
    }
}
