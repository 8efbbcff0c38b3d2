//! Tasks of the core of 2025-11-25, of servers that can't tell callers apart: each caller's are its own, in the same era and
//! across.
use mcpctl_api::upstream::Era;
use serde_json::{Value, json};

use crate::fake_plane::token;
use crate::fake_server::FakeServer;
use crate::house::{Answer, House, Legacy, Stream};

const JOBS: [&str; 3] = ["job", "job_asking", "job_hanging"];

/// A server with tools that run as tasks only.
fn with_jobs(name: &str) -> FakeServer {
    let mut server = FakeServer::new(name, Era::Legacy, &JOBS);
    server.capabilities["tasks"] = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
    let mut tools = server.tools.lock();
    for tool in tools.iter_mut().filter(|tool| tool["name"] != "echo") {
        tool["execution"] = json!({"taskSupport": "required"});
    }
    drop(tools);
    server
}

async fn house() -> House {
    House::new(vec![with_jobs("a"), with_jobs("b"), FakeServer::new("c", Era::Modern, &[])]).await
}

async fn begin(session: &Legacy<'_>, tool: &str) -> String {
    let begun = session.ask("tools/call", json!({"name": tool, "arguments": {}, "task": {"ttl": 60000}})).await.json();
    let task = &begun["result"]["task"];
    assert_eq!(
        (&task["status"], &task["ttl"], &task["vendor"]),
        (&json!("working"), &json!(60000), &json!(1.0)),
        "{begun}"
    );
    task["taskId"].as_str().unwrap().to_owned()
}

/// A legacy request with the other token, without a session.
async fn as_another(house: &House, method: &str, params: Value) -> Answer {
    let bearer = format!("Bearer {}", token(2));
    let body = json!({"jsonrpc": "2.0", "id": 9, "method": method, "params": params});
    house.post(&[("authorization", &bearer)], &body).await
}

#[tokio::test]
async fn a_task_of_a_legacy_client_is_its_callers_alone_and_asked_for_where_it_runs() {
    let house = house().await;
    let session = house.session("2025-11-25", json!({})).await;
    let tasks = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
    assert_eq!(session.hello["capabilities"]["tasks"], tasks);
    let (first, second) = (begin(&session, "a__job").await, begin(&session, "b__job").await);
    assert!(first != second && !first.contains("job"), "both servers call it `job 0`: {first}");
    let asked = house.server("b").asked("tools/call").remove(0);
    assert_eq!(asked.params, json!({"name": "job", "arguments": {}, "task": {"ttl": 60000}}), "as it came");

    // The caller's other sessions know it too.
    let other = house.session("2025-11-25", json!({})).await;
    let got = other.ask("tasks/get", json!({"taskId": second})).await.json();
    assert_eq!(got["result"], json!({"taskId": second, "status": "working"}));
    let asked = house.server("b").asked("tasks/get").remove(0);
    assert_eq!((&asked.params["taskId"], asked.target.as_deref()), (&json!("job 0"), Some("job 0")));
    assert!(house.server("a").asked("tasks/get").is_empty(), "nobody else is asked");
    let result = session.ask("tasks/result", json!({"taskId": second})).await.json();
    assert_eq!(result["result"]["content"][0]["text"], "job 0 null");
    let meta = json!({"io.modelcontextprotocol/related-task": {"taskId": second}, "kept": 1});
    assert_eq!(result["result"]["_meta"], meta);
    let listed = session.ask("tasks/list", json!({})).await.json()["result"]["tasks"].clone();
    let ids: Vec<&str> = listed.as_array().unwrap().iter().map(|task| task["taskId"].as_str().unwrap()).collect();
    assert_eq!(ids, [&first, &second]);

    // Nothing of it is another caller's, and no raw id is anybody's.
    let before = (house.server("a").asked.lock().len(), house.server("b").asked.lock().len());
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        assert_eq!(as_another(&house, method, json!({"taskId": second})).await.error(), (200, -32602), "{method}");
        for id in ["job 0", "", "of nobody"] {
            assert_eq!(session.ask(method, json!({"taskId": id})).await.error(), (200, -32602), "{method} {id:?}");
        }
    }
    assert_eq!(as_another(&house, "tasks/list", json!({})).await.json()["result"]["tasks"], json!([]));
    assert_eq!(
        (house.server("a").asked.lock().len(), house.server("b").asked.lock().len()),
        before,
        "no server was asked"
    );
    assert!(
        ["a", "b"].iter().all(|name| house.server(name).asked("tasks/list").is_empty()),
        "their lists are everybody's"
    );

    let cancelled = session.ask("tasks/cancel", json!({"taskId": second})).await.json();
    assert_eq!(cancelled["result"], json!({"taskId": second, "status": "cancelled"}));
    assert_eq!(
        session.ask("tasks/update", json!({"taskId": second})).await.error().1,
        -32601,
        "it is of the other era"
    );
}

#[tokio::test]
async fn what_is_said_about_a_task_names_it_as_its_client_knows_it() {
    let house = House::new(vec![with_jobs("a")]).await;
    let session = house.session("2025-11-25", json!({"elicitation": {}})).await;
    let id = begin(&session, "job_asking").await;
    let mut stream = session.stream().await;
    house.server("a").say("notifications/tasks/status", json!({"taskId": "job_asking 0", "status": "input_required"}));
    let told = stream.next().await.unwrap();
    assert_eq!((&told["method"], &told["params"]["taskId"]), (&json!("notifications/tasks/status"), &json!(id)));

    let mut call = Stream::new(session.asking("tasks/result", json!({"taskId": id})).send().await.unwrap());
    let question = call.next().await.unwrap();
    assert_eq!(question["method"], "elicitation/create");
    let about = json!({"io.modelcontextprotocol/related-task": {"taskId": id}});
    let meta = json!({"io.modelcontextprotocol/related-task": {"taskId": id}, "kept": 1});
    assert_eq!(question["params"]["_meta"], meta);
    let answer = json!({"action": "accept", "content": {"name": "Ann"}, "_meta": about});
    session.tell(json!({"jsonrpc": "2.0", "id": question["id"], "result": answer})).await;
    let answered = call.next().await.unwrap();
    let text = answered["result"]["content"][0]["text"].as_str().unwrap();
    assert!(
        text.contains("Ann") && text.contains(r#"{"taskId":"job_asking 0"}"#),
        "the server hears its own id: {text}"
    );
}

#[tokio::test]
async fn a_modern_client_gets_the_result_of_what_runs_as_a_task_only() {
    let house = house().await;
    let called = house.modern("tools/call", json!({"name": "a__job", "arguments": {}})).await.json();
    assert_eq!(called["result"]["content"][0]["text"], "job 0 null");
    assert_eq!(
        (&called["result"]["resultType"], &called["result"]["_meta"]),
        (&json!("complete"), &json!({"kept": 1}))
    );
    let asked = house.server("a").asked("tools/call").remove(0);
    assert_eq!(asked.params["task"], json!({}));
    // What may run without one does.
    house.modern("tools/call", json!({"name": "a__echo", "arguments": {}})).await;
    assert!(house.server("a").asked("tools/call")[1].params["task"].is_null());

    // What it asks meanwhile becomes a question of the modern era.
    let asked = house.modern("tools/call", json!({"name": "a__job_asking", "arguments": {}})).await.json();
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let key = asked["result"]["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let answer = json!({key: {"action": "accept", "content": {"name": "Ann"}}});
    let again = json!({"name": "a__job_asking", "arguments": {}, "requestState": asked["result"]["requestState"], "inputResponses": answer});
    let answered = house.modern("tools/call", again).await.json();
    let text = answered["result"]["content"][0]["text"].as_str().unwrap_or_default();
    assert!(text.contains("Ann"), "{answered}");
}

#[tokio::test]
async fn a_task_that_nobody_waits_for_any_more_is_cancelled() {
    let house = House::new(vec![with_jobs("a")]).await;
    let request = house.modern_request("tools/call", json!({"name": "job_hanging", "arguments": {}}));
    let running = tokio::spawn(request.send());
    house.until("its result is waited for", || !house.server("a").asked("tasks/result").is_empty()).await;
    running.abort();
    house.until("the server hears of it", || !house.server("a").asked("tasks/cancel").is_empty()).await;
    assert_eq!(house.server("a").asked("tasks/cancel")[0].params["taskId"], "job_hanging 0");
}

#[tokio::test]
async fn a_modern_client_reaches_no_task_of_the_core_and_a_legacy_one_none_of_a_modern_server() {
    let lone = House::new(vec![with_jobs("a")]).await;
    let session = lone.session("2025-11-25", json!({})).await;
    begin(&session, "job").await;
    for method in ["tasks/list", "tasks/result"] {
        assert_eq!(lone.modern(method, json!({"taskId": "job 0"})).await.error(), (404, -32601), "{method}");
        assert!(lone.server("a").asked(method).is_empty(), "whoever's it may be");
    }
    let modern = House::new(vec![FakeServer::new("c", Era::Modern, &["begin"])]).await;
    let session = modern.session("2025-11-25", json!({})).await;
    assert!(session.hello["capabilities"]["tasks"].is_null(), "so its clients ask for none");
    assert_eq!(session.ask("tasks/get", json!({"taskId": "task of c"})).await.error(), (200, -32602));
    assert!(modern.server("c").asked("tasks/get").is_empty());
}
