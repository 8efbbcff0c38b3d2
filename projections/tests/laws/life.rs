//! Lives of a town, drawn from a seed: commands by persons, machines, tokens and the control plane itself. Without
//! proptest, so that a million of them is affordable; what fails is made short by leaving steps out.
use mcpctl_core::actor::Actor;
use mcpctl_core::kinds::Kind;

use crate::deeds::password;
use crate::town::Town;

/// Three who live there, and at last the administrator.
pub(crate) const USERS: [&str; 4] = ["a@example.com", "b@example.com", "c@example.com", "root@example.com"];
pub(crate) const GROUPS: [&str; 2] = ["g", "h"];
pub(crate) const PROJECTS: [&str; 2] = ["p", "q"];
pub(crate) const SERVERS: [&str; 2] = ["s", "z"];
pub(crate) const ACCOUNTS: [&str; 2] = ["robot", "relay"];
pub(crate) const TOKENS: [(&str, &str); 3] = [("p", "t0"), ("p", "t1"), ("q", "t0")];
/// Objects of bindings that the steps are about; the last holds what makes the administrator.
pub(crate) const BINDINGS: [&str; 4] = ["r0", "r1", "r2", "admins"];
/// What the provider says of people, and groups are mapped to.
pub(crate) const CLAIMS: [&str; 2] = ["eng", "ops"];
pub(crate) const TTLS: [&str; 4] = ["1s", "1h", "1d", "never"];
pub(crate) const LINES: [&str; 28] = [
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
    "role:run,resource:serviceaccounts",
    "role:run,resource:serviceaccounts,name:robot",
    "role:run,resource:serviceaccounts,name:relay",
    "action:impersonate",
    "role:edit,resource:policies",
    "role:run,resource:*",
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

/// Who gives a command: users, then the machine, tokens and the control plane.
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
    Group { group: usize, members: u32, claims: u32 },
    Disband { group: usize },
    SignIn { user: usize, group: usize, said: u32 },
    User { user: usize, disabled: bool, identity: usize },
    Password { user: usize },
    Forget { user: usize },
    Account { account: usize, disabled: bool },
    Scrap { account: usize },
    Project { project: usize, members: u32, servers: u32 },
    Abandon { project: usize },
    Mint { token: usize, clone: bool, lines: u32, ttl: usize },
    Revoke { token: usize },
    Remove { token: usize },
    Server { server: usize, other_command: bool, secret: bool },
    Policy { max_ttl: usize, depth: usize },
    Lift,
    Again { object: usize },
    Wait,
}

/// A command, who gives it, and the service account as which they do, if they say one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) by: By,
    pub(crate) acting: Option<usize>,
    pub(crate) deed: Deed,
}

/// Draws a step. The control plane itself comes in now and then, to give out what nobody has.
pub(crate) fn draw(dice: &mut Dice) -> Step {
    let by = match dice.below(18) {
        0..=5 => By::User(0),
        6..=8 => By::User(1),
        9 => By::User(2),
        10 => By::Robot,
        11 | 12 => By::Token(dice.below(TOKENS.len())),
        13 | 14 => By::User(3),
        _ => By::System,
    };
    let acting = (dice.below(8) == 0).then(|| dice.below(ACCOUNTS.len()));
    Step { by, acting, deed: draw_deed(dice) }
}

fn draw_deed(dice: &mut Dice) -> Deed {
    let user = dice.below(USERS.len());
    match dice.below(34) {
        0..=6 => Deed::Bind { object: dice.below(4), subjects: dice.few(11), lines: dice.few(LINES.len()) },
        7 => Deed::Unbind { object: dice.below(4) },
        8..=10 => Deed::Group { group: dice.below(2), members: dice.any(4), claims: dice.any(2) },
        11 => Deed::Disband { group: dice.below(2) },
        12 | 13 => Deed::User { user, disabled: dice.coin(), identity: dice.below(3) },
        14 => Deed::Forget { user },
        15 if dice.coin() => Deed::Scrap { account: dice.below(2) },
        15 => Deed::Account { account: dice.below(2), disabled: dice.coin() },
        16..=18 => Deed::Project { project: dice.below(2), members: dice.any(4), servers: dice.any(2) },
        19 if dice.coin() => Deed::Abandon { project: dice.below(2) },
        19 => Deed::Wait,
        20..=22 => {
            let lines = if dice.coin() { dice.few(LINES.len()) } else { 0 };
            Deed::Mint { token: dice.below(TOKENS.len()), clone: dice.coin(), lines, ttl: dice.below(TTLS.len()) }
        }
        23 => Deed::Revoke { token: dice.below(TOKENS.len()) },
        24 => Deed::Remove { token: dice.below(TOKENS.len()) },
        25 => Deed::Server { server: dice.below(2), other_command: dice.coin(), secret: dice.coin() },
        26 | 27 => Deed::SignIn { user, group: dice.below(2), said: dice.any(2) },
        28 | 29 => Deed::Password { user },
        30 | 31 => Deed::Policy { max_ttl: dice.below(TTLS.len()), depth: dice.below(4) },
        32 => Deed::Lift,
        _ => Deed::Again { object: dice.below(64) },
    }
}

/// The starting town: `a` holds much, `b` and the machine some, `c` nothing; `root` administers.
pub(crate) fn beginning() -> Town {
    let mut yaml = String::from("kind: secret\nname: k\n");
    ACCOUNTS.iter().for_each(|account| yaml.push_str(&format!("---\nkind: serviceaccount\nname: {account}\n")));
    USERS.iter().for_each(|user| yaml.push_str(&format!("---\nkind: user\nname: {user}\n")));
    SERVERS
        .iter()
        .for_each(|server| yaml.push_str(&format!("---\nkind: server\nname: {server}\ncommand: [{server}]\n")));
    for (kind, names) in [("group", GROUPS), ("project", PROJECTS)] {
        names.iter().for_each(|name| yaml.push_str(&format!("---\nkind: {kind}\nname: {name}\n")));
    }
    yaml.push_str("---\nkind: rbac\nname: strong\nsubjects: [{kind: User, name: a@example.com}]\nroleBindings: [{role: edit, resource: rbac}, {role: edit, resource: groups}, {role: run, resource: projects}, {role: edit, resource: projects}, {role: edit, resource: mcptokens}, {role: run, resource: servers}, {role: edit, resource: servers}, {role: edit, resource: users}, {role: edit, resource: serviceaccounts}, {role: run, resource: serviceaccounts, name: relay}]\n");
    yaml.push_str("---\nkind: rbac\nname: weak\nsubjects: [{kind: User, name: b@example.com}, {kind: Group, name: h}, {kind: ServiceAccount, name: robot}]\nroleBindings: [{role: edit, resource: rbac}, {role: edit, resource: groups}, {role: view, resource: servers}, {role: create, resource: mcptokens}]\n");
    yaml.push_str("---\nkind: rbac\nname: machine\nsubjects: [{kind: ServiceAccount, name: relay}]\nroleBindings: [{role: run, resource: secrets}, {role: run, resource: serviceaccounts, name: robot}]\n");
    yaml.push_str("---\nkind: rbac\nname: admins\nsubjects: [{kind: User, name: root@example.com}]\nroleBindings: [{role: edit, resource: '*'}, {role: run, resource: '*'}, {role: run, action: '*'}]\n");
    let mut town = Town::given(&yaml);
    town.act(&Actor::system("test"), Kind::User, None, USERS[3], password(3)).expect("the given applies");
    town
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
