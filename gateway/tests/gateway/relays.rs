//! What servers say of themselves, on its way to clients: questions, changes, subscriptions; and cancellation the other way.
use std::sync::atomic::Ordering;

use mcpctl_api::upstream::{Era, ServerMessage};
use serde_json::json;

use crate::fake_plane::token;
use crate::fake_server::{FakeServer, raw};
use crate::house::{House, Stream};

async fn legacy() -> House {
    House::new(vec![FakeServer::new("a", Era::Legacy, &["ask", "hang", "log"])]).await
}

#[tokio::test]
async fn a_servers_question_is_put_on_the_stream_of_its_call_and_answered_by_a_post() {
    let house = legacy().await;
    let client = house.session("2025-06-18", json!({"sampling": {}})).await;
    let mut call = Stream::new(client.asking("tools/call", json!({"name": "ask"})).send().await.unwrap());
    let question = call.next().await.unwrap();
    assert_eq!((&question["method"], &question["params"]["maxTokens"]), (&json!("sampling/createMessage"), &json!(1)));
    assert_ne!(question["id"], "their-id", "ids of two servers may be the same");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"role": "assistant"}});
    assert_eq!(client.tell(answer.clone()).await.status, 202);
    let result = call.next().await.unwrap();
    assert_eq!(result["result"]["content"][0]["text"], r#"{"role":"assistant"}"#);
    assert_eq!(client.tell(answer).await.status, 202, "a second answer goes nowhere");
}

#[tokio::test]
async fn another_session_can_not_answer_a_question() {
    let house = legacy().await;
    let client = house.session("2025-06-18", json!({"sampling": {}})).await;
    let other = house.session("2025-06-18", json!({"sampling": {}})).await;
    let mut call = Stream::new(client.asking("tools/call", json!({"name": "ask"})).send().await.unwrap());
    let question = call.next().await.unwrap();
    other.tell(json!({"jsonrpc": "2.0", "id": question["id"], "result": {"forged": true}})).await;
    client.tell(json!({"jsonrpc": "2.0", "id": question["id"], "error": {"code": 1, "message": "no"}})).await;
    let text = call.next().await.unwrap()["result"]["content"][0]["text"].clone();
    assert!(text.as_str().unwrap().contains("\"no\""), "{text}");
}

#[tokio::test]
async fn a_legacy_client_cancels_by_id_and_gets_no_answer() {
    let house = legacy().await;
    let client = house.session("2025-06-18", json!({})).await;
    let running = tokio::spawn(client.asking("tools/call", json!({"name": "hang"})).send());
    house.until("the call runs", || house.server("a").asked("tools/call").len() == 1).await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    assert_eq!(client.tell(cancel).await.status, 202);
    let answer = running.await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (202, ""));
    assert_eq!(house.server("a").cancelled.load(Ordering::SeqCst), 1);
    assert_eq!(house.plane.lines("call").pop().unwrap().outcome, "cancelled");
}

#[tokio::test]
async fn a_lost_connection_cancels_a_modern_call_and_not_a_legacy_one() {
    let house = legacy().await;
    let client = house.session("2025-06-18", json!({"sampling": {}})).await;
    let mut call = Stream::new(client.asking("tools/call", json!({"name": "ask"})).send().await.unwrap());
    let question = call.next().await.unwrap();
    drop(call);
    client.tell(json!({"jsonrpc": "2.0", "id": question["id"], "result": {}})).await;
    house.until("the call is finished", || house.plane.lines("call").iter().any(|line| line.outcome == "ok")).await;
    assert_eq!(house.server("a").cancelled.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_a_legacy_server_says_reaches_the_stream_of_the_session() {
    let house = legacy().await;
    let client = house.session("2025-06-18", json!({})).await;
    let mut stream = client.stream().await;
    house.server("a").say("notifications/tools/list_changed", json!({}));
    assert_eq!(stream.next().await.unwrap()["method"], "notifications/tools/list_changed");
    let call = client.ask("tools/call", json!({"name": "log"})).await;
    assert_eq!(call.events().len(), 1, "each message goes to one stream only");
    assert_eq!(stream.next().await.unwrap()["params"]["data"], "debug");
    let mut newer = client.stream().await;
    assert_eq!(stream.next().await.map(|message| message["params"]["data"].clone()), Some(json!("error")));
    assert_eq!(stream.next().await, None, "a newer stream takes the place of the old one");
    house.server("a").say("notifications/resources/updated", json!({"uri": "u"}));
    assert_eq!(newer.next().await.unwrap()["params"]["uri"], "u");
}

#[tokio::test]
async fn a_modern_client_listens_to_servers_of_both_eras() {
    let servers = vec![FakeServer::new("a", Era::Legacy, &[]), FakeServer::new("b", Era::Modern, &[])];
    servers[0].resources.lock().push(json!({"uri": "file:///a", "name": "x"}));
    let house = House::new(servers).await;
    let filter = json!({"toolsListChanged": true, "resourceSubscriptions": ["file:///a"]});
    let listening = house.modern_request("subscriptions/listen", json!({"notifications": filter}));
    let mut stream = Stream::new(listening.send().await.unwrap());
    let first = stream.next().await.unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(first["params"]["notifications"], filter);
    let (a, b) = (house.server("a"), house.server("b"));
    assert_eq!((a.asked("resources/subscribe").len(), b.sinks.lock().len()), (1, 1), "both are listened to already");
    assert_eq!(b.asked("subscriptions/listen")[0].params["notifications"], json!({"toolsListChanged": true}));
    a.say("notifications/prompts/list_changed", json!({}));
    a.say("notifications/resources/updated", json!({"uri": "file:///a"}));
    let updated = stream.next().await.unwrap();
    assert_eq!(updated["params"]["uri"], "file:///a", "prompts were not asked for");
    assert_eq!(updated["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "m1");
    let params = raw(&json!({"_meta": {"io.modelcontextprotocol/subscriptionId": 99}}));
    let changed =
        ServerMessage::Notification { method: "notifications/tools/list_changed".into(), params: Some(params.into()) };
    let sink = b.sinks.lock()[0].clone();
    sink.message(changed);
    let changed = stream.next().await.unwrap();
    assert_eq!(changed["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "m1", "rewritten for each client");
    drop(stream);
    house.until("the server is told", || b.cancelled.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_modern_client_that_sends_initialize_keeps_its_streams() {
    let house = House::new(vec![FakeServer::new("a", Era::Modern, &[])]).await;
    let listening = house.modern_request("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    let mut stream = Stream::new(listening.send().await.unwrap());
    stream.next().await.unwrap();
    assert_eq!(house.modern("initialize", json!({})).await.error(), (404, -32601));
    let sink = house.server("a").sinks.lock()[0].clone();
    let method = "notifications/tools/list_changed".into();
    sink.message(ServerMessage::Notification { method, params: None });
    assert_eq!(stream.next().await.unwrap()["method"], "notifications/tools/list_changed");
}

#[tokio::test]
async fn a_task_is_asked_for_where_it_runs_and_by_who_began_it_only() {
    for era in [Era::Modern, Era::Legacy] {
        let house = House::new(vec![FakeServer::new("a", era, &[]), FakeServer::new("b", era, &["begin"])]).await;
        let offers = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
        let meta = json!({"io.modelcontextprotocol/clientCapabilities": offers});
        let begin = || house.modern("tools/call", json!({"name": "b__begin", "_meta": meta}));
        let begun = begin().await.json()["result"].clone();
        let id = begun["taskId"].as_str().unwrap().to_owned();
        assert_eq!((&begun["resultType"], id.contains("task of b")), (&json!("task"), false), "{begun}");
        assert_eq!(begin().await.json()["result"]["taskId"], json!(id), "a task has one id");
        let get = |id: &str| house.modern_request("tasks/get", json!({"taskId": id, "_meta": meta}));
        let got = house.send(get(&id)).await.json()["result"].clone();
        assert_eq!((&got["of"], &got["taskId"]), (&json!("b"), &json!(id)));
        let asked = house.server("b").asked("tasks/get").pop().unwrap();
        assert_eq!((asked.target.as_deref(), &asked.params["taskId"]), (Some("task of b"), &json!("task of b")));
        assert!(house.server("a").asked("tasks/get").is_empty(), "nobody else is asked");
        for id in ["task of b", "of nobody", ""] {
            assert_eq!(house.send(get(id)).await.error(), (200, -32602), "{id:?}");
        }
        let bare = house.modern("tasks/get", json!({"taskId": id})).await;
        assert_eq!(bare.error(), (400, -32021));
        let required = &bare.json()["error"]["data"]["requiredCapabilities"]["extensions"];
        assert_eq!(required, &json!({"io.modelcontextprotocol/tasks": {}}));
        let mut foreign = get(&id).build().unwrap();
        foreign.headers_mut().insert("authorization", format!("Bearer {}", token(2)).parse().unwrap());
        let refused = house.http.execute(foreign).await.unwrap().text().await.unwrap();
        assert!(refused.contains("-32602"), "{refused}");
        assert_eq!(house.server("b").asked("tasks/get").len(), 1, "nothing of it reached the server");
    }
}

#[tokio::test]
async fn a_stream_of_the_modern_era_ends_with_its_result_when_the_gateway_stops() {
    let house = House::new(vec![FakeServer::new("a", Era::Modern, &[])]).await;
    let listening = house.modern_request("subscriptions/listen", json!({"notifications": {}}));
    let mut stream = Stream::new(listening.send().await.unwrap());
    stream.next().await.unwrap();
    house.stop.cancel();
    let last = stream.next().await.unwrap();
    assert_eq!((&last["id"], &last["result"]["resultType"]), (&json!("m1"), &json!("complete")));
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_legacy_client_subscribes_with_servers_of_both_eras() {
    let servers = vec![FakeServer::new("a", Era::Legacy, &[]), FakeServer::new("b", Era::Modern, &[])];
    servers[0].resources.lock().push(json!({"uri": "file:///a", "name": "x"}));
    servers[1].resources.lock().push(json!({"uri": "file:///b", "name": "x"}));
    let house = House::new(servers).await;
    let client = house.session("2025-06-18", json!({})).await;
    let mut stream = client.stream().await;
    for uri in ["file:///a", "file:///b"] {
        assert_eq!(client.ask("resources/subscribe", json!({"uri": uri})).await.json()["result"], json!({}));
    }
    assert_eq!(house.server("a").asked("resources/subscribe").len(), 1);
    let b = house.server("b");
    assert!(b.asked("resources/subscribe").is_empty(), "the modern era has no such method");
    let listened = || {
        b.asked("subscriptions/listen")
            .last()
            .is_some_and(|one| one.params["notifications"]["resourceSubscriptions"] == json!(["file:///b"]))
    };
    house.until("the server is listened to for it", listened).await;
    let updated = ServerMessage::Notification {
        method: "notifications/resources/updated".into(),
        params: Some(raw(&json!({"uri": "file:///b", "_meta": {"io.modelcontextprotocol/subscriptionId": 1}})).into()),
    };
    let sink = b.sinks.lock().last().unwrap().clone();
    sink.message(updated);
    assert_eq!(stream.next().await.unwrap()["params"], json!({"uri": "file:///b"}));
}

#[tokio::test]
async fn a_clients_changed_roots_reach_its_legacy_servers() {
    let house = legacy().await;
    let client = house.session("2025-06-18", json!({"roots": {"listChanged": true}})).await;
    client.ask("tools/list", json!({})).await;
    for method in ["notifications/initialized", "notifications/roots/list_changed", "notifications/unheard/of"] {
        assert_eq!(client.tell(json!({"jsonrpc": "2.0", "method": method})).await.status, 202);
    }
    let told: Vec<String> = house.server("a").notified.lock().iter().map(|(method, _)| method.clone()).collect();
    assert_eq!(told, ["notifications/roots/list_changed"]);
}
