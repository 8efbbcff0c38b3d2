//! Every sequence of commands in a town so small that all of them can be tried. There are two: `small_rights`, where rights
//! are given, and `small_acting`, where people act as machines and come in as others, and the organisation has a policy.
//! `MCPCTL_DEPTH` and `MCPCTL_ACTING_DEPTH` say how many commands deep; `.ci/nightly` goes deeper.
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::command::{self, Asking, Command, Deed, Mode, Place};
use mcpctl_core::erased::AnyAction;
use mcpctl_core::ids::{Digest, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::manifest;
use mcpctl_core::name::Name;
use mcpctl_core::object::Object;
use mcpctl_core::record::Record;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use serde_json::Value;

use crate::asked::{Asked, actors};
use crate::limits::Depths;
use crate::questions::assert_agreement_on;
use crate::reference::Reference;
use crate::theorems::{Taken, every_answer_agrees};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Who gives a command: the control plane, a user, a token of the project `p`, or a user as a service account.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum By {
    User(&'static str),
    Token(&'static str),
    Acting(&'static str, &'static str),
    System,
}

/// A command that is tried in every state.
pub(crate) struct Try {
    pub(crate) by: By,
    pub(crate) what: String,
    pub(crate) command: Command,
}

/// A town: how it begins, what is tried, what is asked, and what tells one state from another.
pub(crate) struct Scope {
    pub(crate) begin: Node,
    pub(crate) alphabet: Vec<Try>,
    pub(crate) questions: fn(&Node) -> Vec<Asked>,
    pub(crate) key: fn(&Node) -> u128,
}

/// A state on its way: what is decided on, and the second reading of the same events.
#[derive(Clone, Default)]
pub(crate) struct Node {
    pub(crate) state: State,
    known: Reference,
    depths: Depths,
    dice: u128,
}

pub(crate) fn name(kind: Kind, text: &str) -> Name {
    Name::parse(kind.untyped().name_rule(), text).expect("a name of this world")
}

pub(crate) fn apply(fields: Value, then: Vec<AnyAction>) -> Command {
    let Value::Object(fields) = fields else { unreachable!("a manifest is a mapping") };
    let manifest::Manifest { kind, name, project, body, .. } = manifest::read(fields).expect("a manifest");
    Command { kind, name, project, deed: Deed::Apply { body, mode: Mode::Upsert, expected: None, then } }
}

pub(crate) fn on(kind: Kind, named: &str, deed: Deed) -> Command {
    let project = (kind == Kind::McpToken).then(|| name(Kind::Project, "p"));
    Command { kind, name: name(kind, named), project, deed }
}

pub(crate) fn delete(kind: Kind, named: &str) -> Command {
    on(kind, named, Deed::Delete { expected: None })
}

impl Node {
    /// What these commands leave, which the control plane gives.
    pub(crate) fn after(given: &[Command]) -> Self {
        let mut node = Self::default();
        for command in given {
            let left = node.take(&Actor::system("test"), None, command);
            assert!(!left.expect("the given applies").is_empty());
        }
        node
    }

    /// By whose rights, and who acts as them.
    fn actors(&self, by: By) -> Option<(Actor, Option<Actor>)> {
        let actor = |kind, object: &Object| Actor { kind, uid: object.meta.uid, name: object.meta.name.to_string() };
        let user = |email| Some(actor(ActorKind::User, self.there(Kind::User, email)?));
        match by {
            By::System => Some((Actor::system("test"), None)),
            By::User(email) => Some((user(email)?, None)),
            By::Token(named) => Some((actor(ActorKind::McpToken, self.there(Kind::McpToken, named)?), None)),
            By::Acting(email, account) => {
                let account = self.there(Kind::ServiceAccount, account)?;
                Some((actor(ActorKind::ServiceAccount, account), user(email)))
            }
        }
    }

    pub(crate) fn there(&self, kind: Kind, named: &str) -> Option<&Object> {
        self.named(kind, &name(kind, named))
    }

    pub(crate) fn named(&self, kind: Kind, named: &Name) -> Option<&Object> {
        let project = if kind == Kind::McpToken { Some(self.project()) } else { None };
        self.state.by_name(kind, project, named).map(|object| &**object)
    }

    pub(crate) fn project(&self) -> Uid {
        self.there(Kind::Project, "p").expect("nobody deletes it").meta.uid
    }

    /// Decides and folds; the records that it left. `None` when it was refused.
    fn take(&mut self, caller: &Actor, impersonator: Option<&Actor>, command: &Command) -> Option<Vec<Record>> {
        self.dice += 1;
        let now = NOW.plus_millis(self.state.seq().0);
        let asking = Asking { impersonator, ..Asking::by(caller, now, self.dice) };
        let drafts = command::decide(&self.state, &asking, command).ok()?.drafts;
        let mut records = Vec::new();
        for draft in drafts {
            let (seq, prev) = (self.state.seq().next(), self.state.head());
            let (actor, on_behalf_of) = (asking.actor(), asking.on_behalf_of());
            let place =
                Place { seq, id: uuid::Uuid::nil(), at: now, prev, actor, on_behalf_of, request: None, reason: None };
            let record = Record { header: draft.header(place), payload: draft.event.payload };
            // The chain of hashes is not what is looked at here.
            self.state.fold(&record, Digest::default()).expect("what was decided folds");
            self.known.read(&record);
            self.depths.read(&record);
            records.push(record);
        }
        Some(records)
    }

    fn now(&self) -> Timestamp {
        NOW.plus_millis(self.state.seq().0)
    }
}

impl Scope {
    /// What must be true of every state: T2, T4, T5.
    fn check(&self, node: &Node) -> Result<u64, String> {
        let questions = (self.questions)(node);
        assert_agreement_on(&node.state, node.now(), &questions).map_err(|why| format!("T5: {why}"))?;
        node.depths.are_those_of(&node.state)?;
        every_answer_agrees(&node.state, &node.known, &questions, node.now(), 0, 1)
    }

    /// Takes a step and checks what must be true of it: T1, T3, C7, C9, the policy. `None` when it was refused or
    /// changed nothing.
    fn step(&self, node: &Node, tried: &Try) -> Result<Option<Node>, String> {
        let Some((by, impersonator)) = node.actors(tried.by) else { return Ok(None) };
        let (mut after, now) = (node.clone(), node.now().as_millis());
        let taken = after.take(&by, impersonator.as_ref(), &tried.command);
        let Some(batch) = taken.filter(|records| !records.is_empty()) else { return Ok(None) };
        let (questions, subjects) = ((self.questions)(&after), actors(&after.state));
        let (was, is, state) = (&node.known, &after.known, &node.state);
        let (by, impersonator, batch) = (&by, impersonator.as_ref(), &batch[..]);
        let taken = Taken { was, is, state, by, impersonator, batch, now };
        taken.keeps_the_theorems(&subjects, &questions)?;
        taken.keeps_the_limits(&after.depths, &subjects, &questions)?;
        Ok(Some(after))
    }

    /// All states so many commands deep, each checked once.
    pub(crate) fn go(&self, depth: usize) {
        let (gone, begun) = (Gone::default(), Instant::now());
        let seen = Mutex::new(HashSet::from([(self.key)(&self.begin)]));
        self.check(&self.begin).expect("the beginning keeps the theorems");
        let mut paths = vec![Vec::new()];
        for level in 1..=depth {
            paths = self.further(&paths, &seen, &gone);
            let (accepted, refused) = (gone.accepted.load(Ordering::Relaxed), gone.refused.load(Ordering::Relaxed));
            let (states, compared) =
                (seen.lock().expect("nobody panicked").len(), gone.compared.load(Ordering::Relaxed));
            eprintln!(
                "{level} commands deep: {states} states, {accepted} transitions, {refused} refused or without effect, {compared} decisions compared, {:.0?}",
                begun.elapsed()
            );
            assert!(paths.len() > 10, "hardly anything happens");
        }
    }

    /// All states one command further than the given paths, each by its first path.
    fn further(&self, paths: &[Vec<u16>], seen: &Mutex<HashSet<u128>>, gone: &Gone) -> Vec<Vec<u16>> {
        let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let expand = || {
            while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                let node = self.at(path);
                for (index, tried) in self.alphabet.iter().enumerate() {
                    let Some(after) = self.step(&node, tried).unwrap_or_else(|why| self.fail(path, index, &why)) else {
                        gone.refused.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    gone.accepted.fetch_add(1, Ordering::Relaxed);
                    if seen.lock().expect("no other panicked").insert((self.key)(&after)) {
                        let compared = self.check(&after).unwrap_or_else(|why| self.fail(path, index, &why));
                        gone.compared.fetch_add(compared, Ordering::Relaxed);
                        let index = u16::try_from(index).expect("a small alphabet");
                        found.lock().expect("no other panicked").push([path.as_slice(), &[index]].concat());
                    }
                }
            }
        };
        let threads =
            std::env::var("MCPCTL_THREADS").map_or(2, |text| text.parse().expect("MCPCTL_THREADS is a number"));
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(expand)).collect();
            workers.into_iter().for_each(|worker| worker.join().expect("no law was broken"));
        });
        found.into_inner().expect("no other panicked")
    }

    fn at(&self, path: &[u16]) -> Node {
        path.iter().fold(self.begin.clone(), |mut node, index| {
            let tried = &self.alphabet[usize::from(*index)];
            let (by, impersonator) = node.actors(tried.by).expect("it was taken before");
            drop(node.take(&by, impersonator.as_ref(), &tried.command));
            node
        })
    }

    fn fail(&self, path: &[u16], last: usize, why: &str) -> ! {
        let all = path.iter().map(|index| usize::from(*index)).chain([last]);
        let told: Vec<String> =
            all.map(|index| &self.alphabet[index]).map(|t| format!("{:?}: {}", t.by, t.what)).collect();
        panic!("{why}\nby {told:#?}")
    }
}

/// What was gone through.
#[derive(Default)]
struct Gone {
    refused: AtomicU64,
    accepted: AtomicU64,
    compared: AtomicU64,
}

/// How deep a run goes.
pub(crate) fn depth(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}
