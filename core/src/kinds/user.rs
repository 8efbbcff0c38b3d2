//! `user`: a person who signs in.
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::{Verb, covers_all_of};
use crate::ids::{Digest, Seq};
use crate::kinds::{Identity, Kind, user_of};
use crate::name::NameRule;
use crate::object::Meta;
use crate::plaintext::Plaintext;
use crate::refusal::Refusal;
use crate::resource::{ActRight, Column, Credential, Deciding, NamedEvent, Names, Resource, Row};
use crate::time::Timestamp;
use crate::world::World;

/// Most logins that a person may have open at once; opening one more ends the oldest.
pub const LOGINS_MAX: usize = 32;

/// A person who signs in: with a password, or at an OpenID Connect provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// Name for people to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// A disabled person can't sign in, and their tokens end for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Who the person is at the OpenID Connect provider. Set by the first sign-in there; to set or change it by hand takes
    /// holding all that the person holds, and ends their logins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// A new password, 8 to 256 characters. Write-only: it is hashed and kept outside the log.
    #[serde(default, skip_serializing)]
    pub password: Option<Plaintext>,
}

/// What events leave of a person.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserStatus {
    /// The password in force, as a commitment; the hash itself lies in the sealed store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordVersion>,
    /// Open logins by SHA-256 of their token.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub logins: BTreeMap<String, Login>,
}

/// A version of a password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PasswordVersion {
    /// Counts from 1.
    pub version: u32,
    /// SHA-256 over a random nonce and the hash, so that the sealed store can be checked against the log.
    pub commitment: Digest,
}

/// An open login.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Login {
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
}

/// What can be done with a person beyond apply and delete.
#[derive(Clone, Debug)]
pub enum UserAction {
    /// Put a new password in force; its hash is in the sealed store already.
    SetPassword(PasswordVersion),
    /// Open a login after the password was checked.
    OpenLogin {
        /// SHA-256 of the login's token.
        digest: Digest,
        /// When it ends at the latest.
        expires_at: Timestamp,
        /// Commitment of the password that was checked: it must still be in force. `None` when no password was asked for.
        checked: Option<Digest>,
    },
    /// Open a login after the provider said who the person is.
    OpenLoginBy {
        /// SHA-256 of the login's token.
        digest: Digest,
        /// When it ends at the latest.
        expires_at: Timestamp,
        /// What the provider said: it must still be the person's.
        identity: Identity,
    },
    /// End one login.
    CloseLogin {
        /// SHA-256 of the login's token.
        digest: Digest,
    },
}

/// Facts about a person that can't be said in YAML.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserEvent {
    /// A password was put in force; every login before it ended.
    PasswordSet(PasswordVersion),
    /// A login was opened.
    LoginOpened {
        /// SHA-256 of its token.
        digest: Digest,
        /// When it ends at the latest.
        expires_at: Timestamp,
    },
    /// A login was ended.
    LoginClosed {
        /// SHA-256 of its token.
        digest: Digest,
    },
}

impl NamedEvent for UserEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::PasswordSet(_) => "password-set",
            Self::LoginOpened { .. } => "login-opened",
            Self::LoginClosed { .. } => "login-closed",
        }
    }
    const NAMES: &'static [&'static str] = &["password-set", "login-opened", "login-closed"];
}

impl Resource for User {
    const KIND: Kind = Kind::User;
    const NAMES: Names = Names { singular: "user", plural: "users", short: &[] };
    const NAME_RULE: NameRule = NameRule::Email;
    const SUMMARY: &'static str = "A person who signs in: with a password, or at an OpenID Connect provider.";
    const EXAMPLE: &'static str = "kind: user\nname: alice@example.com\ndisplayName: Alice\n";
    type Status = UserStatus;
    type Event = UserEvent;
    type Action = UserAction;

    fn columns() -> &'static [Column<Self>] {
        &[
            Column { title: "DISPLAY-NAME", cell: |row| row.spec.display_name.clone().unwrap_or_default() },
            Column { title: "STATUS", cell: |row| if row.spec.disabled { "disabled" } else { "active" }.to_owned() },
            Column { title: "LOGINS", cell: |row| open_logins(row).to_string() },
        ]
    }

    fn validate(&self, _name: &crate::name::Name, violations: &mut crate::refusal::Violations) {
        if self.display_name.as_ref().is_some_and(|name| name.chars().count() > 200) {
            violations.add("displayName", "has more than 200 characters");
        }
        if let Some(password) = &self.password
            && !(8..=256).contains(&password.expose().chars().count())
        {
            violations.add("password", "must have 8 to 256 characters");
        }
        if let Some(identity) = &self.identity {
            identity.validate(violations);
        }
    }

    fn validate_in(&self, world: &dyn World, meta: Option<&Meta>, violations: &mut crate::refusal::Violations) {
        let Some(identity) = &self.identity else { return };
        if user_of(world, identity).is_some_and(|other| meta.is_none_or(|meta| meta.uid != other.meta.uid)) {
            violations.hint("identity", "belongs to another user", "see `mcpctl get users -o yaml`");
        }
    }

    fn right(action: &UserAction) -> ActRight {
        match action {
            UserAction::SetPassword(_) => ActRight::OwnOr(Verb::Edit),
            UserAction::OpenLogin { .. } | UserAction::OpenLoginBy { .. } => ActRight::System,
            UserAction::CloseLogin { .. } => ActRight::OwnOr(Verb::Edit),
        }
    }

    fn decide(deciding: &Deciding<'_, Self>, action: &UserAction) -> Result<Vec<UserEvent>, Refusal> {
        match action {
            UserAction::SetPassword(version) => set_password(deciding, version),
            UserAction::OpenLogin { digest, expires_at, checked } => {
                still_open(deciding, *checked)?;
                Ok(open_login(deciding, *digest, *expires_at))
            }
            UserAction::OpenLoginBy { digest, expires_at, identity } => {
                still_theirs(deciding, identity)?;
                Ok(open_login(deciding, *digest, *expires_at))
            }
            UserAction::CloseLogin { digest } => {
                let open = deciding.status.logins.contains_key(&digest.to_string());
                Ok(if open { vec![UserEvent::LoginClosed { digest: *digest }] } else { Vec::new() })
            }
        }
    }

    fn action_of(events: &[UserEvent]) -> Option<UserAction> {
        match events {
            [UserEvent::PasswordSet(version)] => Some(UserAction::SetPassword(version.clone())),
            [UserEvent::LoginClosed { digest }] => Some(UserAction::CloseLogin { digest: *digest }),
            // Opening one may close the oldest. Which password was checked is known to nobody any more.
            [.., UserEvent::LoginOpened { digest, expires_at }] => {
                Some(UserAction::OpenLogin { digest: *digest, expires_at: *expires_at, checked: None })
            }
            _ => None,
        }
    }

    fn used(deciding: &Deciding<'_, Self>, action: &UserAction) -> Vec<Seq> {
        let other = matches!(action, UserAction::SetPassword(_)) && deciding.caller.uid != deciding.meta.uid;
        let used = other.then(|| covers_all_of(deciding.world, deciding.caller, deciding.meta.uid));
        used.flatten().unwrap_or_default()
    }

    fn evolve(status: &mut UserStatus, event: &UserEvent, at: Timestamp) {
        match event {
            UserEvent::PasswordSet(version) => {
                status.password = Some(version.clone());
                status.logins.clear();
            }
            UserEvent::LoginOpened { digest, expires_at } => {
                status.logins.retain(|_, login| login.expires_at > at);
                status.logins.insert(digest.to_string(), Login { opened_at: at, expires_at: *expires_at });
            }
            UserEvent::LoginClosed { digest } => {
                status.logins.remove(&digest.to_string());
            }
        }
    }

    /// Whoever came in as somebody else at the provider is out.
    fn settle(&self, before: &Self, status: &mut UserStatus) {
        if self.identity != before.identity {
            status.logins.clear();
        }
    }

    fn opens_to_more(&self, other: &Self) -> bool {
        other.identity.is_some() && other.identity != self.identity
    }

    fn end_when_disabled(status: &UserStatus) -> Vec<UserEvent> {
        let digests = status.logins.keys().filter_map(|digest| digest.parse().ok());
        digests.map(|digest| UserEvent::LoginClosed { digest }).collect()
    }

    fn credentials(&self, status: &UserStatus) -> Vec<Credential> {
        let ended = self.disabled.then_some("the user is disabled");
        let logins = status.logins.iter();
        logins
            .filter_map(|(digest, login)| {
                Some(Credential { digest: digest.parse().ok()?, expires_at: Some(login.expires_at), ended })
            })
            .collect()
    }

    /// The end of a login is an event like that of a token: a clock that is set back later finds it closed.
    fn due(status: &UserStatus) -> Option<(Timestamp, UserEvent)> {
        let all = status.logins.iter().filter_map(|(digest, login)| Some((login.expires_at, digest.parse().ok()?)));
        all.min_by_key(|(at, _)| *at).map(|(at, digest)| (at, UserEvent::LoginClosed { digest }))
    }

    fn enabled(&self) -> bool {
        !self.disabled
    }

    fn can_sign_in(&self, status: &UserStatus) -> bool {
        !self.disabled && (status.password.is_some() || self.identity.is_some())
    }

    fn status_view(row: &Row<'_, Self>) -> serde_json::Value {
        serde_json::json!({ "hasPassword": row.status.password.is_some(), "logins": open_logins(row) })
    }
}

fn open_logins(row: &Row<'_, User>) -> usize {
    row.status.logins.values().filter(|login| login.expires_at > row.now).count()
}

/// Setting somebody else's password is being them, so it takes holding all that they hold (C7).
fn set_password(deciding: &Deciding<'_, User>, version: &PasswordVersion) -> Result<Vec<UserEvent>, Refusal> {
    let own = deciding.caller.uid == deciding.meta.uid;
    if !own && covers_all_of(deciding.world, deciding.caller, deciding.meta.uid).is_none() {
        return Err(Refusal::Forbidden {
            actor: deciding.caller.to_string(),
            missing: format!("set the password of {}, which takes holding all that they hold", deciding.meta.name),
            at: deciding.world.seq(),
        });
    }
    if own && deciding.spec.identity.is_some() {
        return Err(Refusal::Impossible {
            what: format!("{} signs in at the identity provider and has no password to change", deciding.meta.name),
            hint: "change it at the provider; an administrator can set one here besides".to_owned(),
        });
    }
    let version = PasswordVersion {
        version: deciding.status.password.as_ref().map_or(0, |current| current.version).saturating_add(1),
        ..version.clone()
    };
    Ok(vec![UserEvent::PasswordSet(version)])
}

/// Checking a password takes a while: a person who was disabled, or got another password, in the meantime is not let in.
fn still_open(deciding: &Deciding<'_, User>, checked: Option<Digest>) -> Result<(), Refusal> {
    let in_force = deciding.status.password.as_ref().map(|password| password.commitment);
    if !deciding.spec.disabled && (checked.is_none() || checked == in_force) {
        return Ok(());
    }
    Err(Refusal::Impossible {
        what: format!("{} can't sign in with what was checked", deciding.meta.name),
        hint: "sign in again".to_owned(),
    })
}

/// A person who was disabled, or is somebody else at the provider since, is not let in.
fn still_theirs(deciding: &Deciding<'_, User>, identity: &Identity) -> Result<(), Refusal> {
    if !deciding.spec.disabled && deciding.spec.identity.as_ref() == Some(identity) {
        return Ok(());
    }
    Err(Refusal::Impossible {
        what: format!("{} can't sign in with what was checked", deciding.meta.name),
        hint: "sign in again".to_owned(),
    })
}

fn open_login(deciding: &Deciding<'_, User>, digest: Digest, expires_at: Timestamp) -> Vec<UserEvent> {
    let mut live: Vec<(&String, &Login)> =
        deciding.status.logins.iter().filter(|(_, login)| login.expires_at > deciding.now).collect();
    live.sort_by_key(|(_, login)| login.opened_at);
    let too_many = (live.len() + 1).saturating_sub(LOGINS_MAX);
    let oldest = live.into_iter().take(too_many).filter_map(|(digest, _)| digest.parse().ok());
    let mut events: Vec<UserEvent> = oldest.map(|digest| UserEvent::LoginClosed { digest }).collect();
    events.push(UserEvent::LoginOpened { digest, expires_at });
    events
}
