//! Looks after the health of a server of the fleet: probes its instances in the conversations that calls have, starts what
//! does not answer again.
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::future::join_all;
use mcpctl_core::kinds::FailureCause;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::conversation::Conversation;
use super::fleet_server::Server;
use super::health::{Check, Probed, cause_of, words_of};
use super::logs::{LogPen, LogSource};
use super::{Call, Reply};

/// Instances probed in one round; the others have their turn in the next.
const PROBED_MAX: usize = 16;

/// Why an instance did not pass.
type Failure = (FailureCause, String);

impl Server {
    /// Probes when it is time to, until the server is taken down.
    pub(super) async fn look_after(self: Arc<Self>) {
        loop {
            let wait = self.health.until_probe();
            tokio::select! {
                biased;
                () = self.retiring.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.health.wake.notified() => continue,
            }
            tokio::select! {
                biased;
                () = self.retiring.cancelled() => return,
                () = self.probe() => {}
            }
        }
    }

    async fn probe(&self) {
        let check = self.health.check();
        let due = self.to_probe(&check);
        if due.is_empty() {
            return self.health.nothing_to_probe();
        }
        if !self.health.admit_probe() {
            return;
        }
        let (at, began) = (SystemTime::now(), Instant::now());
        let passed = join_all(due.iter().map(|(number, conversation)| {
            let check = check.clone();
            async move { (*number, pass(&**conversation, &check).await) }
        }));
        let mut worst = None;
        for (number, outcome) in passed.await {
            let failure = outcome.err();
            self.note_probe(number, failure.as_ref(), check.failures_max);
            worst = worst.or(failure);
        }
        self.health.probed(Probed { at, took: began.elapsed(), passed: worst.is_none() }, worst);
    }

    /// Those not probed for longest. An instance in which a call runs may be busy with it: only a declared check asks it
    /// all the same.
    fn to_probe(&self, check: &Check) -> Vec<(u32, Arc<dyn Conversation>)> {
        let mut state = self.state.lock();
        let idle = |conversation: &dyn Conversation| conversation.activity().running() == 0;
        let mut due: Vec<_> = state
            .slots
            .iter_mut()
            .filter(|slot| slot.usable() && (check.tool.is_some() || idle(&*slot.conversation)))
            .collect();
        due.sort_by_key(|slot| slot.probed);
        due.truncate(PROBED_MAX);
        let now = Instant::now();
        due.into_iter()
            .map(|slot| {
                slot.probed = Some(now);
                (slot.number, slot.conversation.clone())
            })
            .collect()
    }

    /// Counts the failures of an instance; after too many in a row a process is ended, and another one takes its place. What is
    /// only reached can't be started again from here, and other calls may well go on in the same conversation.
    fn note_probe(&self, number: u32, failure: Option<&Failure>, failures_max: u32) {
        let mut state = self.state.lock();
        let Some(slot) = state.slots.iter_mut().find(|slot| slot.number == number) else { return };
        let Some((_, why)) = failure else { return slot.probes_failed = 0 };
        slot.probes_failed += 1;
        if slot.probes_failed < failures_max || !slot.usable() || slot.conversation.pid().is_none() {
            return;
        }
        let words = format!("ended after {} failed probes in a row: {why}", slot.probes_failed);
        // The task that watches the conversation closes it and has another one opened.
        drop(slot.closing());
        *state.restarts.entry(number).or_default() += 1;
        state.failed(words.clone());
        drop(state);
        LogPen::new(self.log().clone(), &self.instance(number), [].into_iter()).write(LogSource::Event, &words);
    }
}

/// One probe of one instance.
async fn pass(conversation: &dyn Conversation, check: &Check) -> Result<(), Failure> {
    let asked = tokio::time::timeout(check.timeout + Duration::from_secs(1), conversation.ask(call(check))).await;
    let reply = match asked {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => return Err((cause_of(&error).unwrap_or(FailureCause::Unavailable), words_of(&error))),
        Err(_) => {
            let why = format!("it did not answer within {} s", check.timeout.as_secs());
            return Err((FailureCause::TimedOut, why));
        }
    };
    let failed = |why: &str| Err((FailureCause::CheckFailed, why.to_owned()));
    match (reply, &check.tool) {
        // A server without tools says so, and lives.
        (_, None) => Ok(()),
        (Reply::Error(_), Some((tool, _))) => failed(&format!("its check, the tool {tool}, was refused")),
        (Reply::Result(result), Some((tool, _))) => match verdict(&result) {
            Ok(()) => Ok(()),
            Err(what) => failed(&format!("its check, the tool {tool}, {what}")),
        },
    }
}

fn call(check: &Check) -> Call {
    let Some((tool, arguments)) = &check.tool else { return Call::new("tools/list", None, check.timeout) };
    let name = serde_json::to_string(&**tool).unwrap_or_default();
    let params = RawValue::from_string(format!("{{\"name\":{name},\"arguments\":{}}}", arguments.get()));
    Call { target: Some(tool.clone()), ..Call::new("tools/call", params.ok(), check.timeout) }
}

/// What the result of a tool says of the server.
fn verdict(result: &RawValue) -> Result<(), &'static str> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Said {
        #[serde(default)]
        is_error: bool,
        #[serde(default)]
        result_type: Option<String>,
    }
    match serde_json::from_str::<Said>(result.get()) {
        Ok(said) if said.is_error => Err("answered with an error"),
        Ok(said) if said.result_type.as_deref() == Some("input_required") => Err("asks for more input"),
        Ok(_) => Ok(()),
        Err(_) => Err("answered with something that is no result"),
    }
}
