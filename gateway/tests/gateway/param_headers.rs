//! Arguments that travel as headers too, where one side of the gateway does not know of it.
use mcpctl_api::upstream::Era;
use serde_json::json;

use crate::fake_server::FakeServer;
use crate::house::House;

async fn house(era: Era) -> House {
    let server = FakeServer::new("a", era, &[]);
    let schema = json!({"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
    server.tools.lock()[0]["inputSchema"] = schema;
    House::new(vec![server]).await
}

#[tokio::test]
async fn a_modern_client_of_a_legacy_server_must_say_the_same_in_headers_and_arguments() {
    let house = house(Era::Legacy).await;
    let params = json!({"name": "echo", "arguments": {"region": "north"}});
    let call = |header: Option<&str>| {
        let request = house.modern_request("tools/call", params.clone());
        house.send(match header {
            Some(value) => request.header("Mcp-Param-Region", value),
            None => request,
        })
    };
    assert_eq!(call(None).await.error(), (400, -32020));
    assert_eq!(call(Some("south")).await.error(), (400, -32020));
    assert_eq!(house.server("a").asked("tools/call").len(), 0, "nothing of it reached the server");
    assert_eq!(call(Some("north")).await.status, 200);
    assert_eq!(call(Some("=?base64?bm9ydGg=?=")).await.status, 200);
    assert_eq!(house.server("a").asked("tools/list").len(), 1, "the schema is asked for once");
    let bare = house.modern("tools/call", json!({"name": "echo", "arguments": {}})).await;
    assert_eq!(bare.status, 200, "{bare:?}");
}

#[tokio::test]
async fn a_legacy_client_of_a_modern_server_has_its_headers_made() {
    let house = house(Era::Modern).await;
    let client = house.session("2025-06-18", json!({})).await;
    client.ask("tools/call", json!({"name": "echo", "arguments": {"region": "Nordküste"}})).await;
    let asked = house.server("a").asked("tools/call").pop().unwrap();
    assert_eq!(asked.headers, [("mcp-param-region".to_owned(), "=?base64?Tm9yZGvDvHN0ZQ==?=".to_owned())]);
    let modern = house.modern_request("tools/call", json!({"name": "echo", "arguments": {"region": "north"}}));
    house.send(modern.header("Mcp-Param-Region", "north")).await;
    let asked = house.server("a").asked("tools/call").pop().unwrap();
    assert_eq!(asked.headers, [("mcp-param-region".to_owned(), "north".to_owned())], "its own, and once");
}
