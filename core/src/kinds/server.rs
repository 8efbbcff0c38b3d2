//! `server`: an MCP server, what to run or where to reach it.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ToolFilter;
use super::server_tools::{self, ServerAction, ServerEvent, ServerStatus};
use crate::kinds::{Kind, Secret};
use crate::name::Name;
use crate::reference::Ref;
use crate::refusal::{Refusal, Violations};
use crate::resource::{ActRight, Column, Deciding, Names, Resource, Row};
use crate::time::Timestamp;

/// An MCP server: what to run, or where to reach it. Exactly one of `command`, `packageName`, `image`, `externalUrl` and `embedded` says which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Server {
    /// What the server is for; agents see it with its tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How it speaks: STDIO for what is run, `STREAMABLE_HTTP` for externalUrl, unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Container image. Not available in this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Package to run: with `npx` for node, with `uvx` for python.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_name: Option<String>,
    /// Runtime of the package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// Program and arguments. Never a shell line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Further arguments, after the command or the package.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Where a server that runs elsewhere is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_url: Option<String>,
    /// A server that is part of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<Embedded>,
    /// Port inside a container. Not available in this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_port: Option<u16>,
    /// Copies kept running; with 0 it is started when it is first called.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub replicas: u32,
    /// Most conversations at once; a server of the legacy era has one process for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions_max: Option<u32>,
    /// Environment of what is run, added to a short allow-list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Headers sent to externalUrl.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<EnvVar>,
    /// How it is checked; without one, by `tools/list`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Which of its tools are served.
    #[serde(default, skip_serializing_if = "ToolFilter::is_default")]
    pub tools: ToolFilter,
    /// Lets externalUrl point at loopback or a private range.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_private_address: bool,
}

const fn one() -> u32 {
    1
}
const fn is_one(count: &u32) -> bool {
    *count == 1
}

/// How a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Transport {
    /// Standard input and output of a child process.
    #[serde(rename = "STDIO")]
    Stdio,
    /// HTTP with server-sent events, of 2024-11-05.
    #[serde(rename = "SSE")]
    Sse,
    /// Streamable HTTP.
    #[serde(rename = "STREAMABLE_HTTP")]
    StreamableHttp,
}

/// What runs a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// `npx -y PACKAGE`.
    Node,
    /// `uvx PACKAGE`.
    Python,
}

/// Servers that are part of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Embedded {
    /// Tools through which an agent asks the control plane itself.
    Mcpctl,
}

/// A variable or header: a value, or where to get one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value, in the clear: it goes into the log. Use valueFrom for secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where its value lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueFrom>,
}

/// Where a value lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValueFrom {
    /// A key of a secret.
    pub secret_ref: SecretKeyRef,
}

/// A key of a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// The secret.
    pub name: Ref<Secret>,
    /// The key in it.
    pub key: String,
}

/// How a server is checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheck {
    /// Tool to call.
    pub tool: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub arguments: serde_json::Map<String, serde_json::Value>,
    /// Seconds between checks.
    #[serde(default = "default_interval")]
    pub interval_seconds: u32,
    /// Seconds until a check has failed.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u32,
    /// Failures in a row until the server is unhealthy.
    #[serde(default = "default_threshold")]
    pub failure_threshold: u32,
}
impl HealthCheck {
    fn validate(&self, violations: &mut Violations) {
        if self.tool.is_empty() || self.tool.len() > 128 {
            violations.add("healthCheck.tool", "must have 1 to 128 characters");
        }
        for (field, seconds, max) in [
            ("healthCheck.intervalSeconds", self.interval_seconds, 86_400),
            ("healthCheck.timeoutSeconds", self.timeout_seconds, 600),
            ("healthCheck.failureThreshold", self.failure_threshold, 100),
        ] {
            if !(1..=max).contains(&seconds) {
                violations.add(field, format!("must be 1 to {max}"));
            }
        }
    }
}

const fn default_interval() -> u32 {
    30
}
const fn default_timeout() -> u32 {
    5
}
const fn default_threshold() -> u32 {
    3
}

impl Server {
    /// The program and arguments of a server that is run; empty for one that is reached.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        let mut argv = match (&self.package_name, self.runtime) {
            (Some(package), Some(Runtime::Python)) => vec!["uvx".to_owned(), package.clone()],
            (Some(package), _) => vec!["npx".to_owned(), "-y".to_owned(), package.clone()],
            (None, _) => self.command.clone(),
        };
        if !argv.is_empty() {
            argv.extend(self.args.iter().cloned());
        }
        argv
    }

    /// How it speaks, with the default filled in.
    #[must_use]
    pub fn transport(&self) -> Transport {
        let default = if self.external_url.is_some() { Transport::StreamableHttp } else { Transport::Stdio };
        self.transport.unwrap_or(default)
    }

    /// Whether two specs would start or reach the same thing in the same way.
    #[must_use]
    pub fn launches_like(&self, other: &Self) -> bool {
        self.argv() == other.argv()
            && self.env == other.env
            && self.headers == other.headers
            && self.image == other.image
            && self.external_url == other.external_url
            && self.transport() == other.transport()
            && self.embedded == other.embedded
            && self.allow_private_address == other.allow_private_address
    }

    fn validate_source(&self, violations: &mut Violations) {
        let sources = [
            ("command", !self.command.is_empty()),
            ("packageName", self.package_name.is_some()),
            ("image", self.image.is_some()),
            ("externalUrl", self.external_url.is_some()),
            ("embedded", self.embedded.is_some()),
        ];
        let given: Vec<&str> = sources.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        match given.as_slice() {
            [] => violations.hint(
                "command",
                "nothing says what to run",
                "give command, packageName with runtime, or externalUrl",
            ),
            [_] => {}
            [_, second, ..] => violations.hint(*second, format!("stands next to {}", given[0]), "give one of them"),
        }
        if self.image.is_some() {
            violations.hint("image", "running images is not available in this version", "give command or packageName");
        }
        if self.container_port.is_some() {
            violations.hint("containerPort", "is for images, which are not available in this version", "leave it out");
        }
        if self.package_name.is_some() && self.runtime.is_none() {
            violations.hint("runtime", "is missing", "say node or python");
        }
        if self.command.iter().chain(&self.args).any(|arg| arg.contains('\0'))
            || self.command.first().is_some_and(String::is_empty)
        {
            violations.add("command", "has an empty program or a NUL in it");
        }
    }

    fn validate_transport(&self, violations: &mut Violations) {
        match (self.external_url.as_deref(), self.transport()) {
            (None, Transport::Stdio) => {}
            (None, _) => violations.hint("transport", "needs externalUrl", "use STDIO for what is run"),
            (Some(_), Transport::Stdio) => {
                violations.hint("transport", "STDIO can't be reached by externalUrl", "use STREAMABLE_HTTP or SSE")
            }
            (Some(url), _) => {
                let scheme_ok = url.starts_with("https://") || url.starts_with("http://");
                let authority =
                    url.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
                if !scheme_ok
                    || authority.is_empty()
                    || url.len() > 2048
                    || url.chars().any(|c| c.is_whitespace() || c.is_control())
                {
                    violations.hint("externalUrl", "is not a URL", "write https://host/path");
                } else if authority.contains('@') {
                    violations.hint("externalUrl", "carries a user or password", "use headers with valueFrom");
                }
            }
        }
        if self.external_url.is_none() && !self.headers.is_empty() {
            violations.hint("headers", "are for externalUrl", "use env for what is run");
        }
        if self.external_url.is_some() && !self.env.is_empty() {
            violations.hint("env", "is for what is run", "use headers for externalUrl");
        }
    }
}

fn validate_vars(field: &str, vars: &[EnvVar], good_name: fn(&str) -> bool, violations: &mut Violations) {
    let mut seen = std::collections::BTreeSet::new();
    for (index, var) in vars.iter().enumerate() {
        let at = |member: &str| format!("{field}[{index}].{member}");
        if !good_name(&var.name) {
            violations.add(
                at("name"),
                format!("{:?} is not a valid name here", var.name.chars().take(80).collect::<String>()),
            );
        }
        if !seen.insert(var.name.to_ascii_lowercase()) {
            violations.add(at("name"), "is given twice");
        }
        if var.value.is_some() == var.value_from.is_some() {
            violations.hint(
                at("value"),
                "give a value or valueFrom, one of them",
                "valueFrom: {secretRef: {name: …, key: …}} keeps it out of the log",
            );
        }
        if var.value.as_ref().is_some_and(|value| value.contains(['\0', '\r', '\n'])) {
            violations.add(at("value"), "has a line break or NUL in it");
        }
    }
}

fn is_env_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !matches!(name, "LD_PRELOAD" | "LD_LIBRARY_PATH" | "LD_AUDIT")
}

fn is_header_name(name: &str) -> bool {
    const OURS: &[&str] =
        &["host", "content-length", "transfer-encoding", "connection", "mcp-session-id", "content-type", "accept"];
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(token)
        && !OURS.contains(&name.to_ascii_lowercase().as_str())
}

impl Resource for Server {
    const KIND: Kind = Kind::Server;
    const NAMES: Names = Names { singular: "server", plural: "servers", short: &["srv"] };
    const SUMMARY: &'static str = "An MCP server: what to run, or where to reach it.";
    const EXAMPLE: &'static str = "kind: server\nname: my-ha\ndescription: Home automation\ncommand:\n- my-ha-server\nenv:\n- name: HA_TOKEN\n  valueFrom:\n    secretRef:\n      name: base\n      key: token\n";
    type Status = ServerStatus;
    type Event = ServerEvent;
    type Action = ServerAction;

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                title: "TRANSPORT",
                cell: |row| match row.spec.transport() {
                    Transport::Stdio if row.spec.embedded.is_some() => "EMBEDDED".to_owned(),
                    Transport::Stdio => "STDIO".to_owned(),
                    Transport::Sse => "SSE".to_owned(),
                    Transport::StreamableHttp => "STREAMABLE_HTTP".to_owned(),
                },
            },
            Column {
                title: "RUNS",
                cell: |row| {
                    let spec = row.spec;
                    let text = spec.external_url.clone().unwrap_or_else(|| spec.argv().join(" "));
                    if text.chars().count() > 48 { text.chars().take(47).chain(['…']).collect() } else { text }
                },
            },
            Column { title: "DESCRIPTION", cell: |row| row.spec.description.clone().unwrap_or_default() },
        ]
    }

    /// The control plane notices what servers show; nobody tells it.
    fn right(_action: &ServerAction) -> ActRight {
        ActRight::System
    }

    fn decide(deciding: &Deciding<'_, Self>, action: &ServerAction) -> Result<Vec<ServerEvent>, Refusal> {
        match action {
            ServerAction::Notice(all) => server_tools::decide(deciding, all),
            ServerAction::Health(action) => Ok(action.decide(deciding.meta.uid, deciding.status.failing.is_some())),
        }
    }

    fn action_of(events: &[ServerEvent]) -> Option<ServerAction> {
        Some(server_tools::action_of(events))
    }

    fn evolve(status: &mut ServerStatus, event: &ServerEvent, at: Timestamp) {
        status.evolve(event, at);
    }

    /// How many tools are known (which, `mcpctl tools list` tells), and since when it fails.
    fn status_view(row: &Row<'_, Self>) -> serde_json::Value {
        let (known, mut view) = (row.status.tools.len(), serde_json::Map::new());
        if known > 0 {
            view.insert("knownTools".to_owned(), known.into());
        }
        if let Some(failing) = &row.status.failing {
            view.insert("failing".to_owned(), serde_json::to_value(failing).unwrap_or_default());
        }
        view.into()
    }

    fn launch_differs(&self, other: &Self) -> bool {
        !self.launches_like(other)
    }

    fn validate(&self, name: &Name, violations: &mut Violations) {
        self.validate_source(violations);
        self.validate_transport(violations);
        validate_vars("env", &self.env, is_env_name, violations);
        validate_vars("headers", &self.headers, is_header_name, violations);
        self.tools.validate("tools", violations);
        if self.replicas > 64 {
            violations.add("replicas", "must be 0 to 64");
        }
        if self.sessions_max.is_some_and(|max| !(1..=1024).contains(&max)) {
            violations.add("sessionsMax", "must be 1 to 1024");
        }
        if let Some(check) = &self.health_check {
            check.validate(violations);
        }
        if self.embedded.is_some() != (name.as_str() == "mcpctl") {
            violations.hint(
                "name",
                "the name mcpctl is for the embedded server, and only for it",
                "choose another name",
            );
        }
    }
}

impl Server {
    /// Keys of secrets that its variables and headers use.
    pub fn secret_keys(&self) -> impl Iterator<Item = &SecretKeyRef> {
        self.env.iter().chain(&self.headers).filter_map(|var| var.value_from.as_ref().map(|from| &from.secret_ref))
    }
}
