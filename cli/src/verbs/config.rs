//! `mcpctl config`: contexts, and what connects an agent.
use std::path::Path;

use mcpctl_api::client::Address;
use serde_json::{Map, Value, json};

use super::InProject;
use crate::failure::{Done, Failure, file};
use crate::format;
use crate::home::{Context, Home, LOCAL, write_whole};
use crate::session::Global;
use crate::{completion, noun, out};

/// Shows and changes contexts, and connects agents
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  mcpctl config view
  mcpctl config set-context work --api https://mcp.example.com --project web
  mcpctl config use-context work
  mcpctl config claude -p web")]
pub enum Config {
    /// Shows contexts and which is current; no token is shown
    View {},
    /// Makes a context the current one
    UseContext {
        /// Name of the context
        #[arg(value_name = "NAME", add = completion::contexts())]
        name: String,
    },
    /// Makes or changes a context
    SetContext(SetContext),
    /// Removes a context and its login
    DeleteContext {
        /// Name of the context
        #[arg(value_name = "NAME", add = completion::contexts())]
        name: String,
    },
    /// Writes .mcp.json here, so that an agent started here reaches a project; there is no secret in it
    #[command(visible_alias = "claude-generate")]
    Claude(Claude),
}

/// What a context says.
#[derive(clap::Args)]
pub struct SetContext {
    /// Name of the context
    #[arg(value_name = "NAME", add = completion::contexts())]
    name: String,
    /// Address of the control plane
    #[arg(long, value_name = "URL")]
    api: Option<String>,
    /// Address of the gateway
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
    /// Project that is meant when none is named
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
}

/// Which project an agent reaches.
#[derive(clap::Args)]
pub struct Claude {
    #[command(flatten)]
    project: InProject,
}

impl Config {
    pub fn run(self, global: &Global) -> Done {
        match self {
            Self::View {} => view(),
            Self::UseContext { name } => use_context(&name),
            Self::SetContext(asked) => asked.run(),
            Self::DeleteContext { name } => delete(&name),
            Self::Claude(asked) => asked.run(global),
        }
    }
}

fn view() -> Done {
    let config = Home::find()?.config()?;
    if config.contexts.is_empty() {
        out::note("There is no context yet: `mcpctl up` makes one, `mcpctl login URL --user E-MAIL` another.");
    }
    out::print(&format::yaml(&config))
}

fn known(home: &Home, name: &str) -> Done {
    let contexts = home.config()?.contexts;
    let names: Vec<&str> = contexts.keys().map(String::as_str).collect();
    if contexts.contains_key(name) { Ok(()) } else { Err(noun::unknown("context", name, &names)) }
}

fn use_context(name: &str) -> Done {
    let home = Home::find()?;
    known(&home, name)?;
    home.update_config(|config| config.current = Some(name.to_owned()))?;
    out::print(&format!("Current context is {name}.\n"))
}

fn delete(name: &str) -> Done {
    let home = Home::find()?;
    known(&home, name)?;
    home.update_credentials(|all| drop(all.remove(name)))?;
    home.update_config(|config| {
        config.contexts.remove(name);
        config.current.take_if(|current| current == name);
    })?;
    out::print(&format!("Context {name} is gone, and its login from this machine.\n"))
}

impl SetContext {
    fn run(self) -> Done {
        for address in self.api.iter().chain(&self.gateway) {
            address.parse::<Address>()?;
        }
        let home = Home::find()?;
        if self.api.is_none() && !home.config()?.contexts.contains_key(&self.name) {
            return Err(
                Failure::usage(format!("context {:?} is new, and has no address", self.name)).hint("add --api URL")
            );
        }
        home.update_config(|config| {
            let context = config.contexts.entry(self.name.clone()).or_insert_with(Context::default);
            if let Some(api) = self.api {
                context.api = api;
            }
            context.gateway = self.gateway.or_else(|| context.gateway.take());
            context.project = self.project.or_else(|| context.project.take());
            config.current.get_or_insert_with(|| self.name.clone());
        })?;
        out::print(&format!("Context {} is set.\n", self.name))
    }
}

impl Claude {
    fn run(self, global: &Global) -> Done {
        let (_, context) = global.find()?;
        let project = self
            .project
            .project
            .or(context.project)
            .ok_or_else(|| Failure::usage("no project is given").hint("add -p PROJECT"))?;
        let path = Path::new(".mcp.json");
        let before = match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(file("can't read", path, &error)),
        };
        let context = global.context.as_deref().filter(|name| *name != LOCAL);
        let text = merged(before.as_deref(), &project, context)?;
        if before.as_deref() == Some(text.as_str()) {
            return out::print(".mcp.json unchanged\n");
        }
        write_whole(path, text.as_bytes(), 0o644)?;
        out::print(&format!(".mcp.json connects agents started in this folder to project {project}\n"))
    }
}

/// The file with an entry for the project; every other entry stays.
fn merged(before: Option<&str>, project: &str, context: Option<&str>) -> Done<String> {
    let odd = || {
        Failure::new(".mcp.json is not what agents read: an object with `mcpServers`")
            .hint("repair or remove it, then run this again")
    };
    let mut whole: Map<String, Value> = match before {
        Some(text) if !text.trim().is_empty() => serde_json::from_str(text).map_err(|_| odd())?,
        _ => Map::new(),
    };
    let servers = whole.entry("mcpServers").or_insert_with(|| json!({})).as_object_mut().ok_or_else(odd)?;
    let mut args = vec!["mcp", "-p", project];
    args.extend(context.into_iter().flat_map(|name| ["--context", name]));
    servers.insert(project.to_owned(), json!({ "command": "mcpctl", "args": args }));
    Ok(format::json(&whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_added_and_everything_else_stays() {
        let before = r#"{"other": 1, "mcpServers": {"mine": {"command": "x"}}}"#;
        let after: Value = serde_json::from_str(&merged(Some(before), "web", None).unwrap()).unwrap();
        assert_eq!(
            after,
            json!({"other": 1, "mcpServers": {"mine": {"command": "x"}, "web": {"command": "mcpctl", "args": ["mcp", "-p", "web"]}}})
        );
        let again = merged(Some(&merged(None, "web", Some("work")).unwrap()), "web", Some("work")).unwrap();
        assert!(again.contains("\"--context\""), "{again}");
    }

    #[test]
    fn a_file_of_another_shape_is_left_alone() {
        for before in ["[]", "{\"mcpServers\": []}", "nonsense"] {
            assert!(merged(Some(before), "web", None).is_err(), "{before}");
        }
    }
}
