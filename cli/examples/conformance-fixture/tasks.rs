//! Tools that run as tasks (extension `io.modelcontextprotocol/tasks`), for clients that have declared it.
use std::time::Duration;

use rmcp::model::{
    CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock, CreateTaskResult, ErrorData, Tool,
};
use rmcp::task_manager::{TaskContext, TaskExit, TaskFuture, TaskOptions};
use serde_json::json;

use crate::ask::{Asked, ask, form};
use crate::tools::{Call, plain, text, with_schema};

/// How long a job takes that fails: long enough to be seen working.
const JOB: Duration = Duration::from_millis(300);

/// How often clients are asked to look.
const POLL_MS: u64 = 200;

pub fn tools() -> Vec<Tool> {
    let one = |name: &str| json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]});
    let slow = json!({
        "type": "object",
        "properties": {"seconds": {"type": "number"}, "label": {"type": "string"}},
        "required": ["seconds"],
    });
    vec![
        with_schema("greet", "Greets at once, never as a task", one("name")),
        with_schema("slow_compute", "Takes some seconds, as a task where the client can", slow),
        plain("failing_job", "Fails, only as a task"),
        plain("protocol_error_job", "Ends with a protocol error, only as a task"),
        with_schema("confirm_delete", "Asks for a confirmation, only as a task", one("filename")),
        plain("multi_input", "Asks two things at once, only as a task"),
        plain("test_tool_with_task", "Asks for a name, then becomes a task"),
    ]
}

pub async fn call(call: &Call<'_>) -> Result<Option<CallToolResponse>, ErrorData> {
    match call.request.name.as_ref() {
        "greet" => Ok(Some(text(format!("Hello, {}!", call.text("name").unwrap_or("you"))).into())),
        "slow_compute" => slow_compute(call).await.map(Some),
        "failing_job" => task(call, |_| Box::pin(fail())).map(Some),
        "protocol_error_job" => task(call, |_| Box::pin(break_off())).map(Some),
        "confirm_delete" => {
            let filename = call.text("filename").unwrap_or_default().to_owned();
            task(call, |context| Box::pin(confirm_delete(context, filename))).map(Some)
        }
        "multi_input" => task(call, |context| Box::pin(multi_input(context))).map(Some),
        "test_tool_with_task" => ask_then_task(call).await.map(Some),
        _ => Ok(None),
    }
}

/// Begins a task, for a client that can.
fn task(call: &Call, job: impl FnOnce(TaskContext) -> TaskFuture) -> Result<CallToolResponse, ErrorData> {
    if !can_tasks(call) {
        let missing = ClientCapabilities::builder().enable_tasks().build();
        return Err(ErrorData::missing_required_client_capability(missing));
    }
    let task = call.session.board.tasks.spawn(TaskOptions::new().with_poll_interval_ms(POLL_MS), job);
    Ok(CreateTaskResult::new(task).into())
}

fn can_tasks(call: &Call) -> bool {
    call.context.client_capabilities().is_some_and(|declared| declared.supports_tasks())
}

async fn slow_compute(call: &Call<'_>) -> Result<CallToolResponse, ErrorData> {
    let seconds = call.request.arguments.as_ref().and_then(|a| a.get("seconds")?.as_f64()).unwrap_or_default();
    let time = Duration::from_secs_f64(seconds.clamp(0.0, 120.0));
    if can_tasks(call) && !time.is_zero() {
        return task(call, |context| Box::pin(compute(context, time)));
    }
    tokio::time::sleep(time).await;
    Ok(text("Computed").into())
}

async fn compute(context: TaskContext, time: Duration) -> Result<CallToolResult, TaskExit> {
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(text("Computed")),
        () = context.cancelled() => Err(TaskExit::Cancelled),
    }
}

async fn fail() -> Result<CallToolResult, TaskExit> {
    tokio::time::sleep(JOB).await;
    Ok(CallToolResult::error(vec![ContentBlock::text("The job failed")]))
}

async fn break_off() -> Result<CallToolResult, TaskExit> {
    tokio::time::sleep(JOB).await;
    Err(TaskExit::Error(ErrorData::internal_error("The job broke off", None)))
}

async fn confirm_delete(context: TaskContext, filename: String) -> Result<CallToolResult, TaskExit> {
    let question = form(&format!("Delete {filename}?"), &[("confirm", "boolean")]);
    let answer = context.request_input("confirm", question).await?;
    Ok(text(format!("{filename}: {}", answer["action"].as_str().unwrap_or_default())))
}

async fn multi_input(context: TaskContext) -> Result<CallToolResult, TaskExit> {
    let first = context.request_input("first", form("Your name?", &[("name", "string")]));
    let second = context.request_input("second", form("Are you sure?", &[("confirm", "boolean")]));
    let (first, second) = tokio::try_join!(first, second)?;
    Ok(text(format!("{} and {}", first["content"], second["content"])))
}

async fn ask_then_task(call: &Call<'_>) -> Result<CallToolResponse, ErrorData> {
    let question = form("What is your name?", &[("name", "string")]);
    match ask(call.context, call.request.input_responses.as_ref(), vec![("user_name", question)], None).await? {
        Asked::Wait(result) => Ok(result.into()),
        Asked::Answered(answers) => {
            let name = answers["user_name"]["content"]["name"].as_str().unwrap_or("you").to_owned();
            task(call, |_| Box::pin(async move { Ok(text(format!("Hello, {name}!"))) }))
        }
    }
}
