//! Proofs and obstacles in words, with the names that things had in the state that was asked.
use std::sync::Arc;

use mcpctl_core::access::questions::{self as core, Proof, Reason, Subject, WhyNot};
use mcpctl_core::access::{Ask, Grant, Membership, Permission, Rule};
use mcpctl_core::actor::{Actor, ActorKind};
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::object::Object;
use mcpctl_core::world::World;
use mcpctl_projections::State;

use crate::access_wire::{Able, Explanation, Link, Missing, Obstacle, Right, WhatCan};
use crate::server::auth::Authenticated;
use crate::server::point::Point;
use crate::server::target::may_view;

/// A state and what names it gives.
pub(super) struct Told<'a> {
    /// The newest state, which knows when each event was.
    pub(super) state: &'a State,
    /// The state that was asked.
    pub(super) world: &'a dyn World,
    /// Who is told. People are told by what and by whom they have what they have; a token, which agents hold, learns of
    /// its owner no more than who that is, and of bindings only what it may view.
    pub(super) caller: &'a Authenticated,
}

impl Told<'_> {
    pub(super) fn explanation(
        &self,
        actor: &Actor,
        ask: &Ask<'_>,
        point: Point,
        answer: Result<Proof<'_>, WhyNot>,
    ) -> Explanation {
        let mut told = Explanation {
            subject: self.subject(actor.uid, Some(actor)),
            asked: ask.to_string(),
            allowed: answer.is_ok(),
            rule: String::new(),
            seq: point.seq,
            at: point.at,
            via: Vec::new(),
            chain: Vec::new(),
            obstacles: Vec::new(),
            missing: Vec::new(),
        };
        match answer {
            Ok(proof) => {
                told.rule = rule(proof_rule(&proof)).to_owned();
                told.via = proof.via();
                told.chain = self.chain(&proof);
            }
            Err(why) => {
                told.rule = rule(why.rule).to_owned();
                told.obstacles = why.obstacles.iter().map(|obstacle| self.obstacle(obstacle)).collect();
                told.missing = why.missing().into_iter().flatten().map(|missing| self.missing(missing)).collect();
            }
        }
        told
    }

    pub(super) fn able(&self, proof: &Proof<'_>) -> Able {
        Able {
            subject: self.subject(proof.subject.uid, Some(&proof.subject)),
            rule: rule(proof_rule(proof)).to_owned(),
            chain: self.chain(proof),
        }
    }

    pub(super) fn what_can(&self, what: &core::WhatCan<'_>, point: Point) -> WhatCan {
        WhatCan {
            subject: self.subject(what.subject.uid, Some(&what.subject)),
            seq: point.seq,
            at: point.at,
            ended: what.ended.as_ref().map(|obstacle| self.obstacle(obstacle)),
            items: what.held.iter().map(|held| self.right(&what.subject, held)).collect(),
        }
    }

    pub(super) fn right(&self, subject: &Actor, held: &core::Held<'_>) -> Right {
        let mut chain = Vec::new();
        self.reason(subject, &held.reason, &held.right.to_string(), &mut chain);
        let text = held.right.to_string();
        match &held.right {
            core::Right::Operation(action) => Right {
                right: text,
                verbs: Vec::new(),
                resource: action.clone(),
                name: None,
                project: None,
                uid: None,
                chain,
            },
            core::Right::Objects { verbs, resource, name, project, uid } => Right {
                right: text,
                verbs: verbs.clone(),
                resource: resource.to_string(),
                name: name.as_ref().map(ToString::to_string),
                project: project.as_ref().map(|project| project.name.to_string()),
                uid: *uid,
                chain,
            },
        }
    }

    fn chain(&self, proof: &Proof<'_>) -> Vec<Link> {
        let mut chain = Vec::new();
        self.reason(&proof.subject, &proof.reason, "itself, or what it owns", &mut chain);
        chain
    }

    fn reason(&self, subject: &Actor, reason: &Reason<'_>, own: &str, chain: &mut Vec<Link>) {
        let who = self.subject(subject.uid, Some(subject));
        match reason {
            Reason::System => {}
            Reason::Own { seq } => chain.push(self.link("own", who, own.to_owned(), Some(*seq))),
            Reason::Granted { grant, through } => {
                let holder = through.map_or_else(|| who.clone(), |member| self.subject(member.group, None));
                chain.extend(through.map(|member| self.membership(who, member)));
                chain.push(self.grant(holder, grant));
            }
            Reason::Token { grant, project, owner } => {
                chain.push(self.grant(who.clone(), grant));
                chain.push(self.link("project", who.clone(), project.meta.name.to_string(), None));
                chain.push(self.link("owner", who, self.subject(owner.subject.uid, Some(&owner.subject)), None));
                if !self.to_a_token() {
                    chain.extend(self.chain(owner));
                }
            }
        }
    }

    fn membership(&self, holder: String, member: &Membership) -> Link {
        let what = self.subject(member.group, None);
        Link { by: Some(member.grantor.clone()), ..self.link("membership", holder, what, Some(member.seq)) }
    }

    fn grant(&self, holder: String, grant: &Grant) -> Link {
        let source = self.world.by_uid(grant.source).map_or_else(|| grant.source.to_string(), |object| object.title());
        let link = self.link("grant", holder, grant.permission.to_string(), Some(grant.seq));
        let seen =
            |object: &Arc<Object>| grant.source == self.caller.actor.uid || may_view(self.state, self.caller, object);
        if self.to_a_token() && !self.world.by_uid(grant.source).is_some_and(seen) {
            return link;
        }
        Link { source: Some(source), by: Some(grant.grantor.clone()), ..link }
    }

    fn to_a_token(&self) -> bool {
        self.caller.actor.kind == ActorKind::McpToken
    }

    fn link(&self, link: &str, holder: String, what: String, seq: Option<Seq>) -> Link {
        let at = seq.and_then(|seq| self.state.time_of(seq));
        Link { link: link.to_owned(), holder, what, seq, at, source: None, by: None }
    }

    /// A subject in the words that questions take.
    pub(super) fn subject(&self, uid: Uid, actor: Option<&Actor>) -> String {
        let named = self.world.by_uid(uid).and_then(|object| Subject::of(object)).map(|subject| subject.to_string());
        let kind = |actor: &Actor| match actor.kind {
            ActorKind::System => "System",
            ActorKind::Local => "Local",
            ActorKind::User => "User",
            ActorKind::ServiceAccount => "ServiceAccount",
            ActorKind::McpToken => "McpToken",
        };
        named
            .or_else(|| actor.map(|actor| format!("{}:{}", kind(actor), actor.name)))
            .unwrap_or_else(|| uid.to_string())
    }

    fn missing(&self, missing: &core::Missing) -> Missing {
        let subject = self.subject(missing.to.uid, Some(&missing.to));
        let (permission, binding) = (missing.permission.to_string(), binding(&missing.permission));
        Missing { subject, permission, binding }
    }

    fn obstacle(&self, obstacle: &core::Obstacle) -> Obstacle {
        let who = |actor: &Actor| self.subject(actor.uid, Some(actor));
        let (name, says) = match obstacle {
            core::Obstacle::Gone(actor) => ("gone", format!("{} does not exist", who(actor))),
            core::Obstacle::Disabled(actor) => ("disabled", format!("{} is disabled", who(actor))),
            core::Obstacle::Revoked { at } => ("revoked", format!("the token was revoked on {at}")),
            core::Obstacle::Expired { at } => ("expired", format!("the token expired on {at}")),
            core::Obstacle::NeverMinted => ("never-minted", "the token was never put in force".to_owned()),
            core::Obstacle::NoProject => ("no-project", "the token's project does not exist".to_owned()),
            core::Obstacle::OutsideProject(project) => {
                ("outside-project", format!("it lies outside {project}, the project of the token"))
            }
            core::Obstacle::NotForTokens => ("not-for-tokens", "no token ever has it, whoever owns it".to_owned()),
            core::Obstacle::NoGrant(missing) => {
                let (subject, permission) = (who(&missing.to), &missing.permission);
                ("no-grant", format!("nothing gives {subject} {:?}", permission.to_string()))
            }
        };
        Obstacle { obstacle: name.to_owned(), says }
    }
}

/// A permission as the flags of `create rbac` take it.
fn binding(permission: &Permission) -> String {
    match permission {
        Permission::Operation { action, .. } => format!("action:{action}"),
        Permission::Resource { role, resource, name: None } => format!("role:{role},resource:{resource}"),
        Permission::Resource { role, resource, name: Some(name) } => {
            format!("role:{role},resource:{resource},name:{name}")
        }
    }
}

fn proof_rule(proof: &Proof<'_>) -> Rule {
    match proof.reason {
        Reason::System => Rule::System,
        Reason::Own { .. } => Rule::Own,
        Reason::Granted { .. } => Rule::Rbac,
        Reason::Token { .. } => Rule::Token,
    }
}

const fn rule(rule: Rule) -> &'static str {
    match rule {
        Rule::System => "system",
        Rule::Rbac => "rbac",
        Rule::Own => "own",
        Rule::Token => "token",
        Rule::NoGrant => "no-grant",
        Rule::NotForTokens => "not-for-tokens",
        Rule::OutsideProject => "outside-project",
        Rule::Ended => "ended",
    }
}
