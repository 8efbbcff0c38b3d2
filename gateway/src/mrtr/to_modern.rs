//! A modern client in front of a legacy server: what the server asks becomes `input_required`, and the call waits until the
//! client comes back with the answers and the sealed state.
use std::sync::Arc;
use std::time::Duration;

use mcpctl_api::plane::ServerView;
use mcpctl_api::upstream::{Reply, UpstreamError};

use super::held::{HELD, Held, Running};
use super::input_required::write;
use super::seal::{Bound, Rejected};
use super::{Round, may_ask};
use crate::audit::now;
use crate::call::{Authorized, Parsed, Unanswered};
use crate::context::Context;
use crate::rpc_error::{INTERNAL, INVALID_PARAMS, RpcError};
use crate::sink::CallerSink;

/// Whether a request may be answered with questions.
pub(crate) fn applies(parsed: &Parsed<'_>) -> bool {
    may_ask(&parsed.method)
}

/// Whether a request goes on with one before.
pub(crate) fn goes_on(parsed: &Parsed<'_>) -> bool {
    applies(parsed) && parsed.members.get("requestState").is_some()
}

/// Makes a request fit for a legacy server that may ask: it must outlast the client's absence, and what is for the modern
/// era only stays here.
pub(crate) fn prepare(context: &Context, parsed: &Parsed<'_>, authorized: &mut Authorized) {
    authorized.allow(context.gateway.options.call + HELD);
    if parsed.members.get("inputResponses").is_some() {
        authorized.change_params(|params| {
            let members = params.map(crate::json::Members::of).unwrap_or_default();
            let mut kept = crate::json::Object::new();
            kept.members(members.without("inputResponses"));
            Some(crate::json::raw(kept.finish()))
        });
    }
}

/// Waits for a call, or for what its server asks first.
pub(crate) async fn first(
    context: &Context,
    parsed: &Parsed<'_>,
    server: &ServerView,
    mut running: Running,
    round: Arc<Round>,
) -> Result<Reply, Unanswered> {
    context.client.begin_round(&round);
    let limit = context.gateway.options.call;
    let waiting = async {
        tokio::select! {
            biased;
            reply = &mut running => Some(reply),
            () = round.settled() => None,
        }
    };
    match tokio::time::timeout(limit, waiting).await {
        Err(_) => Err(timed_out(server, limit)),
        Ok(Some(reply)) => Ok(round.judge(reply?)),
        Ok(None) => {
            let whose = (context.admission.caller.actor.uid, context.client.busy());
            let held = context.gateway.held.hold(&context.gateway, whose, running, round);
            Ok(held.map_or_else(too_many, |held| ask(context, server, parsed, &held)))
        }
    }
}

/// Goes on with a call that waits: the client has come back.
pub(crate) async fn resume(
    context: &Context,
    parsed: &Parsed<'_>,
    server: &ServerView,
    sink: Arc<CallerSink>,
) -> Result<Reply, Unanswered> {
    let gateway = &context.gateway;
    let Ok((number, turn)) = opened(context, parsed, server) else { return Ok(rejected()) };
    let Some(taken) = gateway.held.take(number, turn) else { return Ok(rejected()) };
    let round = taken.held.round.clone();
    round.attach(sink);
    round.answer(parsed.members.get("inputResponses")).await;
    if !round.open().is_empty() {
        return Ok(ask(context, server, parsed, &taken.give_back()));
    }
    let limit = gateway.options.call;
    let waiting = async {
        tokio::select! {
            biased;
            reply = taken.held.outcome() => Some(reply),
            () = round.settled() => None,
        }
    };
    match tokio::time::timeout(limit, waiting).await {
        Err(_) => Err(timed_out(server, limit)),
        Ok(Some(reply)) => Ok(round.judge(reply?)),
        Ok(None) => Ok(ask(context, server, parsed, &taken.give_back())),
    }
}

/// The call that a state is about, and the turn.
fn opened(context: &Context, parsed: &Parsed<'_>, server: &ServerView) -> Result<(u64, u32), Rejected> {
    let text = parsed.members.text("requestState").ok_or(Rejected)?;
    let bound = Bound::to(&context.admission, server.uid, parsed);
    let content = context.gateway.seal.open(&bound, now(), &text)?;
    let (number, turn) = content.split_first_chunk().ok_or(Rejected)?;
    Ok((u64::from_be_bytes(*number), u32::from_be_bytes(turn.try_into().map_err(|_| Rejected)?)))
}

/// Puts what is open to the client.
fn ask(context: &Context, server: &ServerView, parsed: &Parsed<'_>, held: &Held) -> Reply {
    let bound = Bound::to(&context.admission, server.uid, parsed);
    let content = [held.number.to_be_bytes().as_slice(), &held.turn().to_be_bytes()].concat();
    let until = now().plus_millis(u64::try_from(HELD.as_millis()).unwrap_or(u64::MAX));
    Reply::Result(write(&held.round.open(), &context.gateway.seal.seal(&bound, until, &content)))
}

/// One text for all reasons: whoever tries does not learn how far they came.
pub(super) fn rejected() -> Reply {
    let words = "requestState is not valid for this request (any more): send the request again without it";
    Reply::Error(RpcError::new(INVALID_PARAMS, words).to_raw())
}

fn too_many() -> Reply {
    Reply::Error(RpcError::new(INTERNAL, "too many calls wait for input: answer or drop some of them").to_raw())
}

fn timed_out(server: &ServerView, limit: Duration) -> Unanswered {
    UpstreamError::TimedOut { server: server.name.clone(), seconds: limit.as_secs().max(1) }.into()
}
