//! A long stream to a client: the GET of a legacy session, or `subscriptions/listen`.
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::client::{SUBSCRIBED_MAX, URI_BYTES_MAX};
use crate::json::{Members, Object, with_member};
use crate::message::Message;
use crate::outlet::Outlet;

/// Key of the subscription in `_meta`.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// What a stream is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// All there is: the GET stream of a legacy session.
    All,
    /// What a modern client asked for, under the id of its request.
    Some { id: Box<str>, filter: Filter },
}

/// Notifications that a modern client asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) tools: bool,
    pub(crate) prompts: bool,
    pub(crate) resources: bool,
    pub(crate) uris: BTreeSet<String>,
}

impl Filter {
    /// Reads the `notifications` member of `subscriptions/listen`. `None` if it is none, or too long to be kept.
    pub(crate) fn read(raw: &RawValue) -> Option<Self> {
        let members = Members::read(raw.get()).ok()?;
        let flag = |name| members.get(name).is_some_and(|value| value.get() == "true");
        let uris: BTreeSet<String> = match members.get("resourceSubscriptions") {
            Some(uris) => serde_json::from_str(uris.get()).ok()?,
            None => BTreeSet::new(),
        };
        if uris.len() > SUBSCRIBED_MAX || uris.iter().any(|uri| uri.len() > URI_BYTES_MAX) {
            return None;
        }
        let (tools, prompts) = (flag("toolsListChanged"), flag("promptsListChanged"));
        Some(Self { tools, prompts, resources: flag("resourcesListChanged"), uris })
    }

    /// The same as JSON, for a server or for the acknowledgement.
    pub(crate) fn to_json(&self) -> String {
        let mut object = Object::new();
        let flags = [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ];
        for (name, _) in flags.into_iter().filter(|(_, wanted)| *wanted) {
            object.json(name, "true");
        }
        if !self.uris.is_empty() {
            object.json("resourceSubscriptions", &serde_json::to_string(&self.uris).expect("strings serialise"));
        }
        object.finish()
    }

    fn wants(&self, method: &str, params: Option<&RawValue>) -> bool {
        match method {
            "notifications/tools/list_changed" => self.tools,
            "notifications/prompts/list_changed" => self.prompts,
            "notifications/resources/list_changed" => self.resources,
            "notifications/resources/updated" => {
                let uri = params.and_then(|raw| Members::of(raw).text("uri"));
                // A server may say that a part of what was subscribed to has changed.
                uri.is_some_and(|uri| self.uris.iter().any(|wanted| uri.starts_with(wanted.as_str())))
            }
            _ => false,
        }
    }
}

/// A stream.
pub(crate) struct Listener {
    pub(crate) wish: Wish,
    pub(crate) outlet: Outlet,
    /// Cancelled when another stream replaces it.
    pub(crate) ended: CancellationToken,
    acknowledged: AtomicBool,
}

impl Listener {
    pub(crate) fn new(wish: Wish, outlet: Outlet) -> Self {
        Self { wish, outlet, ended: CancellationToken::new(), acknowledged: AtomicBool::new(false) }
    }

    /// Whether it is that of a legacy session.
    pub(crate) fn takes_all(&self) -> bool {
        self.wish == Wish::All
    }

    /// Puts a notification in, if it is wanted. Says whether it was taken.
    pub(crate) fn tell(&self, method: &str, params: Option<&RawValue>) -> bool {
        match &self.wish {
            Wish::All => self.outlet.put(Message::notification(method, params.map(RawValue::get))),
            Wish::Some { id, filter } if filter.wants(method, params) => {
                self.acknowledge();
                self.outlet.put(Message::notification(method, Some(&with_subscription(params, id))))
            }
            Wish::Some { .. } => false,
        }
    }

    /// The first message of a modern stream, once. Everything is agreed to: what a server can't do never arrives.
    pub(crate) fn acknowledge(&self) {
        if let Wish::Some { id, filter } = &self.wish
            && !self.acknowledged.swap(true, Ordering::AcqRel)
        {
            let params = format!("{{\"_meta\":{{\"{SUBSCRIPTION}\":{id}}},\"notifications\":{}}}", filter.to_json());
            self.outlet.put(Message::notification("notifications/subscriptions/acknowledged", Some(&params)));
        }
    }

    /// `result` that ends a modern stream in good order.
    pub(crate) fn farewell(id: &str) -> String {
        format!("{{\"resultType\":\"complete\",\"_meta\":{{\"{SUBSCRIPTION}\":{id}}}}}")
    }
}

/// The params of a notification with the client's own subscription in `_meta`, whoever's was there before.
fn with_subscription(params: Option<&RawValue>, id: &str) -> String {
    let members = params.map(Members::of).unwrap_or_default();
    let meta = members.get("_meta").map(Members::of).unwrap_or_default();
    with_member(&members, "_meta", &with_member(&meta, SUBSCRIPTION, id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::raw;

    #[test]
    fn a_filter_lets_through_what_was_asked_for_and_nothing_else() {
        let raw_filter = raw(r#"{"toolsListChanged":true,"resourceSubscriptions":["file:///a"],"x":1}"#.into());
        let filter = Filter::read(&raw_filter).unwrap();
        let updated = |uri: &str| raw(format!("{{\"uri\":\"{uri}\"}}"));
        assert!(filter.wants("notifications/tools/list_changed", None));
        assert!(!filter.wants("notifications/prompts/list_changed", None));
        assert!(filter.wants("notifications/resources/updated", Some(&updated("file:///a"))));
        assert!(!filter.wants("notifications/resources/updated", Some(&updated("file:///b"))));
        assert!(!filter.wants("notifications/message", None));
        assert_eq!(filter.to_json(), r#"{"toolsListChanged":true,"resourceSubscriptions":["file:///a"]}"#);
    }

    #[test]
    fn a_notification_carries_the_clients_own_subscription() {
        let params = raw(r#"{"uri":"u","_meta":{"io.modelcontextprotocol/subscriptionId":7,"v":1}}"#.into());
        assert_eq!(
            with_subscription(Some(&params), "\"mine\""),
            r#"{"uri":"u","_meta":{"io.modelcontextprotocol/subscriptionId":"mine","v":1}}"#
        );
    }
}
