//! Questions of servers across the eras: `input_required` made of requests and requests made of `input_required`.
use std::sync::atomic::Ordering;

use mcpctl_api::plane::Denial;
use mcpctl_api::upstream::Era;
use serde_json::{Value, json};

use crate::fake_plane::token;
use crate::fake_server::FakeServer;
use crate::house::{Answer, House, Stream};

const TOOLS: [&str; 8] = ["ask", "ask_two", "ask_twice", "ask_url", "ask_lacking", "do_without", "hang", "need"];

async fn house(era: Era) -> House {
    House::new(vec![FakeServer::new("a", era, &TOOLS)]).await
}

fn all() -> Value {
    json!({"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}, "sampling": {}, "roots": {}}})
}

/// A modern call of a tool.
async fn call(house: &House, tool: &str, more: Value) -> Answer {
    house.send(calling(house, tool, more)).await
}

fn calling(house: &House, tool: &str, more: Value) -> reqwest::RequestBuilder {
    let mut params = json!({"name": tool, "arguments": {"x": 1}, "_meta": all()});
    more.as_object().unwrap().iter().for_each(|(key, value)| params[key] = value.clone());
    house.modern_request("tools/call", params)
}

/// The only question of an answer, and the state to bring back.
fn question(answer: &Answer) -> (String, Value, String) {
    let result = &answer.json()["result"];
    assert_eq!(result["resultType"], "input_required", "{answer:?}");
    let requests = result["inputRequests"].as_object().unwrap();
    let (key, request) = requests.iter().next().unwrap();
    (key.clone(), request.clone(), result["requestState"].as_str().unwrap().to_owned())
}

fn text(answer: &Answer) -> Value {
    let text = answer.json()["result"]["content"][0]["text"].clone();
    serde_json::from_str(text.as_str().unwrap_or_else(|| panic!("no text in {answer:?}"))).unwrap()
}

#[tokio::test]
async fn a_legacy_servers_question_becomes_a_result_and_the_answer_goes_on_with_the_call() {
    let house = house(Era::Legacy).await;
    let (key, request, state) = question(&call(&house, "ask", json!({})).await);
    assert_eq!(request, json!({"method": "sampling/createMessage", "params": {"maxTokens": 1}}));
    let answer = json!({"role": "assistant"});
    let done = call(&house, "ask", json!({"inputResponses": {key: answer}, "requestState": state})).await;
    assert_eq!(text(&done), answer);
    assert_eq!(done.json()["result"]["resultType"], "complete");
    assert_eq!(house.server("a").asked("tools/call").len(), 1, "the server was called once");
    let outcomes: Vec<String> = house.plane.lines("call").into_iter().map(|line| line.outcome).collect();
    assert_eq!(outcomes, ["input-required", "ok"]);
}

#[tokio::test]
async fn questions_at_once_are_put_at_once_and_those_left_open_are_put_again() {
    let house = house(Era::Legacy).await;
    let asked = call(&house, "ask_two", json!({})).await.json()["result"].clone();
    let requests = asked["inputRequests"].as_object().unwrap();
    let methods: Vec<&str> = requests.values().map(|request| request["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["elicitation/create", "roots/list"]);
    let keys: Vec<&String> = requests.keys().collect();
    assert_eq!(requests[keys[0]]["params"], json!({"message": "Who?", "_meta": {}}), "nobody reports progress");
    let name = json!({"action": "accept", "content": {}});
    let responses = json!({keys[0]: name, keys[1]: 7, "unheard": {}});
    let more = json!({"inputResponses": responses, "requestState": asked["requestState"]});
    let (left, request, state) = question(&call(&house, "ask_two", more).await);
    assert_eq!((&left, &request["method"]), (keys[1], &json!("roots/list")), "a number is no answer");
    let more = json!({"inputResponses": {left: {"roots": []}}, "requestState": state});
    assert_eq!(text(&call(&house, "ask_two", more).await), json!([name, {"roots": []}]));
}

#[tokio::test]
async fn a_call_may_take_several_rounds_and_each_state_is_good_for_once() {
    let house = house(Era::Legacy).await;
    let (first, request, state) = question(&call(&house, "ask_twice", json!({})).await);
    assert_eq!(request["params"]["message"], "first");
    let more = json!({"inputResponses": {&first: {"n": 1}}, "requestState": state});
    let (second, request, later) = question(&call(&house, "ask_twice", more.clone()).await);
    assert_eq!(request["params"]["message"], "second");
    assert_ne!((&first, &state), (&second, &later));
    assert_eq!(call(&house, "ask_twice", more).await.error(), (200, -32602), "replayed");
    let more = json!({"inputResponses": {second: {"n": 2}}, "requestState": later});
    assert_eq!(text(&call(&house, "ask_twice", more.clone()).await), json!([{"n": 1}, {"n": 2}]));
    assert_eq!(call(&house, "ask_twice", more).await.error(), (200, -32602), "the call is over");
}

#[tokio::test]
async fn a_state_is_refused_when_it_is_forged_or_somebody_elses_or_for_something_else() {
    for (era, tool) in [(Era::Legacy, "ask"), (Era::Modern, "need")] {
        let house = house(era).await;
        let (key, _, state) = question(&call(&house, tool, json!({})).await);
        let with = |state: &Value| json!({"inputResponses": {&key: {"a": 1}}, "requestState": state});
        let forged = [json!(format!("{state}-TAMPERED")), json!("asked-name"), json!(""), json!(7), json!(null)];
        for forged in &forged {
            assert_eq!(call(&house, tool, with(forged)).await.error(), (200, -32602), "{era:?} {forged}");
        }
        let state = json!(state);
        let mut other = with(&state);
        other["arguments"] = json!({"x": 2});
        assert_eq!(call(&house, tool, other).await.error(), (200, -32602), "{era:?} other arguments");
        assert_eq!(call(&house, "echo", with(&state)).await.error(), (200, -32602), "{era:?} another tool");
        let mut foreign = calling(&house, tool, with(&state)).build().unwrap();
        foreign.headers_mut().insert("authorization", format!("Bearer {}", token(2)).parse().unwrap());
        let refused = house.http.execute(foreign).await.unwrap().text().await.unwrap();
        assert!(refused.contains("-32602"), "{era:?} another token: {refused}");
        let went_up = house.server("a").asked("tools/call").len();
        assert_eq!(went_up, 1, "{era:?}: nothing of it reached the server");
        assert!(call(&house, tool, with(&state)).await.json().get("result").is_some(), "{era:?}: still good");
    }
}

#[tokio::test]
async fn a_held_call_ends_with_the_access_and_with_its_client() {
    let house = house(Era::Legacy).await;
    let (key, _, state) = question(&call(&house, "ask_twice", json!({})).await);
    let server = house.server("a");
    assert_eq!(server.cancelled.load(Ordering::SeqCst), 0);
    house.plane.revoke(&token(1), Denial::Ended("revoked"));
    house.until("the server is told", || server.cancelled.load(Ordering::SeqCst) == 1).await;
    let more = json!({"inputResponses": {key: {}}, "requestState": state});
    assert_eq!(call(&house, "ask_twice", more).await.status, 401);
}

#[tokio::test]
async fn a_client_that_hangs_up_while_its_answers_are_worked_on_cancels_the_call() {
    let house = house(Era::Legacy).await;
    let running = tokio::spawn(calling(&house, "hang", json!({})).send());
    let server = house.server("a").clone();
    house.until("the call runs", || server.asked("tools/call").len() == 1).await;
    running.abort();
    house.until("the server is told", || server.cancelled.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_held_call_ends_when_the_gateway_stops() {
    let house = house(Era::Legacy).await;
    question(&call(&house, "ask", json!({})).await);
    house.stop.cancel();
    house.served.await.unwrap().unwrap();
    assert_eq!(house.servers["a"].cancelled.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_the_client_did_not_declare_is_named_in_the_error() {
    let house = house(Era::Legacy).await;
    let lacking = |answer: &Answer| {
        assert_eq!(answer.error(), (400, -32021), "{answer:?}");
        answer.json()["error"]["data"]["requiredCapabilities"].clone()
    };
    assert_eq!(lacking(&call(&house, "ask_lacking", json!({})).await), json!({"sampling": {}}));
    assert_eq!(lacking(&call(&house, "ask_url", json!({})).await), json!({"elicitation": {"url": {}}}));
    let done = call(&house, "do_without", json!({})).await;
    assert_eq!(done.json()["result"]["content"][0]["text"], "done without", "a server may do without");
    let urls = json!({"_meta": {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}}});
    let (_, request, _) = question(&call(&house, "ask_url", urls).await);
    assert_eq!(request["params"]["url"], "https://x.example");
}

#[tokio::test]
async fn each_set_of_declared_capabilities_has_its_own_conversation() {
    let house = house(Era::Legacy).await;
    let offer = |offers: Value| json!({"_meta": {"io.modelcontextprotocol/clientCapabilities": offers}});
    for offers in [json!({}), json!({"sampling": {}}), json!({"roots": {}}), json!({"sampling": {}})] {
        call(&house, "echo", offer(offers)).await;
    }
    let asked = house.server("a").asked("tools/call");
    let offered: Vec<_> = asked.iter().map(|one| one.key.capabilities.as_deref()).collect();
    assert_eq!(offered, [None, Some(r#"{"sampling":{}}"#), Some(r#"{"roots":{}}"#), Some(r#"{"sampling":{}}"#)]);
    assert_eq!(house.server("a").opened.load(Ordering::SeqCst), 3);
    for n in 0..20 {
        call(&house, "echo", offer(json!({"experimental": {"n": n}}))).await;
    }
    house.until("old ones are ended", || house.server("a").sessions.lock().len() <= 8).await;
}

#[tokio::test]
async fn a_modern_servers_questions_are_put_to_a_legacy_client_until_it_has_answered_all() {
    let house = house(Era::Modern).await;
    let client = house.session("2025-11-25", json!({"elicitation": {}, "sampling": {}})).await;
    let mut call = Stream::new(client.asking("tools/call", json!({"name": "need"})).send().await.unwrap());
    let first = call.next().await.unwrap();
    assert_eq!((&first["method"], &first["params"]["message"]), (&json!("elicitation/create"), &json!("Who?")));
    client.tell(json!({"jsonrpc": "2.0", "id": first["id"], "result": {"action": "accept"}})).await;
    let second = call.next().await.unwrap();
    assert_eq!(second["method"], "sampling/createMessage");
    client.tell(json!({"jsonrpc": "2.0", "id": second["id"], "result": {"role": "assistant"}})).await;
    let done = call.next().await.unwrap();
    assert_eq!(done["result"]["content"][0]["text"], r#"{"word":{"role":"assistant"}}"#, "{done}");
    let asked = house.server("a").asked("tools/call");
    let seen: Vec<_> = asked.iter().map(|one| (&one.params["requestState"], &one.params["inputResponses"])).collect();
    let name = json!({"name": {"action": "accept"}});
    let word = json!({"word": {"role": "assistant"}});
    let none = Value::Null;
    assert_eq!(seen, [(&none, &none), (&json!("asked-name"), &name), (&json!("asked-word"), &word)]);
    assert!(asked.iter().all(|one| one.capabilities.as_deref() == Some(r#"{"elicitation":{},"sampling":{}}"#)));
}

#[tokio::test]
async fn a_legacy_client_that_refuses_a_question_ends_the_call_or_cancels_the_form() {
    let house = house(Era::Modern).await;
    let client = house.session("2025-11-25", json!({"elicitation": {}, "sampling": {}})).await;
    let mut call = Stream::new(client.asking("tools/call", json!({"name": "need"})).send().await.unwrap());
    for _ in 0..2 {
        let asked = call.next().await.unwrap();
        let no = json!({"code": -1, "message": "not now"});
        client.tell(json!({"jsonrpc": "2.0", "id": asked["id"], "error": no})).await;
    }
    let done = call.next().await.unwrap();
    assert!(done["error"]["message"].as_str().unwrap().contains("not now"), "{done}");
    let asked = house.server("a").asked("tools/call");
    assert_eq!(asked[1].params["inputResponses"], json!({"name": {"action": "cancel"}}));
}

#[tokio::test]
async fn a_modern_server_can_not_ask_what_a_legacy_client_does_not_offer() {
    let house = house(Era::Modern).await;
    let client = house.session("2025-11-25", json!({"roots": {}})).await;
    let answer = client.ask("tools/call", json!({"name": "need"})).await;
    assert_eq!(answer.error(), (200, -32603));
    let text = answer.json()["error"]["message"].clone();
    assert!(text.as_str().unwrap().contains("does not offer"), "{text}");
}

#[tokio::test]
async fn the_access_of_a_legacy_client_that_is_being_asked_can_be_taken_away() {
    let house = house(Era::Modern).await;
    let client = house.session("2025-11-25", json!({"elicitation": {}})).await;
    let mut call = Stream::new(client.asking("tools/call", json!({"name": "need"})).send().await.unwrap());
    call.next().await.unwrap();
    house.plane.revoke(&token(1), Denial::Ended("revoked"));
    assert!(call.is_reset().await);
}
