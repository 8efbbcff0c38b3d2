//! All tools: each topic is a file that lists its tools and answers the calls of them.
use rmcp::RoleServer;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, JsonObject,
    ListToolsResult, Tool,
};
use rmcp::service::RequestContext;
use serde_json::{Value, json};

use crate::board::Board;
use crate::session::Session;
use crate::{content, input_required, schemas, talk, tasks, trigger};

/// How long a listing stays fresh. Long enough to be seen in the answer, short enough that no test waits for it.
const TTL_MS: u64 = 1_000;

/// A call, and what it may use.
pub struct Call<'a> {
    pub request: CallToolRequestParams,
    pub context: &'a RequestContext<RoleServer>,
    pub session: &'a Session,
}

impl Call<'_> {
    /// An argument that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.request.arguments.as_ref()?.get(name)?.as_str()
    }
}

pub fn list(board: &Board) -> ListToolsResult {
    ListToolsResult::with_all_items(all(board)).with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public)
}

pub fn named(board: &Board, name: &str) -> Option<Tool> {
    all(board).into_iter().find(|tool| tool.name == name)
}

fn all(board: &Board) -> Vec<Tool> {
    let topics = [
        content::tools(),
        talk::tools(),
        input_required::tools(),
        tasks::tools(),
        schemas::tools(),
        trigger::tools(board),
    ];
    topics.concat()
}

pub async fn call(
    session: &Session,
    request: CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let name = request.name.clone();
    let call = Call { request, context, session };
    if let Some(result) = content::call(&name).or_else(|| schemas::call(&call)).or_else(|| trigger::call(&call)) {
        return Ok(result.into());
    }
    if let Some(result) = talk::call(&call).await? {
        return Ok(result);
    }
    if let Some(result) = input_required::call(&call).await? {
        return Ok(result);
    }
    if let Some(result) = tasks::call(&call).await? {
        return Ok(result);
    }
    Err(ErrorData::invalid_params(format!("there is no tool {name}"), None))
}

/// A tool without arguments.
pub fn plain(name: &'static str, description: &'static str) -> Tool {
    with_schema(name, description, json!({"type": "object", "properties": {}}))
}

pub fn with_schema(name: &'static str, description: &'static str, schema: Value) -> Tool {
    Tool::new(name, description, object(schema))
}

pub fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is not an object"),
    }
}

/// A result that is one text.
pub fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}
