//! A question that owns what it names: how it is kept beside a decision, so that it can be asked again.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Ask, OPERATIONS, ResourceName, Verb};
use crate::ids::Uid;
use crate::name::{Name, NameRule};

/// A question as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Asked {
    /// An operation.
    Operation {
        /// Which.
        operation: String,
    },
    /// A verb on a resource.
    Object {
        /// The verb.
        verb: Verb,
        /// The resource.
        resource: ResourceName,
        /// The project that the object lives in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        project: Option<Uid>,
        /// Its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
        /// Its identity, where it exists.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<Uid>,
    },
}

impl Asked {
    /// The question, to be asked again.
    #[must_use]
    pub fn ask(&self) -> Ask<'_> {
        match self {
            Self::Operation { operation } => Ask::Operation(operation),
            Self::Object { verb, resource, project, name, uid } => {
                Ask::Object { verb: *verb, resource: *resource, project: *project, name: name.as_ref(), uid: *uid }
            }
        }
    }
}

impl From<&Ask<'_>> for Asked {
    fn from(ask: &Ask<'_>) -> Self {
        match ask {
            Ask::Operation(operation) => Self::Operation { operation: (*operation).to_owned() },
            Ask::Object { verb, resource, project, name, uid } => {
                Self::Object { verb: *verb, resource: *resource, project: *project, name: name.cloned(), uid: *uid }
            }
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ask().fmt(f)
    }
}

/// The text is no question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no question: write VERB RESOURCE[/NAME], or run:OPERATION")]
pub struct NotAsked;

/// As questions are written in refusals: `edit servers/my-ha`, `run:audit`. Which project it was in is not said there.
impl FromStr for Asked {
    type Err = NotAsked;
    fn from_str(text: &str) -> Result<Self, NotAsked> {
        if let Some(operation) = text.strip_prefix("run:") {
            let known = OPERATIONS.contains(&operation);
            return if known { Ok(Self::Operation { operation: operation.to_owned() }) } else { Err(NotAsked) };
        }
        let (verb, what) = text.split_once(' ').ok_or(NotAsked)?;
        let (resource, name) = what.split_once('/').map_or((what, None), |(resource, name)| (resource, Some(name)));
        let verb = verb.parse().map_err(|_| NotAsked)?;
        let resource: ResourceName = resource.parse().map_err(|_| NotAsked)?;
        let rule = match resource {
            ResourceName::Kind(kind) => kind.untyped().name_rule(),
            ResourceName::Instances | ResourceName::Any => NameRule::Label,
        };
        let name = name.map(|name| Name::parse(rule, name)).transpose().map_err(|_| NotAsked)?;
        Ok(Self::Object { verb, resource, project: None, name, uid: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kind;

    #[test]
    fn what_a_refusal_says_is_read_back_as_it_was_asked() {
        for kind in Kind::ALL {
            let name = if *kind == Kind::User { "a@example.com" } else { "a" };
            let name = Name::parse(kind.untyped().name_rule(), name).expect("a name");
            for verb in Verb::ALL {
                for name in [None, Some(&name)] {
                    let resource = ResourceName::Kind(*kind);
                    let ask = Ask::Object { verb, resource, project: None, name, uid: None };
                    assert_eq!(ask.to_string().parse(), Ok(Asked::from(&ask)), "{ask}");
                    assert_eq!(Asked::from(&ask).to_string(), ask.to_string());
                }
            }
        }
        for operation in OPERATIONS {
            let ask = Ask::Operation(operation);
            assert_eq!(ask.to_string().parse(), Ok(Asked::from(&ask)));
        }
        for text in ["", "run:fly", "own servers", "edit cars/x", "edit servers/A B", "give \"edit servers\" to User:x"]
        {
            assert_eq!(text.parse::<Asked>(), Err(NotAsked), "{text}");
        }
    }

    #[test]
    fn it_is_kept_in_json_and_in_messagepack_alike() {
        let name = Name::parse(NameRule::Label, "web").expect("a name");
        let object = Ask::named(Verb::Run, Kind::Project, Some(Uid::fixed(7)), &name);
        for asked in [Asked::from(&object), Asked::from(&Ask::Operation("audit"))] {
            let json = serde_json::to_string(&asked).expect("encodes");
            assert_eq!(serde_json::from_str::<Asked>(&json).expect("decodes"), asked, "{json}");
            let packed = rmp_serde::to_vec_named(&asked).expect("encodes");
            assert_eq!(rmp_serde::from_slice::<Asked>(&packed).expect("decodes"), asked);
        }
    }
}
