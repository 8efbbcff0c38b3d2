//! Questions over the real writer: who may ask, what is told, and the past.
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::Kind;
use serde_json::{Value, json};

use super::*;
use crate::server::testing::{ADMIN, MEMBER, Tried};

fn caller(tried: &Tried, name: &str) -> Authenticated {
    Authenticated {
        actor: tried.user(name),
        impersonator: None,
        digest: Digest::default(),
        project: None,
        expires_at: None,
        at: crate::server::clock::now(),
    }
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
    assert_eq!(
        (&brief["allowed"], &brief["via"], brief.get("chain")),
        (&json!(true), &json!([chain[0]["seq"], chain[1]["seq"]]), None)
    );
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

fn query(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// What `diff` answers, or the status and detail of the refusal.
fn differ(tried: &Tried, who: &str, pairs: &[(&str, &str)]) -> std::result::Result<Value, (u16, String)> {
    match diff(&tried.published.load(), &*tried.log, &caller(tried, who), &query(pairs)) {
        Ok(told) => Ok(serde_json::to_value(told).unwrap()),
        Err(refusal) => Err((refusal.0.status, refusal.0.detail.clone())),
    }
}

/// What was gained and lost, as `subject +right` and `subject -right`.
fn turns(told: &Value) -> Vec<String> {
    let rows = |change: &Value, side: &str, sign: &str| -> Vec<String> {
        let rows = change[side].as_array().unwrap().iter();
        rows.map(|row| format!("{} {sign}{}", change["subject"].as_str().unwrap(), row["right"].as_str().unwrap()))
            .collect()
    };
    let all = told["access"].as_array().unwrap().iter();
    all.flat_map(|change| [rows(change, "gained", "+"), rows(change, "lost", "-")].concat()).collect()
}

#[tokio::test]
async fn two_points_differ_in_objects_and_apart_from_them_in_access_each_with_its_event() {
    let tried = Tried::new().await;
    let from = tried.published.load().seq().to_string();
    team(&tried).await;
    let told = differ(&tried, ADMIN, &[("from", &from)]).unwrap();
    let objects: Vec<_> = told["objects"].as_array().unwrap().iter().map(|o| (&o["object"], &o["change"])).collect();
    assert_eq!(objects, [(&json!("group/team"), &json!("created")), (&json!("rbac/team"), &json!("created"))]);
    assert_eq!(turns(&told), [format!("User:{MEMBER} +view servers/hidden"), "Group:team +view servers/hidden".into()]);
    let turn = &told["access"][0]["gained"][0]["turn"];
    assert_eq!(
        (&turn["object"], &turn["event"], &turn["by"]["name"]),
        (&json!("rbac/team"), &json!("rbac.applied"), &json!(ADMIN))
    );
    assert_eq!(told["complete"], true);
    let middle = tried.published.load().seq().to_string();
    tried.apply(json!({ "kind": "group", "name": "team", "members": [] })).await;
    let told = differ(&tried, ADMIN, &[("from", &middle), ("to", "now")]).unwrap();
    assert_eq!(turns(&told), [format!("User:{MEMBER} -view servers/hidden")]);
    assert_eq!(told["access"][0]["lost"][0]["turn"]["object"], "group/team");
    assert_eq!(told["objects"][0]["changes"], json!([format!("members: [\"{MEMBER}\"] → nothing")]));
    // What came and went is no difference of access, and is told all the same.
    tried.give(Kind::Rbac, None, "team", mcpctl_core::command::Deed::Delete { expected: None }).await;
    let told = differ(&tried, ADMIN, &[("from", &from)]).unwrap();
    assert_eq!(turns(&told), Vec::<String>::new());
    assert_eq!(told["objects"][1]["change"], "passed");
}

#[tokio::test]
async fn a_difference_is_narrowed_by_subject_and_by_kind() {
    let tried = Tried::new().await;
    let from = tried.published.load().seq().to_string();
    team(&tried).await;
    tried
        .apply(json!({ "kind": "rbac", "name": "more", "subjects": [{ "kind": "User", "name": MEMBER }],
        "roleBindings": [{ "role": "view", "resource": "users" }] }))
        .await;
    let of = |pairs: &[(&str, &str)]| differ(&tried, ADMIN, &[&[("from", from.as_str())][..], pairs].concat()).unwrap();
    assert_eq!(turns(&of(&[("kind", "users")])), [format!("User:{MEMBER} +view users")]);
    assert_eq!(of(&[("kind", "users")])["objects"], json!([]));
    assert_eq!(turns(&of(&[("subject", "Group:team")])), ["Group:team +view servers/hidden"]);
    let of_member = of(&[("subject", MEMBER)]);
    assert_eq!(turns(&of_member).len(), 2);
    let objects: Vec<&str> =
        of_member["objects"].as_array().unwrap().iter().map(|o| o["object"].as_str().unwrap()).collect();
    assert_eq!(objects, ["group/team", "rbac/more"]);
    let middle = tried.published.load().seq().to_string();
    tried.apply(json!({ "kind": "group", "name": "team", "members": [] })).await;
    let left = differ(&tried, ADMIN, &[("from", &middle), ("subject", MEMBER)]).unwrap();
    assert_eq!(left["objects"][0]["object"], "group/team", "it named them before");
    for (pairs, status) in [
        (vec![], 422),
        (vec![("from", "999999")], 422),
        (vec![("from", "5"), ("to", "3")], 422),
        (vec![("from", "1"), ("kind", "cars")], 422),
        (vec![("from", "1"), ("subject", "nobody@example.com")], 404),
    ] {
        assert_eq!(differ(&tried, ADMIN, &pairs).unwrap_err().0, status, "{pairs:?}");
    }
}

#[tokio::test]
async fn a_difference_tells_of_what_the_caller_may_view_and_that_there_is_more() {
    let tried = Tried::new().await;
    let from = tried.published.load().seq().to_string();
    team(&tried).await;
    let told = differ(&tried, MEMBER, &[("from", &from)]).unwrap();
    assert_eq!(turns(&told), [format!("User:{MEMBER} +view servers/hidden")]);
    assert_eq!((&told["objects"], &told["complete"]), (&json!([]), &json!(false)));
    assert_eq!(differ(&tried, MEMBER, &[("from", &from), ("subject", "Group:team")]).unwrap_err().0, 403);
}

fn simulated(tried: &Tried, who: &str, manifests: &[Value]) -> std::result::Result<Value, (u16, String)> {
    let read = |fields: &Value| mcpctl_core::manifest::read(fields.as_object().unwrap().clone()).unwrap();
    let manifests: Vec<_> = manifests.iter().map(read).collect();
    let caller = caller(tried, who);
    let actions = manifests.iter().map(|_| Vec::new()).collect();
    let submissions = crate::server::apply_all::submissions(&caller, &manifests, actions, None);
    match simulate::simulate(&tried.published.load(), &caller, &manifests, &submissions).map(|told| told.0) {
        Ok(told) => Ok(serde_json::to_value(told).unwrap()),
        Err(refusal) => Err((refusal.0.status, refusal.0.detail.clone())),
    }
}

#[tokio::test]
async fn a_simulation_says_who_would_gain_and_lose_what_and_changes_nothing() {
    let tried = Tried::new().await;
    team(&tried).await;
    let before = tried.published.load().seq();
    let wider = json!({ "kind": "rbac", "name": "team", "subjects": [{ "kind": "Group", "name": "team" }],
        "roleBindings": [{ "role": "run", "resource": "servers", "name": "hidden" }] });
    let told = simulated(&tried, ADMIN, std::slice::from_ref(&wider)).unwrap();
    assert_eq!(
        turns(&told),
        ["+run servers/hidden", "-view servers/hidden"]
            .map(|turn| format!("User:{MEMBER} {turn}"))
            .into_iter()
            .chain(["Group:team +run servers/hidden".to_owned(), "Group:team -view servers/hidden".to_owned()])
            .collect::<Vec<_>>()
    );
    assert_eq!((&told["added"], &told["objects"][0]["outcome"]), (&json!(true), &json!("changed")));
    assert_eq!(told["access"][0]["gained"][0]["chain"][1]["source"], "rbac/team");
    assert_eq!(tried.published.load().seq(), before);
    let fewer = json!({ "kind": "group", "name": "team", "members": [] });
    let told = simulated(&tried, ADMIN, &[fewer]).unwrap();
    assert_eq!((turns(&told), &told["added"]), (vec![format!("User:{MEMBER} -view servers/hidden")], &json!(false)));
    let words = json!({ "kind": "group", "name": "team", "members": [MEMBER], "description": "the team" });
    let told = simulated(&tried, ADMIN, &[words]).unwrap();
    assert_eq!((turns(&told).len(), &told["added"]), (0, &json!(false)));
    // It is decided under the caller's rights, like the apply.
    assert_eq!(simulated(&tried, MEMBER, &[wider]).unwrap_err().0, 403);
}

fn history_of(tried: &Tried, who: &str, kind: Kind, name: &str) -> Vec<(String, Vec<String>)> {
    let name = mcpctl_core::name::Name::parse(kind.untyped().name_rule(), name).unwrap();
    let state = tried.published.load();
    let named = crate::server::history::Named { kind, project: None, name: &name, until: state.seq() };
    let now = state.last_at();
    let items = crate::server::history::of_named(&state, &*tried.log, &tried.user(who), named, now).unwrap();
    items.into_iter().map(|item| (format!("{} {}", item.event, item.object), item.access)).collect()
}

#[tokio::test]
async fn the_history_of_a_person_has_what_happened_to_their_access_through_their_groups_too() {
    let tried = Tried::new().await;
    team(&tried).await;
    tried.apply(json!({ "kind": "group", "name": "team", "members": [] })).await;
    // What is given to the group now is nothing that happens to a former member.
    tried
        .apply(json!({ "kind": "rbac", "name": "later", "subjects": [{ "kind": "Group", "name": "team" }],
            "roleBindings": [{ "role": "view", "resource": "users" }] }))
        .await;
    let told = history_of(&tried, ADMIN, Kind::User, MEMBER);
    let rows: Vec<(&str, Vec<&str>)> =
        told.iter().map(|(event, access)| (event.as_str(), access.iter().map(String::as_str).collect())).collect();
    assert_eq!(
        rows,
        [
            (&*format!("user.applied user/{MEMBER}"), vec![]),
            ("project.applied project/web", vec!["+view projects/web", "+run projects/web"]),
            ("group.applied group/team", vec![]),
            ("rbac.applied rbac/team", vec!["+view servers/hidden"]),
            ("group.applied group/team", vec!["-view servers/hidden"]),
        ]
    );
    assert_eq!(history_of(&tried, MEMBER, Kind::User, MEMBER), told, "one's own is one's own to know");
    assert!(history_of(&tried, ADMIN, Kind::Group, "team").iter().any(|(_, access)| access == &["+view users"]));
}
