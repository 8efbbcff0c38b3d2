//! Servers that lists are made without: one that was too slow stalls one list, then it is asked in the background only,
//! until it answers again. A server that fails does so fast by the fleet's own back-off and needs no note here.
use std::collections::HashMap;
use std::future::Future;
use std::time::{Duration, Instant};

use mcpctl_api::plane::ServerView;
use mcpctl_core::ids::{Seq, Uid};
use parking_lot::Mutex;

use crate::call::Unanswered;
use crate::context::Context;
use crate::lists::{ListKind, fetch};

/// How long a server may take to answer in the background.
const PROBE: Duration = Duration::from_secs(60);
/// How long until a server that failed in the background is asked again there.
const AGAIN: Duration = Duration::from_secs(10);

struct Out {
    version: Seq,
    probing: bool,
    again: Instant,
}

/// What to do about a server when a list is made.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Ask it; it has (not) answered before.
    Ask { known: bool },
    /// Leave it out, and ask it in the background if nobody does.
    LeaveOut { probe: bool },
}

/// Which servers are left out, and which have ever answered.
#[derive(Default)]
pub(crate) struct LeftOut {
    out: Mutex<HashMap<Uid, Out>>,
    answered: Mutex<HashMap<Uid, Seq>>,
}

impl LeftOut {
    fn verdict(&self, server: &ServerView) -> Verdict {
        let mut all = self.out.lock();
        match all.get_mut(&server.uid) {
            Some(out) if out.version == server.version => {
                let probe = !out.probing && out.again <= Instant::now();
                out.probing |= probe;
                Verdict::LeaveOut { probe }
            }
            // A server that was changed deserves another try.
            _ => Verdict::Ask { known: self.answered.lock().get(&server.uid) == Some(&server.version) },
        }
    }

    /// Notes that a server answered. Tells whether it had been left out.
    fn answered(&self, server: &ServerView) -> bool {
        let was_out = self.out.lock().remove(&server.uid).is_some();
        self.answered.lock().insert(server.uid, server.version);
        was_out
    }

    /// Notes that a server was too slow. It is being asked in the background from now on.
    fn stalled(&self, server: &ServerView) -> bool {
        let out = Out { version: server.version, probing: true, again: Instant::now() };
        self.out.lock().insert(server.uid, out).is_none_or(|before| !before.probing)
    }

    fn failed(&self, server: &ServerView) {
        if let Some(out) = self.out.lock().get_mut(&server.uid) {
            *out = Out { probing: false, again: Instant::now() + AGAIN, ..*out };
        }
    }
}

/// Asks a server for its part of a list, within the limit. `None` leaves it out of the list.
pub(crate) async fn ask_within<T>(
    context: &Context,
    server: &ServerView,
    attempt: impl Future<Output = Result<T, Unanswered>>,
) -> Option<T> {
    let gateway = &context.gateway;
    let known = match gateway.left_out.verdict(server) {
        Verdict::Ask { known } => known,
        Verdict::LeaveOut { probe } => {
            gateway.metrics.missing(&server.name);
            if probe {
                probe_later(context, server);
            }
            return None;
        }
    };
    let limit = if known { gateway.options.list } else { gateway.options.first_list };
    match tokio::time::timeout(limit, attempt).await {
        Ok(Ok(part)) => {
            welcome(context, server);
            return Some(part);
        }
        Ok(Err(Unanswered::Cut)) => return None,
        Ok(Err(Unanswered::Upstream(error))) => {
            tracing::warn!(server = %server.name, %error, "a list is made without the server");
        }
        Err(_) => {
            let seconds = limit.as_secs_f32();
            tracing::warn!(server = %server.name, seconds, "too slow: lists are made without the server until it answers");
            gateway.metrics.left_out(&server.name, true);
            if gateway.left_out.stalled(server) {
                probe_later(context, server);
            }
        }
    }
    gateway.metrics.missing(&server.name);
    None
}

/// Asks a server in the background, so that no list waits for it.
fn probe_later(context: &Context, server: &ServerView) {
    let (context, server) = (context.detached(), server.clone());
    let tasks = context.gateway.tasks.clone();
    tasks.spawn(async move {
        let answered = tokio::select! {
            () = context.gateway.stop.cancelled() => return,
            () = context.admission.cut.cancelled() => false,
            listed = tokio::time::timeout(PROBE, fetch(&context, ListKind::Tools, &server)) => matches!(listed, Ok(Ok(_))),
        };
        if answered { welcome(&context, &server) } else { context.gateway.left_out.failed(&server) }
    });
}

/// A server that was left out is back: clients that listen are told that there is more to list.
fn welcome(context: &Context, server: &ServerView) {
    if !context.gateway.left_out.answered(server) {
        return;
    }
    tracing::info!(server = %server.name, "answers again: lists have it from now on");
    context.gateway.metrics.left_out(&server.name, false);
    for list in ["tools", "prompts", "resources"] {
        context.client.tell(&format!("notifications/{list}/list_changed"), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::tests::project;

    #[test]
    fn a_slow_server_is_left_out_until_it_answers_or_is_changed() {
        let mut server = project(&["a"], mcpctl_core::kinds::ToolNames::Prefixed).servers.remove(0);
        let left_out = LeftOut::default();
        assert_eq!(left_out.verdict(&server), Verdict::Ask { known: false });
        left_out.stalled(&server);
        assert_eq!(left_out.verdict(&server), Verdict::LeaveOut { probe: false });
        left_out.failed(&server);
        assert_eq!(left_out.verdict(&server), Verdict::LeaveOut { probe: false }, "not again at once");
        assert!(left_out.answered(&server));
        assert_eq!(left_out.verdict(&server), Verdict::Ask { known: true });
        left_out.stalled(&server);
        server.version = Seq(2);
        assert_eq!(left_out.verdict(&server), Verdict::Ask { known: false });
    }
}
