//! The fetched parts are what they should be: each starts and speaks MCP, without `mcpctl` in between.
use std::time::Duration;

use serde_json::Value;

use crate::support::parts::{command, parts};
use crate::support::process::{Ran, run};

const LIMIT: Duration = Duration::from_secs(60);

const HELLO: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"e2e","version":"0"}}}
"#;

fn server_name(ran: &Ran) -> String {
    let lines = ran.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let answer = lines.into_iter().find(|message| message["id"] == 1);
    let answer = answer.unwrap_or_else(|| panic!("no answer to initialize from `{}`\n{}", ran.command, ran.said()));
    answer["result"]["serverInfo"]["name"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn every_stdio_server_that_was_fetched_answers_initialize() {
    let folder = tempfile::tempdir().unwrap();
    let expected = [
        (parts().filesystem(folder.path()), "secure-filesystem-server"),
        (parts().memory(), "memory-server"),
        (parts().sequential_thinking(), "sequential-thinking-server"),
        (parts().time(), "mcp-time"),
        (parts().everything(), "mcp-servers/everything"),
    ];
    for (argv, name) in expected {
        assert_eq!(server_name(&run(&mut command(&argv), Some(HELLO), LIMIT)), name);
    }
}

#[test]
fn every_client_that_was_fetched_lists_the_tools_of_a_server_over_http() {
    let (_server, url) = parts().everything_http();
    let flags = ["--transport", "http", "--protocol-era", "legacy", "--method", "tools/list"];
    let listed = run(parts().inspector(&[&url]).args(flags), None, LIMIT).ok();
    assert_eq!(listed.json()["tools"][0]["name"], "echo");
    let listed = run(&mut parts().fastmcp(&["list", &url]), None, LIMIT).ok();
    assert!(listed.stdout.contains("echo(message: str)"), "{}", listed.said());
}
