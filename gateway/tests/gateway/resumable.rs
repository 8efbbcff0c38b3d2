//! Streams that break off and are taken up again (2025-11-25), and who can't.
use mcpctl_api::plane::Denial;
use mcpctl_api::upstream::Era;
use reqwest::Response;
use serde_json::{Value, json};

use crate::fake_plane::token;
use crate::fake_server::FakeServer;
use crate::house::{House, LIMIT, Legacy};

/// An event as it came.
#[derive(Debug, PartialEq)]
struct Event {
    id: Option<String>,
    retry: Option<u64>,
    message: Option<Value>,
}

/// A stream that is read event by event.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    fn of(response: Response) -> Self {
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    async fn read(&mut self) -> Result<Option<Event>, reqwest::Error> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let message =
                    field("data:").filter(|data| !data.is_empty()).map(|data| serde_json::from_str(data).unwrap());
                let found = Event {
                    id: field("id:").map(str::to_owned),
                    retry: field("retry:").map(|ms| ms.parse().unwrap()),
                    message,
                };
                self.text = rest.to_owned();
                return Ok(Some(found));
            }
            match tokio::time::timeout(LIMIT, self.response.chunk()).await.expect("an event in time")? {
                Some(chunk) => self.text.push_str(std::str::from_utf8(&chunk).unwrap()),
                None => return Ok(None),
            }
        }
    }

    async fn next(&mut self) -> Event {
        self.read().await.expect("it is not reset").expect("it goes on")
    }

    async fn ends(&mut self) -> bool {
        matches!(self.read().await, Ok(None))
    }
}

async fn house() -> House {
    House::new(vec![FakeServer::new("a", Era::Legacy, &["ask", "progress", "hang"])]).await
}

async fn resume(client: &Legacy<'_>, token_number: u8, last: &str) -> Response {
    let bearer = format!("Bearer {}", token(token_number));
    let headers = [
        ("mcp-session-id", client.id.as_str()),
        ("accept", "text/event-stream"),
        ("authorization", bearer.as_str()),
        ("last-event-id", last),
    ];
    client.house.request("GET", &headers).send().await.unwrap()
}

async fn call(client: &Legacy<'_>, tool: &str) -> Events {
    let params = json!({"name": tool, "_meta": {"progressToken": "t"}});
    Events::of(client.asking("tools/call", params).send().await.unwrap())
}

fn answer(question: &Event) -> Value {
    json!({"jsonrpc": "2.0", "id": question.message.as_ref().unwrap()["id"], "result": {"said": "late"}})
}

#[tokio::test]
async fn a_call_whose_connection_is_lost_goes_on_and_is_taken_up_after_its_last_event() {
    let house = house().await;
    let client = house.session("2025-11-25", json!({"sampling": {}})).await;
    let mut events = call(&client, "ask").await;
    let primed = events.next().await;
    assert!(primed.message.is_none() && primed.retry.is_some() && primed.id.is_some(), "{primed:?}");
    let question = events.next().await;
    drop(events);
    // What is answered meanwhile is not lost: the call was not cancelled by the loss.
    client.tell(answer(&question)).await;
    let mut again = Events::of(resume(&client, 1, question.id.as_deref().unwrap()).await);
    let result = again.next().await;
    assert!(result.message.unwrap()["result"]["content"][0]["text"].as_str().unwrap().contains("late"));
    assert!(again.ends().await, "the answer is the last event");
    // Whoever did not get the question gets it now, and the answer as well.
    let mut from_the_start = Events::of(resume(&client, 1, primed.id.as_deref().unwrap()).await);
    assert_eq!(from_the_start.next().await, question);
    assert!(from_the_start.next().await.message.unwrap()["result"].is_object() && from_the_start.ends().await);
}

#[tokio::test]
async fn a_stream_that_only_its_client_knows_to_be_lost_is_handed_over() {
    let house = house().await;
    let client = house.session("2025-11-25", json!({"sampling": {}})).await;
    let mut old = call(&client, "ask").await;
    old.next().await;
    let question = old.next().await;
    let mut new = Events::of(resume(&client, 1, question.id.as_deref().unwrap()).await);
    assert!(!old.ends().await, "the old connection is reset, not ended in good order");
    client.tell(answer(&question)).await;
    assert!(new.next().await.message.unwrap()["result"].is_object());
}

#[tokio::test]
async fn what_servers_say_while_nobody_listens_is_told_when_the_stream_is_taken_up() {
    let house = house().await;
    let client = house.session("2025-11-25", json!({})).await;
    client.ask("tools/list", json!({})).await;
    let stream = || async {
        let headers = [("mcp-session-id", client.id.as_str()), ("accept", "text/event-stream")];
        Events::of(house.request("GET", &headers).send().await.unwrap())
    };
    let mut events = stream().await;
    let primed = events.next().await;
    let say = |n: u32| house.server("a").say("notifications/message", json!({"level": "info", "data": n}));
    say(1);
    let first = events.next().await;
    assert_eq!(first.message.as_ref().unwrap()["params"]["data"], 1);
    drop(events);
    say(2);
    say(3);
    let mut again = Events::of(resume(&client, 1, first.id.as_deref().unwrap()).await);
    for expected in [2, 3] {
        assert_eq!(again.next().await.message.unwrap()["params"]["data"], expected);
    }
    say(4);
    assert_eq!(again.next().await.message.unwrap()["params"]["data"], 4, "and it goes on");
    drop((primed, again));
}

#[tokio::test]
async fn neither_another_session_nor_another_token_takes_a_stream_up_nor_one_whose_access_has_ended() {
    let house = house().await;
    let client = house.session("2025-11-25", json!({"sampling": {}})).await;
    let other = house.session("2025-11-25", json!({})).await;
    let mut events = call(&client, "ask").await;
    let id = events.next().await.id.unwrap();
    let question = events.next().await;
    drop(events);
    assert_eq!(resume(&client, 2, &id).await.status(), 404, "another token does not know the session");
    let mut others = Events::of(resume(&other, 1, &id).await);
    assert!(others.next().await.message.is_none(), "another session gets its own stream");
    house.plane.revoke(&token(1), Denial::Ended("revoked"));
    assert_eq!(resume(&client, 1, &id).await.status(), 401);
    drop(question);
}

#[tokio::test]
async fn clients_of_older_versions_get_events_as_they_know_them() {
    let house = house().await;
    let client = house.session("2025-06-18", json!({})).await;
    let mut events = call(&client, "progress").await;
    let first = events.next().await;
    assert!(first.id.is_none() && first.retry.is_none() && first.message.is_some(), "{first:?}");
}

#[tokio::test]
async fn a_call_that_lasts_becomes_a_stream_that_can_be_taken_up() {
    let house = house().await;
    let client = house.session("2025-11-25", json!({})).await;
    let mut events = call(&client, "hang").await;
    let primed = events.next().await;
    assert!(primed.id.is_some() && primed.message.is_none());
    drop(events);
    let again = resume(&client, 1, primed.id.as_deref().unwrap()).await;
    assert_eq!(again.status(), 200);
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    client.tell(cancel).await;
    let mut again = Events::of(again);
    assert!(again.ends().await, "it was cancelled, so there is no answer");
}
