//! `mcpctl test mcp`: tries an MCP endpoint as an agent would.
use std::time::Duration;

use mcpctl_core::plaintext::Plaintext;
use serde_json::{Map, Value};

use crate::failure::{Done, FAILED, Failure, USAGE};
use crate::test_mcp::{Report, Verdict, Wanted, examine};
use crate::{format, out};

/// Tries things out
#[derive(clap::Subcommand)]
pub enum Test {
    /// Tries an MCP endpoint as an agent would: connects, lists tools, perhaps calls one
    Mcp(Box<Mcp>),
}

/// What is tried.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  MCPCTL_TOKEN=mcpctl_pat_… mcpctl test mcp http://127.0.0.1:3200/projects/web/mcp
  mcpctl test mcp URL --tool everything/echo --args '{\"message\": \"hello\"}'
  mcpctl test mcp URL --expect-tools everything/echo,time/get_current_time -o json

Exit codes: 0 PASS, 1 the endpoint can't be reached or refuses the token, 2 it answers otherwise than it should.")]
pub struct Mcp {
    /// Address of the endpoint
    #[arg(value_name = "URL", value_hint = clap::ValueHint::Url)]
    url: String,
    /// Bearer token; others can see it while this runs: prefer MCPCTL_TOKEN
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Calls this tool
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Arguments of the call, as a JSON object
    #[arg(long, value_name = "JSON", requires = "tool")]
    args: Option<String>,
    /// Tools that must be listed, separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    expect_tools: Vec<String>,
    /// How long each answer may take
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// How to print the report
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    output: String,
    /// Does not ask /healthz of the same host first
    #[arg(long)]
    no_health: bool,
}

impl Test {
    pub async fn run(self) -> Done {
        let Self::Mcp(asked) = self;
        asked.run().await
    }
}

impl Mcp {
    async fn run(self: Box<Self>) -> Done {
        let json = self.output == "json";
        let report = examine(self.wanted()?).await;
        out::print(&if json { format::json(&report) } else { text(&report) })?;
        match report.verdict {
            Verdict::Pass => Ok(()),
            Verdict::Unreachable | Verdict::Refused => Err(Failure::silent(FAILED)),
            Verdict::Contract => Err(Failure::silent(USAGE)),
        }
    }

    fn wanted(self) -> Done<Wanted> {
        let url =
            self.url.parse().ok().filter(|url: &url::Url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(|| {
            Failure::usage(format!("{:?} is not a URL", self.url)).hint("write http://HOST:PORT/projects/NAME/mcp")
        })?;
        let arguments: Map<String, Value> = match &self.args {
            Some(text) => serde_json::from_str(text)
                .map_err(|error| Failure::usage(format!("--args is not a JSON object: {error}")))?,
            None => Map::new(),
        };
        let token = self.token.or_else(|| std::env::var("MCPCTL_TOKEN").ok()).filter(|token| !token.is_empty());
        Ok(Wanted {
            url,
            token: token.map(Plaintext::new),
            tool: self.tool,
            arguments,
            expected: self.expect_tools,
            limit: Duration::from_secs(self.timeout),
            health: !self.no_health,
        })
    }
}

fn text(report: &Report) -> String {
    let mut lines: Vec<String> = report
        .steps
        .iter()
        .map(|step| {
            format!(
                "{} {} ({} ms){}",
                if step.ok { "ok  " } else { "FAIL" },
                step.name,
                step.took_ms,
                after(": ", &step.detail)
            )
        })
        .collect();
    lines.push(match report.verdict {
        Verdict::Pass => "PASS".to_owned(),
        _ => format!("FAIL{}", after(": ", &report.reason)),
    });
    out::clean(&(lines.join("\n") + "\n"))
}

fn after(gap: &str, text: &Option<String>) -> String {
    text.as_ref().map(|text| format!("{gap}{text}")).unwrap_or_default()
}
