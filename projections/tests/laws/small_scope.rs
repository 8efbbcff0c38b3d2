//! Every sequence of commands in a town so small that all of them can be tried: 3 users, 2 groups, 2 tokens, 4 rights to
//! give. States that differ by the names of groups or tokens alone are one. `MCPCTL_DEPTH` says how many commands deep;
//! `.ci/nightly` goes 5 deep.
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use mcpctl_core::access::{Permission, ResourceName, Verb};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::command::{self, Asking, Command, Deed, Mode, Place};
use mcpctl_core::erased::AnyAction;
use mcpctl_core::ids::{Digest, Uid};
use mcpctl_core::kinds::{Group, Kind, McpToken, McpTokenAction, Rbac};
use mcpctl_core::manifest;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::object::Object;
use mcpctl_core::record::Record;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use serde_json::{Value, json};

use crate::asked::{Asked, actors};
use crate::questions::assert_agreement_on;
use crate::reference::Reference;
use crate::theorems::{each_event_was_allowed, every_answer_agrees, nobody_was_given_more_than_the_giver_held};

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
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    User(usize),
    Token(usize),
    System,
}

/// A command that is tried in every state.
struct Try {
    by: By,
    what: String,
    command: Command,
}

/// A state on its way: what is decided on, and the second reading of the same events.
#[derive(Clone, Default)]
struct Node {
    state: State,
    known: Reference,
    dice: u128,
}

fn name(kind: Kind, text: &str) -> Name {
    Name::parse(kind.untyped().name_rule(), text).expect("a name of this world")
}

fn sha(token: usize) -> Digest {
    Digest::sha256(TOKENS[token].as_bytes())
}

fn apply(fields: Value, then: Vec<AnyAction>) -> Command {
    let Value::Object(fields) = fields else { unreachable!("a manifest is a mapping") };
    let manifest::Manifest { kind, name, project, body, .. } = manifest::read(fields).expect("a manifest");
    Command { kind, name, project, deed: Deed::Apply { body, mode: Mode::Upsert, expected: None, then } }
}

fn on(kind: Kind, named: &str, deed: Deed) -> Command {
    let project = (kind == Kind::McpToken).then(|| name(Kind::Project, "p"));
    Command { kind, name: name(kind, named), project, deed }
}

fn delete(kind: Kind, named: &str) -> Command {
    on(kind, named, Deed::Delete { expected: None })
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
    for by in (0..3).map(By::User) {
        for (to, right) in (0..SUBJECTS).flat_map(|to| (0..RIGHTS.len()).map(move |right| (to, right))) {
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
    for (by, token) in (0..3).map(By::User).chain((0..2).map(By::Token)).flat_map(|by| [(by, 0), (by, 1)]) {
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

impl Node {
    /// `a` holds all four rights, `b` gives rights and members, `c` nothing.
    fn beginning() -> Self {
        let mut node = Self::default();
        let mut given: Vec<Command> = (0..3).map(|user| person(user, false)).collect();
        given.extend(GROUPS.map(|group| apply(json!({ "kind": "group", "name": group, "members": [] }), Vec::new())));
        given.push(apply(json!({ "kind": "project", "name": "p" }), Vec::new()));
        given.extend((0..4).map(|right| bind(0, right)));
        given.extend((0..2).map(|right| bind(1, right)));
        for command in given {
            assert!(!node.take(&Actor::system("test"), &command).expect("the given applies").is_empty());
        }
        node
    }

    fn actor(&self, by: By) -> Option<Actor> {
        let (kind, object) = match by {
            By::System => return Some(Actor::system("test")),
            By::User(user) => (ActorKind::User, self.user(user)?),
            By::Token(token) => (ActorKind::McpToken, self.token(token)?),
        };
        Some(Actor { kind, uid: object.meta.uid, name: object.meta.name.to_string() })
    }

    fn user(&self, user: usize) -> Option<&Object> {
        self.state.by_name(Kind::User, None, &name(Kind::User, USERS[user])).map(|object| &**object)
    }

    fn project(&self) -> Uid {
        let p = Name::parse(NameRule::Label, "p").expect("a label");
        self.state.by_name(Kind::Project, None, &p).expect("nobody deletes it").meta.uid
    }

    fn token(&self, token: usize) -> Option<&Object> {
        let name = name(Kind::McpToken, TOKENS[token]);
        self.state.by_name(Kind::McpToken, Some(self.project()), &name).map(|object| &**object)
    }

    /// Decides and folds; the records that it left. `None` when it was refused.
    fn take(&mut self, caller: &Actor, command: &Command) -> Option<Vec<Record>> {
        self.dice += 1;
        let now = NOW.plus_millis(self.state.seq().0);
        let asking = Asking::by(caller, now, self.dice);
        let drafts = command::decide(&self.state, &asking, command).ok()?.drafts;
        let mut records = Vec::new();
        for draft in drafts {
            let (seq, prev) = (self.state.seq().next(), self.state.head());
            let id = uuid::Uuid::nil();
            let place =
                Place { seq, id, at: now, prev, actor: caller, on_behalf_of: None, request: None, reason: None };
            let record = Record { header: draft.header(place), payload: draft.event.payload };
            // The chain of hashes is not what is looked at here.
            self.state.fold(&record, Digest::default()).expect("what was decided folds");
            self.known.read(&record);
            records.push(record);
        }
        Some(records)
    }

    fn now(&self) -> Timestamp {
        NOW.plus_millis(self.state.seq().0)
    }

    /// What the state is but for when and by whom it became so, the least of its names' permutations.
    fn key(&self) -> u128 {
        [[0, 1], [1, 0]].into_iter().flat_map(|g| [[0, 1], [1, 0]].map(|t| self.key_of(g, t))).min().expect("four")
    }

    fn key_of(&self, groups: [usize; 2], tokens: [usize; 2]) -> u128 {
        let mut key = 0u128;
        let mut push = |bits: usize, value: usize| key = (key << bits) | value as u128;
        let users: Vec<Option<&Object>> = (0..3).map(|user| self.user(user)).collect();
        users.iter().for_each(|user| push(2, user.map_or(0, |user| 1 + usize::from(user.body.enabled()))));
        for group in groups {
            let object =
                self.state.by_name(Kind::Group, None, &name(Kind::Group, GROUPS[group])).expect("nobody deletes it");
            let (spec, _) = object.of::<Group>().expect("a group");
            let bits = (0..3).filter(|user| spec.members.iter().any(|member| member.name().as_str() == USERS[*user]));
            push(3, bits.map(|user| 1 << user).sum());
        }
        let order = [0, 1, 2, 3 + groups[0], 3 + groups[1], 5 + tokens[0], 5 + tokens[1]];
        for (to, right) in order.into_iter().flat_map(|to| (0..RIGHTS.len()).map(move |right| (to, right))) {
            let object = self.state.by_name(Kind::Rbac, None, &name(Kind::Rbac, &binding(to, right)));
            let subjects = object.and_then(|object| object.of::<Rbac>()).map(|(spec, _)| spec.subjects.len());
            push(2, subjects.map_or(0, |subjects| 1 + subjects));
        }
        for token in tokens {
            let status = self.token(token).and_then(|object| object.of::<McpToken>()).map(|(_, status)| status);
            push(2, status.map_or(0, |status| 1 + usize::from(status.revoked_at.is_none())));
            let owner = status.and_then(|status| status.owner.as_ref()).map(|owner| owner.uid);
            let owns = |user: &Option<&Object>| user.is_some_and(|user| Some(user.meta.uid) == owner);
            push(2, users.iter().position(owns).unwrap_or(3));
            let has = |right: usize| status.is_some_and(|status| status.grants.contains(&permission(right)));
            push(4, (0..4).filter(|right| has(*right)).map(|right| 1 << right).sum());
        }
        key
    }

    /// Each verb on each kind that a right is about, on the project, and on each token.
    fn questions(&self) -> Vec<Asked> {
        let (mut all, project) = (Vec::new(), Some(self.project()));
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
            for token in (0..2).filter_map(|token| self.token(token)) {
                add(Kind::McpToken, project, Some(token.meta.name.clone()), Some(token.meta.uid));
            }
        }
        all
    }

    /// What must be true of every state: T2, T4, T5.
    fn check(&self) -> Result<u64, String> {
        let questions = self.questions();
        assert_agreement_on(&self.state, self.now(), &questions).map_err(|why| format!("T5: {why}"))?;
        every_answer_agrees(&self.state, &self.known, &questions, self.now(), 0, 1)
    }

    /// Takes a step and checks what must be true of it: T1, T3. `None` when it was refused or changed nothing.
    fn step(&self, tried: &Try) -> Result<Option<Self>, String> {
        let Some(caller) = self.actor(tried.by) else { return Ok(None) };
        let (mut after, now) = (self.clone(), self.now().as_millis());
        let Some(records) = after.take(&caller, &tried.command).filter(|records| !records.is_empty()) else {
            return Ok(None);
        };
        let (questions, subjects) = (after.questions(), actors(&after.state));
        nobody_was_given_more_than_the_giver_held(&self.known, &after.known, &caller, &subjects, &questions, now)
            .and_then(|()| each_event_was_allowed(&self.known, &self.state, &caller, &records, now))
            .map(|()| Some(after))
    }
}

fn permission(right: usize) -> Permission {
    RIGHTS[right].parse().expect("a right of this world")
}

/// What was gone through.
#[derive(Default)]
struct Gone {
    refused: AtomicU64,
    accepted: AtomicU64,
    compared: AtomicU64,
}

/// All states one command further than the given paths, each by its first path.
fn further(
    begin: &Node,
    alphabet: &[Try],
    paths: &[Vec<u16>],
    seen: &Mutex<HashSet<u128>>,
    gone: &Gone,
) -> Vec<Vec<u16>> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let expand = || {
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            let fail = |last: Option<usize>, why: String| -> ! {
                let all = path.iter().map(|index| usize::from(*index)).chain(last);
                let told: Vec<String> =
                    all.map(|index| format!("{:?}: {}", alphabet[index].by, alphabet[index].what)).collect();
                panic!("{why}\nby {told:#?}")
            };
            let node = path.iter().fold(begin.clone(), |mut node, index| {
                let tried = &alphabet[usize::from(*index)];
                let caller = node.actor(tried.by).expect("it was taken before");
                drop(node.take(&caller, &tried.command));
                node
            });
            for (index, tried) in alphabet.iter().enumerate() {
                let Some(after) = node.step(tried).unwrap_or_else(|why| fail(Some(index), why)) else {
                    gone.refused.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                gone.accepted.fetch_add(1, Ordering::Relaxed);
                if seen.lock().expect("no other panicked").insert(after.key()) {
                    let compared = after.check().unwrap_or_else(|why| fail(Some(index), why));
                    gone.compared.fetch_add(compared, Ordering::Relaxed);
                    let index = u16::try_from(index).expect("a small alphabet");
                    found.lock().expect("no other panicked").push([path.as_slice(), &[index]].concat());
                }
            }
        }
    };
    std::thread::scope(|scope| {
        [scope.spawn(expand), scope.spawn(expand)].map(|worker| worker.join().expect("no law was broken"))
    });
    found.into_inner().expect("no other panicked")
}

#[test]
fn no_sequence_in_a_small_town_breaks_a_theorem() {
    let depth = std::env::var("MCPCTL_DEPTH").map_or(DEPTH, |text| text.parse().expect("MCPCTL_DEPTH is a number"));
    let (begin, alphabet, gone, begun) = (Node::beginning(), alphabet(), Gone::default(), Instant::now());
    let seen = Mutex::new(HashSet::from([begin.key()]));
    begin.check().expect("the beginning keeps the theorems");
    let mut paths = vec![Vec::new()];
    for level in 1..=depth {
        paths = further(&begin, &alphabet, &paths, &seen, &gone);
        let (accepted, refused) = (gone.accepted.load(Ordering::Relaxed), gone.refused.load(Ordering::Relaxed));
        let (states, compared) = (seen.lock().expect("nobody panicked").len(), gone.compared.load(Ordering::Relaxed));
        eprintln!(
            "{level} commands deep: {states} states, {accepted} transitions, {refused} refused or without effect, {compared} decisions compared, {:.0?}",
            begun.elapsed()
        );
        assert!(paths.len() > 10, "hardly anything happens");
    }
}
