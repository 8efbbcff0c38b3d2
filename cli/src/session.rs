//! Which control plane a command talks to, and as whom: flags, then environment, then the current context.
use std::sync::{Arc, Mutex, PoisonError};

use mcpctl_api::client::{Address, Client};
use mcpctl_core::kinds::Kind;
use mcpctl_core::plaintext::Plaintext;
use mcpctl_core::resource::Scope;

use crate::failure::{Done, Failure};
use crate::home::{Context, Credential, DEFAULT_API, Home, LOCAL};

/// What the flags that every command has say.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Global {
    /// Context to use instead of the current one
    #[arg(long, global = true, value_name = "NAME", help_heading = "Everywhere")]
    #[arg(add = crate::completion::contexts())]
    pub context: Option<String>,
    /// Acts as this service account, by its rights; takes `run` on it, or the operation `impersonate`
    #[arg(long, global = true, value_name = "NAME", help_heading = "Everywhere")]
    #[arg(add = crate::completion::names_of(Kind::ServiceAccount))]
    pub as_service_account: Option<String>,
    /// Every control plane that was spoken to.
    #[arg(skip)]
    pub spoken_to: SpokenTo,
}

/// Clients that were opened; what their answers said of the log is looked at in the end.
#[derive(Clone, Default)]
pub struct SpokenTo(Arc<Mutex<Vec<Client>>>);

impl std::fmt::Debug for SpokenTo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SpokenTo")
    }
}

/// A control plane, and how one is known to it.
pub struct Session {
    /// Speaks to it.
    pub client: Client,
    /// Name of the context.
    pub context: String,
    /// Its address of the gateway.
    pub gateway: Option<String>,
    project: Option<String>,
    bearer: Option<Plaintext>,
}

impl Global {
    /// Opens the control plane that is meant.
    pub fn session(&self) -> Done<Session> {
        let (name, context) = self.find()?;
        let address: Address = context.api.parse().map_err(|error: mcpctl_api::client::InvalidAddress| {
            Failure::usage(error.to_string()).hint(format!("mcpctl config set-context {name} --api URL, or MCPCTL_API"))
        })?;
        let bearer = self.bearer(&name, &address)?;
        let client = Client::new(address, bearer.clone())?.acting_as(self.as_service_account.clone());
        self.spoken_to.0.lock().unwrap_or_else(PoisonError::into_inner).push(client.clone());
        Ok(Session { client, context: name, gateway: context.gateway, project: context.project, bearer })
    }

    /// Compares what was heard of the logs with what was seen of them before.
    pub async fn look_back(&self) -> Done {
        let clients = std::mem::take(&mut *self.spoken_to.0.lock().unwrap_or_else(PoisonError::into_inner));
        for client in clients {
            crate::log_seen::contact(&client).await?;
        }
        Ok(())
    }

    /// The context that is meant: the one named, the current one, or that of a local `mcpctl up`.
    pub fn find(&self) -> Done<(String, Context)> {
        let config = Home::find()?.config()?;
        let name = self.context.clone().or(config.current).unwrap_or_else(|| LOCAL.to_owned());
        let found = config.contexts.get(&name).cloned();
        if self.context.is_some() && found.is_none() {
            let known: Vec<&str> = config.contexts.keys().map(String::as_str).collect();
            return Err(crate::noun::unknown("context", &name, &known));
        }
        let mut context = found.unwrap_or_else(|| Context { api: DEFAULT_API.to_owned(), ..Context::default() });
        if let Some(api) = variable("MCPCTL_API") {
            // What stands beside another address says nothing about this one.
            context = if same(&api, &context.api) { context } else { Context { api, ..Context::default() } };
        }
        Ok((name, context))
    }

    /// A bearer that one control plane gave is not shown to another.
    fn bearer(&self, name: &str, address: &Address) -> Done<Option<Plaintext>> {
        if let Some(token) = variable("MCPCTL_TOKEN") {
            return Ok(Some(Plaintext::new(token)));
        }
        let home = Home::find()?;
        let stated =
            home.config()?.contexts.get(name).map_or_else(|| DEFAULT_API.to_owned(), |context| context.api.clone());
        let credential = home.credentials()?.remove(name);
        let fits = |credential: &Credential| same(credential.api.as_ref().unwrap_or(&stated), &address.to_string());
        Ok(credential.filter(fits).map(|credential| Plaintext::new(credential.token)))
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn same(one: &str, other: &str) -> bool {
    let address = |text: &str| text.parse::<Address>().ok();
    address(one).is_some() && address(one) == address(other)
}

impl Session {
    /// The project of an object of this kind: `-p`, or the context's; `None` for kinds that live in no project.
    pub fn project_for(&self, kind: Kind, flag: Option<&str>) -> Done<Option<String>> {
        match (kind.scope(), flag) {
            (Scope::Global, None) => Ok(None),
            (Scope::Global, Some(_)) => {
                Err(Failure::usage(format!("a {kind} lives in no project")).hint("leave -p out"))
            }
            (Scope::Project, flag) => self.project(flag).map(Some),
        }
    }

    /// A project: `-p`, or the context's.
    pub fn project(&self, flag: Option<&str>) -> Done<String> {
        flag.map(str::to_owned).or_else(|| self.project.clone()).ok_or_else(|| {
            Failure::usage("no project is given")
                .hint("add -p PROJECT, or set one: mcpctl config set-context NAME --project PROJECT")
        })
    }

    /// The bearer, for what speaks MCP on the user's behalf.
    pub fn bearer(&self) -> Option<&Plaintext> {
        self.bearer.as_ref()
    }
}
