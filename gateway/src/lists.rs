//! Lists of one server: asked for page by page, kept raw, their names noted.
use std::borrow::Cow;
use std::sync::Arc;

use futures::future::join_all;
use mcpctl_api::plane::ServerView;
use mcpctl_api::upstream::{Era, UpstreamError};
use mcpctl_core::ids::Digest;
use serde_json::value::RawValue;

use crate::call::Unanswered;
use crate::catalogue::Definitions;
use crate::context::Context;
use crate::dialect::has;
use crate::json::{Members, elements, may_have_key, quoted, raw};
use crate::left_out::ask_within;
use crate::link::{Known, Link, Names};
use crate::param_headers::{Annotated, AnnotatedTools, of_tool};

/// Pages of one list that are followed.
const PAGES_MAX: usize = 64;
/// Entries of one list that are kept.
const ENTRIES_MAX: usize = 10_000;

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// A list of one server, raw.
#[derive(Debug)]
pub(crate) struct Listed {
    /// `tools` and so on, one array a page.
    pub(crate) pages: Vec<Box<RawValue>>,
    /// How long the server says that it is good for; `None` from a legacy server.
    pub(crate) ttl_ms: Option<u64>,
    /// Of tools, the hashes of their definitions.
    pub(crate) definitions: Arc<Definitions>,
}

impl Listed {
    /// The entries with the names by which they are asked for. One that has none, or one given before, is left out: nobody
    /// could tell which of two is called.
    pub(crate) fn entries(&self, kind: ListKind) -> Vec<(Cow<'_, str>, Members<'_>)> {
        let mut seen: std::collections::HashSet<Cow<'_, str>> = std::collections::HashSet::new();
        let mut entries = Vec::new();
        for entry in self.pages.iter().flat_map(|page| elements(page)).take(ENTRIES_MAX) {
            let members = Members::of(entry);
            if let Some(name) = members.text(kind.key())
                && seen.insert(name.clone())
            {
                entries.push((name, members));
            }
        }
        entries
    }

    /// Tools whose arguments travel as headers too. Hardly any do: most entries are not looked into.
    fn annotated(&self, kind: ListKind) -> AnnotatedTools {
        let some =
            kind == ListKind::Tools && self.pages.iter().any(|page| may_have_key(page.get(), "\"x-mcp-header\""));
        let entries = if some { self.entries(kind) } else { Vec::new() };
        let annotated = entries.into_iter().map(|(name, tool)| (Box::from(&*name), of_tool(&tool)));
        annotated.filter(|(_, annotated)| annotated.as_ref().is_none_or(|some| !some.is_empty())).collect()
    }

    /// Tools that run as a task only (2025-11-25). Hardly any do.
    fn as_tasks(&self, kind: ListKind) -> Names {
        let some = kind == ListKind::Tools && self.pages.iter().any(|page| may_have_key(page.get(), "\"taskSupport\""));
        let entries = if some { self.entries(kind) } else { Vec::new() };
        let execution = |tool: &Members<'_>| tool.get("execution").map(RawValue::get).unwrap_or_default().to_owned();
        let is_required = |tool: &Members<'_>| {
            Members::read(&execution(tool)).is_ok_and(|how| how.text("taskSupport").as_deref() == Some("required"))
        };
        let only = entries.iter().filter(|(_, tool)| is_required(tool));
        only.map(|(name, _)| Box::from(&**name)).collect()
    }

    fn names(&self, kind: ListKind) -> Names {
        self.entries(kind).into_iter().map(|(name, _)| Box::from(&*name)).collect()
    }
}

/// Asks a server for a list, to its end.
pub(crate) async fn fetch(context: &Context, kind: ListKind, server: &ServerView) -> Result<Listed, Unanswered> {
    let (session, link) = context.reach(server).await?;
    let handshake = session.handshake();
    let ttl_ms = (handshake.era == Era::Modern).then_some(u64::MAX);
    let mut listed = Listed { pages: Vec::new(), ttl_ms, definitions: Arc::default() };
    if !has(handshake.capabilities.as_deref(), kind.capability()) {
        return Ok(listed);
    }
    let changes = link.changes(kind);
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let params = cursor.take().map(|cursor| raw(format!("{{\"cursor\":{}}}", quoted(&cursor))));
        let page = context.ask(server, &*session, kind.method(), params).await?;
        cursor = add_page(&mut listed, kind, server, &page)?;
        if cursor.is_none() {
            break;
        }
    }
    if kind == ListKind::Tools {
        listed.definitions = context.gateway.catalogue.definitions(server.uid, &listed.pages);
    }
    let known = Known {
        names: listed.names(kind),
        annotated: listed.annotated(kind),
        definitions: listed.definitions.clone(),
        as_tasks: listed.as_tasks(kind),
    };
    link.remember(kind, changes, known);
    Ok(listed)
}

/// Takes a page in, and gives the cursor of the next.
fn add_page(
    listed: &mut Listed,
    kind: ListKind,
    server: &ServerView,
    page: &RawValue,
) -> Result<Option<String>, Unanswered> {
    let members = Members::of(page);
    let Some(entries) = members.get(kind.member()) else {
        let what = format!("its answer to {} has no {:?}", kind.method(), kind.member());
        return Err(UpstreamError::Protocol { server: server.name.clone(), what }.into());
    };
    if let Some(ttl) = &mut listed.ttl_ms {
        let says = members.get("ttlMs").and_then(|raw| raw.get().parse().ok());
        *ttl = (*ttl).min(says.unwrap_or(0));
    }
    listed.pages.push(entries.to_owned());
    Ok(members.text("nextCursor").map(Cow::into_owned))
}

/// Asks all servers of the project at once. `None` is a server that is left out.
pub(crate) async fn fetch_all(context: &Context, kind: ListKind) -> Vec<Option<Listed>> {
    let ask = |server| ask_within(context, server, fetch(context, kind, server));
    join_all(context.servers().iter().map(ask)).await
}

/// Names that a server listed last, asked for only if they are not known or said to have changed. `None` is a server that
/// does not answer.
pub(crate) async fn names(context: &Context, kind: ListKind, server: &ServerView) -> Option<Arc<Names>> {
    ask_within(context, server, async {
        let (_, link) = context.reach(server).await?;
        if let Some(names) = link.names(kind) {
            return Ok(names);
        }
        let listed = fetch(context, kind, server).await?;
        Ok(link.names(kind).unwrap_or_else(|| Arc::new(listed.names(kind))))
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
        Ok(fetch(context, ListKind::Tools, server).await?.definitions.get(tool).copied())
    });
    shown.await.flatten()
}

/// The arguments of a tool that travel as headers too. The list is asked for once, if it is not known.
pub(crate) async fn annotated(context: &Context, server: &ServerView, link: &Link, tool: &str) -> Vec<Annotated> {
    if link.annotated().is_none() {
        // Who does not answer for a list won't answer the call either, which then says so.
        let _ = names(context, ListKind::Tools, server).await;
    }
    link.annotated().and_then(|all| all.get(tool).cloned().flatten()).unwrap_or_default()
}
