//! A small town where rights are given: 3 users, 2 groups, 2 tokens, 4 rights to give. States that differ by the names of
//! groups or tokens alone are one.
use std::sync::LazyLock;

use mcpctl_core::access::{ResourceName, Verb};
use mcpctl_core::command::{Command, Deed};
use mcpctl_core::erased::AnyAction;
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::{Group, Kind, McpToken, McpTokenAction, Rbac};
use mcpctl_core::name::Name;
use mcpctl_core::object::Object;
use serde_json::{Value, json};

use crate::asked::Asked;
use crate::small_scope::{By, Node, Scope, Try, apply, delete, depth, name, on};

/// As deep as an ordinary run goes.
const DEPTH: usize = 2;
const USERS: [&str; 3] = ["a@example.com", "b@example.com", "c@example.com"];
const GROUPS: [&str; 2] = ["g", "h"];
const TOKENS: [&str; 2] = ["t0", "t1"];
const RIGHTS: [&str; 4] = [
    "role:edit,resource:rbac",
    "role:edit,resource:groups",
    "role:edit,resource:mcptokens",
    "role:run,resource:projects",
];
/// Subjects that can be given a right: users, groups, tokens.
const SUBJECTS: usize = USERS.len() + GROUPS.len() + TOKENS.len();

/// All names, parsed once: a million states are told apart by them.
struct Names {
    users: [Name; 3],
    groups: [Name; 2],
    tokens: [Name; 2],
    bindings: Vec<Name>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| Names {
    users: USERS.map(|text| name(Kind::User, text)),
    groups: GROUPS.map(|text| name(Kind::Group, text)),
    tokens: TOKENS.map(|text| name(Kind::McpToken, text)),
    bindings: each_binding().map(|(to, right)| name(Kind::Rbac, &binding(to, right))).collect(),
});

fn each_binding() -> impl Iterator<Item = (usize, usize)> {
    (0..SUBJECTS).flat_map(|to| (0..RIGHTS.len()).map(move |right| (to, right)))
}

fn sha(token: usize) -> Digest {
    Digest::sha256(TOKENS[token].as_bytes())
}

fn subject(index: usize) -> Value {
    match index {
        0..3 => json!({ "kind": "User", "name": USERS[index] }),
        3..5 => json!({ "kind": "Group", "name": GROUPS[index - 3] }),
        _ => json!({ "kind": "McpToken", "name": sha(index - 5).to_string() }),
    }
}

fn binding(subject: usize, right: usize) -> String {
    format!("r{subject}{right}")
}

fn bind(to: usize, right: usize) -> Command {
    let line: mcpctl_core::access::RoleBinding = RIGHTS[right].parse().expect("a right of this world");
    apply(
        json!({ "kind": "rbac", "name": binding(to, right), "subjects": [subject(to)], "roleBindings": [line] }),
        Vec::new(),
    )
}

fn members(group: usize, bits: usize) -> Command {
    let members: Vec<&str> = (0..3).filter(|user| bits & (1 << user) != 0).map(|user| USERS[user]).collect();
    apply(json!({ "kind": "group", "name": GROUPS[group], "members": members }), Vec::new())
}

fn person(user: usize, disabled: bool) -> Command {
    apply(json!({ "kind": "user", "name": USERS[user], "disabled": disabled }), Vec::new())
}

fn mint(token: usize, rbac: &str) -> Command {
    let mint: AnyAction = Box::new(McpTokenAction::Mint { sha256: sha(token), prefix: "mcpctl_pat_test".to_owned() });
    apply(json!({ "kind": "mcptoken", "name": TOKENS[token], "project": "p", "rbac": rbac }), vec![mint])
}

/// The alphabet: who may hold rights gives and takes them; the control plane disables, deletes and brings back persons.
fn alphabet() -> Vec<Try> {
    let mut all = Vec::new();
    let mut add = |by, what: String, command| all.push(Try { by, what, command });
    for by in USERS.map(By::User) {
        for (to, right) in each_binding() {
            add(by, format!("bind {right} to {to}"), bind(to, right));
            add(by, format!("unbind {right} from {to}"), delete(Kind::Rbac, &binding(to, right)));
        }
        for (group, bits) in (0..2).flat_map(|group| (0..8).map(move |bits| (group, bits))) {
            add(by, format!("members {bits:03b} of {group}"), members(group, bits));
        }
        for (token, rbac) in (0..2).flat_map(|token| ["empty", "clone"].map(|rbac| (token, rbac))) {
            add(by, format!("mint {token} {rbac}"), mint(token, rbac));
        }
    }
    let holders = USERS.map(By::User).into_iter().chain(TOKENS.map(By::Token));
    for (by, token) in holders.flat_map(|by| [(by, 0), (by, 1)]) {
        let revoke = Deed::Act(Box::new(McpTokenAction::Revoke));
        add(by, format!("revoke {token}"), on(Kind::McpToken, TOKENS[token], revoke));
        add(by, format!("remove {token}"), delete(Kind::McpToken, TOKENS[token]));
    }
    for (user, email) in USERS.iter().enumerate() {
        add(By::System, format!("disable {user}"), person(user, true));
        add(By::System, format!("enable or bring back {user}"), person(user, false));
        add(By::System, format!("forget {user}"), delete(Kind::User, email));
    }
    all
}

/// `a` holds all four rights, `b` gives rights and members, `c` nothing.
fn beginning() -> Node {
    let mut given: Vec<Command> = (0..3).map(|user| person(user, false)).collect();
    given.extend(GROUPS.map(|group| apply(json!({ "kind": "group", "name": group, "members": [] }), Vec::new())));
    given.push(apply(json!({ "kind": "project", "name": "p" }), Vec::new()));
    given.extend((0..4).map(|right| bind(0, right)));
    given.extend((0..2).map(|right| bind(1, right)));
    Node::after(&given)
}

/// What a state is but for when and by whom it became so.
struct Shape {
    users: [usize; 3],
    members: [usize; 2],
    /// What becomes of each binding, four of a subject in one number.
    bindings: [usize; SUBJECTS],
    tokens: [usize; 2],
}

impl Shape {
    fn of(node: &Node) -> Self {
        let users = NAMES.users.each_ref().map(|user| node.named(Kind::User, user));
        let members = NAMES.groups.each_ref().map(|group| {
            let (spec, _) = node.named(Kind::Group, group).and_then(|group| group.of::<Group>()).expect("it stays");
            let is_in = |user: &usize| spec.members.iter().any(|member| *member.name() == NAMES.users[*user]);
            (0..3).filter(is_in).map(|user| 1 << user).sum()
        });
        let mut bindings = [0; SUBJECTS];
        for ((to, _), named) in each_binding().zip(&NAMES.bindings) {
            let spec = node.named(Kind::Rbac, named).and_then(|object| object.of::<Rbac>());
            bindings[to] = bindings[to] * 4 + spec.map_or(0, |(spec, _)| 1 + spec.subjects.len());
        }
        let enabled = users.map(|user| user.map_or(0, |user| 1 + usize::from(user.body.enabled())));
        Self { users: enabled, members, bindings, tokens: [0, 1].map(|token| of_token(node, token, &users)) }
    }

    fn key(&self, groups: [usize; 2], tokens: [usize; 2]) -> u128 {
        let users = self.users.map(|user| (2, user));
        let members = groups.map(|group| (3, self.members[group]));
        let order = [0, 1, 2, 3 + groups[0], 3 + groups[1], 5 + tokens[0], 5 + tokens[1]];
        let bindings = order.map(|to| (8, self.bindings[to]));
        let tokens = tokens.map(|token| (8, self.tokens[token]));
        let all = users.into_iter().chain(members).chain(bindings).chain(tokens);
        all.fold(0, |key, (bits, value)| (key << bits) | value as u128)
    }
}

/// Whether it is there and alive, which user made it, what it was given.
fn of_token(node: &Node, token: usize, users: &[Option<&Object>; 3]) -> usize {
    let Some((_, status)) = node.named(Kind::McpToken, &NAMES.tokens[token]).and_then(|it| it.of::<McpToken>()) else {
        return 0;
    };
    let owner = status.owner.as_ref().map(|owner| owner.uid);
    let owner = users.iter().position(|user| user.is_some_and(|user| Some(user.meta.uid) == owner)).unwrap_or(3);
    // To use its project, and what its maker held inside it: all of its kind, or nothing.
    let grants = status.grants.len().min(15);
    (1 + usize::from(status.revoked_at.is_none())) * 64 + owner * 16 + grants
}

/// The least over the permutations of names.
fn key(node: &Node) -> u128 {
    let shape = Shape::of(node);
    let orders = [[0, 1], [1, 0]].into_iter().flat_map(|groups| [[0, 1], [1, 0]].map(|tokens| (groups, tokens)));
    orders.map(|(groups, tokens)| shape.key(groups, tokens)).min().expect("four")
}

/// Each verb on each kind that a right is about, on the project, and on each token.
fn questions(node: &Node) -> Vec<Asked> {
    let (mut all, project) = (Vec::new(), Some(node.project()));
    for verb in Verb::ALL {
        let mut add = |kind, project, name, uid| {
            let resource = ResourceName::Kind(kind);
            all.push(Asked::Object { verb, resource, project, name, uid });
        };
        add(Kind::Rbac, None, None, None);
        add(Kind::Group, None, None, None);
        add(Kind::Project, None, None, None);
        add(Kind::Project, None, Some(name(Kind::Project, "p")), project);
        add(Kind::McpToken, project, None, None);
        for token in NAMES.tokens.iter().filter_map(|token| node.named(Kind::McpToken, token)) {
            add(Kind::McpToken, project, Some(token.meta.name.clone()), Some(token.meta.uid));
        }
    }
    all
}

#[test]
fn no_sequence_in_a_small_town_breaks_a_theorem() {
    Scope { begin: beginning(), alphabet: alphabet(), questions, key }.go(depth("MCPCTL_DEPTH", DEPTH));
}
