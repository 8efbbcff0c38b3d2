//! What the steps of a life do: each a command to the town, by somebody who is there.
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::command::Decided;
use mcpctl_core::erased::AnyAction;
use mcpctl_core::ids::{Digest, Uid};
use mcpctl_core::kinds::{GroupAction, Kind, McpToken, McpTokenAction, PasswordVersion, UserAction};
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::refusal::Refusal;
use mcpctl_core::world::World as _;
use serde_json::{Value, json};

use crate::life::{ACCOUNTS, BINDINGS, By, CLAIMS, Deed, GROUPS, LINES, PROJECTS, SERVERS, Step, TOKENS, TTLS, USERS};
use crate::town::Town;

pub(crate) fn password(user: usize) -> AnyAction {
    let commitment = Digest::sha256(USERS[user].as_bytes());
    Box::new(UserAction::SetPassword(PasswordVersion { version: 1, commitment }))
}

fn there_is(town: &Town, kind: Kind, name: &str) -> Option<Uid> {
    let name = Name::parse(kind.untyped().name_rule(), name).expect("a name of this world");
    town.state.by_name(kind, None, &name).map(|object| object.meta.uid)
}

fn there(town: &Town, kind: Kind, project: Option<&str>, name: &str) -> Option<Actor> {
    let parsed = |kind: Kind, name| Name::parse(kind.untyped().name_rule(), name).expect("a name of this world");
    let project = match project {
        Some(project) => Some(town.state.by_name(Kind::Project, None, &parsed(Kind::Project, project))?.meta.uid),
        None => None,
    };
    let object = town.state.by_name(kind, project, &parsed(kind, name))?;
    let kind = match kind {
        Kind::User => ActorKind::User,
        Kind::ServiceAccount => ActorKind::ServiceAccount,
        _ => ActorKind::McpToken,
    };
    Some(Actor { kind, uid: object.meta.uid, name: name.to_owned() })
}

fn account_there(town: &Town, account: usize) -> Option<Actor> {
    there(town, Kind::ServiceAccount, None, ACCOUNTS[account])
}

fn token_there(town: &Town, token: usize) -> Option<Actor> {
    let (project, name) = TOKENS[token];
    there(town, Kind::McpToken, Some(project), name)
}

impl By {
    /// Who that is now, if they are there and could give a command: a token that ended is turned away before.
    pub(crate) fn actor(self, town: &Town) -> Option<Actor> {
        let actor = match self {
            Self::User(user) => there(town, Kind::User, None, USERS[user]),
            Self::Robot => account_there(town, 0),
            Self::Token(token) => token_there(town, token),
            Self::System => return Some(Actor::system("test")),
        };
        actor.filter(|actor| town.state.by_uid(actor.uid).is_some_and(|object| object.body.enabled()))
    }
}

fn chosen<'a>(names: &'a [&'a str], bits: u32) -> Vec<&'a str> {
    names.iter().enumerate().filter(|(index, _)| bits & (1 << index) != 0).map(|(_, name)| *name).collect()
}

fn lines(bits: u32) -> Vec<Value> {
    let parsed = chosen(&LINES, bits).into_iter().map(|line| line.parse::<mcpctl_core::access::RoleBinding>());
    parsed.map(|line| serde_json::to_value(line.expect("a line of this world")).expect("plain data")).collect()
}

fn subjects(town: &Town, bits: u32) -> Vec<Value> {
    let named = |kind: &'static str| move |name| json!({ "kind": kind, "name": name });
    let mut found: Vec<Value> = chosen(&USERS, bits).into_iter().map(named("User")).collect();
    found.extend(chosen(&GROUPS, bits >> 4).into_iter().map(named("Group")));
    found.extend(chosen(&ACCOUNTS, bits >> 6).into_iter().map(named("ServiceAccount")));
    let tokens = (0..TOKENS.len()).filter(|token| bits & (256 << token) != 0);
    found.extend(tokens.filter_map(|token| {
        let uid = token_there(town, token)?.uid;
        let sha = town.state.by_uid(uid)?.of::<McpToken>()?.1.sha256?;
        Some(json!({ "kind": "McpToken", "name": sha.to_string() }))
    }));
    found
}

/// What became of a step: by whose rights it was, and who acted as them.
pub(crate) struct Took {
    pub(crate) caller: Actor,
    pub(crate) impersonator: Option<Actor>,
    pub(crate) became: Result<Decided, Refusal>,
    /// What was applied as it is, when that was the step.
    pub(crate) again: Option<Uid>,
}

/// Does a step. `None` when nobody is there to do it, or nothing to wait for.
pub(crate) fn take(town: &mut Town, step: &Step) -> Option<Took> {
    if let Deed::Wait = step.deed {
        town.state.next_due()?;
        town.expire();
        return None;
    }
    if let Deed::SignIn { user, group, said } = step.deed {
        return sign_in(town, user, group, said);
    }
    // A token is bounded by whoever made it, so the control plane makes none, and it acts as nobody else.
    let who = step.by.actor(town)?;
    let system = who.kind == ActorKind::System;
    if system && (matches!(step.deed, Deed::Mint { .. }) || step.acting.is_some()) {
        return None;
    }
    let (caller, impersonator) = match step.acting {
        Some(account) => (account_there(town, account)?, Some(who)),
        None => (who, None),
    };
    let objects = || town.state.objects().map(|object| object.meta.uid);
    let again = match step.deed {
        Deed::Again { object } => objects().nth(object % town.state.len()),
        _ => None,
    };
    town.impersonator = impersonator.clone();
    let became = match again {
        Some(uid) => apply_again(town, &caller, uid),
        None => done(town, &caller, step.deed),
    };
    town.impersonator = None;
    Some(Took { caller, impersonator, became, again })
}

/// What the provider says of somebody at a sign-in, about one group.
fn sign_in(town: &mut Town, user: usize, group: usize, said: u32) -> Option<Took> {
    let (caller, person) = (Actor::system("oidc"), there(town, Kind::User, None, USERS[user])?);
    there_is(town, Kind::Group, GROUPS[group])?;
    let said = chosen(&CLAIMS, said).into_iter().map(str::to_owned).collect();
    let name = Name::parse(NameRule::Email, USERS[user]).expect("an address");
    let level = GroupAction::Level { user: person.uid, name, said };
    let became = town.act(&caller, Kind::Group, None, GROUPS[group], Box::new(level));
    Some(Took { caller, impersonator: None, became, again: None })
}

/// An object as it is told to whoever may see it, applied as it is.
fn apply_again(town: &mut Town, caller: &Actor, uid: Uid) -> Result<Decided, Refusal> {
    let object = town.state.by_uid(uid).expect("it is there").clone();
    let mut fields = object.body.spec_fields();
    fields.insert("kind".to_owned(), json!(object.meta.kind));
    fields.insert("name".to_owned(), json!(object.meta.name));
    if let Some(project) = &object.meta.project {
        fields.insert("project".to_owned(), json!(project.name));
    }
    fields.insert("metadata".to_owned(), json!({ "uid": uid, "resourceVersion": object.meta.resource_version }));
    fields.insert("status".to_owned(), object.meta.kind.untyped().status_view(&object, town.now));
    town.apply_fields(caller, fields)
}

fn done(town: &mut Town, caller: &Actor, deed: Deed) -> Result<Decided, Refusal> {
    if let Some(fields) = manifest(town, deed) {
        let Value::Object(fields) = fields else { unreachable!("a manifest is a mapping") };
        return town.apply_fields(caller, fields);
    }
    match deed {
        Deed::Unbind { object } => town.delete(caller, Kind::Rbac, None, BINDINGS[object]),
        Deed::Disband { group } => town.delete(caller, Kind::Group, None, GROUPS[group]),
        Deed::Forget { user } => town.delete(caller, Kind::User, None, USERS[user]),
        Deed::Scrap { account } => town.delete(caller, Kind::ServiceAccount, None, ACCOUNTS[account]),
        Deed::Abandon { project } => town.delete(caller, Kind::Project, None, PROJECTS[project]),
        Deed::Remove { token } => town.delete(caller, Kind::McpToken, Some(TOKENS[token].0), TOKENS[token].1),
        Deed::Revoke { token } => {
            let (project, name) = TOKENS[token];
            town.act(caller, Kind::McpToken, Some(project), name, Box::new(McpTokenAction::Revoke))
        }
        Deed::Password { user } => town.act(caller, Kind::User, None, USERS[user], password(user)),
        Deed::Lift => town.delete(caller, Kind::Policy, None, "organisation"),
        _ => unreachable!("{deed:?} is a manifest, or no command"),
    }
}

/// The manifest that a step applies, if it does.
fn manifest(town: &Town, deed: Deed) -> Option<Value> {
    Some(match deed {
        Deed::Bind { object, subjects: who, lines: what } => {
            json!({ "kind": "rbac", "name": BINDINGS[object], "subjects": subjects(town, who), "roleBindings": lines(what) })
        }
        Deed::Group { group, members, claims } => {
            let (members, claims) = (chosen(&USERS, members), chosen(&CLAIMS, claims));
            json!({ "kind": "group", "name": GROUPS[group], "members": members, "claims": claims })
        }
        Deed::User { user, disabled, identity } => {
            let at = json!({ "issuer": "https://id.example.com", "subject": format!("{user}-{identity}") });
            let mut fields = json!({ "kind": "user", "name": USERS[user], "disabled": disabled });
            if identity > 0 {
                fields["identity"] = at;
            }
            fields
        }
        Deed::Account { account, disabled } => {
            json!({ "kind": "serviceaccount", "name": ACCOUNTS[account], "disabled": disabled })
        }
        Deed::Project { project, members, servers } => {
            let (members, servers) = (chosen(&USERS, members), chosen(&SERVERS, servers));
            json!({ "kind": "project", "name": PROJECTS[project], "members": members, "servers": servers })
        }
        Deed::Mint { token, clone, lines: what, ttl } => {
            let ((project, name), rbac) = (TOKENS[token], if clone { "clone" } else { "empty" });
            json!({ "kind": "mcptoken", "name": name, "project": project, "rbac": rbac, "ttl": TTLS[ttl], "bindings": lines(what) })
        }
        Deed::Server { server, other_command, secret } => {
            let reference = json!([{ "name": "K", "valueFrom": { "secretRef": { "name": "k", "key": "v" } } }]);
            let (env, same) = (if secret { reference } else { json!([]) }, SERVERS[server]);
            let command = if other_command { "other" } else { same };
            json!({ "kind": "server", "name": same, "command": [command], "env": env })
        }
        Deed::Policy { max_ttl, depth } => {
            let mut fields = json!({ "kind": "policy", "name": "organisation" });
            if TTLS[max_ttl] != "never" {
                fields["maxTtl"] = json!(TTLS[max_ttl]);
            }
            if depth > 0 {
                fields["delegationDepth"] = json!(depth);
            }
            fields
        }
        _ => return None,
    })
}
