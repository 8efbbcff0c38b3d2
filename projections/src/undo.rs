//! Undoing by doing: the commands that bring back what was before some events, or what an object was at a seq.
//!
//! Nothing is taken out of the log. Each command is decided like any other, with the rights of whoever gives it; what
//! events alone can make (a token's bytes, a password, values of a secret) does not come back, and that is said.
use std::collections::BTreeSet;
use std::sync::Arc;

use mcpctl_core::command::{Command, Deed, Mode};
use mcpctl_core::erased::AnyBody;
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::Name;
use mcpctl_core::object::Object;
use mcpctl_core::resource::Scope;
use mcpctl_core::world::World as _;

use crate::state::State;

/// What a step does to its object.
#[derive(Clone, Debug)]
pub enum Change {
    /// Makes it again: the same name and spec, another identity.
    Create(Arc<dyn AnyBody>),
    /// Gives it a former spec.
    Edit(Arc<dyn AnyBody>),
    /// Removes it.
    Delete,
}

impl Change {
    /// What becomes of the object, in a word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Edit(_) => "change",
            Self::Delete => "delete",
        }
    }
}

/// One command of a plan.
#[derive(Clone, Debug)]
pub struct Step {
    /// Kind of the object.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// Its project.
    pub project: Option<Name>,
    /// What is done to it.
    pub change: Change,
    /// The version that the plan was made for; `None` when nothing has the name.
    pub version: Option<Seq>,
}

impl Step {
    /// `kind/name`, or `kind/project/name`.
    #[must_use]
    pub fn title(&self) -> String {
        mcpctl_core::object::title(self.kind, self.project.as_ref(), self.name.as_str())
    }

    /// The command. It states the version that the plan was made for, unless it is known to be the one still.
    #[must_use]
    pub fn command(&self, state_version: bool) -> Command {
        let expected = self.version.filter(|_| state_version);
        let deed = match &self.change {
            Change::Create(body) => {
                let (body, then) = (body.clone(), Vec::new());
                Deed::Apply { body, mode: Mode::Create, expected: None, then }
            }
            Change::Edit(body) => Deed::Apply { body: body.clone(), mode: Mode::Upsert, expected, then: Vec::new() },
            Change::Delete => Deed::Delete { expected },
        };
        Command { kind: self.kind, name: self.name.clone(), project: self.project.clone(), deed }
    }
}

/// Why undoing would undo more than was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The object.
    pub object: String,
    /// Events that changed it since.
    pub since: Vec<Seq>,
    /// What is in the way.
    pub why: String,
}

/// The commands, what stands in the way, and what does not come back.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The commands, in order.
    pub steps: Vec<Step>,
    /// What would be undone beside what was asked for.
    pub conflicts: Vec<Conflict>,
    /// What can't be brought back, and why.
    pub lost: Vec<String>,
}

impl Plan {
    /// Whether every object is still as it was when the plan was made.
    #[must_use]
    pub fn fits(&self, state: &State) -> bool {
        self.steps.iter().all(|step| {
            let project = step.project.as_ref().and_then(|name| state.by_name(Kind::Project, None, name));
            let project = project.map(|project| project.meta.uid);
            state.by_name(step.kind, project, &step.name).map(|object| object.meta.resource_version) == step.version
        })
    }

    /// What is made comes first, in the order of `apply`; what goes, last, in the other order.
    fn in_order(mut self) -> Self {
        let place = |kind: Kind| Kind::ALL.iter().position(|other| *other == kind).unwrap_or_default();
        self.steps.sort_by_key(|step| match step.change {
            Change::Delete => Kind::ALL.len() * 2 - place(step.kind),
            Change::Create(_) | Change::Edit(_) => place(step.kind),
        });
        self
    }
}

impl State {
    /// Undoes the events from `first` to `last`, which were about these objects.
    #[must_use]
    pub fn undo(&self, first: Seq, last: Seq, objects: &BTreeSet<Uid>) -> Plan {
        let mut making = Making { state: self, plan: Plan::default(), back: objects.clone() };
        for uid in objects {
            let before = self.object_at(*uid, Seq(first.0.saturating_sub(1)));
            let after = self.object_at(*uid, last);
            match (before, after) {
                (None, None) => {}
                (None, Some(made)) => making.take_back(&made, last),
                (Some(was), None) => making.make_again(&was, last),
                (Some(was), Some(became)) => making.change_back(&was, &became, last),
            }
        }
        making.plan.in_order()
    }

    /// Brings an object back to what it was at a seq; a project with what lived in it. `None` when it was not there then.
    #[must_use]
    pub fn restore(&self, kind: Kind, project: Option<&Name>, name: &Name, at: Seq) -> Option<Plan> {
        let view = self.at(at);
        let scope = match (kind.scope(), project) {
            (Scope::Project, Some(project)) => Some(view.by_name(Kind::Project, None, project)?.meta.uid),
            _ => None,
        };
        let was = view.by_name(kind, scope, name)?.clone();
        let mut making = Making { state: self, plan: Plan::default(), back: BTreeSet::from([was.meta.uid]) };
        match making.now(&was) {
            None => making.make_again(&was, self.seq()),
            Some(now) => making.edit_or_tell(&was, &now),
        }
        if kind == Kind::Project {
            making.restore_inside(was.meta.uid, name, at);
        }
        Some(making.plan.in_order())
    }
}

/// A plan that is being made.
struct Making<'s> {
    state: &'s State,
    plan: Plan,
    /// Objects that the plan is about: what refers to them means them, also when they are made again.
    back: BTreeSet<Uid>,
}

impl Making<'_> {
    /// What has the name of an object now.
    fn now(&self, was: &Object) -> Option<Arc<Object>> {
        let project = match &was.meta.project {
            None => None,
            Some(project) => Some(self.state.by_name(Kind::Project, None, &project.name)?.meta.uid),
        };
        self.state.by_name(was.meta.kind, project, &was.meta.name).cloned()
    }

    fn step(&mut self, object: &Object, change: Change, version: Option<Seq>) {
        let project = object.meta.project.as_ref().map(|project| project.name.clone());
        let (kind, name) = (object.meta.kind, object.meta.name.clone());
        self.plan.steps.push(Step { kind, name, project, change, version });
    }

    fn conflict(&mut self, object: &Object, since: Vec<Seq>, why: String) {
        self.plan.conflicts.push(Conflict { object: object.title(), since, why });
    }

    /// Events after a seq that changed the spec of an object, or removed it.
    fn changed_since(&self, uid: Uid, seq: Seq) -> Vec<Seq> {
        let differs = |at: &Seq| {
            let (before, after) = (self.state.object_at(uid, Seq(at.0 - 1)), self.state.object_at(uid, *at));
            match (before, after) {
                (Some(before), Some(after)) => !same(&before, &after),
                (before, after) => before.is_some() != after.is_some(),
            }
        };
        self.state.seqs_of(uid, seq, self.state.seq()).filter(differs).collect()
    }

    /// It was created: it goes.
    fn take_back(&mut self, made: &Object, last: Seq) {
        let uid = made.meta.uid;
        let Some(now) = self.state.by_uid(uid).cloned() else { return };
        if !same(&now, made) {
            let since = self.changed_since(uid, last);
            self.conflict(made, since, "it was changed since".to_owned());
        }
        self.step(&now, Change::Delete, Some(now.meta.resource_version));
    }

    /// It was deleted: it is made again, as somebody else.
    fn make_again(&mut self, was: &Object, last: Seq) {
        if let Some(why) = gone_for_good(was.meta.kind) {
            self.plan.lost.push(format!("{}: {why}", was.title()));
            return;
        }
        match self.now(was) {
            Some(other) => {
                let since = self.changed_since(other.meta.uid, last);
                self.conflict(was, since, "another object has this name now".to_owned());
                self.edit(was, &other);
            }
            None => {
                self.check_references(was);
                self.note_new(was);
                self.step(was, Change::Create(was.body.clone()), None);
            }
        }
    }

    fn note_new(&mut self, was: &Object) {
        let title = was.title();
        let lost = &mut self.plan.lost;
        lost.push(format!("{title}: its identity {} is over; it is made again with another", was.meta.uid));
        if !was.body.credentials().is_empty() || was.meta.kind == Kind::User {
            lost.push(format!("{title}: its password and logins are gone; set a password anew"));
        }
    }

    fn change_back(&mut self, was: &Object, became: &Object, last: Seq) {
        let title = became.title();
        if same(was, became) {
            self.plan.lost.push(format!("{title}: {}", irreversible(became.meta.kind)));
            return;
        }
        if became.body.credentials().len() < was.body.credentials().len() {
            self.plan.lost.push(format!("{title}: logins that were ended stay ended"));
        }
        match self.state.by_uid(became.meta.uid).cloned() {
            Some(now) => {
                if !same(&now, became) && !same(&now, was) {
                    let since = self.changed_since(now.meta.uid, last);
                    self.conflict(became, since, "it was changed since".to_owned());
                }
                self.edit(was, &now);
            }
            None => {
                let since = self.changed_since(became.meta.uid, last);
                self.conflict(became, since, "it was deleted since".to_owned());
                self.make_again(was, last);
            }
        }
    }

    /// Gives what is there the spec that it had, unless it has it.
    fn edit(&mut self, was: &Object, now: &Object) {
        if same(was, now) {
            return;
        }
        if was.meta.kind.untyped().immutable() {
            self.plan.lost.push(format!("{}: {}", was.title(), irreversible(was.meta.kind)));
            return;
        }
        if was.meta.uid != now.meta.uid && !self.plan.conflicts.iter().any(|conflict| conflict.object == was.title()) {
            self.conflict(was, Vec::new(), "another object has this name now".to_owned());
        }
        self.check_references(was);
        self.step(now, Change::Edit(was.body.clone()), Some(now.meta.resource_version));
    }

    /// The same; of what is made once it is said when events changed it since.
    fn edit_or_tell(&mut self, was: &Object, now: &Object) {
        let ended = was.meta.kind.untyped().immutable() && was.body.canonical() != now.body.canonical();
        if same(was, now) && ended {
            self.plan.lost.push(format!("{}: {}", was.title(), irreversible(was.meta.kind)));
        } else {
            self.edit(was, now);
        }
    }

    /// A name that means somebody else now must not be given what its former bearer had.
    fn check_references(&mut self, was: &Object) {
        let others: Vec<String> = was
            .refs
            .iter()
            .filter(|reference| !self.back.contains(&reference.uid))
            .filter(|reference| {
                let now = self.state.by_name(reference.kind, None, &reference.name);
                now.is_some_and(|now| now.meta.uid != reference.uid)
            })
            .map(|reference| format!("{}/{}", reference.kind, reference.name))
            .collect();
        if !others.is_empty() {
            let why = format!("it names {}, which is another object now", others.join(", "));
            self.conflict(was, Vec::new(), why);
        }
    }

    /// What lived in a project then and now.
    fn restore_inside(&mut self, project: Uid, name: &Name, at: Seq) {
        let state = self.state;
        let view = state.at(at);
        let inside = |object: &&Arc<Object>| object.meta.project.as_ref().is_some_and(|p| p.uid == project);
        let scoped = || Kind::ALL.iter().filter(|kind| kind.scope() == Scope::Project);
        for was in scoped().flat_map(|kind| view.all(*kind)).filter(inside) {
            match state.by_uid(was.meta.uid) {
                None => self.make_again(was, state.seq()),
                Some(now) => self.edit_or_tell(was, now),
            }
        }
        let current = state.by_name(Kind::Project, None, name).map(|project| project.meta.uid);
        let lives = |object: &&Arc<Object>| current.is_some() && object.meta.project.as_ref().map(|p| p.uid) == current;
        for now in scoped().flat_map(|kind| state.all(*kind)).filter(lives) {
            if view.by_uid(now.meta.uid).is_none() {
                self.step(now, Change::Delete, Some(now.meta.resource_version));
            }
        }
    }
}

/// Whether two versions ask for the same, of the same others.
fn same(one: &Object, other: &Object) -> bool {
    one.body.same_spec(&*other.body) && one.refs == other.refs
}

/// Why a kind can't be made again.
const fn gone_for_good(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::McpToken => Some("the bytes of a token are kept nowhere; make a new one"),
        Kind::Secret => Some("its values were shredded; make it again with new ones"),
        _ => None,
    }
}

/// What events did to an object beside its spec stays.
const fn irreversible(kind: Kind) -> &'static str {
    match kind {
        Kind::McpToken => {
            "a token that has ended stays ended, and what it may is fixed when it is made; make a new one"
        }
        Kind::Secret => "former values were shredded when new ones were put in force",
        Kind::User => "a former password and logins that ended do not come back",
        _ => "its events can't be undone by a spec",
    }
}
