//! Reviews over the real writer and the real audit log: each finding appears when there is reason to, and goes with it.
use mcpctl_core::command::Deed;
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::RbacAction;
use serde_json::{Value, json};

use super::*;
use crate::plane::AuditEntry;
use crate::server::testing::{ADMIN, MEMBER, Tried};

fn reviewed(tried: &Tried, who: &str, pairs: &[(&str, &str)]) -> std::result::Result<Value, (u16, String)> {
    let at = crate::server::clock::now();
    let actor = tried.user(who);
    let caller =
        Authenticated { actor, impersonator: None, digest: Digest::default(), project: None, expires_at: None, at };
    let query = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let (state, usage) = (tried.published.load(), Usage::default());
    let seen = usage.known(&*tried.log, &tried.audit).unwrap();
    match review(&state, &caller, &query, Some(&seen)) {
        Ok(told) => Ok(serde_json::to_value(told).unwrap()),
        Err(refusal) => Err((refusal.0.status, refusal.0.detail.clone())),
    }
}

/// Findings of one sort as `subject right`.
fn found(tried: &Tried, finding: &str) -> Vec<String> {
    let told = reviewed(tried, ADMIN, &[("only", finding), ("notAttestedSince", "90d")]).unwrap();
    let rows = told["findings"].as_array().unwrap().iter();
    rows.map(|row| {
        assert_eq!(row["finding"], finding);
        format!("{} {}", row["subject"].as_str().unwrap(), row["right"].as_str().unwrap_or_default()).trim().to_owned()
    })
    .collect()
}

fn rbac(name: &str, user: &str, binding: Value) -> Value {
    json!({ "kind": "rbac", "name": name, "subjects": [{ "kind": "User", "name": user }], "roleBindings": [binding] })
}

async fn attest(tried: &Tried, name: &str) {
    let action = RbacAction::Attest { note: Some("checked".to_owned()) };
    tried.give(Kind::Rbac, None, name, Deed::Act(Box::new(action))).await;
}

#[tokio::test]
async fn a_grant_is_listed_when_its_grantor_could_not_make_it_any_more() {
    let tried = Tried::new().await;
    tried.apply(json!({ "kind": "user", "name": "lead@example.com" })).await;
    tried
        .apply(json!({ "kind": "rbac", "name": "lead", "subjects": [{ "kind": "User", "name": "lead@example.com" }],
            "roleBindings": [{ "role": "edit", "resource": "rbac" }, { "role": "view", "resource": "servers" }] }))
        .await;
    let given = rbac("given", MEMBER, json!({ "role": "view", "resource": "servers" }));
    tried.apply_as(&tried.user("lead@example.com"), given, Vec::new()).await.unwrap();
    assert_eq!(found(&tried, "grantor-cannot"), Vec::<String>::new());
    let fewer = json!({ "kind": "rbac", "name": "lead", "subjects": [{ "kind": "User", "name": "lead@example.com" }],
        "roleBindings": [{ "role": "edit", "resource": "rbac" }] });
    tried.apply(fewer).await;
    assert_eq!(found(&tried, "grantor-cannot"), [format!("User:{MEMBER} view servers")]);
    let told = reviewed(&tried, ADMIN, &[("only", "grantor-cannot")]).unwrap();
    let row = &told["findings"][0];
    assert_eq!((&row["source"], &row["by"]["name"]), (&json!("rbac/given"), &json!("lead@example.com")));
    assert!(row["says"].as_str().unwrap().contains("does not hold it any more"), "{row}");
    tried.apply(rbac("lead", "lead@example.com", json!({ "role": "run", "action": "bind" }))).await;
    assert!(
        reviewed(&tried, ADMIN, &[]).unwrap().to_string().contains("may not change what gives it"),
        "it can't edit it"
    );
    tried.apply(json!({ "kind": "user", "name": "lead@example.com", "disabled": true })).await;
    assert!(reviewed(&tried, ADMIN, &[]).unwrap().to_string().contains("is disabled or has ended"));
    tried.give(Kind::User, None, "lead@example.com", Deed::Delete { expected: None }).await;
    assert!(reviewed(&tried, ADMIN, &[]).unwrap().to_string().contains("does not exist any more"));
}

#[tokio::test]
async fn what_no_call_and_no_change_used_is_told_until_it_is_used() {
    let tried = Tried::new().await;
    let seq = tried.apply(rbac("idle", MEMBER, json!({ "role": "create", "resource": "groups" }))).await.seq;
    let of_member = |tried: &Tried| -> Vec<String> {
        found(tried, "never-used").into_iter().filter(|row| row.ends_with("create groups")).collect()
    };
    assert_eq!(of_member(&tried), [format!("User:{MEMBER} create groups")]);
    tried.apply_as(&tried.user(MEMBER), json!({ "kind": "group", "name": "made" }), Vec::new()).await.unwrap();
    assert_eq!(of_member(&tried), Vec::<String>::new(), "a change used it");
    let seq = {
        assert!(seq.0 > 0);
        tried.apply(rbac("called", MEMBER, json!({ "role": "run", "resource": "servers" }))).await.seq
    };
    let called = |tried: &Tried| found(tried, "never-used").iter().any(|row| row.ends_with("run servers"));
    assert!(called(&tried));
    let entry = |actor| AuditEntry {
        kind: "call".into(),
        actor: Some(actor),
        allowed: true,
        via: vec![seq],
        ..AuditEntry::default()
    };
    tried.audit.append(entry(tried.user(ADMIN))).unwrap();
    assert!(called(&tried), "somebody else's use is none");
    tried.audit.append(entry(tried.user(MEMBER))).unwrap();
    assert!(!called(&tried), "a call used it");
    let told = reviewed(&tried, ADMIN, &[]).unwrap();
    assert_eq!(told["usage"]["auditEntries"], 2);
    assert!(reviewed(&tried, ADMIN, &[("at", "now"), ("only", "never-used")]).unwrap().get("usage").is_none());
}

#[tokio::test]
async fn tokens_without_end_owners_that_lost_and_disabled_people_are_told() {
    let tried = Tried::new().await;
    tried.apply(rbac("lookers", MEMBER, json!({ "role": "view", "resource": "mcptokens" }))).await;
    tried.token(MEMBER, "ci", "clone").await;
    assert_eq!(found(&tried, "no-expiry"), ["McpToken:web/ci"]);
    assert_eq!(found(&tried, "owner-lacks"), Vec::<String>::new());
    let nothing = json!({ "kind": "rbac", "name": "lookers", "subjects": [], "roleBindings": [{ "role": "view", "resource": "users" }] });
    tried.apply(nothing).await;
    assert_eq!(found(&tried, "owner-lacks"), ["McpToken:web/ci view mcptokens"]);
    tried.apply(json!({ "kind": "user", "name": MEMBER, "disabled": true })).await;
    assert_eq!(found(&tried, "disabled"), [format!("User:{MEMBER}")]);
    assert_eq!(found(&tried, "no-expiry"), Vec::<String>::new(), "it was revoked with its owner");
    assert_eq!(found(&tried, "administrator"), [format!("User:{ADMIN} edit rbac")]);
}

#[tokio::test]
async fn an_attestation_holds_until_more_is_given_and_is_known_with_its_reviewer() {
    let tried = Tried::new().await;
    tried.apply(rbac("r", MEMBER, json!({ "role": "view", "resource": "servers" }))).await;
    assert_eq!(found(&tried, "not-attested"), ["rbac/admins", "rbac/r"]);
    attest(&tried, "r").await;
    assert_eq!(found(&tried, "not-attested"), ["rbac/admins"]);
    let future = reviewed(&tried, ADMIN, &[("only", "not-attested"), ("notAttestedSince", "now")]).unwrap();
    let row = future["findings"].as_array().unwrap().iter().find(|row| row["subject"] == "rbac/r");
    let made = &row.map_or_else(
        || reviewed(&tried, ADMIN, &[("only", "never-used")]).unwrap()["findings"].clone(),
        |row| json!([row]),
    );
    let attested = made.as_array().unwrap().iter().find_map(|row| row.get("attested")).unwrap();
    assert_eq!(
        (&attested["by"]["name"], &attested["note"], &attested["outdated"]),
        (&json!(ADMIN), &json!("checked"), &json!(false))
    );
    // Fewer rights need no new look; more do.
    tried.apply(json!({ "kind": "rbac", "name": "r", "subjects": [], "roleBindings": [{ "role": "view", "resource": "servers" }] })).await;
    assert_eq!(found(&tried, "not-attested"), ["rbac/admins"]);
    tried.apply(rbac("r", MEMBER, json!({ "role": "edit", "resource": "servers" }))).await;
    assert_eq!(found(&tried, "not-attested"), ["rbac/admins", "rbac/r"]);
    let action = RbacAction::Attest { note: None };
    let command = mcpctl_core::command::Command {
        kind: Kind::Rbac,
        name: tried.object(Kind::Rbac, None, "r").meta.name.clone(),
        project: None,
        deed: Deed::Act(Box::new(action)),
    };
    let submission = crate::server::writer::Submission::of(tried.user(MEMBER), command);
    assert!(tried.writer.submit(submission).await.is_err(), "who may not edit it may not attest it");
}

#[tokio::test]
async fn a_review_tells_what_the_caller_may_view_and_that_there_is_more() {
    let tried = Tried::new().await;
    tried.token(ADMIN, "ci", "empty").await;
    let told = reviewed(&tried, MEMBER, &[("only", "no-expiry,administrator")]).unwrap();
    assert_eq!((&told["findings"], &told["complete"]), (&json!([]), &json!(false)));
    assert_eq!(reviewed(&tried, ADMIN, &[("only", "fun")]).unwrap_err().0, 422);
    let told = reviewed(&tried, ADMIN, &[("only", "administrator")]).unwrap();
    assert_eq!((&told["toMend"], &told["complete"]), (&json!(false), &json!(true)));
}
