//! Questions to the client, written once for both eras: a legacy client gets a request of ours and answers it, a modern
//! one gets `input_required` and calls again with the answers.
use std::collections::BTreeMap;

use rmcp::RoleServer;
use rmcp::model::{ClientCapabilities, ErrorData, InputRequest, InputRequiredResult, InputResponses};
use rmcp::service::{RequestContext, ServiceError};
use serde_json::{Map, Value, json};

use crate::session::is_modern;

pub type Answers = BTreeMap<String, Value>;

pub enum Asked {
    /// Every question has an answer.
    Answered(Answers),
    /// A modern client is to call again with the answers.
    Wait(InputRequiredResult),
}

/// Asks. `given` are the answers that came with the call, `state` is what a modern client is to bring back.
///
/// # Errors
/// When the client has not declared the capability for a question, or refuses.
pub async fn ask(
    context: &RequestContext<RoleServer>,
    given: Option<&InputResponses>,
    questions: Vec<(&str, InputRequest)>,
    state: Option<String>,
) -> Result<Asked, ErrorData> {
    let declared = context.client_capabilities().unwrap_or_default();
    for (_, question) in &questions {
        require(&declared, question)?;
    }
    if !is_modern(context) {
        return ask_now(context, questions).await.map(Asked::Answered);
    }
    let usable = |key: &str| given.and_then(|g| g.get(key)).filter(|answer| answer.is_object());
    let answers: Answers =
        questions.iter().filter_map(|(key, _)| Some(((*key).to_owned(), usable(key)?.clone()))).collect();
    if answers.len() == questions.len() {
        return Ok(Asked::Answered(answers));
    }
    let open = questions.into_iter().map(|(key, question)| (key.to_owned(), question)).collect();
    Ok(Asked::Wait(InputRequiredResult::new(Some(open), state)))
}

async fn ask_now(
    context: &RequestContext<RoleServer>,
    questions: Vec<(&str, InputRequest)>,
) -> Result<Answers, ErrorData> {
    let peer = &context.peer;
    // All at once, as the modern era does it.
    let asked = questions.into_iter().map(|(key, question)| async move {
        let answer = match question {
            InputRequest::CreateMessage(q) => peer.create_message(q.params).await.map(|a| json!(a)),
            InputRequest::Elicitation(q) => peer.create_elicitation(q.params).await.map(|a| json!(a)),
            InputRequest::ListRoots(_) => peer.list_roots().await.map(|a| json!(a)),
            _ => Err(ServiceError::UnexpectedResponse),
        };
        let answer = answer.map_err(|e| ErrorData::internal_error(format!("the client did not answer: {e}"), None))?;
        Ok((key.to_owned(), answer))
    });
    futures::future::try_join_all(asked).await.map(|answers| answers.into_iter().collect())
}

/// The capability that a question needs of the client, and whether it is there.
pub fn can(declared: &ClientCapabilities, question: &InputRequest) -> bool {
    match question {
        InputRequest::CreateMessage(_) => declared.sampling.is_some(),
        InputRequest::Elicitation(_) => declared.elicitation.is_some(),
        InputRequest::ListRoots(_) => declared.roots.is_some(),
        _ => false,
    }
}

fn require(declared: &ClientCapabilities, question: &InputRequest) -> Result<(), ErrorData> {
    if can(declared, question) {
        return Ok(());
    }
    let missing = match question {
        InputRequest::CreateMessage(_) => ClientCapabilities::builder().enable_sampling().build(),
        InputRequest::Elicitation(_) => ClientCapabilities::builder().enable_elicitation().build(),
        _ => ClientCapabilities::builder().enable_roots().build(),
    };
    Err(ErrorData::missing_required_client_capability(missing))
}

/// `elicitation/create` of a form whose fields are all required.
pub fn form(message: &str, fields: &[(&str, &str)]) -> InputRequest {
    let properties: Map<String, Value> =
        fields.iter().map(|(name, kind)| ((*name).to_owned(), json!({"type": kind}))).collect();
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    form_with(message, json!({"type": "object", "properties": properties, "required": required}))
}

/// `elicitation/create` of a form with a schema.
pub fn form_with(message: &str, schema: Value) -> InputRequest {
    request(json!({"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}}))
}

/// `sampling/createMessage` with one text.
pub fn sample(prompt: &str, max_tokens: u32) -> InputRequest {
    let message = json!({"role": "user", "content": {"type": "text", "text": prompt}});
    request(json!({
        "method": "sampling/createMessage",
        "params": {"messages": [message], "maxTokens": max_tokens},
    }))
}

/// `roots/list`.
pub fn roots() -> InputRequest {
    request(json!({"method": "roots/list", "params": {}}))
}

fn request(value: Value) -> InputRequest {
    serde_json::from_value(value).expect("the question is well-formed")
}
