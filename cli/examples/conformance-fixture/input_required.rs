//! Tools that ask the client for something: sampling, elicitation, roots, in one round or several.
use rmcp::model::{CallToolResponse, ErrorData, InputRequest, RequestStateCodec, Tool};
use serde_json::{Value, json};

use crate::ask::{Answers, Asked, ask, can, form, form_with, roots, sample};
use crate::session::is_modern;
use crate::tools::{Call, plain, text, with_schema};

const PREFIX: &str = "test_input_required_result_";

pub fn tools() -> Vec<Tool> {
    let one = |name: &str| json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]});
    vec![
        with_schema("test_sampling", "Has the client's model answer a prompt", one("prompt")),
        with_schema("test_elicitation", "Asks the user for name and address", one("message")),
        plain("test_elicitation_sep1034_defaults", "Asks with a default for each primitive type"),
        plain("test_elicitation_sep1330_enums", "Asks with each form of an enum"),
        plain("test_streaming_elicitation", "Asks the user for a name"),
        plain("test_missing_capability", "Needs a client that can sample"),
        plain("test_input_required_result_elicitation", "Asks the user for a name"),
        plain("test_input_required_result_sampling", "Asks the client's model a question"),
        plain("test_input_required_result_list_roots", "Asks for the client's roots"),
        plain("test_input_required_result_request_state", "Asks for a confirmation and remembers that it did"),
        plain("test_input_required_result_multiple_inputs", "Asks three things at once"),
        plain("test_input_required_result_multi_round", "Asks two things, one after the other"),
        plain("test_input_required_result_tampered_state", "Refuses a state that it did not seal"),
        plain("test_input_required_result_capabilities", "Asks only what the client can answer"),
    ]
}

pub async fn call(call: &Call<'_>) -> Result<Option<CallToolResponse>, ErrorData> {
    let name = call.request.name.as_ref();
    if let Some(topic) = name.strip_prefix(PREFIX) {
        return rounds(call, topic).await;
    }
    let (question, said): (InputRequest, fn(&Value) -> String) = match name {
        "test_sampling" => (sample(call.text("prompt").unwrap_or("Hello"), 100), |answer| {
            format!("LLM response: {}", answer["content"]["text"].as_str().unwrap_or_default())
        }),
        "test_elicitation" => {
            let fields = [("username", "string"), ("email", "string")];
            (form(call.text("message").unwrap_or("Who are you?"), &fields), |a| {
                format!("User response: {}", outcome(a))
            })
        }
        "test_elicitation_sep1034_defaults" => {
            (form_with("Check these values, please", defaults()), |a| format!("Elicitation completed: {}", outcome(a)))
        }
        "test_elicitation_sep1330_enums" => {
            (form_with("Choose, please", enums()), |a| format!("Elicitation completed: {}", outcome(a)))
        }
        "test_streaming_elicitation" => {
            (form("What is your name?", &[("name", "string")]), |a| format!("User response: {}", outcome(a)))
        }
        "test_missing_capability" => (sample("Hello", 10), |_| "The client can sample".to_owned()),
        _ => return Ok(None),
    };
    finish(call, vec![("answer", question)], None, |answers| said(&answers["answer"])).await
}

async fn rounds(call: &Call<'_>, topic: &str) -> Result<Option<CallToolResponse>, ErrorData> {
    let seal = &call.session.board.seal;
    let name = || form("What is your name?", &[("name", "string")]);
    let confirm = || form("Please confirm", &[("ok", "boolean")]);
    match topic {
        "elicitation" => finish(call, vec![("user_name", name())], None, hello).await,
        "sampling" => {
            let questions = vec![("capital_question", sample("What is the capital of France?", 100))];
            finish(call, questions, None, |a| a["capital_question"]["content"]["text"].to_string()).await
        }
        "list_roots" => {
            finish(call, vec![("client_roots", roots())], None, |a| format!("Roots: {}", a["client_roots"]["roots"]))
                .await
        }
        "request_state" | "tampered_state" => {
            check_state(call)?;
            finish(call, vec![("confirm", confirm())], Some(seal.seal(b"confirm")), |_| "state-ok".to_owned()).await
        }
        "multiple_inputs" => {
            check_state(call)?;
            let greeting = sample("Generate a greeting", 50);
            let questions = vec![("user_name", name()), ("greeting", greeting), ("client_roots", roots())];
            finish(call, questions, Some(seal.seal(b"all")), hello).await
        }
        "multi_round" => multi_round(call, seal).await,
        "capabilities" => {
            let declared = call.context.client_capabilities().unwrap_or_default();
            let mut questions = vec![("greeting", sample("Generate a greeting", 50)), ("user_name", name())];
            questions.retain(|(_, question)| can(&declared, question));
            finish(call, questions, None, |a| format!("{} answers", a.len())).await
        }
        _ => Ok(None),
    }
}

/// Two questions, the second only after the first; a modern client carries the first answer in the sealed state.
async fn multi_round(call: &Call<'_>, seal: &RequestStateCodec) -> Result<Option<CallToolResponse>, ErrorData> {
    let given = call.request.input_responses.as_ref();
    let first = || vec![("step1", form("Step 1: What is your name?", &[("name", "string")]))];
    let second = || vec![("step2", form("Step 2: What is your favorite color?", &[("color", "string")]))];
    let name = match check_state(call)?.as_deref() {
        Some(state) if state != "step1" => state.to_owned(),
        _ => match ask(call.context, given, first(), Some(seal.seal(b"step1"))).await? {
            Asked::Wait(result) => return Ok(Some(result.into())),
            Asked::Answered(answers) => {
                format!("name={}", answers["step1"]["content"]["name"].as_str().unwrap_or_default())
            }
        },
    };
    let state = seal.seal(name.as_bytes());
    finish(call, second(), Some(state), |a| format!("{name}, color={}", a["step2"]["content"]["color"])).await
}

/// What a modern client brought back, if it is what we gave it.
fn check_state(call: &Call<'_>) -> Result<Option<String>, ErrorData> {
    let Some(sealed) = call.request.request_state.as_deref().filter(|_| is_modern(call.context)) else {
        return Ok(None);
    };
    let opened = call.session.board.seal.open(sealed);
    let opened = opened.map_err(|e| ErrorData::invalid_params(format!("requestState: {e}"), None))?;
    Ok(Some(String::from_utf8_lossy(&opened).into_owned()))
}

/// Asks, and answers with a text once all is answered.
async fn finish(
    call: &Call<'_>,
    questions: Vec<(&str, InputRequest)>,
    state: Option<String>,
    said: impl FnOnce(&Answers) -> String,
) -> Result<Option<CallToolResponse>, ErrorData> {
    match ask(call.context, call.request.input_responses.as_ref(), questions, state).await? {
        Asked::Wait(result) => Ok(Some(result.into())),
        Asked::Answered(answers) => Ok(Some(text(said(&answers)).into())),
    }
}

fn hello(answers: &Answers) -> String {
    format!("Hello, {}!", answers["user_name"]["content"]["name"].as_str().unwrap_or("you"))
}

fn outcome(answer: &Value) -> String {
    format!("action={}, content={}", answer["action"].as_str().unwrap_or_default(), answer["content"])
}

fn defaults() -> Value {
    json!({"type": "object", "properties": {
        "name": {"type": "string", "description": "User name", "default": "John Doe"},
        "age": {"type": "integer", "description": "User age", "default": 30},
        "score": {"type": "number", "description": "User score", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "description": "Whether the user is verified", "default": true},
    }})
}

fn enums() -> Value {
    let titled = |first: &str, second: &str, third: &str| {
        json!([
            {"const": "value1", "title": first}, {"const": "value2", "title": second}, {"const": "value3", "title": third},
        ])
    };
    let options = json!(["option1", "option2", "option3"]);
    json!({"type": "object", "properties": {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled("First Option", "Second Option", "Third Option")},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("First Choice", "Second Choice", "Third Choice")}},
    }})
}
