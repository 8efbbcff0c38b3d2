//! The questions about rights as tools: what REST answers, to the caller of the tool, about what that caller may see.
use std::collections::HashMap;

use mcpctl_core::access::OPERATIONS;
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::Kind;
use mcpctl_core::resource::Scope;
use serde_json::{Map, Value};

use super::answers::Asked;
use crate::server::auth::Authenticated;
use crate::server::problem::Answer;
use crate::server::questions::{self, Question};

/// Most rows of one answer: a model reads them all.
const ROWS_MAX: usize = 200;

/// What the tools are given.
type Arguments = Map<String, Value>;

/// `can_i`.
pub(super) fn can_i(asked: &Asked, arguments: &Arguments) -> Result<Value, String> {
    ask(asked, Question::CanI, arguments)
}

/// `why`.
pub(super) fn why(asked: &Asked, arguments: &Arguments) -> Result<Value, String> {
    ask(asked, Question::Why, arguments)
}

/// `why_not`.
pub(super) fn why_not(asked: &Asked, arguments: &Arguments) -> Result<Value, String> {
    ask(asked, Question::WhyNot, arguments)
}

/// `who_can`.
pub(super) fn who_can(asked: &Asked, arguments: &Arguments) -> Result<Value, String> {
    Ok(shortened(ask(asked, Question::WhoCan, arguments)?, &["items"]))
}

/// `what_can`.
pub(super) fn what_can(asked: &Asked, arguments: &Arguments) -> Result<Value, String> {
    let mut told = ask(asked, Question::WhatCan, arguments)?;
    told["complete"] = true.into();
    Ok(shortened(told, &["items"]))
}

/// `diff`.
pub(super) fn diff(asked: &Asked, arguments: &Arguments) -> Result<Value, String> {
    let caller = caller(asked)?;
    let told = questions::diff(&asked.state, &*asked.log, &caller, &query(arguments, &[])?).map_err(said)?;
    Ok(shortened(value(&told)?, &["objects", "access"]))
}

/// `review`. What was never used is not in it: that is in the audit log, which no tool reads.
pub(super) fn review(asked: &Asked, arguments: &Arguments) -> Result<Value, String> {
    let caller = caller(asked)?;
    let told = questions::review(&asked.state, &caller, &query(arguments, &[])?, None).map_err(said)?;
    Ok(shortened(value(&told)?, &["findings"]))
}

fn ask(asked: &Asked, question: Question, arguments: &Arguments) -> Result<Value, String> {
    let caller = caller(asked)?;
    questions::told(question, &asked.state, &caller, &query(arguments, &subject_of(asked, arguments))?).map_err(said)
}

/// The identity that asks. Its credential was checked where the call came in.
fn caller(asked: &Asked) -> Result<Authenticated, String> {
    let actor: Actor = asked.caller()?;
    Ok(Authenticated {
        actor,
        impersonator: None,
        digest: Digest::default(),
        project: None,
        expires_at: None,
        at: crate::server::clock::now(),
    })
}

/// What lives in a project is asked about in this one, unless another is named.
fn subject_of(asked: &Asked, arguments: &Arguments) -> Vec<(&'static str, String)> {
    let noun = arguments.get("resource").and_then(Value::as_str).unwrap_or_default();
    let kind = Kind::from_noun(noun.split('/').next().unwrap_or_default());
    let lives_in_one = kind.is_some_and(|kind| kind.scope() == Scope::Project);
    let here = asked.current().filter(|_| lives_in_one && !arguments.contains_key("project"));
    here.map(|(project, _)| ("project", project.meta.name.to_string())).into_iter().collect()
}

/// The arguments as REST takes them: `resource` may carry a name, `run` an operation; `as` is the subject.
fn query(arguments: &Arguments, more: &[(&'static str, String)]) -> Result<HashMap<String, String>, String> {
    let mut query: HashMap<String, String> = more.iter().map(|(key, text)| ((*key).to_owned(), text.clone())).collect();
    for (name, value) in arguments {
        let text = value.as_str().ok_or_else(|| format!("{name} is a text"))?.to_owned();
        let key = match name.as_str() {
            "as" => "subject",
            "not_attested_since" => "notAttestedSince",
            other => other,
        };
        query.insert(key.to_owned(), text);
    }
    let is_run = query.get("verb").is_some_and(|verb| verb == "run");
    if let Some(resource) = query.remove("resource") {
        match resource.split_once('/') {
            None if is_run && OPERATIONS.contains(&&*resource) => drop(query.insert("operation".to_owned(), resource)),
            None => drop(query.insert("resource".to_owned(), resource)),
            Some((kind, name)) => {
                query.insert("resource".to_owned(), kind.to_owned());
                query.insert("name".to_owned(), name.to_owned());
            }
        }
    }
    Ok(query)
}

/// A refusal in words that the model can act on.
fn said(refusal: Answer) -> String {
    let problem = &refusal.0;
    match &problem.hint {
        Some(hint) => format!("{} ({hint})", problem.detail),
        None => problem.detail.clone(),
    }
}

fn value<T: serde::Serialize>(told: &T) -> Result<Value, String> {
    serde_json::to_value(told).map_err(|error| error.to_string())
}

/// Keeps the first rows of each list, and says that there are more.
fn shortened(mut told: Value, lists: &[&str]) -> Value {
    for list in lists {
        let Some(rows) = told.get_mut(*list).and_then(Value::as_array_mut) else { continue };
        if rows.len() > ROWS_MAX {
            rows.truncate(ROWS_MAX);
            told["complete"] = false.into();
        }
    }
    told
}
