//! `mcpctl status`: whether control plane, gateway and servers are well.
use mcpctl_api::client::{Address, Client, InvalidAddress};
use mcpctl_api::wire::ServerHealth;
use serde_json::json;

use super::get::instance_table;
use crate::failure::{Done, FAILED, Failure};
use crate::format::{self, Plain};
use crate::out;
use crate::session::{Global, Session};
use crate::table::Table;

/// Most characters of what a gateway says is wrong with it.
const WHY_CHARS_MAX: usize = 500;

/// Shows whether control plane, gateway and servers are well
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl status
  mcpctl status -o json

Exits 1 when the control plane or the context's gateway does not answer.")]
pub struct Status {
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Plain,
}

impl Status {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let plane = session.client.status().await?;
        // A control plane whose log is not the one that was seen before is not well, whatever it says.
        crate::log_seen::glance(&session.client).await?;
        let gateway = gateway(&session).await;
        let me = session.client.me().await.ok().map(|me| me.actor.to_string());
        let whole = json!({
            "context": session.context, "api": session.client.address().to_string(), "as": me,
            "controlPlane": plane, "gateway": gateway.as_ref().map(Gateway::to_json),
        });
        out::print(&match self.output {
            Plain::Json => format::json(&whole),
            Plain::Yaml => format::yaml(&whole),
            Plain::Table => text(&session, &plane, gateway.as_ref(), me.as_deref()),
        })?;
        if gateway.is_some_and(|gateway| gateway.trouble.is_some()) { Err(Failure::silent(FAILED)) } else { Ok(()) }
    }
}

/// What the gateway said about itself.
struct Gateway {
    address: String,
    seq: Option<u64>,
    trouble: Option<String>,
}

impl Gateway {
    fn to_json(&self) -> serde_json::Value {
        json!({ "address": self.address, "seq": self.seq, "trouble": self.trouble })
    }
}

/// The gateway is asked without the bearer: it needs none to say how it is.
async fn gateway(session: &Session) -> Option<Gateway> {
    let address = session.gateway.clone()?;
    let (seq, trouble) = match ask(&address).await {
        Ok(seq) => (seq, None),
        Err(trouble) => (None, Some(trouble)),
    };
    Some(Gateway { address, seq, trouble })
}

async fn ask(address: &str) -> Result<Option<u64>, String> {
    let parsed: Address = address.parse().map_err(|error: InvalidAddress| error.to_string())?;
    let client = Client::new(parsed, None).map_err(|error| error.to_string())?;
    match client.healthz().await {
        Ok(health) if health.status == 200 => Ok(health.revision.map(|seq| seq.0)),
        Ok(health) => {
            let why = health.trouble.map(|why| why.chars().filter(|c| !c.is_control()).take(WHY_CHARS_MAX).collect());
            let why = why.map(|why: String| format!(": {why}")).unwrap_or_default();
            Err(format!("answers with HTTP {}{why}", health.status))
        }
        Err(_) => Err("does not answer".to_owned()),
    }
}

fn text(session: &Session, plane: &mcpctl_api::wire::Status, gateway: Option<&Gateway>, me: Option<&str>) -> String {
    let mut parts = Table::new(["PART", "ADDRESS", "STATE", "SEQ", "VERSION"]);
    parts.row(vec![
        "control plane".into(),
        session.client.address().to_string(),
        plane.log.clone(),
        plane.seq.to_string(),
        plane.version.clone(),
    ]);
    if let Some(gateway) = gateway {
        let seq = gateway.seq.map_or_else(|| "-".to_owned(), |seq| seq.to_string());
        let state = gateway.trouble.clone().unwrap_or_else(|| "ok".to_owned());
        parts.row(vec!["gateway".into(), gateway.address.clone(), state, seq, "-".into()]);
    }
    let mut text = format!("Context {}, as {}\n\n{}", session.context, me.unwrap_or("nobody"), parts.render());
    if !plane.objects.is_empty() {
        let counts: Vec<String> = plane.objects.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        text.push_str(&format!("\nObjects: {}\n", counts.join(", ")));
    }
    if !plane.servers.is_empty() {
        text.push_str(&format!("\n{}", server_table(&plane.servers).render()));
    }
    if !plane.instances.is_empty() {
        text.push_str(&format!("\n{}", instance_table(&plane.instances).render()));
    }
    text
}

/// How servers are: the worst is no reason to look elsewhere, so the order is that of their names.
fn server_table(servers: &[ServerHealth]) -> Table {
    let now = format::now();
    let mut table = Table::new(["SERVER", "HEALTH", "SINCE", "NEXT-PROBE", "WHY"]);
    for server in servers {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let well = matches!(server.state.as_str(), "HEALTHY" | "IDLE");
        let why = server.last_error.as_deref().filter(|_| !well);
        let times = if server.failures > 1 { format!("{} times: ", server.failures) } else { String::new() };
        table.row(vec![
            server.server.clone(),
            server.state.clone(),
            or_dash(server.since.map(|since| format::age(since, now))),
            or_dash(server.next_probe_at.map(|at| format!("{}s", at.since(now).div_ceil(1000)))),
            why.map(|why| format!("{times}{why}")).unwrap_or_default(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_unwell_says_why_and_one_that_is_well_does_not() {
        let health = |state: &str, failures| ServerHealth {
            server: "docs".into(),
            state: state.into(),
            failures,
            last_error: Some("the connection was refused".into()),
            ..ServerHealth::default()
        };
        let text = server_table(&[health("UNHEALTHY", 5), health("FAILING", 1), health("HEALTHY", 0)]).render();
        let lines: Vec<&str> = text.lines().skip(1).map(str::trim_end).collect();
        assert!(lines[0].ends_with("5 times: the connection was refused"), "{text}");
        assert!(lines[1].ends_with("  the connection was refused"), "{text}");
        assert!(lines[2].ends_with('-'), "{text}");
    }
}
