//! `group`: a set of users, to give rights to all at once.
use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::Uid;
use crate::kinds::{Kind, SubjectRef, User};
use crate::name::Name;
use crate::reference::Ref;
use crate::refusal::{Refusal, Violations};
use crate::resource::{ActRight, Column, Deciding, NamedEvent, Names, Resource, Row};
use crate::time::Timestamp;

/// Most claim values that a group can be mapped to.
const CLAIMS_MAX: usize = 64;
/// Most characters of a claim value.
const CLAIM_CHARS_MAX: usize = 256;

/// A set of users. What is bound to the group is held by each member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// What the group is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// E-mail addresses of its members.
    #[serde(default)]
    pub members: Vec<Ref<User>>,
    /// Groups of the OpenID Connect provider: who signs in and has one of these is a member until a sign-in without.
    /// To add one takes holding all that the group holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<String>,
}

/// What sign-ins leave of a group; members by hand are in its spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// Members by claim.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claimed: BTreeMap<Uid, Claimed>,
}

/// A member by claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claimed {
    /// The user's name, for readers.
    pub name: Name,
    /// The claims of the group that the provider said the person has.
    pub claims: BTreeSet<String>,
}

/// What can be done with a group beyond apply and delete.
#[derive(Clone, Debug)]
pub enum GroupAction {
    /// Bring the membership of a person level with what the provider said at a sign-in.
    Level {
        /// The person.
        user: Uid,
        /// Their name.
        name: Name,
        /// Everything that the provider said.
        said: BTreeSet<String>,
    },
}

/// Facts about a group that can't be said in YAML.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupEvent {
    /// The provider said of a person what the group is mapped to: a member, by these claims.
    MemberClaimed {
        /// The person.
        user: Uid,
        /// Their name.
        name: Name,
        /// By what.
        claims: BTreeSet<String>,
    },
    /// It was not said any more, or the person is gone.
    MemberUnclaimed {
        /// The person.
        user: Uid,
        /// Their name.
        name: Name,
    },
}

impl NamedEvent for GroupEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::MemberClaimed { .. } => "member-claimed",
            Self::MemberUnclaimed { .. } => "member-unclaimed",
        }
    }
    const NAMES: &'static [&'static str] = &["member-claimed", "member-unclaimed"];
}

impl Resource for Group {
    const KIND: Kind = Kind::Group;
    const NAMES: Names = Names { singular: "group", plural: "groups", short: &[] };
    const SUMMARY: &'static str = "A set of users, to give rights to all at once.";
    const EXAMPLE: &'static str = "kind: group\nname: developers\nmembers:\n- base@example.com\n";
    type Status = GroupStatus;
    type Event = GroupEvent;
    type Action = GroupAction;

    fn columns() -> &'static [Column<Self>] {
        &[
            Column { title: "MEMBERS", cell: |row| all_names(row).len().to_string() },
            Column { title: "DESCRIPTION", cell: |row| row.spec.description.clone().unwrap_or_default() },
        ]
    }

    fn prepare(&mut self) {
        self.members.sort();
        self.members.dedup();
        self.claims.sort();
        self.claims.dedup();
    }

    fn validate(&self, _name: &Name, violations: &mut Violations) {
        if self.claims.len() > CLAIMS_MAX {
            violations.add("claims", format!("has more than {CLAIMS_MAX} entries"));
        }
        for (index, claim) in self.claims.iter().enumerate() {
            if claim.is_empty() || claim.chars().count() > CLAIM_CHARS_MAX || claim.chars().any(char::is_control) {
                let rule = format!("must have 1 to {CLAIM_CHARS_MAX} characters, and no control character");
                violations.add(format!("claims[{index}]"), rule);
            }
        }
    }

    fn right(_action: &GroupAction) -> ActRight {
        ActRight::System
    }

    fn decide(deciding: &Deciding<'_, Self>, action: &GroupAction) -> Result<Vec<GroupEvent>, Refusal> {
        let GroupAction::Level { user, name, said } = action;
        let claims: BTreeSet<String> =
            deciding.spec.claims.iter().filter(|claim| said.contains(*claim)).cloned().collect();
        let (user, name) = (*user, name.clone());
        Ok(match deciding.status.claimed.get(&user) {
            Some(_) if claims.is_empty() => vec![GroupEvent::MemberUnclaimed { user, name }],
            None if claims.is_empty() => Vec::new(),
            Some(now) if now.claims == claims => Vec::new(),
            _ => vec![GroupEvent::MemberClaimed { user, name, claims }],
        })
    }

    /// What else the provider said is known to nobody any more, and changed nothing.
    fn action_of(events: &[GroupEvent]) -> Option<GroupAction> {
        match events {
            [GroupEvent::MemberClaimed { user, name, claims }] => {
                Some(GroupAction::Level { user: *user, name: name.clone(), said: claims.clone() })
            }
            [GroupEvent::MemberUnclaimed { user, name }] => {
                Some(GroupAction::Level { user: *user, name: name.clone(), said: BTreeSet::new() })
            }
            _ => None,
        }
    }

    fn evolve(status: &mut GroupStatus, event: &GroupEvent, _at: Timestamp) {
        match event {
            GroupEvent::MemberClaimed { user, name, claims } => {
                status.claimed.insert(*user, Claimed { name: name.clone(), claims: claims.clone() });
            }
            GroupEvent::MemberUnclaimed { user, .. } => {
                status.claimed.remove(user);
            }
        }
    }

    /// A claim that the group is no longer mapped to makes nobody a member, from that very event on.
    fn settle(&self, _before: &Self, status: &mut GroupStatus) {
        for claimed in status.claimed.values_mut() {
            claimed.claims.retain(|claim| self.claims.contains(claim));
        }
        status.claimed.retain(|_, claimed| !claimed.claims.is_empty());
    }

    fn opens_to_more(&self, other: &Self) -> bool {
        other.claims.iter().any(|claim| !self.claims.contains(claim))
    }

    fn members(&self) -> Vec<SubjectRef> {
        self.members.iter().map(|name| SubjectRef::User { name: name.clone() }).collect()
    }

    fn claimed(status: &GroupStatus) -> Vec<Uid> {
        status.claimed.keys().copied().collect()
    }

    fn unclaim(status: &GroupStatus, person: Uid) -> Option<GroupEvent> {
        let claimed = status.claimed.get(&person)?;
        Some(GroupEvent::MemberUnclaimed { user: person, name: claimed.name.clone() })
    }

    fn drop_subject(&mut self, subject: &SubjectRef) -> bool {
        let before = self.members.len();
        if let SubjectRef::User { name } = subject {
            self.members.retain(|member| member != name);
        }
        self.members.len() != before
    }

    fn status_view(row: &Row<'_, Self>) -> serde_json::Value {
        let claimed: BTreeSet<&str> = row.status.claimed.values().map(|claimed| claimed.name.as_str()).collect();
        if claimed.is_empty() { serde_json::json!({}) } else { serde_json::json!({ "membersByClaim": claimed }) }
    }
}

/// Names of members by hand and by claim, each once.
fn all_names<'r>(row: &'r Row<'_, Group>) -> BTreeSet<&'r str> {
    let by_hand = row.spec.members.iter().map(|member| member.name().as_str());
    by_hand.chain(row.status.claimed.values().map(|claimed| claimed.name.as_str())).collect()
}
