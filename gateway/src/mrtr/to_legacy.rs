//! A legacy client in front of a modern server: the gateway puts the server's questions to the client on the stream of its
//! call, and calls again with the answers.
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use mcpctl_api::plane::ServerView;
use mcpctl_api::upstream::{Reply, Session, UpstreamError};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::input_required::{Ask, Asks};
use super::{capability_of, is_input_required, may_ask};
use crate::audit::Opened;
use crate::call::{Authorized, Parsed, Refused, Resolved, Target, Unanswered, authorize, send};
use crate::clients::new_id;
use crate::context::Context;
use crate::json::{Members, Object, quoted, raw, with_member};
use crate::link::Link;
use crate::lists::annotated;
use crate::param_headers::make;
use crate::rpc_error::{HEADER_MISMATCH, INTERNAL, RpcError};
use crate::sink::CallerSink;

/// Rounds of one call.
const ROUNDS_MAX: usize = 16;
/// Questions of one round.
const QUESTIONS_MAX: usize = 32;
/// How long a client may take to answer one round. A person may have to be asked.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);

/// What a legacy client offers to a modern server: what it said in its handshake, if there is a way to ask it.
pub(crate) fn offers(context: &Context, parsed: &Parsed<'_>) -> Option<Arc<str>> {
    let can_be_asked = context.client.dialect.is_some() && may_ask(&parsed.method);
    context.client.key.capabilities.clone().filter(|_| can_be_asked)
}

/// A call that may take several rounds.
pub(crate) struct Rounds<'a> {
    pub(crate) context: &'a Context,
    pub(crate) parsed: &'a Parsed<'a>,
    pub(crate) server: &'a ServerView,
    pub(crate) target: &'a Target,
    pub(crate) link: &'a Link,
    pub(crate) session: &'a dyn Session,
    pub(crate) sink: Arc<CallerSink>,
    /// In a strict project each round is on record before it is made.
    pub(crate) audit: &'a Opened,
}

impl Rounds<'_> {
    /// Makes the call, and answers what the server asks, until it has answered.
    pub(crate) async fn run(&self, first: Authorized, change: &impl Fn(&mut Authorized)) -> Result<Reply, Unanswered> {
        let mut authorized = first;
        let mut headers = self.param_headers(false).await;
        authorized.add_headers(&headers);
        for round in 0..ROUNDS_MAX {
            let reply = send(authorized, self.session, self.sink.clone()).await?;
            let params = match reply {
                Reply::Result(result) if is_input_required(&result) => match self.answers(&result).await? {
                    Ok(params) => params,
                    Err(error) => return Ok(Reply::Error(error.to_raw())),
                },
                // It has not been acted upon, and the client knows no such headers.
                Reply::Error(error) if round == 0 && is_mismatch(&error) => {
                    let sent = std::mem::take(&mut headers);
                    headers = self.param_headers(!sent.is_empty()).await;
                    if headers.is_empty() || headers == sent {
                        return Ok(Reply::Error(error));
                    }
                    self.params(None, None)
                }
                reply => return Ok(reply),
            };
            authorized = self.again(params, change)?;
            authorized.record(self.audit.admit()).await?;
            authorized.add_headers(&headers);
        }
        let words = format!("server {:?} asked more than {ROUNDS_MAX} times", self.server.name);
        Ok(Reply::Error(RpcError::new(INTERNAL, words).to_raw()))
    }

    /// Headers that a modern client would have sent with its arguments, by the tool's definition: as it was last listed in this
    /// conversation, or as it is listed now.
    async fn param_headers(&self, outdated: bool) -> Vec<(String, String)> {
        let Target::Tool(tool) = self.target else { return Vec::new() };
        if outdated {
            self.link.note("notifications/tools/list_changed");
        }
        let annotated = annotated(self.context, self.server, self.link, tool).await;
        make(&annotated, self.parsed.arguments())
    }

    /// The request of the next round. It is decided on anew: a filter may have been changed meanwhile.
    fn again(&self, params: Box<RawValue>, change: &impl Fn(&mut Authorized)) -> Result<Authorized, Unanswered> {
        let Context { admission, gateway, headers, trace, .. } = self.context;
        let limit = gateway.options.call;
        let resolved = Resolved::new(self.server, self.target.clone(), &self.parsed.method, Some(params), limit)
            .with_progress(self.parsed.meta.progress_token.is_some())
            .with_headers(headers.clone())
            .traced(trace.clone());
        let mut authorized = authorize(admission, resolved).map_err(|refused| match refused {
            Refused::Cut => Unanswered::Cut,
            refused => UpstreamError::Unavailable { server: self.server.name.clone(), why: refused.to_string() }.into(),
        })?;
        change(&mut authorized);
        Ok(authorized)
    }

    /// The params of the next round, with the client's answers; or why there is none.
    async fn answers(&self, result: &RawValue) -> Result<Result<Box<RawValue>, RpcError>, Unanswered> {
        let asks = match Asks::read(result) {
            Some(asks) if may_ask(&self.parsed.method) && asks.questions.len() <= QUESTIONS_MAX => asks,
            _ => return Ok(Err(self.broke("it asks what can't be asked"))),
        };
        let asked = join_all(asks.questions.iter().map(|(key, ask)| async move { (key, self.ask(ask).await) }));
        let cut = &self.context.admission.cut;
        let answers = tokio::select! {
            biased;
            () = cut.cancelled() => return Err(Unanswered::Cut),
            answers = tokio::time::timeout(ANSWER_WITHIN, asked) => answers,
        };
        let Ok(answers) = answers else { return Ok(Err(RpcError::new(INTERNAL, "the client did not answer in time"))) };
        let mut responses = Object::new();
        for (key, answer) in answers {
            match answer {
                Ok(answer) => responses.json(key, answer.get()),
                Err(error) => return Ok(Err(error)),
            };
        }
        Ok(Ok(self.params(Some(&responses.finish()), asks.state)))
    }

    /// Puts one question to the client.
    async fn ask(&self, ask: &Ask<'_>) -> Result<Box<RawValue>, RpcError> {
        let offers = self.context.client.key.capabilities.as_deref().unwrap_or("{}").to_owned();
        let family = capability_of(&ask.method).filter(|family| Members::of(&raw(offers)).get(family).is_some());
        let Some(family) = family else { return Err(self.broke("it asks for what the client does not offer")) };
        let (answer, answered) = oneshot::channel();
        let params = ask.params.map(|params| for_legacy(params, family));
        let client = &self.context.client;
        if !client.asked.put_here(answer, &ask.method, params.as_deref(), &self.context.outlet) {
            return Err(RpcError::new(INTERNAL, "the client can't be asked now"));
        }
        match answered.await {
            Ok(Reply::Result(result)) => Ok(result),
            // The modern era has a word for it, and the server goes on.
            Ok(Reply::Error(_)) if family == "elicitation" => Ok(raw("{\"action\":\"cancel\"}".into())),
            Ok(Reply::Error(error)) => {
                let said = Members::of(&error).text("message").unwrap_or_default().into_owned();
                Err(RpcError::new(INTERNAL, format!("the client refused {}: {said}", ask.method)))
            }
            Err(_) => Err(RpcError::new(INTERNAL, "the client went away and can't be asked")),
        }
    }

    /// The request's params under the server's own name, with the answers and the server's state where there are any.
    fn params(&self, responses: Option<&str>, state: Option<&RawValue>) -> Box<RawValue> {
        let key = if &*self.parsed.method == "resources/read" { "uri" } else { "name" };
        let own = self.target.name().map(|name| quoted(name)).unwrap_or_default();
        let mut params = Object::with_capacity(512);
        let kept = |name: &str| !matches!(name, "inputResponses" | "requestState");
        for (name, value) in self.parsed.members.iter().filter(|(name, _)| kept(name)) {
            params.json(name, if name == key { &own } else { value.get() });
        }
        if let Some(responses) = responses {
            params.json("inputResponses", responses);
        }
        if let Some(state) = state {
            params.json("requestState", state.get());
        }
        raw(params.finish())
    }

    fn broke(&self, what: &str) -> RpcError {
        let error = UpstreamError::Protocol { server: self.server.name.clone(), what: what.to_owned() };
        RpcError::new(INTERNAL, error.to_string())
    }
}

/// Whether a server says that headers and body differ.
fn is_mismatch(error: &RawValue) -> bool {
    Members::of(error).get("code").is_some_and(|code| code.get() == HEADER_MISMATCH.to_string())
}

/// The params of a question as a legacy client wants them: a URL comes with an id there, which the modern era has not.
fn for_legacy(params: &RawValue, family: &str) -> Box<RawValue> {
    let members = Members::of(params);
    let url = family == "elicitation" && members.text("mode").as_deref() == Some("url");
    if url && members.get("elicitationId").is_none() {
        return raw(with_member(&members, "elicitationId", &quoted(&new_id())));
    }
    params.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_for_a_legacy_client_gets_an_id() {
        let of = |text: &str| for_legacy(&raw(text.into()), "elicitation").get().to_owned();
        assert!(of(r#"{"mode":"url","url":"https://x.example"}"#).contains("\"elicitationId\":\""));
        assert_eq!(of(r#"{"mode":"url","elicitationId":"theirs"}"#), r#"{"mode":"url","elicitationId":"theirs"}"#);
        assert_eq!(of(r#"{"message":"m"}"#), r#"{"message":"m"}"#);
    }
}
