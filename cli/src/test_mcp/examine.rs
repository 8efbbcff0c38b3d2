//! The examination: health, connect, list tools, perhaps call one.
use std::time::{Duration, Instant};

use mcpctl_core::plaintext::Plaintext;
use reqwest::StatusCode;
use serde_json::{Map, Value, json};
use url::Url;

use super::exchange::{Era, Exchange, LEGACY, MODERN, Reply, client_info};
use super::report::{Report, Trouble};

/// Most pages of tools that are read.
const PAGES_MAX: usize = 100;

/// What is examined.
pub struct Wanted {
    /// The endpoint.
    pub url: Url,
    /// Bearer.
    pub token: Option<Plaintext>,
    /// Tool to call.
    pub tool: Option<String>,
    /// Its arguments.
    pub arguments: Map<String, Value>,
    /// Tools that must be listed.
    pub expected: Vec<String>,
    /// How long each answer may take.
    pub limit: Duration,
    /// Whether `/healthz` is asked first.
    pub health: bool,
}

/// Examines an endpoint. The report says how far it came.
pub async fn examine(wanted: Wanted) -> Report {
    let mut report = Report::new(wanted.url.to_string());
    if let Err(trouble) = steps(&wanted, &mut report).await {
        report.verdict = trouble.verdict;
        report.reason = Some(trouble.reason);
    }
    report
}

async fn steps(wanted: &Wanted, report: &mut Report) -> Result<(), Trouble> {
    let mut exchange = Exchange::new(wanted.url.clone(), wanted.token.clone(), wanted.limit)?;
    if wanted.health {
        let begun = Instant::now();
        let went = health(&exchange).await;
        report.step("health", begun, went)?;
    }
    let begun = Instant::now();
    let went = connect(&mut exchange).await;
    let connected = report.step("connect", begun, went)?;
    report.era = Some(if connected.era == Era::Modern { "modern" } else { "legacy" });
    report.protocol = Some(connected.revision);
    report.server = Some(connected.server).filter(|server| !server.is_null());
    let result = tools(wanted, report, &mut exchange, &connected.era).await;
    exchange.close(&connected.era).await;
    result
}

async fn tools(wanted: &Wanted, report: &mut Report, exchange: &mut Exchange, era: &Era) -> Result<(), Trouble> {
    let begun = Instant::now();
    let went = list(exchange, era).await.map(|names| {
        let detail = format!("{} tools", names.len());
        (names, detail)
    });
    report.tools = report.step("tools/list", begun, went)?;
    if !wanted.expected.is_empty() {
        let missing: Vec<&str> = wanted
            .expected
            .iter()
            .map(|name| name.trim())
            .filter(|name| !report.tools.iter().any(|tool| tool == name))
            .collect();
        let went = match missing.as_slice() {
            [] => Ok(((), String::new())),
            missing => Err(Trouble::contract(format!("not listed: {}", missing.join(", ")))),
        };
        report.step("expected tools", Instant::now(), went)?;
    }
    if let Some(tool) = &wanted.tool {
        let begun = Instant::now();
        let went = call(exchange, era, tool, &wanted.arguments).await;
        report.result = Some(report.step(&format!("tools/call {tool}"), begun, went)?);
    }
    Ok(())
}

async fn health(exchange: &Exchange) -> Result<((), String), Trouble> {
    match exchange.health().await? {
        status if status.is_success() => Ok(((), String::new())),
        // Not every MCP server has one.
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(((), "the host has no /healthz".to_owned())),
        status => Err(Trouble::unreachable(format!("/healthz answers with HTTP {status}"))),
    }
}

/// How the endpoint is spoken to from here on.
struct Connected {
    era: Era,
    revision: String,
    server: Value,
}

async fn connect(exchange: &mut Exchange) -> Result<(Connected, String), Trouble> {
    let connected = match discover(exchange).await? {
        Some(connected) => connected,
        None => initialize(exchange).await?,
    };
    let name = connected.server["name"].as_str().map(|name| format!(", {name}")).unwrap_or_default();
    let era = if connected.era == Era::Modern { "modern" } else { "legacy" };
    let detail = format!("{era}, {}{name}", connected.revision);
    Ok((connected, detail))
}

/// `None` when the endpoint does not speak the modern era.
async fn discover(exchange: &mut Exchange) -> Result<Option<Connected>, Trouble> {
    match exchange.ask(&Era::Modern, "server/discover", json!({})).await? {
        Reply::Result { result, .. } => {
            Ok(Some(Connected { era: Era::Modern, revision: MODERN.to_owned(), server: result["serverInfo"].clone() }))
        }
        Reply::Error { .. } => Ok(None),
        Reply::Other { status, .. } if status.is_client_error() => Ok(None),
        Reply::Other { status, text } => Err(other("server/discover", status, &text)),
    }
}

async fn initialize(exchange: &mut Exchange) -> Result<Connected, Trouble> {
    let before = Era::Legacy { revision: LEGACY.to_owned(), session: None };
    let params = json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client_info() });
    let (result, session) = match exchange.ask(&before, "initialize", params).await? {
        Reply::Result { result, session } => (result, session),
        reply => return Err(trouble("initialize", reply)),
    };
    let revision = result["protocolVersion"]
        .as_str()
        .ok_or_else(|| Trouble::contract("initialize names no protocolVersion"))?
        .to_owned();
    let era = Era::Legacy { revision: revision.clone(), session };
    exchange.tell(&era, "notifications/initialized").await?;
    Ok(Connected { era, revision, server: result["serverInfo"].clone() })
}

async fn list(exchange: &mut Exchange, era: &Era) -> Result<Vec<String>, Trouble> {
    let mut names = Vec::new();
    let mut params = json!({});
    for _ in 0..PAGES_MAX {
        let result = result("tools/list", exchange.ask(era, "tools/list", params).await?)?;
        let tools = result["tools"].as_array().ok_or_else(|| Trouble::contract("tools/list gives no `tools`"))?;
        for tool in tools {
            names.push(
                tool["name"]
                    .as_str()
                    .ok_or_else(|| Trouble::contract("tools/list gives a tool without a name"))?
                    .to_owned(),
            );
        }
        match result["nextCursor"].as_str() {
            Some(cursor) => params = json!({ "cursor": cursor }),
            None => return Ok(names),
        }
    }
    Err(Trouble::contract(format!("tools/list has more than {PAGES_MAX} pages")))
}

async fn call(
    exchange: &mut Exchange,
    era: &Era,
    tool: &str,
    arguments: &Map<String, Value>,
) -> Result<(Value, String), Trouble> {
    let params = json!({ "name": tool, "arguments": arguments });
    let result = result("tools/call", exchange.ask(era, "tools/call", params).await?)?;
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    let shown: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
    if result["isError"] == true {
        return Err(Trouble::contract(format!("the tool answers with an error: {shown}")));
    }
    Ok((result, shown))
}

fn result(method: &str, reply: Reply) -> Result<Value, Trouble> {
    match reply {
        Reply::Result { result, .. } => Ok(result),
        other => Err(trouble(method, other)),
    }
}

fn trouble(method: &str, reply: Reply) -> Trouble {
    match reply {
        Reply::Error { status, message, .. } if status.is_server_error() => {
            Trouble::unreachable(format!("{method}: {message}"))
        }
        Reply::Error { code, message, .. } => Trouble::contract(format!("{method}: {message} ({code})")),
        Reply::Other { status, text } => other(method, status, &text),
        Reply::Result { .. } => Trouble::contract(format!("{method} has a result where none is due")),
    }
}

fn other(method: &str, status: StatusCode, text: &str) -> Trouble {
    let text = text.lines().next().unwrap_or_default();
    if status.is_success() {
        Trouble::contract(format!("{method} is answered with what is no JSON-RPC: {text}"))
    } else {
        Trouble::unreachable(
            format!("{method} is answered with HTTP {status}: {text}").trim_end_matches(": ").to_owned(),
        )
    }
}
