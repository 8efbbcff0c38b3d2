//! Questions over the real writer: who may ask, what is told, and the past.
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::Kind;
use serde_json::{Value, json};

use super::*;
use crate::server::testing::{ADMIN, MEMBER, Tried};

fn caller(tried: &Tried, name: &str) -> Authenticated {
    Authenticated { actor: tried.user(name), digest: Digest::default(), project: None, expires_at: None }
}

/// The answer, or the status and detail of the refusal.
async fn ask(
    tried: &Tried,
    who: &str,
    question: Question,
    query: &[(&str, &str)],
) -> std::result::Result<Value, (u16, String)> {
    let query = query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    match answer(question, &tried.published.load(), &caller(tried, who), &query) {
        Ok(response) => {
            let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            Ok(serde_json::from_slice(&bytes).unwrap())
        }
        Err(refusal) => Err((refusal.0.status, refusal.0.detail.clone())),
    }
}

const VIEW_HIDDEN: [(&str, &str); 3] = [("verb", "view"), ("resource", "servers"), ("name", "hidden")];

async fn team(tried: &Tried) {
    tried.apply(json!({ "kind": "group", "name": "team", "members": [MEMBER] })).await;
    tried
        .apply(json!({ "kind": "rbac", "name": "team", "subjects": [{ "kind": "Group", "name": "team" }],
            "roleBindings": [{ "role": "view", "resource": "servers", "name": "hidden" }] }))
        .await;
}

#[tokio::test]
async fn a_yes_names_each_grant_with_who_gave_it_and_a_no_what_is_missing() {
    let tried = Tried::new().await;
    let no = ask(&tried, MEMBER, Question::WhyNot, &VIEW_HIDDEN).await.unwrap();
    assert_eq!((&no["allowed"], &no["rule"]), (&json!(false), &json!("no-grant")));
    assert_eq!(no["missing"][0]["subject"], format!("User:{MEMBER}"));
    assert_eq!(no["missing"][0]["binding"], "role:view,resource:servers,name:hidden");
    team(&tried).await;
    let yes = ask(&tried, MEMBER, Question::Why, &VIEW_HIDDEN).await.unwrap();
    assert_eq!(
        (&yes["allowed"], &yes["rule"], &yes["asked"]),
        (&json!(true), &json!("rbac"), &json!("view servers/hidden"))
    );
    let chain = yes["chain"].as_array().unwrap();
    assert_eq!((&chain[0]["link"], &chain[0]["what"]), (&json!("membership"), &json!("Group:team")));
    assert_eq!((&chain[1]["link"], &chain[1]["source"]), (&json!("grant"), &json!("rbac/team")));
    for link in chain {
        assert_eq!(link["by"]["name"], ADMIN);
        assert!(link["seq"].is_u64() && link["at"].is_string(), "{link}");
    }
    let brief = ask(&tried, MEMBER, Question::CanI, &VIEW_HIDDEN).await.unwrap();
    assert_eq!((&brief["allowed"], &brief["via"], brief.get("chain")), (&json!(true), &json!([chain[1]["seq"]]), None));
}

#[tokio::test]
async fn the_past_is_answered_by_seq_and_by_moment() {
    let tried = Tried::new().await;
    let before = tried.published.load().seq().to_string();
    team(&tried).await;
    for (at, allowed) in [(before.as_str(), false), ("now", true), ("0s", false), ("1 day ago", false)] {
        let query = [&VIEW_HIDDEN[..], &[("at", at), ("subject", MEMBER)]].concat();
        let told = ask(&tried, ADMIN, Question::Why, &query).await;
        match (at, told) {
            ("0s", told) => assert_eq!(told.unwrap_err().0, 422),
            ("1 day ago", told) => assert_eq!(told.unwrap_err().0, 404, "nobody was there"),
            (_, told) => assert_eq!(told.unwrap()["allowed"], allowed, "{at}"),
        }
    }
    for at in ["999999", "2999-01-01", "tomorrow"] {
        let query = [&VIEW_HIDDEN[..], &[("at", at)]].concat();
        assert_eq!(ask(&tried, ADMIN, Question::CanI, &query).await.unwrap_err().0, 422, "{at}");
    }
}

#[tokio::test]
async fn asking_about_somebody_else_takes_view_on_them() {
    let tried = Tried::new().await;
    let about = |name| [&VIEW_HIDDEN[..], &[("subject", name)]].concat();
    assert!(ask(&tried, MEMBER, Question::Why, &about(MEMBER)).await.is_ok());
    let hidden = ask(&tried, MEMBER, Question::Why, &about(ADMIN)).await.unwrap_err();
    let nobody = ask(&tried, MEMBER, Question::Why, &about("nobody@example.com")).await.unwrap_err();
    assert_eq!((hidden.0, nobody.0), (403, 403));
    assert_eq!(hidden.1.replace(ADMIN, "x"), nobody.1.replace("nobody@example.com", "x"));
    assert_eq!(ask(&tried, ADMIN, Question::Why, &about("nobody@example.com")).await.unwrap_err().0, 404);
}

#[tokio::test]
async fn who_can_tells_of_those_whom_the_caller_may_view_and_whether_these_are_all() {
    let tried = Tried::new().await;
    team(&tried).await;
    let names = |told: &Value| -> Vec<Value> {
        told["items"].as_array().unwrap().iter().map(|item| item["subject"].clone()).collect()
    };
    let all = ask(&tried, ADMIN, Question::WhoCan, &VIEW_HIDDEN).await.unwrap();
    assert_eq!(
        (names(&all), &all["complete"]),
        (vec![json!(format!("User:{ADMIN}")), json!(format!("User:{MEMBER}"))], &json!(true))
    );
    let some = ask(&tried, MEMBER, Question::WhoCan, &VIEW_HIDDEN).await.unwrap();
    assert_eq!((names(&some), &some["complete"]), (vec![json!(format!("User:{MEMBER}"))], &json!(false)));
}

#[tokio::test]
async fn what_can_lists_a_tokens_rights_as_its_project_narrows_them() {
    let tried = Tried::new().await;
    tried.token(ADMIN, "ci", "clone").await;
    let told = ask(&tried, ADMIN, Question::WhatCan, &[("subject", "McpToken:web/ci")]).await.unwrap();
    let rights: Vec<&str> =
        told["items"].as_array().unwrap().iter().map(|item| item["right"].as_str().unwrap()).collect();
    assert!(rights.contains(&"view,run servers/mcpctl") || rights.contains(&"run servers/mcpctl"), "{rights:?}");
    assert!(!rights.iter().any(|right| right.contains("hidden") || right.contains("create mcptokens")), "{rights:?}");
    let group = [("subject", "Group:team")];
    team(&tried).await;
    let told = ask(&tried, ADMIN, Question::WhatCan, &group).await.unwrap();
    assert_eq!(told["items"][0]["right"], "view servers/hidden");
    assert_eq!(ask(&tried, ADMIN, Question::Why, &[&VIEW_HIDDEN[..], &group].concat()).await.unwrap_err().0, 422);
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused_by_its_field() {
    let tried = Tried::new().await;
    for (query, field) in [
        (vec![("verb", "view")], "resource"),
        (vec![("resource", "servers")], "verb"),
        (vec![("verb", "own"), ("resource", "servers")], "verb"),
        (vec![("verb", "view"), ("resource", "cars")], "resource"),
        (vec![("verb", "view"), ("resource", "servers"), ("name", "A B")], "name"),
        (vec![("verb", "view"), ("resource", "servers"), ("project", "web")], "project"),
        (vec![("operation", "fly")], "operation"),
        (vec![("operation", "logs"), ("resource", "servers")], "operation"),
        (vec![("operation", "logs"), ("subject", "x")], "subject"),
    ] {
        let (status, detail) = ask(&tried, ADMIN, Question::CanI, &query).await.unwrap_err();
        assert_eq!(status, 422, "{query:?}");
        assert!(detail.starts_with(field), "{query:?}: {detail}");
    }
    assert!(ask(&tried, ADMIN, Question::CanI, &[("operation", "logs")]).await.unwrap()["allowed"] == true);
    assert_eq!(tried.object(Kind::Server, None, "hidden").meta.name.as_str(), "hidden");
}
