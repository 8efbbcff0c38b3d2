//! A group of commands that share one sync: the state as it will be, the records for it, and who waits.
use std::panic::{AssertUnwindSafe, catch_unwind};

use mcpctl_core::access::{Ask, Verb, decide};
use mcpctl_core::actor::Actor;
use mcpctl_core::command::{self, Asking, Command, Deed, Draft, Outcome, Place};
use mcpctl_core::ids::{RequestId, Seq, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::object::Object;
use mcpctl_core::reach::{Change, Reach, reach};
use mcpctl_core::record::{AuditAnchor, Header, Record, StoredRecord};
use mcpctl_core::refusal::{Refusal, Violation};
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use tokio::sync::oneshot;

use super::clock::{self, Clock};
use super::writer::{Answered, Committed, Job, Message, Submission, WriteError};
use crate::wire::REQUEST_ID;

/// Most events that are due at one look; the rest is found at the next.
const DUE_MAX: usize = 256;

/// A group of commands.
pub(super) struct Group {
    state: State,
    clock: Clock,
    records: Vec<StoredRecord>,
    /// For each command whose events may take access away: the seq of the last of them, and their reach.
    reductions: Vec<(Seq, Reach)>,
    /// The reach of the events of the command that is decided now.
    reach: Reach,
    waiting: Vec<Waiting>,
    /// Where the audit log stands, for the first event.
    anchor: Option<AuditAnchor>,
}

/// Somebody who waits, and what they will be told. Nobody is told anything before it is durable.
struct Waiting {
    reply: oneshot::Sender<Answered>,
    answer: Answered,
    /// It was decided on, or made, records of this group.
    stands_on_records: bool,
}

/// What commands would come to, decided on a copy of a state: nothing is appended, nobody is told.
pub(super) struct Foreseen {
    /// What would become of each.
    pub(super) committed: Vec<Committed>,
    /// The state as it would be.
    pub(super) state: State,
    /// The events that would be appended, in order.
    pub(super) headers: Vec<Header>,
}

/// What a command was for.
#[derive(Clone, Copy, Default)]
struct Why<'a> {
    request: Option<&'a RequestId>,
    reason: Option<&'a str>,
}

impl Group {
    /// Decides commands as the writer would, each against what the ones before it would leave.
    ///
    /// # Errors
    /// The refusal of the first that would be refused.
    pub(super) fn foresee(state: State, submissions: &[Submission]) -> Result<Foreseen, WriteError> {
        let mut group = Self::on(state, Clock::Wall);
        let committed = group.each(submissions, 0, None)?;
        let headers = group.records.iter().filter_map(|stored| Some(Record::load(&stored.bytes).ok()?.header));
        Ok(Foreseen { committed, headers: headers.collect(), state: group.state })
    }

    pub(super) fn on(state: State, clock: Clock) -> Self {
        let (records, reductions, waiting) = (Vec::new(), Vec::new(), Vec::new());
        Self { state, clock, records, reductions, reach: Reach::nothing(), waiting, anchor: None }
    }

    /// The same, whose first event says where the audit log stands.
    pub(super) fn anchored(self, anchor: Option<AuditAnchor>) -> Self {
        Self { anchor, ..self }
    }

    pub(super) fn records(&self) -> &[StoredRecord] {
        &self.records
    }

    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// What its commands may have taken away, to be told before anybody is answered.
    pub(super) fn reductions(&mut self) -> Vec<(Seq, Reach)> {
        std::mem::take(&mut self.reductions)
    }

    /// Tells everybody, once the records are durable.
    pub(super) fn answer(self) {
        for waiting in self.waiting {
            let _ = waiting.reply.send(waiting.answer);
        }
    }

    /// The records were not appended: what stands on them, a refusal too, is not so.
    pub(super) fn answer_failed(self, error: &WriteError) {
        for waiting in self.waiting {
            let answer = if waiting.stands_on_records { Err(error.clone()) } else { waiting.answer };
            let _ = waiting.reply.send(answer);
        }
    }

    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Due => self.take_due(),
            Message::Anchor => self.take_anchor(),
            // Asked again in a moment, when no group is under way.
            Message::Recover => {}
            Message::Do(job) => self.take_job(job),
        }
    }

    fn take_job(&mut self, job: Job) {
        let (state, records) = (self.state.clone(), self.records.len());
        let Job { submissions, following, dry_run, reason, reply } = job;
        // A bug in one decision must not end all writing.
        let decided = catch_unwind(AssertUnwindSafe(|| {
            let mut done = self.each(&submissions, 0, reason.as_deref())?;
            if let Some(following) = following {
                let later = following(&self.state);
                done.extend(self.each(&later, submissions.len(), reason.as_deref())?);
            }
            Ok(done)
        }));
        let answer = decided.unwrap_or_else(|_| {
            tracing::error!("deciding a command panicked; nothing of it was done");
            Err(WriteError::Bug)
        });
        let reach = std::mem::take(&mut self.reach);
        if dry_run || answer.is_err() {
            self.state = state;
            self.records.truncate(records);
        } else if !reach.is_nothing() {
            self.reductions.push((self.state.seq(), reach));
        }
        self.waiting.push(Waiting { reply, answer, stands_on_records: !self.records.is_empty() });
    }

    fn each(&mut self, submissions: &[Submission], first: usize, reason: Option<&str>) -> Answered {
        let each = submissions.iter().enumerate();
        each.map(|(index, submission)| {
            self.one(submission, reason).map_err(|refusal| WriteError::Refused { index: first + index, refusal })
        })
        .collect()
    }

    fn one(&mut self, submission: &Submission, reason: Option<&str>) -> Result<Committed, Refusal> {
        if let Some(before) = repeated(&self.state, submission)? {
            return Ok(before);
        }
        let now = self.clock.now().max(self.state.last_at());
        let asking = Asking {
            caller: &submission.caller,
            impersonator: submission.impersonator.as_ref(),
            now,
            random: u128::from_be_bytes(clock::random()),
        };
        let decided = command::decide(&self.state, &asking, &submission.command)?;
        let before = self.state.by_uid(decided.object).cloned();
        let also = self.others(&decided.drafts, decided.object, &submission.caller, now);
        let earlier = std::mem::take(&mut self.reach);
        for draft in &decided.drafts {
            let why = Why { request: submission.request.as_ref(), reason };
            self.append(draft, &asking, why)?;
        }
        // Whoever revokes what is revoked wants it dead all the same.
        let again = decided.outcome == Outcome::Unchanged && matches!(submission.command.deed, Deed::Act(_));
        let reduces = again || !self.reach.is_nothing();
        self.reach.merge(earlier);
        Ok(Committed {
            outcome: decided.outcome,
            seq: self.state.seq(),
            object: self.state.by_uid(decided.object).cloned().or_else(|| before.clone()),
            before,
            also,
            repeated: false,
            reduces,
        })
    }

    /// What else changes, as far as the caller may see it.
    fn others(&self, drafts: &[Draft], object: Uid, caller: &Actor, now: Timestamp) -> Vec<String> {
        let sees = |other: &Object| decide(&self.state, caller, &Ask::on(Verb::View, other), now).allowed;
        let others = drafts.iter().filter(|draft| draft.object != object);
        others
            .filter(|draft| self.state.by_uid(draft.object).is_some_and(|other| sees(other)))
            .map(|draft| format!("{}/{} {}", draft.kind, draft.name, draft.event.event))
            .collect()
    }

    fn append(&mut self, draft: &Draft, asking: &Asking<'_>, why: Why<'_>) -> Result<(), Refusal> {
        let place = Place {
            seq: self.state.seq().next(),
            id: clock::event_id(asking.now),
            at: asking.now,
            prev: self.state.head(),
            actor: asking.actor(),
            on_behalf_of: asking.on_behalf_of(),
            request: why.request,
            reason: why.reason,
        };
        let audit = self.anchor.filter(|_| self.records.is_empty());
        let record = Record { header: Header { audit, ..draft.header(place) }, payload: draft.event.payload.clone() };
        let stored = record.store().map_err(|error| invalid("", error.to_string()))?;
        let fold = self.state.fold(&record, stored.hash).map_err(|error| invalid("", error.to_string()))?;
        let (before, after) = (fold.before.as_deref(), fold.after.as_deref());
        let change = Change { kind: record.header.kind, event: &record.header.event, before, after };
        self.reach.merge(reach(&self.state, &change));
        self.records.push(stored);
        Ok(())
    }

    /// Appends events whose moment has come.
    fn take_due(&mut self) {
        let now = self.clock.now().max(self.state.last_at());
        let actor = Actor::system("expiry");
        for _ in 0..DUE_MAX {
            let Some((_, uid)) = self.state.next_due().filter(|(at, _)| *at <= now) else { break };
            let Some(draft) = self.due_draft(uid, now) else { break };
            if let Err(error) = self.append(&draft, &Asking::by(&actor, now, 0), Why::default()) {
                tracing::error!(%error, "an event that is due can't be appended");
                break;
            }
        }
        let reach = std::mem::take(&mut self.reach);
        if !reach.is_nothing() {
            self.reductions.push((self.state.seq(), reach));
        }
    }

    /// Says where the audit log stands, unless an event of this group does.
    fn take_anchor(&mut self) {
        if self.anchor.is_none() || !self.records.is_empty() {
            return;
        }
        let now = self.clock.now().max(self.state.last_at());
        let (draft, actor) = (command::anchor(&self.state), Actor::system("evidence"));
        if let Err(error) = self.append(&draft, &Asking::by(&actor, now, 0), Why::default()) {
            tracing::error!(%error, "where the audit log stands can't be written down");
        }
    }

    fn due_draft(&self, uid: Uid, now: Timestamp) -> Option<Draft> {
        command::due(&self.state, self.state.by_uid(uid)?, now)
    }
}

fn invalid(field: &str, message: String) -> Refusal {
    Refusal::Invalid(vec![Violation { field: field.to_owned(), message, hint: None }])
}

/// A request that was done before, by the same actor, is answered as it was and not done again.
fn repeated(state: &State, submission: &Submission) -> Result<Option<Committed>, Refusal> {
    let Some(request) = &submission.request else { return Ok(None) };
    let Some((first, last)) = state.request(submission.credential().uid, request) else { return Ok(None) };
    let objects = meant(state, &submission.command).into_iter().rev();
    let done = objects.filter_map(|uid| as_it_was(state, uid, first, last)).next();
    match done.filter(|done| did(&submission.command.deed, done)) {
        Some(done) => Ok(Some(done)),
        None => Err(invalid(REQUEST_ID, format!("{:?} was used for another change: draw a new one", request.as_str()))),
    }
}

/// Every object that ever had the command's name.
fn meant(state: &State, command: &Command) -> Vec<Uid> {
    match &command.project {
        None => state.uids_named(command.kind, None, &command.name),
        Some(project) => {
            let projects = state.uids_named(Kind::Project, None, project).into_iter();
            projects.flat_map(|project| state.uids_named(command.kind, Some(project), &command.name)).collect()
        }
    }
}

/// What events of these seqs made of an object; `None` when they are not about it.
fn as_it_was(state: &State, uid: Uid, first: Seq, last: Seq) -> Option<Committed> {
    let (before, after) = (state.object_at(uid, Seq(first.0.saturating_sub(1))), state.object_at(uid, last));
    let outcome = match (&before, &after) {
        (None, None) => return None,
        (Some(_), None) => Outcome::Deleted,
        (_, Some(after)) if after.meta.resource_version < first => return None,
        (None, Some(_)) => Outcome::Created,
        (Some(_), Some(_)) => Outcome::Changed,
    };
    let object = after.or_else(|| before.clone());
    Some(Committed { outcome, seq: last, object, before, also: Vec::new(), repeated: true, reduces: true })
}

/// Whether what was done is what is asked now.
fn did(deed: &Deed, done: &Committed) -> bool {
    match deed {
        Deed::Delete { .. } => done.outcome == Outcome::Deleted,
        Deed::Act(_) => done.outcome == Outcome::Changed,
        Deed::Apply { body, .. } => {
            done.outcome != Outcome::Deleted
                && done.object.as_ref().is_some_and(|object| object.body.same_spec(&**body))
        }
    }
}
