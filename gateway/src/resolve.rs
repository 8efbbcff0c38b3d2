//! From a name that a client gives to a server and the server's own name for it.
use std::borrow::Cow;
use std::sync::Arc;

use futures::future::join_all;
use mcpctl_api::plane::ServerView;
use mcpctl_api::upstream::Session;

use crate::context::Context;
use crate::dialect::has;
use crate::left_out::ask_within;
use crate::listed::Facts;
use crate::lists::{ListKind, facts, fetch_all};
use crate::names::{Naming, split};

/// Why a name leads nowhere. The text is for the agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unresolved {
    /// Nobody has it.
    #[error("unknown {what} {name:?}: ask for the list, it has the names that can be used")]
    Unknown { what: &'static str, name: String },
    /// Two servers have it.
    #[error("{name:?} is a {what} of several servers: use {}", .forms.join(" or "))]
    Ambiguous { what: &'static str, name: String, forms: Vec<String> },
}

/// The server and its own name of a tool or prompt. No list is asked for where the name says it all.
pub(crate) async fn by_name<'c>(
    context: &'c Context,
    kind: ListKind,
    name: &str,
) -> Result<(&'c ServerView, String), Unresolved> {
    let project = &context.admission.project;
    let prefixed = split(project, name);
    let found = |server: &'c ServerView, shown: &str| {
        let own = own(kind, server, shown).ok_or_else(|| unknown(kind, name))?;
        Ok((server, own.to_owned()))
    };
    match (Naming::of(project), prefixed) {
        (Naming::Prefixed, Some((server, rest))) => found(server, rest),
        (Naming::Prefixed, None) => Err(unknown(kind, name)),
        (Naming::Single, None) => found(&project.servers[0], name),
        (Naming::Single, Some((server, rest))) => {
            // The server may have a tool whose own name begins like this.
            let all = facts(context, kind, server).await;
            let has = |own: &str| all.as_ref().is_some_and(|facts| facts.names.contains(own));
            let is_own = own(kind, server, name).is_some_and(has);
            found(server, if is_own { name } else { rest })
        }
        // A name that looks prefixed is never shown bare.
        (Naming::Unprefixed, Some((server, rest))) => found(server, rest),
        (Naming::Unprefixed, None) => unprefixed(context, kind, name).await,
    }
}

/// The server's own name for what agents know by a name; only tools have others.
fn own<'n>(kind: ListKind, server: &'n ServerView, shown: &'n str) -> Option<&'n str> {
    if kind == ListKind::Tools { server.own_name(shown) } else { Some(shown) }
}

async fn unprefixed<'c>(
    context: &'c Context,
    kind: ListKind,
    name: &str,
) -> Result<(&'c ServerView, String), Unresolved> {
    let mut owners = owners(context, kind, name).await;
    if owners.is_empty() {
        // What is known may be old: a modern server tells of changes only who listens.
        fetch_all(context, kind).await;
        owners = self::owners(context, kind, name).await;
    }
    match owners.as_slice() {
        [] => Err(unknown(kind, name)),
        [one] => Ok((one, own(kind, one, name).unwrap_or(name).to_owned())),
        several => {
            let forms = several.iter().map(|one| format!("{}{}{name}", one.name, context.dialect.separator)).collect();
            Err(Unresolved::Ambiguous { what: what(kind), name: shortened(name), forms })
        }
    }
}

async fn owners<'c>(context: &'c Context, kind: ListKind, name: &str) -> Vec<&'c ServerView> {
    let all = all_facts(context, kind).await;
    let has = |(server, facts): &(&ServerView, Option<Arc<Facts>>)| {
        own(kind, server, name).is_some_and(|name| {
            facts.as_ref().is_some_and(|facts| facts.names.contains(name))
                && (kind != ListKind::Tools || server.serves(name))
        })
    };
    context.servers().iter().zip(all).filter(has).map(|(server, _)| server).collect()
}

async fn all_facts(context: &Context, kind: ListKind) -> Vec<Option<Arc<Facts>>> {
    join_all(context.servers().iter().map(|server| facts(context, kind, server))).await
}

/// The servers to be asked for a resource, in order, each with its own URI for it. One that is listed, or fits a template,
/// has one; others (tools may tell of resources that no list has) are looked for at each server that has resources.
pub(crate) async fn by_uri<'c, 'u>(context: &'c Context, uri: &'u str) -> Vec<(&'c ServerView, Cow<'u, str>)> {
    let servers = context.servers();
    if let [only] = servers {
        return vec![(only, Cow::Borrowed(uri))];
    }
    let listed = all_facts(context, ListKind::Resources).await;
    let lists = |facts: &Option<Arc<Facts>>| facts.as_ref().is_some_and(|facts| facts.names.contains(uri));
    if let Some(index) = listed.iter().position(lists) {
        return vec![(&servers[index], Cow::Borrowed(uri))];
    }
    if let Some((server, rest)) = uri.split_once('+').filter(|(_, rest)| rest.contains(':'))
        && let Some(server) = servers.iter().find(|one| one.name == server)
    {
        return vec![(server, Cow::Borrowed(rest))];
    }
    let templates = all_facts(context, ListKind::Templates).await;
    let best = |facts: &Option<Arc<Facts>>| facts.as_ref()?.names.iter().filter_map(|one| fit(one, uri)).max();
    let fits = templates.iter().map(best).enumerate().filter_map(|(index, length)| Some((length?, index)));
    // The longest literal beginning wins; of equals the first server of the project.
    match fits.min_by_key(|(length, index)| (usize::MAX - length, *index)) {
        Some((_, index)) => vec![(&servers[index], Cow::Borrowed(uri))],
        None => with_resources(context).await.into_iter().map(|server| (server, Cow::Borrowed(uri))).collect(),
    }
}

async fn with_resources(context: &Context) -> Vec<&ServerView> {
    let reach = |server| ask_within(context, server, context.reach(server));
    let reached = join_all(context.servers().iter().map(reach)).await;
    let has = |(server, reached): (_, Option<(Arc<dyn Session>, _)>)| {
        reached.filter(|(session, _)| has(session.handshake().capabilities.as_deref(), "resources")).map(|_| server)
    };
    context.servers().iter().zip(reached).filter_map(has).collect()
}

/// How many bytes of a URI a template spells out, if the URI may come of it: it begins and ends like it.
fn fit(template: &str, uri: &str) -> Option<usize> {
    if template == uri {
        return Some(usize::MAX);
    }
    let (head, rest) = template.split_once('{')?;
    let tail = rest.rsplit_once('}')?.1;
    let fits = uri.len() >= head.len() + tail.len() && uri.starts_with(head) && uri.ends_with(tail);
    (fits && !head.is_empty()).then_some(head.len())
}

const fn what(kind: ListKind) -> &'static str {
    match kind {
        ListKind::Tools => "tool",
        ListKind::Prompts => "prompt",
        ListKind::Resources | ListKind::Templates => "resource",
    }
}

/// Nobody has it; or nobody who may be told: a filter hides what it refuses.
pub(crate) fn unknown(kind: ListKind, name: &str) -> Unresolved {
    Unresolved::Unknown { what: what(kind), name: shortened(name) }
}

fn shortened(name: &str) -> String {
    name.chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn a_uri_fits_a_template_that_begins_and_ends_like_it() {
        assert_eq!(fit("file:///{path}", "file:///a/b"), Some(8));
        assert_eq!(fit("demo://{id}/text", "demo://7/text"), Some(7));
        assert_eq!(fit("demo://{id}/text", "demo://7/blob"), None);
        assert_eq!(fit("demo://{id}/text", "demo://"), None);
        assert_eq!(fit("{+uri}", "anything:x"), None, "it would take everything");
        assert_eq!(fit("a:b", "a:b"), Some(usize::MAX));
    }
}
