//! Four cells: clients of both eras with servers of both eras, and the rules of the modern one.
use mcpctl_api::upstream::Era;
use serde_json::{Value, json};

use crate::fake_server::FakeServer;
use crate::house::{House, names};

const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];

async fn one(era: Era) -> House {
    let server = FakeServer::new("a", era, &["progress", "log", "large", "fail"]);
    server.prompts.lock().push(json!({"name": "greet"}));
    server.resources.lock().push(json!({"uri": "file:///x", "name": "x"}));
    server.templates.lock().push(json!({"uriTemplate": "file:///{path}", "name": "t"}));
    House::new(vec![server]).await
}

#[tokio::test]
async fn every_cell_serves_lists_calls_prompts_resources_and_completion() {
    for era in ERAS {
        let house = one(era).await;
        let client = house.session("2025-11-25", json!({})).await;
        for (method, params, wanted) in [
            ("tools/list", json!({}), json!("echo")),
            ("prompts/list", json!({}), json!("greet")),
            ("resources/list", json!({}), json!("file:///x")),
            ("resources/templates/list", json!({}), json!("file:///{path}")),
            ("tools/call", json!({"name": "echo", "arguments": {"q": 1}}), json!("{\"q\":1}")),
            ("prompts/get", json!({"name": "greet"}), json!("greet")),
            ("resources/read", json!({"uri": "file:///x"}), json!("a")),
            ("completion/complete", json!({"ref": {"type": "ref/prompt", "name": "greet"}}), json!("ref/prompt")),
        ] {
            let of = |answer: crate::house::Answer| {
                assert_eq!(answer.status, 200, "{method} {answer:?}");
                let result = answer.json()["result"].clone();
                assert!(result.to_string().contains(&wanted.to_string()), "{method} with {era:?}: {result}");
                result
            };
            of(client.ask(method, params.clone()).await);
            let modern = of(house.modern(method, params).await);
            let complete = modern["resultType"] == "complete" || era == Era::Modern;
            assert!(complete, "{method}: {modern}");
            if method.ends_with("/list") {
                assert!(modern["ttlMs"].is_u64() && modern["cacheScope"] == "private", "{method}: {modern}");
            }
        }
        assert_eq!(client.ask("ping", json!({})).await.json()["result"], json!({}));
    }
}

#[tokio::test]
async fn unknown_members_pass_untouched_in_both_directions() {
    for era in ERAS {
        let house = one(era).await;
        let params = json!({"name": "echo", "arguments": {"n": 1.0}, "task": {"ttl": 5}, "_meta": {"vendor/x": [1]}});
        let answer = house.modern("tools/call", params).await;
        assert_eq!(answer.json()["result"]["vendor"].to_string(), "1.0", "not even 1.0 becomes 1");
        let asked = house.server("a").asked("tools/call").pop().unwrap();
        assert_eq!(
            (asked.params["task"].clone(), asked.params["_meta"]["vendor/x"].clone()),
            (json!({"ttl": 5}), json!([1]))
        );
        assert_eq!(house.modern("vendor/method", json!({})).await.json()["result"]["vendor"], true);
        let listed = house.modern("tools/list", json!({})).await;
        assert_eq!(listed.json()["result"]["tools"][0]["x-unknown"].to_string(), "[1.0]");
    }
}

#[tokio::test]
async fn progress_carries_the_callers_own_token() {
    for era in ERAS {
        let house = one(era).await;
        let client = house.session("2025-06-18", json!({})).await;
        let params = json!({"name": "progress", "_meta": {"progressToken": "mine"}});
        for answer in [client.ask("tools/call", params.clone()).await, house.modern("tools/call", params).await] {
            let events = answer.events();
            assert_eq!(answer.headers["content-type"], "text/event-stream");
            assert_eq!(events.len(), 3, "{events:?}");
            assert_eq!(
                (&events[0]["params"]["progressToken"], &events[1]["params"]["progress"]),
                (&json!("mine"), &json!(2))
            );
            assert!(events[2]["result"].is_object(), "the answer comes last");
        }
        let quiet = house.modern("tools/call", json!({"name": "progress"})).await;
        assert_eq!(quiet.headers["content-type"], "application/json", "nobody asked for progress");
        assert!(
            house.server("a").asked("tools/call")[0].progress && !house.server("a").asked("tools/call")[2].progress
        );
    }
}

#[tokio::test]
async fn log_messages_reach_who_asked_for_them_and_nobody_else() {
    for era in ERAS {
        let house = one(era).await;
        let call = |level: Value| {
            let meta = if level.is_null() { json!({}) } else { json!({"io.modelcontextprotocol/logLevel": level}) };
            house.modern("tools/call", json!({"name": "log", "_meta": meta}))
        };
        assert_eq!(call(Value::Null).await.events().len(), 1, "a modern client that names no level gets none");
        let events = call(json!("warning")).await.events();
        assert_eq!((events.len(), &events[0]["params"]["data"]), (2, &json!("error")), "{events:?}");
        let client = house.session("2025-06-18", json!({})).await;
        assert_eq!(client.ask("logging/setLevel", json!({"level": "nonsense"})).await.error(), (200, -32602));
        assert_eq!(client.ask("logging/setLevel", json!({"level": "error"})).await.json()["result"], json!({}));
        client.ask("tools/call", json!({"name": "log"})).await;
        let server = house.server("a");
        if era == Era::Modern {
            let asked = server.asked("tools/call").pop().unwrap();
            assert_eq!(asked.params["_meta"]["io.modelcontextprotocol/logLevel"], "error");
        } else {
            let levels: Vec<Value> =
                server.asked("logging/setLevel").iter().map(|one| one.params["level"].clone()).collect();
            assert_eq!(levels, ["warning", "error"], "once for each conversation that wants it");
        }
    }
}

#[tokio::test]
async fn what_a_client_offers_goes_where_it_can_be_answered() {
    for era in ERAS {
        let house = one(era).await;
        house.modern("tools/call", json!({"name": "echo"})).await;
        let asked = house.server("a").asked("tools/call").pop().unwrap();
        match era {
            Era::Modern => assert_eq!(asked.capabilities.as_deref(), Some(r#"{"elicitation":{}}"#)),
            Era::Legacy => assert_eq!(asked.key.capabilities.as_deref(), Some(r#"{"elicitation":{}}"#)),
        }
        let client = house.session("2025-06-18", json!({"roots": {}})).await;
        client.ask("tools/call", json!({"name": "echo"})).await;
        let asked = house.server("a").asked("tools/call").pop().unwrap();
        match era {
            Era::Modern => assert_eq!(asked.capabilities.as_deref(), Some(r#"{"roots":{}}"#)),
            Era::Legacy => {
                assert_eq!(asked.key.capabilities.as_deref(), Some(r#"{"roots":{}}"#));
                assert_eq!(asked.key.session.as_deref(), Some(client.id.as_str()));
            }
        }
    }
}

#[tokio::test]
async fn a_modern_request_keeps_the_rules_of_its_headers() {
    let house = one(Era::Modern).await;
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let post = |headers: Vec<(&'static str, &'static str)>, meta: Value| {
        let body =
            json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "echo", "_meta": meta}});
        let house = &house;
        async move { house.post(&headers, &body).await.error() }
    };
    let version = ("mcp-protocol-version", "2026-07-28");
    let method = ("mcp-method", "tools/call");
    assert_eq!(post(vec![], meta.clone()).await, (400, -32020));
    assert_eq!(post(vec![version, method], meta.clone()).await, (400, -32020));
    assert_eq!(post(vec![version, method, ("mcp-name", "other")], meta.clone()).await, (400, -32020));
    assert_eq!(
        post(vec![version, ("mcp-method", "tools/list"), ("mcp-name", "echo")], meta.clone()).await,
        (400, -32020)
    );
    assert_eq!(
        post(vec![version, method, ("mcp-name", "echo"), ("mcp-param-x", "=?base64?#?=")], meta).await,
        (400, -32020)
    );
    let only = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    assert_eq!(post(vec![version, method, ("mcp-name", "echo")], only).await, (400, -32602));
    let old = json!({"io.modelcontextprotocol/protocolVersion": "1900-01-01"});
    let headers = vec![("mcp-protocol-version", "1900-01-01"), method, ("mcp-name", "echo")];
    assert_eq!(post(headers, old).await, (400, -32022));
    let headers = [("mcp-protocol-version", "2031-01-01")];
    let unknown = house.post(&headers, &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
    assert_eq!(unknown.error(), (400, -32022));
    assert!(unknown.json()["error"]["data"]["supported"].as_array().unwrap().contains(&json!("2025-06-18")));
    assert!(house.server("a").asked("tools/call").is_empty());
}

#[tokio::test]
async fn the_modern_era_has_no_session_and_unknown_methods_are_not_found() {
    let house = House::new(vec![FakeServer::new("a", Era::Modern, &[]), FakeServer::new("b", Era::Legacy, &[])]).await;
    for method in ["GET", "DELETE"] {
        assert_eq!(house.send(house.request(method, &[("mcp-protocol-version", "2026-07-28")])).await.status, 405);
        assert_eq!(house.send(house.request(method, &[])).await.status, 405);
    }
    for method in ["ping", "initialize", "logging/setLevel", "resources/subscribe", "no/such"] {
        assert_eq!(house.modern(method, json!({"level": "info", "uri": "x"})).await.error(), (404, -32601), "{method}");
    }
    let answer = house.modern("tools/list", json!({})).await;
    assert!(!answer.headers.contains_key("mcp-session-id"));
    assert_eq!(house.modern("tools/list", json!({"cursor": "x"})).await.error(), (200, -32602));
}

#[tokio::test]
async fn discover_says_what_all_servers_are() {
    let mut a = FakeServer::new("a", Era::Modern, &[]);
    a.instructions = Some("Use a.".into());
    a.capabilities = json!({"tools": {}});
    let mut b = FakeServer::new("b", Era::Legacy, &[]);
    b.instructions = Some("Use b.".into());
    let house = House::new(vec![a, b]).await;
    let said = house.modern("server/discover", json!({})).await.json()["result"].clone();
    assert_eq!(said["supportedVersions"][0], "2026-07-28");
    assert_eq!(said["instructions"], "Be kind.\n\n[a] Use a.\n\n[b] Use b.");
    assert_eq!(said["capabilities"]["resources"]["subscribe"], true);
    assert!(said["resultType"] == "complete" && said["ttlMs"].is_u64());
    let hello = house.session("2024-11-05", json!({})).await.hello;
    assert_eq!((&hello["protocolVersion"], &hello["instructions"]), (&json!("2024-11-05"), &said["instructions"]));
}

#[tokio::test]
async fn a_large_result_is_the_same_in_every_cell() {
    for era in ERAS {
        let house = one(era).await;
        let client = house.session("2025-06-18", json!({})).await;
        for answer in [
            client.ask("tools/call", json!({"name": "large"})).await,
            house.modern("tools/call", json!({"name": "large"})).await,
        ] {
            let text = answer.json()["result"]["content"][0]["text"].as_str().unwrap().len();
            assert_eq!(
                (text, answer.headers["content-length"].to_str().unwrap()),
                (200_000, answer.body.len().to_string().as_str())
            );
        }
    }
}

#[tokio::test]
async fn an_old_error_code_is_not_sent_to_a_modern_client() {
    let house = one(Era::Legacy).await;
    assert_eq!(house.modern("resources/read", json!({"uri": "file:///none"})).await.error(), (200, -32602));
    let client = house.session("2025-06-18", json!({})).await;
    assert_eq!(client.ask("resources/read", json!({"uri": "file:///none"})).await.error(), (200, -32002));
}

#[tokio::test]
async fn names_have_the_form_that_the_client_can_take_and_both_are_understood() {
    let house =
        House::new(vec![FakeServer::new("a", Era::Modern, &[]), FakeServer::new("my-ha", Era::Legacy, &[])]).await;
    let old = house.session("2025-06-18", json!({})).await;
    assert_eq!(names(&old.ask("tools/list", json!({})).await, "tools", "name"), ["a/echo", "my-ha/echo"]);
    let new = house.session("2025-11-25", json!({})).await;
    assert_eq!(names(&new.ask("tools/list", json!({})).await, "tools", "name"), ["a__echo", "my-ha__echo"]);
    assert_eq!(names(&house.modern("tools/list", json!({})).await, "tools", "name"), ["a__echo", "my-ha__echo"]);
    for name in ["my-ha__echo", "my-ha/echo"] {
        assert!(old.ask("tools/call", json!({"name": name})).await.json()["result"].is_object());
        assert!(house.modern("tools/call", json!({"name": name})).await.json()["result"].is_object());
    }
    let asked = house.server("my-ha").asked("tools/call").pop().unwrap();
    assert_eq!((asked.params["name"].as_str(), asked.target.as_deref()), (Some("echo"), Some("echo")));
}
