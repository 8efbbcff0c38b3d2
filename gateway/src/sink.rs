//! What a server says while a call runs, on its way to the caller of that call.
use std::sync::{Arc, Weak};

use mcpctl_api::upstream::{CallSink, ServerMessage, Session};
use serde_json::value::RawValue;

use crate::context::Context;
use crate::json::{Members, with_member};
use crate::link::{Link, refuse};
use crate::log_level::reaches;
use crate::message::Message;
use crate::tasks;

/// Which log messages the caller of a call wants with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogWish {
    /// None: a modern caller who named no level, or a legacy one who gets them on its own stream.
    None,
    /// All that the server sends: it knows the level.
    All,
    /// What is as grave as this.
    From(Arc<str>),
}

/// Passes on what belongs to one call.
pub(crate) struct CallerSink {
    pub(crate) context: Context,
    pub(crate) link: Arc<Link>,
    pub(crate) session: Weak<dyn Session>,
    /// The caller's own token for progress: the server was given another.
    pub(crate) progress: Option<Box<str>>,
    pub(crate) logs: LogWish,
}

impl CallSink for CallerSink {
    fn message(&self, message: ServerMessage) {
        match message {
            ServerMessage::Notification { method, params } => self.notified(&method, params.as_deref()),
            ServerMessage::Request { id, method, params } => self.asked(id, &method, params.as_deref()),
            // The call itself says what came of it.
            ServerMessage::Refused { .. } => {}
        }
    }
}

impl CallerSink {
    pub(crate) fn notified(&self, method: &str, params: Option<&RawValue>) {
        let changed = self.about_task(method, params);
        let params = changed.as_deref().or(params);
        match method {
            "notifications/progress" => self.progressed(params),
            "notifications/message" => self.logged(params),
            "notifications/cancelled" => self.context.client.asked.withdraw(&self.session, params),
            "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed"
            | "notifications/resources/updated" => self.link.notified(&self.context.client, method, params),
            _ => self.put(Message::notification(method, params.map(RawValue::get))),
        }
    }

    fn about_task(&self, method: &str, params: Option<&RawValue>) -> Option<Box<RawValue>> {
        tasks::from_server(&self.context.gateway, &self.context.client.key, self.link.server, method, params)
    }

    fn progressed(&self, params: Option<&RawValue>) {
        if let (Some(token), Some(params)) = (&self.progress, params) {
            let params = with_member(&Members::of(params), "progressToken", token);
            self.put(Message::notification("notifications/progress", Some(&params)));
        }
    }

    fn logged(&self, params: Option<&RawValue>) {
        let wanted = match &self.logs {
            LogWish::None => false,
            LogWish::All => true,
            LogWish::From(level) => reaches(params, level),
        };
        if wanted {
            self.put(Message::notification("notifications/message", params.map(RawValue::get)));
        }
    }

    /// Sampling, elicitation, roots of a legacy server. A legacy session is asked on the stream of its call. A modern client
    /// can't be asked on any stream: [`crate::mrtr`] is its way, where the method has one.
    fn asked(&self, id: Arc<RawValue>, method: &str, params: Option<&RawValue>) {
        let changed = self.about_task(method, params);
        let params = changed.as_deref().or(params);
        let client = &self.context.client;
        let can_be_asked = client.dialect.is_some() && !self.context.dialect.is_modern();
        let put =
            can_be_asked && client.asked.put(self.session.clone(), id.clone(), method, params, &self.context.outlet);
        if !put {
            refuse(&self.context.gateway, self.session.clone(), id);
        }
    }

    fn put(&self, message: Message) {
        if !self.context.outlet.put(message) {
            self.context.gateway.metrics.dropped.inc();
        }
    }
}
