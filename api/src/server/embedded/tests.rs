use std::time::Duration;

use mcpctl_core::command::Deed;
use mcpctl_core::kinds::Kind;
use serde_json::{Value, json};

use super::*;
use crate::plane::{CallerBearer, Plane as _};
use crate::server::testing::{ADMIN, MEMBER, Tried};
use crate::upstream::{Call, NoSink, Reply};

async fn ask(tried: &Tried, bearer: &CallerBearer, method: &str, params: Value) -> Value {
    let admission = tried.plane.admit(bearer, "web").await.unwrap();
    let key = SessionKey::new(admission.project.uid, admission.caller.actor.uid);
    asked_by(tried, &key, method, params).await
}

async fn asked_by(tried: &Tried, key: &SessionKey, method: &str, params: Value) -> Value {
    let server = EmbeddedServer::new(tried.published.clone(), tried.log.clone());
    let session = server.session(Uid::fixed(1), key).await.unwrap();
    let params = serde_json::value::to_raw_value(&params).unwrap();
    let call = Call::new(method, Some(params), Duration::from_secs(5));
    match session.request(call, Arc::new(NoSink)).await.unwrap() {
        Reply::Result(raw) | Reply::Error(raw) => serde_json::from_str(raw.get()).unwrap(),
    }
}

async fn call(tried: &Tried, bearer: &CallerBearer, tool: &str, arguments: Value) -> Value {
    let answer = ask(tried, bearer, "tools/call", json!({ "name": tool, "arguments": arguments })).await;
    assert_eq!(answer["resultType"], "complete", "{answer}");
    if answer.get("isError").is_none() {
        let text: Value = serde_json::from_str(answer["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, answer["structuredContent"]);
        fits(tool, &text);
    }
    answer
}

/// The answer has the fields that the tool's output schema asks for, and no others.
fn fits(tool: &str, answer: &Value) {
    let tool = tools::ALL.iter().find(|known| known.name == tool).unwrap().described();
    check(&tool["outputSchema"], answer, "");
}

fn check(schema: &Value, value: &Value, at: &str) {
    match (schema["type"].as_str().unwrap(), value) {
        ("object", Value::Object(fields)) => {
            for name in schema["required"].as_array().unwrap() {
                assert!(fields.contains_key(name.as_str().unwrap()), "{at}.{name} is missing");
            }
            for (name, value) in fields {
                check(
                    schema["properties"].get(name).unwrap_or_else(|| panic!("{at}.{name}")),
                    value,
                    &format!("{at}.{name}"),
                );
            }
        }
        ("array", Value::Array(items)) => items.iter().for_each(|item| check(&schema["items"], item, at)),
        ("string", Value::String(_)) | ("integer", Value::Number(_)) | ("boolean", Value::Bool(_)) => {}
        (wanted, found) => panic!("{at} is {found} and not of type {wanted}"),
    }
}

fn names(answer: &Value, rows: &str) -> Vec<String> {
    let rows = answer["structuredContent"][rows].as_array().unwrap_or_else(|| panic!("{answer}"));
    rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn whoami_tells_a_token_its_owner_its_project_and_what_it_may_do() {
    let tried = Tried::new().await;
    let token = tried.token(ADMIN, "ci", "empty").await;
    let me = &call(&tried, &token, "whoami", json!({})).await["structuredContent"];
    assert_eq!(
        (&me["actor"]["name"], &me["owner"]["name"], &me["project"]),
        (&json!("ci"), &json!(ADMIN), &json!("web"))
    );
    assert_eq!(me["rights"], json!(["run projects/web"]));
}

#[tokio::test]
async fn a_right_that_the_owner_has_lost_is_none_of_the_tokens() {
    let tried = Tried::new().await;
    let more = json!({ "kind": "rbac", "name": "more", "subjects": [{ "kind": "User", "name": MEMBER }],
        "roleBindings": [{ "role": "delete", "resource": "mcptokens" }] });
    tried.apply(more).await;
    let token = tried.token(MEMBER, "ci", "clone").await;
    let before = call(&tried, &token, "whoami", json!({})).await["structuredContent"]["rights"].clone();
    assert_eq!(before, json!(["delete mcptokens", "run projects/web", "view projects/web"]));
    let fewer = json!({ "kind": "rbac", "name": "more", "subjects": [], "roleBindings": [{ "role": "view", "resource": "users" }] });
    tried.apply(fewer).await;
    let after = call(&tried, &token, "whoami", json!({})).await["structuredContent"]["rights"].clone();
    assert_eq!(after, json!(["run projects/web", "view projects/web"]));
}

#[tokio::test]
async fn lists_hold_what_the_caller_may_see_and_nothing_else() {
    let tried = Tried::new().await;
    let admin = tried.login(ADMIN).await;
    assert_eq!(names(&call(&tried, &admin, "list_servers", json!({})).await, "servers"), ["mcpctl", "hidden"]);
    assert_eq!(names(&call(&tried, &admin, "list_projects", json!({})).await, "projects"), ["other", "web"]);
    for bearer in
        [tried.login(MEMBER).await, tried.token(MEMBER, "m", "clone").await, tried.token(ADMIN, "a", "clone").await]
    {
        assert_eq!(names(&call(&tried, &bearer, "list_servers", json!({})).await, "servers"), ["mcpctl"]);
        assert_eq!(names(&call(&tried, &bearer, "list_projects", json!({})).await, "projects"), ["web"]);
    }
}

#[tokio::test]
async fn history_tells_who_changed_what_and_a_token_sees_no_other_project() {
    let tried = Tried::new().await;
    tried.apply(json!({ "kind": "project", "name": "web", "servers": ["mcpctl"], "members": [MEMBER], "instructions": "be kind" })).await;
    let token = tried.token(ADMIN, "ci", "clone").await;
    let answer = call(&tried, &token, "history", json!({ "object": "project/web" })).await;
    let events = answer["structuredContent"]["events"].as_array().unwrap();
    assert_eq!(events.len(), 2, "{answer}");
    assert_eq!(events[1]["changes"], json!(["instructions: nothing → \"be kind\""]));
    assert_eq!(events[1]["actor"], json!(format!("user:{ADMIN}")));
    let refused = call(&tried, &token, "history", json!({ "object": "project/other" })).await;
    assert_eq!(refused["isError"], true);
    let unknown = call(&tried, &token, "history", json!({ "object": "project/no-such" })).await;
    let said = |answer: &Value| answer["content"][0]["text"].as_str().unwrap().replace("other", "no-such");
    assert_eq!(said(&refused), said(&unknown), "what is hidden and what is not there look alike");
}

#[tokio::test]
async fn history_of_a_token_ends_with_its_revocation_and_shows_no_secret() {
    let tried = Tried::new().await;
    tried.token(ADMIN, "ci", "empty").await;
    tried.revoke("ci").await;
    let admin = tried.login(ADMIN).await;
    let answer = call(&tried, &admin, "history", json!({ "object": "mcptoken/ci", "limit": 2 })).await;
    let events = answer["structuredContent"]["events"].as_array().unwrap();
    assert_eq!(
        events.iter().map(|event| event["event"].as_str().unwrap()).collect::<Vec<_>>(),
        ["mcptoken.minted", "mcptoken.revoked"]
    );
    assert!(events[1]["changes"].to_string().contains(r#"status.state: \"active\" → \"revoked\""#), "{}", events[1]);
    assert_eq!(events[0]["object"], "mcptoken/web/ci");
}

#[tokio::test]
async fn history_outlives_the_object_and_its_project() {
    let tried = Tried::new().await;
    tried.token(ADMIN, "ci", "empty").await;
    tried.apply(json!({ "kind": "project", "name": "third" })).await;
    tried.give(Kind::McpToken, Some("web"), "ci", Deed::Delete { expected: None }).await;
    let admin = tried.login(ADMIN).await;
    let answer = call(&tried, &admin, "history", json!({ "object": "mcptoken/web/ci" })).await;
    assert_eq!(answer["structuredContent"]["events"].as_array().unwrap().last().unwrap()["event"], "mcptoken.deleted");
    tried.give(Kind::Project, None, "third", Deed::Delete { expected: None }).await;
    let answer = call(&tried, &admin, "history", json!({ "object": "project/third" })).await;
    assert_eq!(answer["structuredContent"]["events"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_password_and_a_secret_value_appear_in_no_history() {
    let tried = Tried::new().await;
    tried
        .apply(json!({ "kind": "user", "name": MEMBER, "displayName": "M", "password": "correct horse battery" }))
        .await;
    let admin = tried.login(ADMIN).await;
    let answer = call(&tried, &admin, "history", json!({ "object": format!("user/{MEMBER}") })).await.to_string();
    assert!(answer.contains("displayName") && !answer.contains("horse"), "{answer}");
}

#[tokio::test]
async fn wrong_arguments_are_told_to_the_model_and_unknown_tools_to_the_client() {
    let tried = Tried::new().await;
    let admin = tried.login(ADMIN).await;
    for (tool, arguments, reason) in [
        ("history", json!({}), "needs the argument \"object\""),
        ("history", json!({ "object": "nokind/x" }), "is not a kind"),
        ("history", json!({ "object": "server" }), "KIND/NAME"),
        ("history", json!({ "object": "server/x/y" }), "KIND/NAME"),
        ("history", json!({ "object": "server/mcpctl", "limit": 0 }), "from 1 to 1000"),
        ("history", json!({ "object": 7 }), "is a text"),
        ("history", json!({ "object": "server/gone" }), "does not exist"),
        ("whoami", json!({ "colour": "red" }), "takes no argument"),
    ] {
        let answer = call(&tried, &admin, tool, arguments).await;
        assert_eq!(answer["isError"], true, "{answer}");
        assert!(answer["content"][0]["text"].as_str().unwrap().contains(reason), "{answer}");
    }
    assert_eq!(ask(&tried, &admin, "tools/call", json!({ "name": "reboot" })).await["code"], -32602);
    assert_eq!(ask(&tried, &admin, "resources/list", json!({})).await["code"], -32601);
}

#[tokio::test]
async fn who_may_not_open_the_project_is_told_nothing() {
    let tried = Tried::new().await;
    let token = tried.token(ADMIN, "ci", "clone").await;
    let admission = tried.plane.admit(&token, "web").await.unwrap();
    let key = SessionKey::new(admission.project.uid, admission.caller.actor.uid);
    let elsewhere = SessionKey::new(tried.object(Kind::Project, None, "other").meta.uid, key.subject);
    let whoami = || json!({ "name": "whoami", "arguments": {} });
    assert_eq!(asked_by(&tried, &elsewhere, "tools/call", whoami()).await["isError"], true);
    tried.revoke("ci").await;
    assert_eq!(asked_by(&tried, &key, "tools/call", whoami()).await["isError"], true);
}

#[tokio::test]
async fn every_tool_is_listed_with_closed_schemas() {
    let tried = Tried::new().await;
    let listed = ask(&tried, &tried.login(ADMIN).await, "tools/list", json!({})).await;
    let names: Vec<&str> =
        listed["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    let expected = [
        "whoami",
        "list_servers",
        "list_projects",
        "history",
        "can_i",
        "why",
        "why_not",
        "who_can",
        "what_can",
        "diff",
        "review",
    ];
    assert_eq!(names, expected);
    for tool in listed["tools"].as_array().unwrap() {
        for schema in ["inputSchema", "outputSchema"] {
            assert_eq!(tool[schema]["additionalProperties"], false, "{tool}");
        }
    }
}

#[tokio::test]
async fn the_register_follows_the_state() {
    let tried = Tried::new().await;
    let uid = tried.object(Kind::Server, None, "mcpctl").meta.uid;
    assert_eq!(embedded_servers(&tried.published.load()), HashSet::from([uid]));
}

#[tokio::test]
async fn a_token_asks_about_itself_and_is_told_of_nobody_else() {
    let tried = Tried::new().await;
    let token = tried.token(ADMIN, "ci", "clone").await;
    let run = json!({ "verb": "run", "resource": "servers/mcpctl" });
    let why = &call(&tried, &token, "why", run.clone()).await["structuredContent"];
    assert_eq!((&why["allowed"], &why["subject"]), (&json!(true), &json!("McpToken:web/ci")));
    let links: Vec<&str> = why["chain"].as_array().unwrap().iter().map(|link| link["link"].as_str().unwrap()).collect();
    // By which binding its owner may is nothing for agents to know.
    assert_eq!(links, ["grant", "project", "owner"]);
    let of_admin = json!({ "verb": "run", "resource": "servers/mcpctl", "as": "McpToken:web/ci" });
    let whole = call(&tried, &tried.login(ADMIN).await, "why", of_admin).await["structuredContent"]["chain"].clone();
    assert_eq!((whole.as_array().unwrap().len(), &whole[3]["source"]), (4, &json!("rbac/admins")));
    let sha =
        tried.object(Kind::McpToken, Some("web"), "ci").of::<mcpctl_core::kinds::McpToken>().unwrap().1.sha256.unwrap();
    tried
        .apply(json!({ "kind": "rbac", "name": "quiet", "subjects": [{ "kind": "McpToken", "name": sha.to_string() }],
            "roleBindings": [{ "role": "view", "resource": "mcptokens", "name": "other" }] }))
        .await;
    let from = (tried.published.load().seq().0 - 1).to_string();
    for told in [
        call(&tried, &token, "what_can", json!({})).await,
        call(&tried, &token, "diff", json!({ "from": from })).await,
        call(&tried, &token, "review", json!({})).await,
        call(&tried, &token, "history", json!({ "object": "mcptoken/ci" })).await,
    ] {
        assert!(!told.to_string().contains("rbac/"), "{told}");
    }
    let hidden = &call(&tried, &token, "why_not", json!({ "verb": "run", "resource": "servers/hidden" })).await["structuredContent"];
    assert_eq!((&hidden["allowed"], &hidden["rule"]), (&json!(false), &json!("outside-project")));
    let able = &call(&tried, &token, "who_can", run.clone()).await["structuredContent"];
    assert_eq!(
        (&able["items"][0]["subject"], &able["items"][1], &able["complete"]),
        (&json!("McpToken:web/ci"), &Value::Null, &json!(false))
    );
    for (tool, arguments) in [
        ("can_i", json!({ "verb": "run", "resource": "servers/mcpctl", "as": ADMIN })),
        ("what_can", json!({ "as": ADMIN })),
        ("diff", json!({ "from": "0", "as": ADMIN })),
    ] {
        let refused = call(&tried, &token, tool, arguments).await;
        assert_eq!(refused["isError"], true, "{refused}");
    }
    let rights = &call(&tried, &token, "what_can", json!({})).await["structuredContent"];
    assert!(
        rights["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["right"] == "view,run servers/mcpctl" || row["right"] == "run servers/mcpctl"),
        "{rights}"
    );
    let before = tried.published.load().seq().0 - 3;
    let told = &call(&tried, &token, "diff", json!({ "from": before.to_string() })).await["structuredContent"];
    let who: Vec<&Value> = told["access"].as_array().unwrap().iter().map(|change| &change["subject"]).collect();
    assert_eq!((who, &told["objects"][0]["object"]), (vec![&json!("McpToken:web/ci")], &json!("mcptoken/web/ci")));
    let then = json!({ "verb": "run", "resource": "servers/mcpctl", "at": before.to_string() });
    assert_eq!(call(&tried, &token, "can_i", then).await["structuredContent"]["allowed"], false, "it was not there");
    // What lives in a project is asked about in this one.
    let tokens = json!({ "verb": "view", "resource": "mcptokens/ci" });
    assert_eq!(call(&tried, &token, "can_i", tokens).await["structuredContent"]["allowed"], true);
    let found = &call(&tried, &token, "review", json!({})).await["structuredContent"]["findings"];
    assert!(!found.as_array().unwrap().iter().any(|row| row["finding"] == "administrator"), "{found}");
}

#[tokio::test]
async fn an_administrator_asks_about_others_and_about_operations() {
    let tried = Tried::new().await;
    let admin = tried.login(ADMIN).await;
    let logs = json!({ "verb": "run", "resource": "logs", "as": MEMBER });
    let told = &call(&tried, &admin, "can_i", logs).await["structuredContent"];
    assert_eq!((&told["allowed"], &told["asked"]), (&json!(false), &json!("run:logs")));
    let found = &call(&tried, &admin, "review", json!({ "only": "administrator" })).await["structuredContent"];
    assert_eq!((&found["findings"][0]["subject"], &found["toMend"]), (&json!(format!("User:{ADMIN}")), &json!(false)));
    for (tool, arguments, reason) in [
        ("can_i", json!({ "verb": "fly", "resource": "servers" }), "is not a verb"),
        ("can_i", json!({ "verb": 1, "resource": "servers" }), "is a text"),
        ("why", json!({ "verb": "view" }), "needs the argument \"resource\""),
        ("diff", json!({ "from": "soon" }), "no point of the past"),
        ("history", json!({ "object": "project/web", "at": "999999" }), "has not come yet"),
        ("review", json!({ "only": "fun" }), "is no finding"),
    ] {
        let answer = call(&tried, &admin, tool, arguments).await;
        assert_eq!(answer["isError"], true, "{answer}");
        assert!(answer["content"][0]["text"].as_str().unwrap().contains(reason), "{answer}");
    }
}
