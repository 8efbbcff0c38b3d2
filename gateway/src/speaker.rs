//! Whose message it is: a modern client, a session, or a legacy client without one.
use std::sync::Arc;

use mcpctl_api::upstream::SessionKey;
use serde_json::value::RawValue;

use crate::call::Parsed;
use crate::client::Client;
use crate::clients::{Full, new_id};
use crate::context::Context;
use crate::dialect::{Dialect, LEGACY, MODERN};
use crate::exchange::{Request, Way};
use crate::json::Members;
use crate::modern::{check_capabilities, check_headers, check_version, unsupported};
use crate::rpc_error::RpcError;

/// Longest capabilities of a client that are kept, in bytes.
const OFFERS_BYTES_MAX: usize = 16 << 10;

/// Which client a message is from, and how to speak to it.
pub(crate) struct Speaker {
    pub(crate) client: Arc<Client>,
    pub(crate) dialect: Dialect,
}

impl Request<'_> {
    /// Whose message it is. A version in `_meta` makes it a modern one; `initialize` opens a session; else the session's
    /// id says it, and without one it is served as far as that goes: some proxies take the header off.
    pub(crate) async fn speaker(&self, parsed: &Parsed<'_>) -> Result<Speaker, RpcError> {
        let greets = &*parsed.method == "initialize" && parsed.id.is_some();
        match &self.arrival.way {
            Way::Http { mirrored, session, .. } => {
                let named = mirrored.version.as_deref();
                if parsed.meta.version.is_some() || (named == Some(MODERN) && !greets) {
                    check_headers(parsed, mirrored)?;
                    return self.modern(parsed);
                }
                match named {
                    _ if greets => Ok(self.greet(parsed)),
                    Some(named) if !LEGACY.contains(&named) => Err(unsupported(named)),
                    _ => Ok(self.legacy(self.session(session.as_deref())?)),
                }
            }
            Way::Stdio(_) if parsed.meta.version.is_some() => {
                check_version(parsed)?;
                self.modern(parsed)
            }
            Way::Stdio(client) if greets => {
                let speaker = self.greet(parsed);
                let old = client.lock().replace(speaker.client.clone());
                if let Some(old) = old {
                    old.end().await;
                }
                Ok(speaker)
            }
            Way::Stdio(client) => {
                let client = client.lock().clone();
                Ok(self.legacy(client))
            }
        }
    }

    fn modern(&self, parsed: &Parsed<'_>) -> Result<Speaker, RpcError> {
        check_capabilities(parsed)?;
        // A legacy server is opened for what its client offers, so callers are told apart by it. Most offer nothing.
        let offers = parsed.meta.capabilities.map(RawValue::get).filter(|text| !matches!(*text, "{}" | "{ }"));
        let offers = offers.filter(|text| text.len() <= OFFERS_BYTES_MAX);
        Ok(Speaker { client: self.sessionless(offers), dialect: Dialect::MODERN })
    }

    fn legacy(&self, client: Option<Arc<Client>>) -> Speaker {
        let client = client.unwrap_or_else(|| self.sessionless(None));
        let dialect = client.dialect.unwrap_or(Dialect::SESSIONLESS);
        Speaker { client, dialect }
    }

    /// A client that introduces itself.
    fn greet(&self, parsed: &Parsed<'_>) -> Speaker {
        let info = parsed.members.get("clientInfo").map(Members::of).unwrap_or_default();
        let dialect =
            Dialect::negotiate(parsed.members.text("protocolVersion").as_deref(), info.text("name").as_deref());
        // Kept for as long as the session: what is longer than any client's is taken for nothing.
        let offers = parsed.members.get("capabilities").filter(|raw| raw.get().len() <= OFFERS_BYTES_MAX);
        let offers = offers.filter(|raw| Members::of(raw).iter().next().is_some());
        let key = SessionKey {
            project: self.admission.project.uid,
            subject: self.admission.caller.actor.uid,
            session: Some(new_id()),
            capabilities: offers.map(|raw| raw.get().into()),
        };
        Speaker { client: Client::new(key, Some(dialect), self.gateway.plane.sessions(&self.arrival.bearer)), dialect }
    }

    /// Keeps the session of a client that was greeted, if it was told so. Over STDIO it lives as long as the process.
    pub(crate) async fn opened(&self, context: Context, told: bool) -> Option<Arc<str>> {
        if !told {
            context.client.end().await;
            return None;
        }
        let Way::Http { .. } = self.arrival.way else {
            // There the one way out is the stream too; it outlasts the trace of what opened it.
            let context = Context { trace: None, ..context };
            self.gateway.tasks.spawn(context.stream_all(None));
            return None;
        };
        let options = &self.gateway.options;
        match self.gateway.clients.open(context.client.clone(), options.sessions_max, options.sessions_of_one_max) {
            Ok(evicted) => {
                if let Some(evicted) = evicted {
                    evicted.end().await;
                }
                context.client.key.session.clone()
            }
            Err(Full) => {
                // Served without a session: it loses server messages, and no more.
                tracing::warn!("no further session can be opened: clients are served without one");
                context.client.end().await;
                None
            }
        }
    }

    /// The session of an id, if there is an id.
    pub(crate) fn session(&self, id: Option<&str>) -> Result<Option<Arc<Client>>, RpcError> {
        let Some(id) = id else { return Ok(None) };
        let (project, subject) = (self.admission.project.uid, self.admission.caller.actor.uid);
        match self.gateway.clients.find(id, project, subject) {
            Some(client) => Ok(Some(client)),
            None => Err(RpcError::of_status(404, "the session is not known (any more): send `initialize` again")),
        }
    }

    fn sessionless(&self, offers: Option<&str>) -> Arc<Client> {
        let (project, subject) = (self.admission.project.uid, self.admission.caller.actor.uid);
        let (client, evicted) = self.gateway.clients.stateless((project, subject), offers, || {
            let key = SessionKey { capabilities: offers.map(Into::into), ..SessionKey::new(project, subject) };
            Client::new(key, None, self.gateway.plane.sessions(&self.arrival.bearer))
        });
        if let Some(evicted) = evicted {
            self.gateway.tasks.spawn(async move { evicted.end().await });
        }
        client
    }

    /// What the message is done in the name of.
    pub(crate) fn context(&self, speaker: Speaker) -> Context {
        let headers = match &self.arrival.way {
            Way::Http { pass, .. } => pass.clone(),
            Way::Stdio(_) => Vec::new(),
        };
        Context {
            gateway: self.gateway.clone(),
            admission: self.admission.clone(),
            client: speaker.client,
            sessions: self.gateway.plane.sessions(&self.arrival.bearer),
            bearer: self.arrival.bearer.clone(),
            dialect: speaker.dialect,
            outlet: self.outlet.clone(),
            over_http: matches!(self.arrival.way, Way::Http { .. }),
            headers,
            trace: None,
        }
    }
}
