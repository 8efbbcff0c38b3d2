//! How tools and prompts of several servers are named apart, and found again by either form of the name.
use std::borrow::Cow;
use std::collections::HashMap;

use mcpctl_api::plane::{ProjectView, ServerView};
use mcpctl_core::kinds::ToolNames;

/// What stands between a server's name and a tool's; both are understood. A server's name has neither of them in it, so the
/// first one found is where it ends.
const SEPARATORS: [&str; 2] = ["__", "/"];

/// How a project names its tools and prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// One server: names are the server's own.
    Single,
    /// The server's name first.
    Prefixed,
    /// The server's own where only one server has the name.
    Unprefixed,
}

impl Naming {
    pub(crate) fn of(project: &ProjectView) -> Self {
        match (project.servers.len(), project.tool_names) {
            (1, _) => Self::Single,
            (_, ToolNames::Prefixed) => Self::Prefixed,
            (_, ToolNames::Unprefixed) => Self::Unprefixed,
        }
    }
}

/// The server that a name is prefixed with, and the rest of it.
pub(crate) fn split<'p, 'n>(project: &'p ProjectView, name: &'n str) -> Option<(&'p ServerView, &'n str)> {
    let parts =
        SEPARATORS.iter().filter_map(|separator| name.split_once(separator)).filter(|(_, rest)| !rest.is_empty());
    parts
        .into_iter()
        .find_map(|(server, rest)| project.servers.iter().find(|one| one.name == server).map(|server| (server, rest)))
}

/// Names as one list shows them.
pub(crate) struct Shown<'a> {
    project: &'a ProjectView,
    naming: Naming,
    separator: &'static str,
    /// How many servers have a name.
    owners: HashMap<Cow<'a, str>, usize>,
}

impl<'a> Shown<'a> {
    /// `names` are those of all servers; within one server a name is given once.
    pub(crate) fn new(
        project: &'a ProjectView,
        separator: &'static str,
        names: impl Iterator<Item = Cow<'a, str>>,
    ) -> Self {
        let naming = Naming::of(project);
        let mut owners = HashMap::new();
        if naming == Naming::Unprefixed {
            names.for_each(|name| *owners.entry(name).or_insert(0) += 1);
        }
        Self { project, naming, separator, owners }
    }

    /// What a server's tool is called. A bare name that looks like a prefixed one is prefixed too: otherwise it could be
    /// taken for another server's tool.
    pub(crate) fn name<'n>(&self, server: &ServerView, name: &'n str) -> Cow<'n, str> {
        let bare = match self.naming {
            Naming::Single => true,
            Naming::Prefixed => false,
            Naming::Unprefixed => self.owners.get(name) == Some(&1) && split(self.project, name).is_none(),
        };
        if bare { Cow::Borrowed(name) } else { Cow::Owned(format!("{}{}{name}", server.name, self.separator)) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use mcpctl_core::ids::{Seq, Uid};

    pub(crate) fn project(servers: &[&str], tool_names: ToolNames) -> ProjectView {
        let server = |(index, name): (usize, &&str)| ServerView {
            uid: Uid::fixed(index as u128 + 1),
            name: (*name).to_owned(),
            description: None,
            tools: Default::default(),
            project_tools: Default::default(),
            pins: None,
            version: Seq(1),
        };
        ProjectView {
            uid: Uid::fixed(99),
            name: "p".into(),
            instructions: None,
            tool_names,
            strict: false,
            servers: servers.iter().enumerate().map(server).collect(),
            version: Seq(1),
        }
    }

    fn shown(project: &ProjectView, all: &[(&str, &str)]) -> Vec<String> {
        let names = Shown::new(project, "__", all.iter().map(|(_, name)| Cow::Borrowed(*name)));
        let server = |name: &str| project.servers.iter().find(|one| one.name == name).unwrap();
        all.iter().map(|(owner, name)| names.name(server(owner), name).into_owned()).collect()
    }

    #[test]
    fn both_forms_of_a_prefixed_name_are_understood() {
        let project = project(&["a", "my-ha"], ToolNames::Prefixed);
        let split = |name| split(&project, name).map(|(server, rest)| (server.name.clone(), rest));
        assert_eq!(split("my-ha/light/on"), Some(("my-ha".into(), "light/on")));
        assert_eq!(split("my-ha__light__on"), Some(("my-ha".into(), "light__on")));
        assert_eq!(split("a/x__y"), Some(("a".into(), "x__y")));
        assert_eq!(split("a__x/y"), Some(("a".into(), "x/y")));
        assert_eq!(split("b__x"), None);
        assert_eq!(split("a__"), None);
    }

    #[test]
    fn a_project_with_one_server_serves_its_names_as_they_are() {
        let one = project(&["a"], ToolNames::Prefixed);
        assert_eq!(shown(&one, &[("a", "x"), ("a", "a__x")]), ["x", "a__x"]);
    }

    #[test]
    fn a_name_that_two_servers_have_is_prefixed_all_the_same() {
        let two = project(&["a", "b"], ToolNames::Unprefixed);
        assert_eq!(shown(&two, &[("a", "x"), ("b", "x"), ("b", "y")]), ["a__x", "b__x", "y"]);
    }

    #[test]
    fn a_bare_name_can_not_pose_as_another_servers_tool() {
        let two = project(&["a", "b"], ToolNames::Unprefixed);
        assert_eq!(shown(&two, &[("a", "b__x"), ("b", "y")]), ["a__b__x", "y"]);
    }
}
