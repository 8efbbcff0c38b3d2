//! One line of the audit log: opened before anything is decided, closed before the answer's last byte leaves.
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mcpctl_api::cut::Why;
use mcpctl_api::otel::{Parent, Place};
use mcpctl_api::plane::{Admission, AuditEntry, AuditFailed, CallerBearer, kind};
use mcpctl_api::upstream::Reply;
use mcpctl_core::ids::Digest;
use mcpctl_core::time::Timestamp;
use parking_lot::Mutex;
use serde_json::value::RawValue;

use crate::gateway::Gateway;
use crate::trace::RequestSpan;

/// Characters of a session's id that the log shows: enough to tell sessions apart, too few to use one.
const SESSION_CHARS: usize = 8;
/// Longest text that a client chose and the log shows.
const TEXT_CHARS_MAX: usize = 256;

/// A line that is being written. Dropped without being closed (the client went away), it says so.
pub(crate) struct Opened {
    gateway: Arc<Gateway>,
    bearer: Option<CallerBearer>,
    entry: AuditEntry,
    begun: Instant,
    armed: bool,
    /// Its span, where somebody wants spans.
    span: Option<RequestSpan>,
}

impl Opened {
    /// Opens a line. It is not allowed until it is said to be.
    pub(crate) fn new(gateway: &Arc<Gateway>, bearer: Option<&CallerBearer>, project: &str, bytes: usize) -> Self {
        let entry = AuditEntry {
            at: now(),
            kind: "refusal".into(),
            token_sha: bearer.map(CallerBearer::digest),
            project: Some(shown(project)),
            request_bytes: bytes as u64,
            ..AuditEntry::default()
        };
        Self {
            gateway: gateway.clone(),
            bearer: bearer.cloned(),
            entry,
            begun: Instant::now(),
            armed: true,
            span: None,
        }
    }

    /// Opens the span of the request, which may belong to a trace already.
    pub(crate) fn traced(&mut self, given: impl FnOnce() -> Option<Parent>) {
        let Some(tracer) = &self.gateway.options.tracer else { return };
        self.span = tracer.enter(given(), self.begun).map(|place| RequestSpan::new(Arc::new(place)));
    }

    /// What is done for the request is a part of this. The era's version is that of its client.
    pub(crate) fn place(&mut self, version: &'static str, over_http: bool) -> Option<Arc<Place>> {
        self.span.as_mut().map(|span| span.spoken(version, over_http))
    }

    /// What is asked for.
    pub(crate) fn asked(&mut self, method: &str, arguments: Option<&RawValue>) {
        self.entry.method = shown(method);
        self.entry.arguments = arguments.map(|raw| Digest::blake3(raw.get().as_bytes()));
    }

    /// What the model is shown, as a digest: two that are the same say that it was shown the same.
    pub(crate) fn answered(&mut self, reply: &Reply) {
        let (Reply::Result(raw) | Reply::Error(raw)) = reply;
        self.entry.answer = Some(Digest::blake3(raw.get().as_bytes()));
        if let (Some(span), Reply::Error(error)) = (&mut self.span, reply) {
            span.refused(error);
        }
    }

    /// By which definition the tool that is called was shown.
    pub(crate) fn defined(&mut self, definition: Option<Digest>) {
        self.entry.definition = definition;
    }

    /// Who asks, and the state that it was decided in.
    pub(crate) fn admitted(&mut self, admission: &Admission) {
        let entry = &mut self.entry;
        entry.actor = Some(admission.caller.actor.clone());
        entry.owner.clone_from(&admission.caller.owner);
        entry.token_sha = admission.caller.token_sha.or(entry.token_sha);
        entry.project = Some(admission.project.name.clone());
        entry.seq = admission.seq;
        entry.via = admission.via.to_vec();
        entry.allowed = true;
    }

    /// In which session.
    pub(crate) fn in_session(&mut self, id: Option<&str>) {
        self.entry.session = id.map(|id| id.chars().take(SESSION_CHARS).collect());
    }

    /// On which server, and what there.
    pub(crate) fn about(&mut self, server: &str, tool: Option<&str>) {
        self.entry.server = Some(server.to_owned());
        if let Some(tool) = tool {
            self.entry.tool = Some(shown(tool));
        }
    }

    /// What a refused request named, which need not exist.
    pub(crate) fn named(&mut self, name: &str) {
        self.entry.tool = Some(shown(name));
    }

    /// More on the outcome.
    pub(crate) fn because(&mut self, reason: impl Into<String>) {
        self.entry.reason = Some(shown(&reason.into()));
    }

    /// The request was not allowed.
    pub(crate) fn refused(&mut self) {
        self.entry.allowed = false;
    }

    /// The request was not allowed, by a rule of the project that can be looked at again.
    pub(crate) fn refused_by(&mut self, rule: &'static str) {
        self.refused();
        self.entry.rule = Some(rule.to_owned());
    }

    /// Has it durably recorded that the call goes to its server next, for a strict project.
    pub(crate) async fn admit(&self) -> Result<(), AuditFailed> {
        let entry = AuditEntry { kind: kind::CALL_ADMITTED.into(), outcome: "admitted".into(), ..self.entry.clone() };
        self.gateway.plane.admitted(self.bearer.as_ref(), entry).await
    }

    /// Nothing is to be recorded: a ping, a notification.
    pub(crate) fn forget(mut self) {
        self.armed = false;
    }

    /// The line as it is to be written, and whom it is about.
    pub(crate) fn finished(mut self, outcome: &'static str, answer_bytes: usize) -> (Option<CallerBearer>, AuditEntry) {
        self.armed = false;
        self.finish(outcome, answer_bytes);
        (self.bearer.take(), std::mem::take(&mut self.entry))
    }

    /// Writes the line. When this returns, it survives the death of this process.
    pub(crate) async fn close(mut self, outcome: &'static str, answer_bytes: usize) -> Result<(), AuditFailed> {
        self.armed = false;
        self.finish(outcome, answer_bytes);
        let entry = std::mem::take(&mut self.entry);
        self.gateway.plane.record(self.bearer.as_ref(), entry).await
    }

    /// Writes the line of a call that was cut, and the line that says so.
    pub(crate) async fn close_cut(mut self, why: Why) {
        self.because(why.text.clone());
        let lasting = self.lasting();
        if let Err(failed) = self.close("cut", 0).await {
            tracing::error!(error = %failed, "a call that was cut could not be recorded");
        }
        lasting.cut(why).await;
    }

    /// Writes the line of a stream that opens; its end by a revocation will be another line.
    pub(crate) async fn close_opened(self) -> Result<Lasting, AuditFailed> {
        let lasting = self.lasting();
        self.close("ok", 0).await?;
        Ok(lasting)
    }

    fn lasting(&self) -> Lasting {
        let entry = AuditEntry { arguments: None, definition: None, ..self.entry.clone() };
        Lasting { gateway: self.gateway.clone(), bearer: self.bearer.clone(), entry, begun: self.begun }
    }

    fn finish(&mut self, outcome: &'static str, answer_bytes: usize) {
        let took = self.begun.elapsed();
        self.gateway.metrics.answered(&self.entry.method, outcome, took);
        if let Some(span) = self.span.take() {
            span.end(&self.entry, outcome);
        }
        self.entry.kind = if self.entry.allowed { kind(&self.entry.method) } else { "refusal" }.to_owned();
        self.entry.outcome = outcome.to_owned();
        self.entry.duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.entry.answer_bytes = answer_bytes as u64;
    }
}

/// A call or a stream that goes on: when its access ends, that is recorded too.
pub(crate) struct Lasting {
    gateway: Arc<Gateway>,
    bearer: Option<CallerBearer>,
    entry: AuditEntry,
    begun: Instant,
}

impl Lasting {
    /// Writes that it was cut. Nobody waits for an answer any more, so a failure is only told to whoever runs the gateway.
    pub(crate) async fn cut(self, why: Why) {
        let entry = AuditEntry {
            at: now(),
            kind: kind::SESSION_CUT.into(),
            allowed: false,
            // What the access was decided by says nothing of its end.
            via: Vec::new(),
            seq: why.seq,
            rule: Some(why.word.into()),
            outcome: "cut".into(),
            reason: Some(why.text),
            duration_us: u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            ..self.entry
        };
        if let Err(error) = self.gateway.plane.record(self.bearer.as_ref(), entry).await {
            tracing::error!(%error, "the end of an access could not be recorded");
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !self.armed || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        self.finish("cancelled", 0);
        let (gateway, bearer, entry) = (self.gateway.clone(), self.bearer.take(), std::mem::take(&mut self.entry));
        let tasks = gateway.tasks.clone();
        tasks.spawn(async move {
            if let Err(error) = gateway.plane.record(bearer.as_ref(), entry).await {
                tracing::error!(%error, "a cancelled request could not be recorded");
            }
        });
    }
}

/// The sort of line that a method leaves.
fn kind(method: &str) -> &'static str {
    match method {
        "initialize" | "server/discover" | "subscriptions/listen" | "GET" | "DELETE" => "session",
        method if method.ends_with("/list") => "list",
        _ => "call",
    }
}

/// A text that a client chose, shortened and without control characters: a line stays a line.
fn shown(text: &str) -> String {
    if text.len() <= TEXT_CHARS_MAX && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    text.chars().take(TEXT_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Refusals without a token that are recorded one by one in a second; the rest of them is counted into the next line.
/// Else anybody who reaches the port could fill the disk.
const ANONYMOUS_PER_SECOND: u32 = 20;

/// How many refusals of nobody in particular may be written.
#[derive(Default)]
pub(crate) struct AnonymousBudget(Mutex<(u64, u32, u64)>);

impl AnonymousBudget {
    /// Whether one more may be written in this second; `Some` with how many were not since the last.
    pub(crate) fn spend(&self, at: Timestamp) -> Option<u64> {
        let second = at.as_millis() / 1000;
        let mut state = self.0.lock();
        let (since, spent, unwritten) = &mut *state;
        if *since != second {
            (*since, *spent) = (second, 0);
        }
        if *spent == ANONYMOUS_PER_SECOND {
            *unwritten += 1;
            return None;
        }
        *spent += 1;
        Some(std::mem::take(unwritten))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_writes_can_not_forge_a_line() {
        assert_eq!(shown("a\nrefusal ok\u{1b}[2J"), "a refusal ok [2J");
        assert_eq!(shown(&"x".repeat(10_000)).len(), TEXT_CHARS_MAX);
    }

    #[test]
    fn refusals_without_a_token_are_bounded_and_none_is_forgotten() {
        let budget = AnonymousBudget::default();
        let at = Timestamp::from_millis(5_000);
        let written = (0..100).filter(|_| budget.spend(at).is_some()).count();
        assert_eq!(written, ANONYMOUS_PER_SECOND as usize);
        assert_eq!(budget.spend(at.plus_millis(1000)), Some(80));
    }
}
