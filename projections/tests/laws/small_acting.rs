//! A small town where people act as a machine, come in as others, and the organisation has a policy (C7, C8, C9): three
//! users, of whom `a` administers, a service account, a group that a claim brings people into, a token, 4 rights to give.
use mcpctl_core::access::{ResourceName, RoleBinding, Verb};
use mcpctl_core::command::{Command, Deed};
use mcpctl_core::erased::AnyAction;
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::{Group, GroupAction, Kind, McpToken, McpTokenAction, PasswordVersion, UserAction};
use mcpctl_core::name::Name;
use mcpctl_core::object::Object;
use mcpctl_core::world::World as _;
use serde_json::{Value, json};

use crate::asked::Asked;
use crate::small_scope::{By, Node, Scope, Try, apply, delete, depth, name, on};

/// As deep as an ordinary run goes.
const DEPTH: usize = 2;
const A: &str = "a@example.com";
const B: &str = "b@example.com";
const C: &str = "c@example.com";
const ADMINS: [&str; 2] = ["role:edit,resource:*", "action:*"];
const RIGHTS: [&str; 4] =
    ["role:edit,resource:rbac", "role:run,resource:serviceaccounts,name:r", "action:bind", "role:edit,resource:users"];
/// Who can be given a right.
const SUBJECTS: [(&str, &str); 4] = [("User", B), ("User", C), ("Group", "g"), ("ServiceAccount", "r")];

fn bind(named: &str, (kind, who): (&str, &str), lines: &[&str]) -> Command {
    let lines: Vec<RoleBinding> = lines.iter().map(|line| line.parse().expect("a right of this world")).collect();
    let subjects = [json!({ "kind": kind, "name": who })];
    apply(json!({ "kind": "rbac", "name": named, "subjects": subjects, "roleBindings": lines }), Vec::new())
}

fn person(email: &str, disabled: bool, identity: Option<&str>) -> Command {
    let mut fields = json!({ "kind": "user", "name": email, "disabled": disabled });
    if let Some(subject) = identity {
        fields["identity"] = json!({ "issuer": "https://id.example.com", "subject": subject });
    }
    apply(fields, Vec::new())
}

fn password(email: &str) -> Command {
    let version = PasswordVersion { version: 1, commitment: Digest::sha256(email.as_bytes()) };
    on(Kind::User, email, Deed::Act(Box::new(UserAction::SetPassword(version))))
}

fn group(members: &[&str], claims: &[&str]) -> Command {
    apply(json!({ "kind": "group", "name": "g", "members": members, "claims": claims }), Vec::new())
}

fn policy(fields: Value) -> Command {
    let mut all = json!({ "kind": "policy", "name": "organisation" });
    fields.as_object().expect("a mapping").iter().for_each(|(field, value)| all[field] = value.clone());
    apply(all, Vec::new())
}

fn mint(ttl: &str) -> Command {
    let mint: AnyAction =
        Box::new(McpTokenAction::Mint { sha256: Digest::sha256(b"t"), prefix: "mcpctl_pat_test".to_owned() });
    apply(json!({ "kind": "mcptoken", "name": "t", "project": "p", "rbac": "clone", "ttl": ttl }), vec![mint])
}

/// `a` administers; `b` gives rights, runs projects and acts as `r`, which looks after people; `c` has nothing.
fn beginning() -> Node {
    let mut given: Vec<Command> = [A, B, C].map(|email| person(email, false, None)).into();
    given.extend([
        apply(json!({ "kind": "serviceaccount", "name": "r" }), Vec::new()),
        group(&[], &["eng"]),
        apply(json!({ "kind": "project", "name": "p" }), Vec::new()),
        bind("admins", ("User", A), &ADMINS),
        bind(
            "b",
            ("User", B),
            &["role:run,resource:projects", "role:create,resource:mcptokens", "role:edit,resource:groups"],
        ),
        bind("00", SUBJECTS[0], &RIGHTS[..1]),
        bind("01", SUBJECTS[0], &RIGHTS[1..2]),
        bind("33", SUBJECTS[3], &RIGHTS[3..]),
        password(A),
    ]);
    Node::after(&given)
}

fn alphabet() -> Vec<Try> {
    let mut all = Vec::new();
    let mut add = |by, what: &str, command| all.push(Try { by, what: what.to_owned(), command });
    for by in [By::User(A), By::User(B), By::User(C), By::Acting(B, "r"), By::Acting(C, "r")] {
        for (right, to) in (0..RIGHTS.len()).flat_map(|right| (0..SUBJECTS.len()).map(move |to| (right, to))) {
            let named = format!("{to}{right}");
            add(by, &format!("bind {right} to {to}"), bind(&named, SUBJECTS[to], &RIGHTS[right..=right]));
            add(by, &format!("unbind {right} from {to}"), delete(Kind::Rbac, &named));
        }
        for (who, email) in [("a", A), ("b", B), ("c", C)] {
            add(by, &format!("set the password of {who}"), password(email));
        }
        add(by, "make c somebody at the provider", person(C, false, Some("c-1")));
        add(by, "make b somebody at the provider", person(B, false, Some("b-1")));
    }
    for by in [By::User(A), By::User(B), By::Acting(B, "r"), By::System] {
        add(by, "unbind the administrators", delete(Kind::Rbac, "admins"));
        add(by, "bind the administrators' to b", bind("admins", SUBJECTS[0], &ADMINS));
        add(by, "bind the administrators' to g", bind("admins", SUBJECTS[2], &ADMINS));
        add(by, "disable a", person(A, true, None));
        add(by, "forget a", delete(Kind::User, A));
        add(by, "put c into g", group(&[C], &["eng"]));
        add(by, "map another claim to g", group(&[], &["eng", "ops"]));
        add(by, "map no claim to g", group(&[], &[]));
    }
    for (said, what) in
        [(vec!["eng"], "c is said to be eng"), (vec!["ops"], "c is said to be ops"), (vec![], "nothing is said of c")]
    {
        add(
            By::System,
            what,
            Command { kind: Kind::Group, name: name(Kind::Group, "g"), project: None, deed: Deed::Act(sign_in(&said)) },
        );
    }
    for (by, disabled) in [(By::User(B), true), (By::System, true), (By::System, false)] {
        let account = json!({ "kind": "serviceaccount", "name": "r", "disabled": disabled });
        add(by, &format!("the machine disabled: {disabled}"), apply(account, Vec::new()));
    }
    for (fields, what) in [
        (json!({ "delegationDepth": 1 }), "depth 1"),
        (json!({ "maxTtl": "1h", "delegationDepth": 2 }), "an hour, depth 2"),
    ] {
        add(By::System, &format!("the policy: {what}"), policy(fields));
    }
    for ttl in ["1h", "1d", "never"] {
        add(By::User(B), &format!("mint a token for {ttl}"), mint(ttl));
        add(By::Acting(B, "r"), &format!("mint a token for {ttl}"), mint(ttl));
    }
    add(By::Token("t"), "bind with a token", bind("11", SUBJECTS[1], &RIGHTS[1..2]));
    add(By::User(B), "remove the token", delete(Kind::McpToken, "t"));
    all
}

/// `c` is no longer there when `c` was forgotten; nobody does that here.
fn sign_in(said: &[&str]) -> AnyAction {
    let person = beginning().there(Kind::User, C).expect("c is there").meta.clone();
    let said = said.iter().map(|&claim| claim.to_owned()).collect();
    Box::new(GroupAction::Level { user: person.uid, name: person.name, said })
}

/// What each object says, without when and by whom it came to say it.
fn key(node: &Node) -> u128 {
    let mut told: Vec<String> = node.state.objects().map(|object| told(node, object)).collect();
    told.sort_unstable();
    let hash = Digest::sha256(told.join("\n").as_bytes()).to_string();
    u128::from_str_radix(&hash[hash.len() - 32..], 16).expect("hexadecimal")
}

fn told(node: &Node, object: &Object) -> String {
    let spec = serde_json::to_string(&object.body.spec_fields()).expect("plain data");
    let claimed =
        object.of::<Group>().map(|(_, status)| status.claimed.values().map(|by| &by.claims).collect::<Vec<_>>());
    let token = object.of::<McpToken>().map(|(_, status)| {
        let lives = status.expires_at.map(|at| at.since(object.meta.created_at));
        (status.owner.as_ref().map(|owner| &owner.name), &status.grants, lives, status.revoked_at.is_some())
    });
    // What counts for the policy: how deep what is held lies.
    let depths: Vec<u32> = node.state.grants(object.meta.uid).iter().map(|grant| node.state.depth(grant.seq)).collect();
    let joined: Vec<u32> =
        node.state.memberships(object.meta.uid).iter().map(|member| node.state.depth(member.seq)).collect();
    format!("{} {spec} {} {claimed:?} {token:?} {depths:?} {joined:?}", object.title(), object.body.can_sign_in())
}

/// Each verb on each kind that a right is about, on the machine, on the project; and the operations.
fn questions(node: &Node) -> Vec<Asked> {
    let mut all: Vec<Asked> = ["bind", "impersonate"].into_iter().map(Asked::Operation).collect();
    for verb in Verb::ALL {
        let mut add = |kind, project, name: Option<Name>, uid| {
            all.push(Asked::Object { verb, resource: ResourceName::Kind(kind), project, name, uid });
        };
        for kind in [Kind::Rbac, Kind::User, Kind::Group, Kind::ServiceAccount, Kind::Project] {
            add(kind, None, None, None);
        }
        let named = [(Kind::ServiceAccount, "r"), (Kind::Project, "p"), (Kind::User, A), (Kind::McpToken, "t")];
        for object in named.into_iter().filter_map(|(kind, named)| node.there(kind, named)) {
            let project = object.meta.project.as_ref().map(|project| project.uid);
            add(object.meta.kind, project, Some(object.meta.name.clone()), Some(object.meta.uid));
        }
    }
    all
}

#[test]
fn no_sequence_in_a_small_town_of_machines_and_a_policy_breaks_a_limit() {
    Scope { begin: beginning(), alphabet: alphabet(), questions, key }.go(depth("MCPCTL_ACTING_DEPTH", DEPTH));
}
