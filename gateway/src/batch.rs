//! Several messages at once, which only MCP 2025-03-26 has.
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::audit::Opened;
use crate::call::Incoming;
use crate::client::Client;
use crate::dialect::WITH_BATCHES;
use crate::exchange::{Answered, Request, Way, describe};
use crate::message::Message;
use crate::outlet::outlet;
use crate::rpc_error::{INVALID_REQUEST, RpcError};
use crate::trace;

impl Request<'_> {
    /// Does and answers all of them. Each is done and recorded by itself, one after the other.
    pub(crate) async fn batch(&self, audit: Opened, all: Vec<&RawValue>) -> Answered {
        if !self.may_batch() {
            let error =
                RpcError::bad_request(INVALID_REQUEST, "batches are known to MCP 2025-03-26 only: send one message");
            return self.refuse(audit, None, &error).await;
        }
        audit.forget();
        let mut answers: Vec<u8> = Vec::new();
        for one in all {
            let answered = Box::pin(self.one_of_batch(one)).await;
            if answered.cut {
                return answered;
            }
            if let Some(message) = answered.message {
                answers.push(if answers.is_empty() { b'[' } else { b',' });
                message.pieces.iter().for_each(|piece| answers.extend_from_slice(piece));
            }
        }
        if answers.is_empty() {
            return Answered::empty(202);
        }
        answers.push(b']');
        Answered::new(200, Message::whole(answers))
    }

    async fn one_of_batch(&self, raw: &RawValue) -> Answered {
        let incoming = Incoming::read_one(raw);
        let mut audit = Opened::new(self.gateway, Some(&self.arrival.bearer), &self.arrival.project, raw.get().len());
        audit.admitted(self.admission);
        describe(&incoming, &mut audit);
        audit.traced(|| trace::given(&self.arrival.way, &incoming));
        // Answers are sent together, so there is no stream for what comes before them.
        let (closed, _) = outlet();
        let request = Request { outlet: &closed, ..*self };
        match incoming {
            Ok(Incoming::Request(parsed)) if &*parsed.method == "initialize" => {
                let error = RpcError::new(INVALID_REQUEST, "`initialize` can't be part of a batch");
                request.refuse(audit, parsed.id, &error).await
            }
            other => request.message(audit, other).await,
        }
    }

    /// Whether the client speaks the version that has batches. Without a session only the header can say another.
    fn may_batch(&self) -> bool {
        let speaks = |client: &Arc<Client>| client.dialect.is_some_and(|dialect| dialect.version == WITH_BATCHES);
        match &self.arrival.way {
            Way::Stdio(client) => client.lock().as_ref().is_some_and(speaks),
            Way::Http { session, mirrored, .. } => match self.session(session.as_deref()) {
                Ok(Some(client)) => speaks(&client),
                Ok(None) => mirrored.version.as_deref().is_none_or(|version| version == WITH_BATCHES),
                Err(_) => false,
            },
        }
    }
}
