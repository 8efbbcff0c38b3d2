//! `mcpctl create KIND NAME`: makes an object of flags.
use clap::{ArgMatches, Command, FromArgMatches, Subcommand};
use mcpctl_api::client::{Changed, Client, Target, Write};
use mcpctl_core::kinds::Kind;
use serde_json::{Map, Value};

use crate::failure::{Done, Failure};
use crate::format;
use crate::session::{Global, Session};
use crate::{flags, manifests, noun, out};

/// Creates an object of flags
pub enum Create {
    /// One of a kind that there is.
    Known(Kind, Box<ArgMatches>),
    /// One of a kind that there is not.
    Unknown(String),
}

const AFTER_HELP: &str = "\
Examples:
  mcpctl create server everything --command npx -y @modelcontextprotocol/server-everything
  mcpctl create server x --env-from TOKEN=ha/token -- uvx some-server --verbose
  mcpctl create project web --server everything --member alice@example.com
  mcpctl create mcptoken ci -p web --ttl 30d
  mcpctl create rbac dev --subject User:alice@example.com --roleBindings role:edit,resource:servers
  mcpctl create secret ha --data-stdin token < token.txt
  mcpctl create user alice@example.com --password-stdin";

impl Subcommand for Create {
    fn augment_subcommands(command: Command) -> Command {
        let command = command.about("Creates an object of flags").after_help(AFTER_HELP).subcommand_value_name("KIND");
        let command = command.subcommand_required(true).arg_required_else_help(true).allow_external_subcommands(true);
        let command = command.disable_help_subcommand(true).subcommand_help_heading("Kinds");
        Kind::ALL.iter().fold(command, |command, kind| command.subcommand(flags::command(*kind)))
    }
    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }
    fn has_subcommand(name: &str) -> bool {
        Kind::from_noun(name).is_some()
    }
}

impl FromArgMatches for Create {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let (noun, matches) =
            matches.subcommand().ok_or_else(|| clap::Error::new(clap::error::ErrorKind::MissingSubcommand))?;
        Ok(Kind::from_noun(noun)
            .map_or_else(|| Self::Unknown(noun.to_owned()), |kind| Self::Known(kind, Box::new(matches.clone()))))
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Create {
    pub async fn run(self, global: &Global) -> Done {
        match self {
            Self::Known(kind, matches) => create(kind, &matches, global).await,
            Self::Unknown(noun) => {
                Err(noun::kind(&noun).err().unwrap_or_else(|| Failure::usage(format!("unknown kind {noun:?}"))))
            }
        }
    }
}

async fn create(kind: Kind, matches: &ArgMatches, global: &Global) -> Done {
    let mut manifest = flags::manifest_of(kind, matches)?;
    let session = global.session()?;
    let project = matches.try_get_one::<String>("project").ok().flatten().map(String::as_str);
    let name = manifest.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let target = noun::target(&session, kind, &name, project)?;
    if let Some(project) = &target.project {
        manifest.insert("project".into(), project.as_str().into());
        manifest.insert("name".into(), target.name.as_str().into());
    }
    let write = if matches.get_flag("dry-run") { Write::DryRun } else { Write::Real };
    let force = matches.try_get_one::<bool>("force").ok().flatten().copied().unwrap_or_default();
    let changed = match session.client.create(kind, manifest.clone(), write).await {
        Err(error) if error.is_conflict() && force && write == Write::Real => {
            replace(&session.client, &target, manifest).await?
        }
        other => other.map_err(|error| exists(error.into(), &target, force))?,
    };
    print(&session, &target, &changed, write, matches.get_one::<String>("output").map(String::as_str))
}

fn exists(failure: Failure, target: &Target, force: bool) -> Failure {
    match (target.kind.untyped().immutable(), force) {
        (true, false) if failure.to_string().contains("exists already") => {
            failure.hint("add --force to delete it and make it anew, or choose another name")
        }
        _ => failure,
    }
}

async fn replace(client: &Client, target: &Target, manifest: Map<String, Value>) -> Done<Changed> {
    client.delete(target, None, Write::Real).await?;
    out::note(&format!("{target} deleted"));
    Ok(client.create(target.kind, manifest, Write::Real).await?)
}

fn print(session: &Session, target: &Target, changed: &Changed, write: Write, output: Option<&str>) -> Done {
    let said = format!("{target} {}{}", changed.outcome, dry(write));
    match (output, changed.token()) {
        (Some("json"), _) => out::print(&format::json(&changed.object)),
        (Some(other), token) => {
            let text = if other == "yaml" {
                format::documents(&[manifests::of_full(target.kind, &changed.object)])
            } else {
                format!("{target}\n")
            };
            if let Some(token) = token {
                out::note(&format!("token, shown once: {token}"));
            }
            out::print(&text)
        }
        (None, Some(token)) => {
            out::print(&format!("{token}\n"))?;
            if out::is_terminal() {
                out::note(&said);
                usage_of_token(session, target);
            }
            Ok(())
        }
        (None, None) => out::print(&format!("{said}\n")),
    }
}

/// What a person does next with a token.
fn usage_of_token(session: &Session, target: &Target) {
    let (Some(gateway), Some(project)) = (&session.gateway, &target.project) else { return };
    let endpoint = format!("{}/projects/{project}/mcp", gateway.trim_end_matches('/'));
    out::note(&format!("It is shown this once. Try it:\n  MCPCTL_TOKEN=<token> mcpctl test mcp {endpoint}"));
}

/// What stands behind an outcome that did not happen.
pub const fn dry(write: Write) -> &'static str {
    match write {
        Write::Real => "",
        Write::DryRun => " (dry run)",
    }
}
