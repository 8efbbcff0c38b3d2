//! The prompts, and completion of their arguments.
use rmcp::RoleServer;
use rmcp::model::{
    CacheScope, CompleteRequestParams, CompleteResult, CompletionInfo, ContentBlock, ErrorData, GetPromptRequestParams,
    GetPromptResponse, GetPromptResult, ListPromptsResult, Prompt, PromptArgument, PromptMessage, ResourceContents,
    Role,
};
use rmcp::service::RequestContext;

use crate::ask::{Asked, ask, form};
use crate::board::Board;
use crate::content::PNG;

const TTL_MS: u64 = 1_000;

/// What completion knows.
const WORDS: [&str; 4] = ["paris", "park", "party", "testValue1"];

pub fn list(board: &Board) -> ListPromptsResult {
    let argument =
        |name: &str, description: &str| PromptArgument::new(name).with_description(description).with_required(true);
    let two = vec![argument("arg1", "First test argument"), argument("arg2", "Second test argument")];
    let uri = vec![argument("resourceUri", "URI of the resource to embed")];
    let mut prompts = vec![
        Prompt::new("test_simple_prompt", Some("A text"), None),
        Prompt::new("test_prompt_with_arguments", Some("Two arguments in a text"), Some(two)),
        Prompt::new("test_prompt_with_embedded_resource", Some("A resource in a prompt"), Some(uri)),
        Prompt::new("test_prompt_with_image", Some("An image in a prompt"), None),
        Prompt::new("test_input_required_result_prompt", Some("Asks for context first"), None),
    ];
    if board.has_extra_prompt() {
        prompts.push(Prompt::new("test_extra_prompt", Some("Is there only sometimes"), None));
    }
    ListPromptsResult::with_all_items(prompts).with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public)
}

pub fn complete(request: &CompleteRequestParams) -> Result<CompleteResult, ErrorData> {
    let begun = request.argument.value.as_str();
    let words = WORDS.iter().filter(|w| w.starts_with(begun)).map(|&w| w.to_owned()).collect();
    let info = CompletionInfo::new(words).map_err(|e| ErrorData::internal_error(e, None))?;
    Ok(CompleteResult::new(info))
}

pub async fn get(
    request: GetPromptRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<GetPromptResponse, ErrorData> {
    let argument = |name: &str| request.arguments.as_ref().and_then(|a| a.get(name)?.as_str()).unwrap_or_default();
    let messages = match request.name.as_str() {
        "test_simple_prompt" | "test_extra_prompt" => vec![says("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => {
            let (one, two) = (argument("arg1"), argument("arg2"));
            vec![says(format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))]
        }
        "test_prompt_with_embedded_resource" => {
            let text = "Embedded resource content for testing.";
            let resource = ContentBlock::resource(ResourceContents::text(text, argument("resourceUri")));
            vec![PromptMessage::new(Role::User, resource), says("Please process the embedded resource above.")]
        }
        "test_prompt_with_image" => {
            let image = PromptMessage::new(Role::User, ContentBlock::image(PNG, "image/png"));
            vec![image, says("Please analyze the image above.")]
        }
        "test_input_required_result_prompt" => {
            let question = form("What context should the prompt use?", &[("context", "string")]);
            match ask(context, request.input_responses.as_ref(), vec![("user_context", question)], None).await? {
                Asked::Wait(result) => return Ok(result.into()),
                Asked::Answered(answers) => {
                    let said = answers["user_context"]["content"]["context"].as_str().unwrap_or_default().to_owned();
                    vec![says(format!("Use this context: {said}"))]
                }
            }
        }
        name => return Err(ErrorData::invalid_params(format!("there is no prompt {name}"), None)),
    };
    Ok(GetPromptResult::new(messages).into())
}

fn says(text: impl Into<String>) -> PromptMessage {
    PromptMessage::new_text(Role::User, text)
}
