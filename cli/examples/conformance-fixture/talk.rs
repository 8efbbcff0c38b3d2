//! Tools that say something before they answer: log messages and progress.
use std::time::Duration;

use rmcp::model::{
    CallToolResponse, ErrorData, LoggingLevel, LoggingMessageNotificationParam, ProgressNotificationParam, Tool,
};
use serde_json::json;

use crate::session::is_modern;
use crate::tools::{Call, plain, text};

/// Between two messages: the suite wants to see that they come one by one.
const PAUSE: Duration = Duration::from_millis(50);

pub fn tools() -> Vec<Tool> {
    vec![
        plain("test_tool_with_logging", "Logs three messages, then answers"),
        plain("test_logging_tool", "Logs a message, then answers"),
        plain("test_tool_with_progress", "Reports progress three times, then answers"),
    ]
}

pub async fn call(call: &Call<'_>) -> Result<Option<CallToolResponse>, ErrorData> {
    match call.request.name.as_ref() {
        "test_tool_with_logging" => {
            log(call, "Tool execution started").await;
            tokio::time::sleep(PAUSE).await;
            log(call, "Tool processing data").await;
            tokio::time::sleep(PAUSE).await;
            log(call, "Tool execution completed").await;
            Ok(Some(text("Logging is done").into()))
        }
        "test_logging_tool" => {
            log(call, "Tool execution started").await;
            Ok(Some(text("Logging is done").into()))
        }
        "test_tool_with_progress" => {
            progress(call, 0.0).await;
            tokio::time::sleep(PAUSE).await;
            progress(call, 50.0).await;
            tokio::time::sleep(PAUSE).await;
            progress(call, 100.0).await;
            Ok(Some(text("Progress is done").into()))
        }
        _ => Ok(None),
    }
}

/// Logs at level info, where the client wants to hear it.
async fn log(call: &Call<'_>, message: &str) {
    let least =
        if is_modern(call.context) { call.context.meta.log_level() } else { Some(*call.session.level.lock().unwrap()) };
    if least.is_some_and(|least| severity(least) <= severity(LoggingLevel::Info)) {
        let message = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(message)).with_logger("fixture");
        // A client that has hung up hears nothing.
        let _ = call.context.peer.notify_logging_message(message).await;
    }
}

/// Reports progress of a hundred, where the client gave a token for it.
async fn progress(call: &Call<'_>, done: f64) {
    if let Some(token) = call.context.meta.get_progress_token() {
        let progress = ProgressNotificationParam::new(token, done).with_total(100.0);
        // A client that has hung up hears nothing.
        let _ = call.context.peer.notify_progress(progress).await;
    }
}

fn severity(level: LoggingLevel) -> u8 {
    level as u8
}
