//! `mcpctl attach server`, `mcpctl detach server`: changes the list of servers of a project.
use mcpctl_api::client::{Target, Write};
use mcpctl_core::kinds::Kind;
use serde_json::{Map, Value};

use super::InProject;
use crate::failure::{Done, Failure};
use crate::manifests;
use crate::noun::{Named, Noun};
use crate::session::{Global, Session};
use crate::{completion, out};

/// How often the change is made again on what somebody else changed meanwhile.
const ATTEMPTS: usize = 5;

/// Puts servers into a project
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl attach server everything -p web
  mcpctl attach server time fetch -p web")]
pub struct Attach {
    #[command(flatten)]
    what: Servers,
}

/// Takes servers out of a project
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl detach server everything -p web")]
pub struct Detach {
    #[command(flatten)]
    what: Servers,
}

#[derive(clap::Args)]
struct Servers {
    /// `server` and names, or server/NAME
    #[arg(required = true, value_name = "server NAME", add = completion::objects())]
    words: Vec<String>,
    #[command(flatten)]
    project: InProject,
}

impl Attach {
    pub async fn run(self, global: &Global) -> Done {
        self.what
            .change(global, "attached to", |servers, name| {
                if !servers.contains(&name) {
                    servers.push(name);
                }
            })
            .await
    }
}

impl Detach {
    pub async fn run(self, global: &Global) -> Done {
        self.what.change(global, "detached from", |servers, name| servers.retain(|other| *other != name)).await
    }
}

impl Servers {
    fn names(&self) -> Done<Vec<String>> {
        let mut names = Vec::new();
        for named in Named::parse(&self.words)? {
            if named.noun != Noun::Kind(Kind::Server) {
                return Err(
                    Failure::usage("only servers are attached to projects").hint("write: server NAME -p PROJECT")
                );
            }
            names.extend(named.names);
        }
        if names.is_empty() {
            Err(Failure::usage("no server is named").hint("write: server NAME -p PROJECT"))
        } else {
            Ok(names)
        }
    }

    async fn change(&self, global: &Global, done: &str, change: impl Fn(&mut Vec<Value>, Value)) -> Done {
        let names = self.names()?;
        let session = global.session()?;
        let project = Target { kind: Kind::Project, name: session.project(self.project.name())?, project: None };
        let outcome = write(&session, &project, |fields| {
            let mut servers = fields.get("servers").and_then(Value::as_array).cloned().unwrap_or_default();
            names.iter().for_each(|name| change(&mut servers, name.as_str().into()));
            // A filter for a server that is not there any more would be refused.
            if let Some(Value::Object(filters)) = fields.get_mut("tools") {
                filters.retain(|server, _| servers.iter().any(|name| name == server));
            }
            fields.insert("servers".into(), servers.into());
        })
        .await?;
        let unchanged = if outcome == "unchanged" { " already" } else { "" };
        names.iter().try_for_each(|name| out::print(&format!("server/{name} {done} {project}{unchanged}\n")))
    }
}

/// Reads, changes and writes, on the version that was read.
async fn write(session: &Session, target: &Target, change: impl Fn(&mut Map<String, Value>)) -> Done<String> {
    for attempt in 1..=ATTEMPTS {
        let full = session.client.get(target).await?;
        let mut fields = manifests::of_full(target.kind, &full);
        change(&mut fields);
        match session.client.apply(target, fields, manifests::version_of(&full), Write::Real).await {
            Ok(changed) => return Ok(changed.outcome),
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => {}
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the last attempt returns")
}
