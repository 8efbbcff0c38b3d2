//! Lists of servers: asked for page by page.
use std::sync::Arc;

use futures::future::join_all;
use mcpctl_api::plane::ServerView;
use mcpctl_api::upstream::{Era, UpstreamError};
use mcpctl_core::ids::Digest;

use crate::call::Unanswered;
use crate::context::Context;
use crate::dialect::has;
use crate::json::{quoted, raw};
use crate::left_out::ask_within;
use crate::link::Link;
use crate::listed::{Facts, List, Page};
use crate::param_headers::Annotated;

/// Pages of one list that are followed.
const PAGES_MAX: usize = 64;

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ListKind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl ListKind {
    pub(crate) const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The list that a method asks for.
    pub(crate) fn of_method(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.method() == method)
    }

    pub(crate) const fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The member of the result that has the entries.
    pub(crate) const fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The member of an entry by which it is asked for.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// What a server says that it has when it has such a list.
    pub(crate) const fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }
}

/// A list of one server, as it was shown now.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) list: Arc<List>,
    /// How long the server says that it is good for; `None` from a legacy server.
    pub(crate) ttl_ms: Option<u64>,
}

/// Asks a server for a list, to its end.
pub(crate) async fn fetch(context: &Context, kind: ListKind, server: &ServerView) -> Result<Listed, Unanswered> {
    let (session, link) = context.reach(server).await?;
    let handshake = session.handshake();
    let ttl_ms = (handshake.era == Era::Modern).then_some(u64::MAX);
    let mut pages: Vec<Arc<Page>> = Vec::new();
    if !has(handshake.capabilities.as_deref(), kind.capability()) {
        return Ok(Listed { list: context.gateway.catalogue.list(kind, server.uid, pages), ttl_ms });
    }
    let changes = link.changes(kind);
    for _ in 0..PAGES_MAX {
        let cursor = pages.last().and_then(|page| page.cursor.as_ref());
        let params = cursor.map(|cursor| raw(format!("{{\"cursor\":{}}}", quoted(cursor))));
        let page = context.ask(server, &*session, kind.method(), params).await?;
        let page = context.gateway.catalogue.page(kind, server.uid, &page).ok_or_else(|| no_entries(kind, server))?;
        let is_last = page.cursor.is_none();
        pages.push(page);
        if is_last {
            break;
        }
    }
    let ttl_ms = ttl_ms.and(pages.iter().map(|page| page.ttl_ms).min());
    let list = context.gateway.catalogue.list(kind, server.uid, pages);
    link.remember(kind, changes, list.facts.clone());
    Ok(Listed { list, ttl_ms })
}

fn no_entries(kind: ListKind, server: &ServerView) -> UpstreamError {
    let what = format!("its answer to {} has no {:?}", kind.method(), kind.member());
    UpstreamError::Protocol { server: server.name.clone(), what }
}

/// Asks all servers of the project at once. `None` is a server that is left out.
pub(crate) async fn fetch_all(context: &Context, kind: ListKind) -> Vec<Option<Listed>> {
    let ask = |server| ask_within(context, server, fetch(context, kind, server));
    join_all(context.servers().iter().map(ask)).await
}

/// What a server listed last, asked for only if it is not known or said to have changed. `None` is a server that does not
/// answer.
pub(crate) async fn facts(context: &Context, kind: ListKind, server: &ServerView) -> Option<Arc<Facts>> {
    ask_within(context, server, async {
        let (_, link) = context.reach(server).await?;
        if let Some(facts) = link.facts(kind) {
            return Ok(facts);
        }
        Ok(fetch(context, kind, server).await?.list.facts.clone())
    })
    .await
}

/// The definition by which a server shows a tool to this client, asked for if it is not known. Nothing when it shows none.
pub(crate) async fn definition(context: &Context, server: &ServerView, tool: &str) -> Option<Digest> {
    let shown = ask_within(context, server, async {
        let (_, link) = context.reach(server).await?;
        if let Some(known) = link.definition(tool) {
            return Ok(Some(known));
        }
        Ok(fetch(context, ListKind::Tools, server).await?.list.facts.definitions.get(tool).copied())
    });
    shown.await.flatten()
}

/// The arguments of a tool that travel as headers too. The list is asked for once, if it is not known.
pub(crate) async fn annotated(context: &Context, server: &ServerView, link: &Link, tool: &str) -> Vec<Annotated> {
    if link.facts(ListKind::Tools).is_none() {
        // Who does not answer for a list won't answer the call either, which then says so.
        let _ = facts(context, ListKind::Tools, server).await;
    }
    let known = link.facts(ListKind::Tools);
    known.and_then(|facts| facts.annotated.get(tool).cloned().flatten()).unwrap_or_default()
}
