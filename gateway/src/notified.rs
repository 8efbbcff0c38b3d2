//! Notifications of a client: taken silently; a few of them reach a server.
use mcpctl_api::upstream::Era;

use crate::call::Parsed;
use crate::context::Context;

/// Takes a notification.
pub(crate) async fn notified(context: &Context, parsed: &Parsed<'_>) {
    let client = &context.client;
    match &*parsed.method {
        "notifications/cancelled" => {
            if let Some(id) = parsed.members.get("requestId") {
                client.cancel(id);
            }
        }
        "notifications/progress" => {
            if let Some(session) = client.asked.whose_progress(parsed.params) {
                tell(&*session, parsed).await;
            }
        }
        "notifications/roots/list_changed" => {
            for session in client.open_sessions() {
                if session.handshake().era == Era::Legacy {
                    tell(&*session, parsed).await;
                }
            }
        }
        // `initialized` was said to each server by its conversation; what else there is has nobody to go to.
        _ => {}
    }
}

async fn tell(session: &dyn mcpctl_api::upstream::Session, parsed: &Parsed<'_>) {
    if let Err(error) = session.notify(&parsed.method, parsed.params).await {
        tracing::debug!(%error, "a notification of a client did not reach its server");
    }
}
