//! Objects as the API shows them: full manifests, and tables for `get`.
use std::sync::Arc;

use mcpctl_core::ids::Seq;
use mcpctl_core::kinds::Kind;
use mcpctl_core::manifest;
use mcpctl_core::object::Object;
use mcpctl_core::resource::Scope;
use mcpctl_core::time::Timestamp;
use serde_json::{Map, Value, json};

use super::app::App;
use super::clock;
use super::health;
use super::point::Point;

/// A full manifest, with what was observed of the object.
pub(super) fn full(app: &App, object: &Object) -> Map<String, Value> {
    let mut fields = manifest::full(object, clock::now());
    if let Some(used) = app.plane.last_used(object.meta.uid)
        && let Some(status) = fields.get_mut("status").and_then(Value::as_object_mut)
    {
        status.insert("lastUsedAt".into(), used.to_string().into());
    }
    if let Some(health) = health::of(app, object)
        && let Some(status) = fields.get_mut("status").and_then(Value::as_object_mut)
    {
        status.insert("health".into(), serde_json::to_value(health).unwrap_or_default());
    }
    fields
}

/// A table: NAME, PROJECT for kinds of that scope, the kind's columns, AGE where none of them says CREATED.
pub(super) fn of(app: &App, kind: Kind, objects: &[&Arc<Object>], revision: Seq) -> Value {
    rows(kind, objects, clock::now(), revision, |object| app.plane.last_used(object.meta.uid))
}

/// The same as it was; when a token was last used then is not known.
pub(super) fn as_of(kind: Kind, objects: &[&Arc<Object>], point: Point) -> Value {
    rows(kind, objects, point.at, point.seq, |_| None)
}

fn rows(
    kind: Kind,
    objects: &[&Arc<Object>],
    now: Timestamp,
    revision: Seq,
    last_used: impl Fn(&Object) -> Option<Timestamp>,
) -> Value {
    let untyped = kind.untyped();
    let in_project = kind.scope() == Scope::Project;
    let mut columns = vec!["NAME"];
    if in_project {
        columns.push("PROJECT");
    }
    columns.extend(untyped.columns());
    // A kind that says when it was created needs no age.
    let has_age = !columns.contains(&"CREATED");
    columns.extend(has_age.then_some("AGE"));
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut cells = vec![object.meta.name.to_string()];
            cells.extend(object.meta.project.as_ref().filter(|_| in_project).map(|project| project.name.to_string()));
            cells.extend(untyped.cells(object, now));
            cells.extend(has_age.then(|| age(now.since(object.meta.created_at))));
            if let Some(place) = columns.iter().position(|title| *title == "LAST-USED") {
                cells[place] = last_used(object).map_or_else(|| "-".to_owned(), |at| ago(now, at));
            }
            json!({ "name": object.meta.name, "project": object.meta.project.as_ref().map(|p| &p.name), "cells": cells })
        })
        .collect();
    json!({ "columns": columns, "rows": rows, "revision": revision })
}

fn ago(now: Timestamp, at: Timestamp) -> String {
    format!("{} ago", age(now.since(at)))
}

/// A span in its largest unit, as kubectl writes it.
fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
