//! `requestState` of a modern server on its way through a modern client: sealed by the gateway, since the server sees the
//! gateway's credentials only and can't tell whose state it gets back. The key comes of the bearer, so any gateway opens it.
use mcpctl_api::plane::ServerView;
use mcpctl_api::upstream::Reply;
use serde_json::value::RawValue;

use super::may_ask;
use super::seal::{Bound, Rejected, Seal};
use super::to_modern::rejected;
use crate::audit::now;
use crate::call::{Authorized, Parsed};
use crate::context::Context;
use crate::json::{Members, quoted, raw, with_member};

/// How long a client may take to come back. A person may have to be asked.
const GOOD_FOR_MS: u64 = 3_600_000;

/// Puts the server's own state in the place of the sealed one. `Err` is the answer to a state that was not sealed for this.
pub(crate) fn open(
    context: &Context,
    server: &ServerView,
    parsed: &Parsed<'_>,
    authorized: &mut Authorized,
) -> Result<(), Reply> {
    let Some(given) = parsed.members.get("requestState").filter(|_| may_ask(&parsed.method)) else { return Ok(()) };
    let own = own_state(context, server, parsed, given).map_err(|Rejected| rejected())?;
    authorized.change_params(|params| {
        let members = params.map(Members::of).unwrap_or_default();
        Some(raw(with_member(&members, "requestState", &own)))
    });
    Ok(())
}

fn own_state(
    context: &Context,
    server: &ServerView,
    parsed: &Parsed<'_>,
    given: &RawValue,
) -> Result<String, Rejected> {
    let text = crate::json::text(given).ok_or(Rejected)?;
    let bound = Bound::to(&context.admission, server.uid, parsed);
    let own = Seal::of_bearer(&context.bearer).open(&bound, now(), &text)?;
    String::from_utf8(own).map_err(|_| Rejected)
}

/// Seals the state that a server wants back, if it wants one. To be called with a result that asks for input.
pub(crate) fn seal(context: &Context, server: &ServerView, parsed: &Parsed<'_>, reply: Reply) -> Reply {
    let Reply::Result(result) = &reply else { return reply };
    let members = Members::of(result);
    let Some(state) = members.get("requestState") else { return reply };
    let bound = Bound::to(&context.admission, server.uid, parsed);
    let until = now().plus_millis(GOOD_FOR_MS);
    let sealed = Seal::of_bearer(&context.bearer).seal(&bound, until, state.get().as_bytes());
    Reply::Result(raw(with_member(&members, "requestState", &quoted(&sealed))))
}
