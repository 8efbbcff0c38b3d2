//! `mcpctl login`: opens a login and keeps it for the next commands.
use mcpctl_api::client::{Address, Client};
use mcpctl_api::wire::LoginAnswer;
use mcpctl_core::plaintext::Plaintext;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::{Done, Failure};
use crate::home::{Context, Credential, DEFAULT_API, DEFAULT_GATEWAY, Home};
use crate::oidc::{self, Flow};
use crate::session::Global;
use crate::{flags, format, out};

/// Logs in, and makes this the current context
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl login                          # in the browser, where the control plane has an identity provider
  mcpctl login --device                 # the same with a code, from a machine without a browser
  mcpctl login --user alice@example.com # with a password
  mcpctl login https://mcp.example.com --user alice@example.com --password-stdin < password.txt")]
pub struct Login {
    /// Address of the control plane; without one, that of the context
    #[arg(value_name = "URL", value_hint = clap::ValueHint::Url)]
    url: Option<String>,
    /// E-mail address, to log in with a password
    #[arg(long, value_name = "E-MAIL", conflicts_with_all = ["oidc", "device"])]
    user: Option<String>,
    /// Reads the password from the standard input instead of asking for it
    #[arg(long, requires = "user")]
    password_stdin: bool,
    /// Signs in at the identity provider, in a browser on this machine
    #[arg(long, conflicts_with = "device")]
    oidc: bool,
    /// Signs in at the identity provider, in a browser anywhere, with a code
    #[arg(long)]
    device: bool,
    /// Prints the address to sign in at and opens no browser
    #[arg(long, conflicts_with_all = ["user", "device"])]
    no_browser: bool,
}

impl Login {
    pub async fn run(self, global: &Global) -> Done {
        let (name, context) = self.context(global)?;
        let address: Address = context.api.parse()?;
        let client = Client::new(address.clone(), None)?;
        let answer = match &self.user {
            Some(user) => client.login(user, &self.password(user).await?).await?,
            None => self.sign_in(&client).await?,
        };
        let credential = Credential {
            token: answer.token,
            user: Some(answer.user.clone()),
            expires_at: Some(answer.expires_at),
            api: Some(address.to_string()),
        };
        let home = Home::find()?;
        home.update_credentials(|all| drop(all.insert(name.clone(), credential)))?;
        home.update_config(|config| {
            config.contexts.entry(name.clone()).or_insert(context).api = address.to_string();
            config.current = Some(name.clone());
        })?;
        out::print(&format!(
            "Logged in to {address} as {} until {} (context {name}).\n",
            answer.user,
            format::moment(answer.expires_at)
        ))
    }

    /// The context that the address belongs to, or a new one named after the host.
    fn context(&self, global: &Global) -> Done<(String, Context)> {
        let Some(url) = &self.url else { return global.find() };
        let address: Address = url.parse()?;
        let known = Home::find()?.config()?.contexts;
        if let Some(name) = &global.context {
            let context = known.get(name).cloned().unwrap_or_default();
            return Ok((name.clone(), Context { api: address.to_string(), ..context }));
        }
        let same = |context: &Context| context.api.parse::<Address>().is_ok_and(|other| other == address);
        if let Some((name, context)) = known.iter().find(|(_, context)| same(context)) {
            return Ok((name.clone(), context.clone()));
        }
        // Both on their usual ports of this machine: the one is beside the other.
        let usual = address.to_string() == DEFAULT_API;
        let gateway = usual.then(|| DEFAULT_GATEWAY.to_owned());
        Ok((address.authority(), Context { api: address.to_string(), gateway, project: None }))
    }

    /// Signs in at the identity provider that the control plane names.
    async fn sign_in(&self, client: &Client) -> Done<LoginAnswer> {
        let offer = client.oidc_offer().await.map_err(|error| match error.status() {
            // A control plane without a provider; an older one knows no such address, and asks for a bearer.
            Some(404 | 401) => Failure::usage("this control plane has no identity provider to sign in at")
                .hint("log in with a password: mcpctl login --user E-MAIL"),
            _ => error.into(),
        })?;
        let flow = match (self.device, self.no_browser) {
            (true, _) => Flow::Device,
            (false, true) => Flow::Printed,
            (false, false) => Flow::Browser,
        };
        let sign_in = oidc::id_token(&offer, flow).await?;
        Ok(client.sign_in(&sign_in).await?)
    }

    async fn password(&self, user: &str) -> Done<Plaintext> {
        if self.password_stdin {
            return flags::stdin_line("password").map(Plaintext::new);
        }
        if !out::can_ask() {
            return Err(Failure::usage("there is no terminal to ask for the password").hint("add --password-stdin"));
        }
        ask(&format!("Password of {user}: ")).await
    }
}

/// Asks without echo. Dropped by Ctrl-C, it brings the echo back.
async fn ask(prompt: &str) -> Done<Plaintext> {
    use std::io::Write;
    let _silence = Silence::begin()?;
    let _ = write!(anstream::stderr(), "{prompt}").and_then(|()| anstream::stderr().flush());
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = read.await.map_err(std::io::Error::other).and_then(|line| line);
    out::note("");
    let line = line.map_err(|error| Failure::new(format!("the password can't be read: {error}")))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        Err(Failure::new("no password was given"))
    } else {
        Ok(Plaintext::new(password.to_owned()))
    }
}

/// A terminal that does not show what is typed, for as long as this lives.
struct Silence {
    before: Termios,
}

impl Silence {
    fn begin() -> Done<Self> {
        let fail = |error: rustix::io::Errno| {
            Failure::new(format!("the terminal can't be silenced: {error}")).hint("use --password-stdin")
        };
        let before = tcgetattr(std::io::stdin()).map_err(fail)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent).map_err(fail)?;
        Ok(Self { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.before);
    }
}
