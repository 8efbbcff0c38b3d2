//! A question in plain words, for those who answer it without the code that decides.
use mcpctl_core::access::{Ask, ResourceName, Verb};
use mcpctl_core::ids::Uid;

/// What is asked, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question<'a> {
    Operation(&'a str),
    Object { verb: &'a str, resource: &'a str, project: Option<Uid>, name: Option<&'a str>, uid: Option<Uid> },
}

impl<'a> Question<'a> {
    pub(crate) fn of(ask: &Ask<'a>) -> Self {
        match *ask {
            Ask::Operation(operation) => Self::Operation(operation),
            Ask::Object { verb, resource, project, name, uid } => {
                let name = name.map(|name| name.as_str());
                Self::Object { verb: verb_word(verb), resource: resource_word(resource), project, name, uid }
            }
        }
    }
}

const fn verb_word(verb: Verb) -> &'static str {
    match verb {
        Verb::View => "view",
        Verb::Create => "create",
        Verb::Delete => "delete",
        Verb::Edit => "edit",
        Verb::Run => "run",
    }
}

const fn resource_word(resource: ResourceName) -> &'static str {
    match resource {
        ResourceName::Any => "*",
        ResourceName::Instances => "instances",
        ResourceName::Kind(kind) => kind.names().plural,
    }
}
