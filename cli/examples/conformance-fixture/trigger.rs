//! Tools that change what this server offers, so that those who listen hear of it.
use rmcp::model::{CallToolResult, Tool};

use crate::board::Board;
use crate::resources::WATCHED;
use crate::tools::{Call, plain, text};

pub fn tools(board: &Board) -> Vec<Tool> {
    let mut tools = vec![
        plain("test_trigger_tool_change", "Adds test_extra_tool, or takes it away again"),
        plain("test_trigger_prompt_change", "Adds test_extra_prompt, or takes it away again"),
        plain("test_trigger_resource_update", "Updates test://watched-resource"),
    ];
    if board.has_extra_tool() {
        tools.push(plain("test_extra_tool", "Is there only sometimes"));
    }
    tools
}

pub fn call(call: &Call) -> Option<CallToolResult> {
    let board = &call.session.board;
    match call.request.name.as_ref() {
        "test_trigger_tool_change" => board.change_tools(),
        "test_trigger_prompt_change" => board.change_prompts(),
        "test_trigger_resource_update" => board.change_resource(WATCHED),
        "test_extra_tool" if board.has_extra_tool() => {}
        _ => return None,
    }
    Some(text("Done"))
}
