//! Many servers as one: order, names, resources, lists of servers that are slow or dead.
use std::sync::atomic::Ordering;
use std::time::Instant;

use mcpctl_api::upstream::Era;
use mcpctl_core::kinds::ToolNames;
use serde_json::{Value, json};

use crate::fake_server::FakeServer;
use crate::house::{House, names, quick};

fn three() -> Vec<FakeServer> {
    vec![
        FakeServer::new("c", Era::Modern, &["only-c"]),
        FakeServer::new("a", Era::Legacy, &["only-a"]),
        FakeServer::new("b", Era::Legacy, &["a__echo"]),
    ]
}

#[tokio::test]
async fn lists_keep_the_order_of_the_project_and_name_the_server() {
    let house = House::new(three()).await;
    let listed = house.modern("tools/list", json!({})).await;
    let expected = ["c__echo", "c__only-c", "a__echo", "a__only-a", "b__echo", "b__a__echo"];
    assert_eq!(names(&listed, "tools", "name"), expected);
    assert_eq!(listed.json()["result"]["tools"][2]["description"], "[a] does echo");
    assert_eq!(listed.json()["result"]["ttlMs"], 0, "a legacy server says nothing of how long its list is good");
}

#[tokio::test]
async fn unprefixed_names_are_prefixed_where_two_servers_have_them() {
    let house = House::with(three(), ToolNames::Unprefixed, quick()).await;
    let listed = house.modern("tools/list", json!({})).await;
    let expected = ["c__echo", "only-c", "a__echo", "only-a", "b__echo", "b__a__echo"];
    assert_eq!(names(&listed, "tools", "name"), expected);
    for (name, server, own) in [("only-a", "a", "only-a"), ("a__echo", "a", "echo"), ("b/a__echo", "b", "a__echo")] {
        house.modern("tools/call", json!({"name": name})).await;
        assert_eq!(house.server(server).asked("tools/call").pop().unwrap().params["name"], own, "{name}");
    }
    let ambiguous = house.modern("tools/call", json!({"name": "echo"})).await;
    assert_eq!(ambiguous.error(), (200, -32602));
    assert!(ambiguous.body.contains("c__echo or a__echo or b__echo"), "{}", ambiguous.body);
    assert_eq!(house.modern("tools/call", json!({"name": "nobody"})).await.error(), (200, -32602));
}

#[tokio::test]
async fn a_lone_server_is_served_as_it_is() {
    let house = House::new(vec![FakeServer::new("a", Era::Modern, &["a__x"])]).await;
    let listed = house.modern("tools/list", json!({})).await;
    assert_eq!(names(&listed, "tools", "name"), ["echo", "a__x"]);
    assert_eq!(listed.json()["result"]["tools"][0]["description"], "does echo");
    for (name, own) in [("echo", "echo"), ("a/echo", "echo"), ("a__echo", "echo"), ("a__x", "a__x")] {
        house.modern("tools/call", json!({"name": name})).await;
        assert_eq!(house.server("a").asked("tools/call").pop().unwrap().params["name"], own, "{name}");
    }
}

#[tokio::test]
async fn a_prefixed_call_needs_no_list() {
    let house = House::new(three()).await;
    house.modern("tools/call", json!({"name": "c__echo"})).await;
    let client = house.session("2025-06-18", json!({})).await;
    client.ask("tools/call", json!({"name": "a__echo"})).await;
    assert!(house.servers.values().all(|server| server.asked("tools/list").is_empty()));
    client.ask("tools/call", json!({"name": "c__echo"})).await;
    assert_eq!(house.server("c").asked("tools/list").len(), 1, "a modern server may want arguments as headers");
    for _ in 0..2 {
        house.modern("tools/call", json!({"name": "a__echo"})).await;
    }
    assert_eq!(house.server("a").asked("tools/list").len(), 1, "its schemas say which headers are to be checked");
    assert_eq!(house.server("b").asked("tools/call").len(), 0, "and no other server");
}

#[tokio::test]
async fn pages_of_a_server_are_followed_and_doubles_left_out() {
    let mut server = FakeServer::new("a", Era::Legacy, &["t1", "t2", "t3", "t2"]);
    server.page = 2;
    let house = House::new(vec![server]).await;
    let listed = house.modern("tools/list", json!({})).await;
    assert_eq!(names(&listed, "tools", "name"), ["echo", "t1", "t2", "t3"]);
    assert!(listed.json()["result"]["nextCursor"].is_null());
}

#[tokio::test]
async fn a_dead_server_is_left_out_of_lists_and_named_in_its_calls() {
    let house = House::new(three()).await;
    house.server("a").dead.store(true, Ordering::SeqCst);
    let listed = house.modern("tools/list", json!({})).await;
    assert_eq!(names(&listed, "tools", "name").len(), 4);
    let call = house.modern("tools/call", json!({"name": "a__echo"})).await;
    assert_eq!(call.error(), (200, -32603));
    assert!(call.body.contains("\\\"a\\\" is not available"), "{}", call.body);
    house.server("a").dead.store(false, Ordering::SeqCst);
    assert_eq!(names(&house.modern("tools/list", json!({})).await, "tools", "name").len(), 6);
}

#[tokio::test]
async fn a_slow_server_stalls_one_list_and_is_back_when_it_answers() {
    let house = House::new(three()).await;
    let slow = house.server("b");
    slow.slow.store(true, Ordering::SeqCst);
    let listed = house.modern("tools/list", json!({})).await;
    assert_eq!(names(&listed, "tools", "name").len(), 4, "the first list waits, and goes on without it");
    house.until("it is asked in the background", || slow.asked("tools/list").len() == 2).await;
    let begun = Instant::now();
    for _ in 0..3 {
        house.modern("tools/list", json!({})).await;
    }
    assert!(begun.elapsed() < quick().list, "the next lists do not wait");
    assert_eq!(slow.asked("tools/list").len(), 2);
    let metrics = house.send(house.http.get(format!("http://{}/metrics", house.address))).await;
    assert!(metrics.body.contains("servers_left_out{server=\"b\"} 1"), "{}", metrics.body);
    slow.slow.store(false, Ordering::SeqCst);
    slow.let_go.notify_waiters();
    loop {
        let listed = house.modern("tools/list", json!({})).await;
        if names(&listed, "tools", "name").len() == 6 {
            break;
        }
    }
}

#[tokio::test]
async fn names_that_were_listed_are_known_until_the_server_says_otherwise() {
    let house = House::with(three(), ToolNames::Unprefixed, quick()).await;
    let client = house.session("2025-11-25", json!({})).await;
    client.ask("tools/call", json!({"name": "only-a"})).await;
    let lists = house.server("a").asked("tools/list").len();
    client.ask("tools/call", json!({"name": "only-a"})).await;
    assert_eq!(house.server("a").asked("tools/list").len(), lists, "known");
    house.server("a").say("notifications/tools/list_changed", json!({}));
    // The word is passed on by a task of its own.
    let asked = || house.server("a").asked("tools/list").len();
    while asked() == lists {
        client.ask("tools/call", json!({"name": "only-a"})).await;
    }
}

#[tokio::test]
async fn resources_keep_their_uri_and_are_found_by_it() {
    let servers = three();
    let uri = |uri: &str| json!({"uri": uri, "name": uri});
    servers[0].resources.lock().extend([uri("file:///c"), uri("ui://same")]);
    servers[1].resources.lock().extend([uri("file:///a"), uri("ui://same")]);
    servers[1].templates.lock().push(json!({"uriTemplate": "dynamic:{x}", "name": "d"}));
    let house = House::new(servers).await;
    let listed = house.modern("resources/list", json!({})).await;
    assert_eq!(names(&listed, "resources", "uri"), ["file:///c", "ui://same", "file:///a", "a+ui://same"]);
    let read = |uri: &'static str| {
        let house = &house;
        async move { house.modern("resources/read", json!({"uri": uri})).await.json()["result"]["contents"][0].clone() }
    };
    assert_eq!(read("file:///c").await["text"], "c");
    assert_eq!(read("file:///a").await["text"], "a");
    assert_eq!(read("ui://same").await["text"], "c");
    assert_eq!(read("a+ui://same").await, json!({"uri": "ui://same", "text": "a"}));
    assert_eq!(read("dynamic:7").await["text"], "a");
    house.server("b").resources.lock().push(uri("unlisted:x"));
    assert_eq!(read("unlisted:x").await["text"], "b", "what no list has is looked for");
    let nowhere = house.modern("resources/read", json!({"uri": "nowhere:x"})).await;
    assert_eq!(nowhere.error(), (200, -32602));
}

#[tokio::test]
async fn prompts_and_completion_find_their_server() {
    let servers = three();
    servers[1].prompts.lock().push(json!({"name": "greet"}));
    let house = House::new(servers).await;
    let listed = house.modern("prompts/list", json!({})).await;
    assert_eq!(names(&listed, "prompts", "name"), ["a__greet"]);
    let got = house.modern("prompts/get", json!({"name": "a__greet"})).await.json()["result"].clone();
    assert_eq!((&got["of"], &got["got"]["name"]), (&json!("a"), &json!("greet")));
    let params = json!({"ref": {"type": "ref/prompt", "name": "a/greet"}, "argument": {"name": "x", "value": "y"}});
    let got = house.modern("completion/complete", params).await.json()["result"]["got"].clone();
    assert_eq!(
        (&got["ref"], &got["argument"]["value"]),
        (&json!({"type": "ref/prompt", "name": "greet"}), &json!("y"))
    );
    let nobody: Value = house.modern("prompts/get", json!({"name": "nobody"})).await.json();
    assert_eq!(nobody["error"]["code"], -32602);
}
