//! Looking at what runs and what happened: status, instances, logs, audit.
use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use mcpctl_core::ids::Seq;
use serde::{Deserialize, Serialize};

use super::transport::Ask;
use super::{Client, ClientError};
use crate::audit_wire::{AuditSession, EraseRequest, Erased, SessionShown};
use crate::plane::AuditEntry;
use crate::wire::{Gateway, Instance, List, REVISION, Status};

/// Which audit events are asked for. Empty fields ask for all.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Query parameters by the names of the API: `project`, `kind`, `userName`, `tokenName`, `tokenSha`, `session`, `server`,
    /// `tool`, `outcome`, `from`, `to`, `before`.
    pub fields: Vec<(&'static str, String)>,
    /// Where to go on.
    pub position: Option<String>,
    /// Most events of one page.
    pub limit: Option<u32>,
}

impl AuditFilter {
    fn on(&self, mut url: url::Url) -> url::Url {
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(&self.fields);
            if let Some(position) = &self.position {
                query.append_pair("position", position);
            }
            if let Some(limit) = self.limit {
                query.append_pair("limit", &limit.to_string());
            }
        }
        // Without any filter no question mark is left behind.
        if url.query() == Some("") {
            url.set_query(None);
        }
        url
    }
}

/// One audit event and its place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditItem {
    /// Position in the audit log.
    pub position: serde_json::Value,
    /// The event.
    #[serde(flatten)]
    pub entry: AuditEntry,
}

/// Answer to `/healthz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// HTTP status.
    pub status: u16,
    /// Seq of the newest state that it knows, when it says so.
    pub revision: Option<Seq>,
    /// What is wrong, when it says so.
    pub trouble: Option<String>,
}

/// Pieces of a log, as they come.
pub type LogLines = Pin<Box<dyn Stream<Item = Result<Bytes, ClientError>> + Send>>;

impl Client {
    /// State of the control plane.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        Ok(self.json(Ask::get(self.address().api(&["status"]))).await?.body)
    }

    /// Gateways that have a stream, for whoever may view everything.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn gateways(&self) -> Result<List<Gateway>, ClientError> {
        Ok(self.json(Ask::get(self.address().api(&["gateways"]))).await?.body)
    }

    /// Running copies, of one server or of all.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn instances(&self, server: Option<&str>) -> Result<List<Instance>, ClientError> {
        let mut url = self.address().api(&["instances"]);
        if let Some(server) = server {
            url.query_pairs_mut().append_pair("server", server);
        }
        Ok(self.json(Ask::get(url)).await?.body)
    }

    /// The last lines that an instance, or the instances of a server, wrote to their standard error.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn logs(&self, of: &str, tail: Option<u32>) -> Result<LogLines, ClientError> {
        self.log_stream(of, tail, false).await
    }

    /// The same, and then each line as it is written.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn follow_logs(&self, of: &str, tail: Option<u32>) -> Result<LogLines, ClientError> {
        self.log_stream(of, tail, true).await
    }

    async fn log_stream(&self, of: &str, tail: Option<u32>, follow: bool) -> Result<LogLines, ClientError> {
        let mut url = self.address().api(&["instances", of, "logs"]);
        if let Some(tail) = tail {
            url.query_pairs_mut().append_pair("tail", &tail.to_string());
        }
        if follow {
            url.query_pairs_mut().append_pair("follow", "true");
        }
        let response = self.send(Ask::get(url)).await?;
        let client = self.clone();
        Ok(Box::pin(response.bytes_stream().map(move |piece| piece.map_err(|error| client.failed(&error)))))
    }

    /// A page of audit events.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn audit_events(&self, filter: &AuditFilter) -> Result<List<AuditItem>, ClientError> {
        Ok(self.json(Ask::get(filter.on(self.address().api(&["audit", "events"])))).await?.body)
    }

    /// Lines of JSON: audit events as they are written, and words about where the stream is
    /// ([`TailWord`](crate::audit_wire::TailWord)).
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn audit_tail(&self, filter: &AuditFilter, follow: bool) -> Result<LogLines, ClientError> {
        let mut url = filter.on(self.address().api(&["audit", "tail"]));
        if follow {
            url.query_pairs_mut().append_pair("follow", "true");
        }
        let response = self.send(Ask::get(url)).await?;
        let client = self.clone();
        Ok(Box::pin(response.bytes_stream().map(move |piece| piece.map_err(|error| client.failed(&error)))))
    }

    /// A page of sessions, the newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn audit_sessions(&self, filter: &AuditFilter) -> Result<List<AuditSession>, ClientError> {
        Ok(self.json(Ask::get(filter.on(self.address().api(&["audit", "sessions"])))).await?.body)
    }

    /// One session with its entries.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn audit_session(&self, id: &str, filter: &AuditFilter) -> Result<SessionShown, ClientError> {
        Ok(self.json(Ask::get(filter.on(self.address().api(&["audit", "sessions", id])))).await?.body)
    }

    /// Erases what the audit log says of a subject, or says what that would be.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn audit_erase(&self, subject: &str, dry_run: bool) -> Result<Erased, ClientError> {
        let body = serde_json::json!(EraseRequest { subject: subject.to_owned(), dry_run });
        let url = self.address().api(&["audit", "erase"]);
        Ok(self.json(Ask::once(reqwest::Method::POST, url, Some(body))).await?.body)
    }

    /// Whether it is alive. Also fits a gateway.
    ///
    /// # Errors
    /// When it can't be reached.
    pub async fn healthz(&self) -> Result<Health, ClientError> {
        let response = self.send(Ask::get(self.address().at(&["healthz"]))).await;
        match response {
            Ok(response) => {
                let revision = response.headers().get(REVISION).and_then(|value| value.to_str().ok()?.parse().ok());
                Ok(Health { status: response.status().as_u16(), revision, trouble: None })
            }
            Err(ClientError::Refused(problem)) => {
                let trouble = Some(problem.detail).filter(|detail| !detail.is_empty());
                Ok(Health { status: problem.status, revision: problem.seq, trouble })
            }
            Err(error) => Err(error),
        }
    }
}
