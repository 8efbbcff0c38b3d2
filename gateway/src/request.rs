//! A request that wants an answer: done within the bounds of its client and of the access, recorded, answered.
use mcpctl_api::plane::Denial;
use mcpctl_api::upstream::Reply;
use serde_json::value::RawValue;

use crate::aggregate::list;
use crate::audit::Opened;
use crate::call::Parsed;
use crate::calls::{Done, call, set_level_of_all};
use crate::context::Context;
use crate::exchange::{Answered, Request, Way, of_denial, unrecorded};
use crate::feed::{StreamEnd, stream};
use crate::json::raw;
use crate::listener::{Filter, Listener, Wish};
use crate::lists::ListKind;
use crate::message::Message;
use crate::opening::open;
use crate::rpc_error::{INTERNAL, INVALID_PARAMS, RpcError};
use crate::tasks;

impl Request<'_> {
    /// A request: what is done about it, within the bounds of its client and of the access.
    pub(crate) async fn request(&self, mut audit: Opened, parsed: &Parsed<'_>) -> Answered {
        let speaker = match self.speaker(parsed).await {
            Ok(speaker) => speaker,
            Err(error) => return self.refuse(audit, parsed.id, &error).await,
        };
        let client = speaker.client.clone();
        let _busy = client.busy();
        audit.in_session(client.key.session.as_deref());
        let mut context = self.context(speaker);
        context.trace = audit.place(context.dialect.version, context.over_http);
        if !context.dialect.is_modern() {
            self.outlet.finish_alone();
            if let (Some(streams), Way::Http { .. }) = (client.resumable(), &self.arrival.way) {
                self.outlet.resumable(streams);
            }
        }
        let Some(id) = parsed.id else { return Answered::empty(202) };
        if &*parsed.method == "ping" && !context.dialect.is_modern() {
            audit.forget();
            return Answered::new(200, Message::answer(Some(id), Reply::Result(raw("{}".into()))));
        }
        if &*parsed.method == "subscriptions/listen" && context.dialect.is_modern() {
            return self.listen(audit, &context, parsed, id).await;
        }
        let Some(done) = self.until_cancelled(&context, parsed, id, &mut audit).await else {
            drop(audit.close("cancelled", 0).await);
            return Answered::empty(202);
        };
        let mut answered = self.finish(audit, id, done).await;
        // The modern era has no `initialize`: there is no session to be kept or ended, and its client is shared.
        if &*parsed.method == "initialize" && !context.dialect.is_modern() {
            answered.session = self.opened(context, answered.status == 200).await;
        }
        answered
    }

    /// Does it, unless the client takes it back by its id: in a session, or over STDIO.
    async fn until_cancelled(
        &self,
        context: &Context,
        parsed: &Parsed<'_>,
        id: &RawValue,
        audit: &mut Opened,
    ) -> Option<Done> {
        let by_id = context.client.key.session.is_some() || matches!(self.arrival.way, Way::Stdio(_));
        if !by_id || &*parsed.method == "initialize" {
            return Some(perform(context, parsed, audit).await);
        }
        let cancelled = context.client.begin_call(id, self.outlet);
        let done = tokio::select! {
            biased;
            () = cancelled.cancelled() => None,
            done = perform(context, parsed, audit) => Some(done),
        };
        context.client.end_call(id);
        done
    }

    /// Records what came of it, and only then lets the answer go.
    async fn finish(&self, mut audit: Opened, id: &RawValue, done: Done) -> Answered {
        let Done::Answered { reply, status, outcome } = done else {
            // Nothing is told of what the call came to, so whoever made it need not wait for the record either: where the
            // lease ran out the control plane can't be reached.
            self.gateway.tasks.spawn(audit.close_cut(self.admission.cut.why()));
            return self.cut(id).await;
        };
        audit.answered(&reply);
        let message = Message::answer(Some(id), reply);
        match audit.close(outcome, message.len()).await {
            // Writing the line takes a while too: what the server answered is withheld all the same.
            Ok(()) if self.admission.cut.is_cancelled() => self.cut(id).await,
            Ok(()) => Answered::new(status, message),
            Err(failed) => unrecorded(Some(id), &failed),
        }
    }

    /// Answers a caller whose access was taken away, with what the control plane says now.
    async fn cut(&self, id: &RawValue) -> Answered {
        let denial = match self.gateway.plane.admit(&self.arrival.bearer, &self.arrival.project).await {
            Err(denial) => denial,
            Ok(_) => Denial::Unavailable("the access was changed while the call ran".into()),
        };
        let (error, _) = of_denial(&denial);
        let message = Message::answer(Some(id), Reply::Error(error.to_raw()));
        Answered { cut: true, ..Answered::new(error.status, message) }
    }

    /// A long stream of the modern era. It is recorded when it opens: who knows when it ends.
    async fn listen(&self, audit: Opened, context: &Context, parsed: &Parsed<'_>, id: &RawValue) -> Answered {
        let Some(filter) = parsed.members.get("notifications").and_then(Filter::read) else {
            let error = RpcError::new(INVALID_PARAMS, "`notifications` must say what to listen for");
            return self.finish(audit, id, Done::error(&error, "error")).await;
        };
        let open = match audit.close_opened().await {
            Ok(open) => open,
            Err(failed) => return unrecorded(Some(id), &failed),
        };
        let reply = match stream(context, Wish::Some { id: id.get().into(), filter }).await {
            StreamEnd::Over => Reply::Result(raw(Listener::farewell(id.get()))),
            StreamEnd::TooMany => {
                Reply::Error(RpcError::new(INTERNAL, "too many streams are open: close one").to_raw())
            }
            StreamEnd::Cut => {
                self.gateway.tasks.spawn(open.cut(self.admission.cut.why()));
                return self.cut(id).await;
            }
        };
        Answered::new(200, Message::answer(Some(id), reply))
    }
}

/// Lists of the gateway have no second page.
const NO_CURSOR: &str = "unknown cursor: lists come in one page";

/// Does what a request asks for.
async fn perform(context: &Context, parsed: &Parsed<'_>, audit: &mut Opened) -> Done {
    let modern = context.dialect.is_modern();
    let method = &*parsed.method;
    if let Some(kind) = ListKind::of_method(method) {
        if parsed.members.get("cursor").is_some() {
            let error = RpcError::new(INVALID_PARAMS, NO_CURSOR);
            return Done::error(&error, "error");
        }
        return uncut(context, list(context, kind)).await;
    }
    match method {
        "initialize" | "server/discover" if modern == (method == "server/discover") => {
            uncut(context, open(context)).await
        }
        "logging/setLevel" if !modern => set_level_of_all(context, parsed).await,
        "tasks/list" if !modern => match parsed.members.get("cursor") {
            Some(_) => Done::error(&RpcError::new(INVALID_PARAMS, NO_CURSOR), "error"),
            None => uncut(context, tasks::list(context)).await,
        },
        // Each era has one that the other has not; no server is asked for tasks of whoever it may be.
        "tasks/list" | "tasks/result" if modern => Done::error(&RpcError::unknown_method(method, true), "error"),
        "tasks/update" if !modern => Done::error(&RpcError::unknown_method(method, false), "error"),
        // Methods of the other era.
        "initialize"
        | "server/discover"
        | "logging/setLevel"
        | "ping"
        | "resources/subscribe"
        | "resources/unsubscribe"
        | "subscriptions/listen"
            if modern || matches!(method, "server/discover" | "subscriptions/listen") =>
        {
            Done::error(&RpcError::unknown_method(method, modern), "error")
        }
        _ => call(context, parsed, audit).await,
    }
}

/// Something that takes time, unless the access is taken away meanwhile.
async fn uncut(context: &Context, made: impl Future<Output = Box<RawValue>>) -> Done {
    tokio::select! {
        biased;
        () = context.admission.cut.cancelled() => Done::Cut,
        result = made => if context.admission.cut.is_cancelled() { Done::Cut } else { Done::result(result) },
    }
}
