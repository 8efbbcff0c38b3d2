//! Lives of a town, drawn from a seed: commands by persons, a machine, tokens and the control plane itself. Without
//! proptest, so that a million of them is affordable; what fails is made short by leaving steps out.
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::command::Decided;
use mcpctl_core::kinds::{Kind, McpToken, McpTokenAction};
use mcpctl_core::name::Name;
use mcpctl_core::refusal::Refusal;
use mcpctl_core::world::World as _;
use serde_json::{Value, json};

use crate::town::Town;

pub(crate) const USERS: [&str; 3] = ["a@example.com", "b@example.com", "c@example.com"];
const GROUPS: [&str; 2] = ["g", "h"];
const PROJECTS: [&str; 2] = ["p", "q"];
const SERVERS: [&str; 2] = ["s", "z"];
const TOKENS: [(&str, &str); 3] = [("p", "t0"), ("p", "t1"), ("q", "t0")];
const LINES: [&str; 22] = [
    "role:edit,resource:rbac",
    "role:edit,resource:groups",
    "role:edit,resource:projects",
    "role:view,resource:servers",
    "role:run,resource:projects",
    "role:edit,resource:mcptokens",
    "role:run,resource:servers,name:s",
    "role:edit,resource:users",
    "role:view,resource:*",
    "role:edit,resource:projects,name:p",
    "role:view,resource:mcptokens,name:t0",
    "action:logs",
    "action:*",
    "role:run,resource:*,name:s",
    "action:bind",
    "role:edit,resource:serviceaccounts",
    "role:run,resource:secrets",
    "role:edit,resource:servers",
    "role:view,resource:instances",
    "role:run,resource:projects,name:p",
    "role:delete,resource:*",
    "role:edit,resource:*",
];

/// A source of numbers that a seed determines (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.draw() >> 33) as usize % bound
    }

    fn coin(&mut self) -> bool {
        self.draw() >> 63 == 1
    }

    /// A few bits of many: one to three.
    fn few(&mut self, of: usize) -> u32 {
        (0..=self.below(3)).fold(0, |bits, _| bits | 1 << self.below(of))
    }

    fn any(&mut self, of: usize) -> u32 {
        self.below(1 << of) as u32
    }
}

/// Who gives a command: users 0 to 2, then the machine, tokens and the control plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum By {
    User(usize),
    Robot,
    Token(usize),
    System,
}

/// A command in this small world.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    Bind { object: usize, subjects: u32, lines: u32 },
    Unbind { object: usize },
    Group { group: usize, members: u32 },
    Disband { group: usize },
    User { user: usize, disabled: bool },
    Forget { user: usize },
    Robot { disabled: bool },
    Scrap,
    Project { project: usize, members: u32, servers: u32 },
    Abandon { project: usize },
    Mint { token: usize, clone: bool, lines: u32, short: bool },
    Revoke { token: usize },
    Remove { token: usize },
    Server { server: usize, other_command: bool, secret: bool },
    Wait,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) by: By,
    pub(crate) deed: Deed,
}

/// Draws a step. The control plane itself comes in now and then, to give out what nobody has.
pub(crate) fn draw(dice: &mut Dice) -> Step {
    let by = match dice.below(16) {
        0..=5 => By::User(0),
        6..=8 => By::User(1),
        9 => By::User(2),
        10 => By::Robot,
        11..=13 => By::Token(dice.below(TOKENS.len())),
        _ => By::System,
    };
    let deed = match dice.below(26) {
        0..=6 => Deed::Bind { object: dice.below(3), subjects: dice.few(9), lines: dice.few(LINES.len()) },
        7 => Deed::Unbind { object: dice.below(3) },
        8..=10 => Deed::Group { group: dice.below(2), members: dice.any(3) },
        11 => Deed::Disband { group: dice.below(2) },
        12 | 13 => Deed::User { user: dice.below(3), disabled: dice.coin() },
        14 => Deed::Forget { user: dice.below(3) },
        15 if dice.coin() => Deed::Scrap,
        15 => Deed::Robot { disabled: dice.coin() },
        16..=18 => Deed::Project { project: dice.below(2), members: dice.any(3), servers: dice.any(2) },
        19 if dice.coin() => Deed::Abandon { project: dice.below(2) },
        19 => Deed::Wait,
        20..=22 => {
            let lines = if dice.coin() { dice.few(LINES.len()) } else { 0 };
            Deed::Mint { token: dice.below(TOKENS.len()), clone: dice.coin(), lines, short: dice.below(4) == 0 }
        }
        23 => Deed::Revoke { token: dice.below(TOKENS.len()) },
        24 => Deed::Remove { token: dice.below(TOKENS.len()) },
        _ => Deed::Server { server: dice.below(2), other_command: dice.coin(), secret: dice.coin() },
    };
    Step { by, deed }
}

/// The starting town: `a` holds much, `b` and the machine some, `c` nothing.
pub(crate) fn beginning() -> Town {
    let mut yaml = String::from("kind: secret\nname: k\n---\nkind: serviceaccount\nname: robot\n");
    USERS.iter().for_each(|user| yaml.push_str(&format!("---\nkind: user\nname: {user}\n")));
    SERVERS
        .iter()
        .for_each(|server| yaml.push_str(&format!("---\nkind: server\nname: {server}\ncommand: [{server}]\n")));
    for (kind, names) in [("group", GROUPS), ("project", PROJECTS)] {
        names.iter().for_each(|name| yaml.push_str(&format!("---\nkind: {kind}\nname: {name}\n")));
    }
    yaml.push_str("---\nkind: rbac\nname: strong\nsubjects: [{kind: User, name: a@example.com}]\nroleBindings: [{role: edit, resource: rbac}, {role: edit, resource: groups}, {role: run, resource: projects}, {role: edit, resource: projects}, {role: edit, resource: mcptokens}, {role: run, resource: servers}, {role: edit, resource: servers}, {role: edit, resource: users}, {role: edit, resource: serviceaccounts}]\n");
    yaml.push_str("---\nkind: rbac\nname: weak\nsubjects: [{kind: User, name: b@example.com}, {kind: Group, name: h}, {kind: ServiceAccount, name: robot}]\nroleBindings: [{role: edit, resource: rbac}, {role: edit, resource: groups}, {role: view, resource: servers}, {role: create, resource: mcptokens}]\n");
    Town::given(&yaml)
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

fn token_there(town: &Town, token: usize) -> Option<Actor> {
    let (project, name) = TOKENS[token];
    there(town, Kind::McpToken, Some(project), name)
}

impl By {
    /// Who that is now, if they are there and could give a command: a token that ended is turned away before.
    pub(crate) fn actor(self, town: &Town) -> Option<Actor> {
        let actor = match self {
            Self::User(user) => there(town, Kind::User, None, USERS[user]),
            Self::Robot => there(town, Kind::ServiceAccount, None, "robot"),
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
    found.extend(chosen(&GROUPS, bits >> 3).into_iter().map(named("Group")));
    found.extend(chosen(&["robot"], bits >> 5).into_iter().map(named("ServiceAccount")));
    let tokens = (0..TOKENS.len()).filter(|token| bits & (64 << token) != 0);
    found.extend(tokens.filter_map(|token| {
        let uid = token_there(town, token)?.uid;
        let sha = town.state.by_uid(uid)?.of::<McpToken>()?.1.sha256?;
        Some(json!({ "kind": "McpToken", "name": sha.to_string() }))
    }));
    found
}

/// Does a step: who did it, and what became of it. `None` when nobody is there to do it, or nothing to wait for.
pub(crate) fn take(town: &mut Town, step: &Step) -> Option<(Actor, Result<Decided, Refusal>)> {
    if let Deed::Wait = step.deed {
        town.state.next_due()?;
        town.expire();
        return None;
    }
    // A token is bounded by whoever made it, so the control plane makes none.
    let caller =
        step.by.actor(town).filter(|by| !matches!((by.kind, step.deed), (ActorKind::System, Deed::Mint { .. })))?;
    let rbac = |object| format!("r{object}");
    let done = match step.deed {
        Deed::Bind { object, subjects: who, lines: what } => {
            let subjects = subjects(town, who);
            apply(
                town,
                &caller,
                json!({ "kind": "rbac", "name": rbac(object), "subjects": subjects, "roleBindings": lines(what) }),
            )
        }
        Deed::Group { group, members } => {
            apply(town, &caller, json!({ "kind": "group", "name": GROUPS[group], "members": chosen(&USERS, members) }))
        }
        Deed::User { user, disabled } => {
            apply(town, &caller, json!({ "kind": "user", "name": USERS[user], "disabled": disabled }))
        }
        Deed::Robot { disabled } => {
            apply(town, &caller, json!({ "kind": "serviceaccount", "name": "robot", "disabled": disabled }))
        }
        Deed::Project { project, members, servers } => {
            let (members, servers) = (chosen(&USERS, members), chosen(&SERVERS, servers));
            apply(
                town,
                &caller,
                json!({ "kind": "project", "name": PROJECTS[project], "members": members, "servers": servers }),
            )
        }
        Deed::Mint { token, clone, lines: what, short } => {
            let (project, name) = TOKENS[token];
            let (rbac, ttl) = (if clone { "clone" } else { "empty" }, if short { "1s" } else { "never" });
            apply(
                town,
                &caller,
                json!({ "kind": "mcptoken", "name": name, "project": project, "rbac": rbac, "ttl": ttl, "bindings": lines(what) }),
            )
        }
        Deed::Server { server, other_command, secret } => {
            let reference = json!([{ "name": "K", "valueFrom": { "secretRef": { "name": "k", "key": "v" } } }]);
            let env = if secret { reference } else { json!([]) };
            let command = if other_command { "other" } else { SERVERS[server] };
            apply(town, &caller, json!({ "kind": "server", "name": SERVERS[server], "command": [command], "env": env }))
        }
        Deed::Unbind { object } => town.delete(&caller, Kind::Rbac, None, &rbac(object)),
        Deed::Disband { group } => town.delete(&caller, Kind::Group, None, GROUPS[group]),
        Deed::Forget { user } => town.delete(&caller, Kind::User, None, USERS[user]),
        Deed::Scrap => town.delete(&caller, Kind::ServiceAccount, None, "robot"),
        Deed::Abandon { project } => town.delete(&caller, Kind::Project, None, PROJECTS[project]),
        Deed::Remove { token } => {
            let (project, name) = TOKENS[token];
            town.delete(&caller, Kind::McpToken, Some(project), name)
        }
        Deed::Revoke { token } => {
            let (project, name) = TOKENS[token];
            town.act(&caller, Kind::McpToken, Some(project), name, Box::new(McpTokenAction::Revoke))
        }
        Deed::Wait => return None,
    };
    Some((caller, done))
}

fn apply(town: &mut Town, caller: &Actor, fields: Value) -> Result<Decided, Refusal> {
    let Value::Object(fields) = fields else { unreachable!("a manifest is a mapping") };
    town.apply_fields(caller, fields)
}

/// Leaves out steps for as long as what is left still fails.
pub(crate) fn shortest(mut steps: Vec<Step>, fails: impl Fn(&[Step]) -> Option<String>) -> (Vec<Step>, String) {
    let mut why = fails(&steps).expect("it fails");
    let mut index = 0;
    while index < steps.len() {
        let mut fewer = steps.clone();
        fewer.remove(index);
        match fails(&fewer) {
            Some(still) => (steps, why) = (fewer, still),
            None => index += 1,
        }
    }
    (steps, why)
}
