//! `mcpctl up`: control plane and gateway in one process, on an embedded log, with nothing else to install.
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mcpctl_api::otel::Traces;
use mcpctl_api::server::app::App;
use mcpctl_api::server::bootstrap::{ADMINISTRATOR, FirstStart, PROJECT, first_start};
use mcpctl_api::server::control_plane::ControlPlane;
use mcpctl_api::server::oidc::OidcFlags;
use mcpctl_api::server::process::{StopSignals, bind, chain, log_to_stderr};
use mcpctl_api::server::{clock, login};
use mcpctl_core::ids::Digest;
use mcpctl_core::name::{Name, NameRule};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::failure::{Done, Failure};
use crate::home::{Context, Credential, Home, LOCAL};
use crate::out;

/// How often the local login is kept from idling out, and looked at whether it ends soon.
const KEEP_LOGIN_EVERY: Duration = Duration::from_secs(600);
/// A login that lasts less than this is replaced.
const RENEW_BEFORE_MS: u64 = 2 * 60 * 60 * 1000;

/// Runs control plane and gateway in one process
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl up
  mcpctl up --data-dir ./data --api-port 0 --gateway-port 0 -o json

The first start makes an administrator, the project `default` and a token, which is shown once.
Everything it knows lies in the data folder; Ctrl-C stops it and leaves nothing behind.")]
pub struct Up {
    /// Folder of the log, the key and the sealed values [default: ~/.mcpctl]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port of the control plane; 0 takes a free one
    #[arg(long, default_value_t = 3100)]
    api_port: u16,
    /// Port of the gateway; 0 takes a free one
    #[arg(long, default_value_t = 3200)]
    gateway_port: u16,
    /// `json`: one line when ready
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text")]
    output: Output,
    #[command(flatten)]
    oidc: OidcFlags,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One line: `{api, endpoint, project, token}`.
    Json,
}

/// Where everything is, once it is ready.
struct Ready {
    api: String,
    gateway: String,
    endpoint: String,
    data: PathBuf,
    first: Option<FirstStart>,
}

impl Up {
    pub async fn run(self) -> Done {
        log_to_stderr();
        let provider = self.oidc.settings().map_err(|error| Failure::usage(error.to_string()))?;
        let home = Home::find()?;
        let data = self.data_dir.clone().unwrap_or_else(|| home.folder().to_owned());
        let failed = |error: &dyn std::error::Error| Failure::new(chain(error));
        let signals = StopSignals::listen().map_err(|error| failed(&error))?;
        let api = bind(self.host, self.api_port, "--api-port").await.map_err(|error| failed(&error))?;
        let gateway = bind(self.host, self.gateway_port, "--gateway-port").await.map_err(|error| failed(&error))?;
        let control = ControlPlane::open(&data).await.map_err(|error| failed(&error))?;
        if let Some(provider) = provider {
            control.sign_in_at(provider);
        }
        let first = first_start(control.app()).await.map_err(|answer| Failure::new(answer.0.detail));
        let ready = match (first, api.local_addr(), gateway.local_addr()) {
            (Ok(first), Ok(api), Ok(gateway)) => {
                let (api, gateway) = (format!("http://{api}"), format!("http://{gateway}"));
                let endpoint = format!("{gateway}/projects/{PROJECT}/mcp");
                Ready { api, gateway, endpoint, data, first }
            }
            (Err(failure), ..) => return stop(control, Err(failure)).await,
            (_, Err(error), _) | (_, _, Err(error)) => return stop(control, Err(failed(&error))).await,
        };
        if let Err(failure) = self.sign_in_and_say(&home, control.app(), &ready).await {
            return stop(control, Err(failure)).await;
        }
        let result = serve(&control, (api, gateway), &home, &ready.api, signals).await;
        stop(control, result).await
    }

    async fn sign_in_and_say(&self, home: &Home, app: &Arc<App>, ready: &Ready) -> Done {
        write_context(home, ready)?;
        sign_in(home, app, &ready.api).await?;
        let text = match self.output {
            Output::Json => format!("{}\n", ready.line()),
            Output::Text => ready.words(),
        };
        out::print(&text)
    }
}

async fn stop(control: ControlPlane, result: Done) -> Done {
    control.shutdown().await;
    result
}

/// Serves both faces until a signal, then lets running requests end.
async fn serve(
    control: &ControlPlane,
    (api, gateway): (TcpListener, TcpListener),
    home: &Home,
    address: &str,
    mut signals: StopSignals,
) -> Done {
    let traces = Traces::from_environment("mcpctl");
    let tracer = traces.as_ref().map(Traces::tracer);
    if let Some(tracer) = &tracer {
        control.trace_with(tracer.clone());
    }
    let options = mcpctl_gateway::Options { tracer, ..mcpctl_gateway::Options::default() };
    let stop = control.stopping();
    let plane = control.app().plane.clone();
    plane.serves_agents();
    let faces = async {
        tokio::join!(
            control.serve(api),
            mcpctl_gateway::serve(gateway, plane, options, stop.clone()),
            keep_signed_in(home, control.app().clone(), address, stop.clone()),
            async {
                signals.received().await;
                stop.cancel();
            },
        )
    };
    let (of_api, of_gateway, (), ()) = faces.await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    of_api.and(of_gateway).map_err(|error| Failure::new(chain(&error)))
}

fn write_context(home: &Home, ready: &Ready) -> Done {
    let context =
        Context { api: ready.api.clone(), gateway: Some(ready.gateway.clone()), project: Some(PROJECT.to_owned()) };
    home.update_config(|config| {
        config.contexts.insert(LOCAL.to_owned(), context);
        config.current = Some(LOCAL.to_owned());
    })
}

/// Signs the command line in as the administrator. Whoever may read the data folder and its key is the administrator
/// anyway; a control plane whose administrator was deleted or disabled signs nobody in.
async fn sign_in(home: &Home, app: &Arc<App>, api: &str) -> Done {
    let administrator = Name::parse(NameRule::Email, ADMINISTRATOR).map_err(|error| Failure::new(error.to_string()))?;
    let answer = match login::open(app, &administrator).await {
        Ok(answer) => answer,
        Err(refusal) => {
            out::note(&format!("not signed in as {ADMINISTRATOR}: {}", refusal.0.detail));
            return Ok(());
        }
    };
    let credential = Credential {
        token: answer.token.clone(),
        user: Some(answer.user),
        expires_at: Some(answer.expires_at),
        api: Some(api.to_owned()),
    };
    home.update_credentials(|credentials| drop(credentials.insert(LOCAL.to_owned(), credential)))
}

/// Keeps the local login from idling out while `up` runs, and replaces it before it ends. A person who logged in as
/// somebody else, or out, is left alone.
async fn keep_signed_in(home: &Home, app: Arc<App>, api: &str, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(KEEP_LOGIN_EVERY) => {}
        }
        let Ok(credentials) = home.credentials() else { continue };
        let Some(credential) = credentials.get(LOCAL).filter(|held| held.user.as_deref() == Some(ADMINISTRATOR)) else {
            continue;
        };
        let now = clock::now();
        app.idle.used(Digest::sha256(credential.token.as_bytes()), now);
        let ends_soon = credential.expires_at.is_some_and(|at| at.since(now) < RENEW_BEFORE_MS);
        if ends_soon && sign_in(home, &app, api).await.is_err() {
            out::note("the local login could not be renewed: restart mcpctl up to sign in again");
        }
    }
}

impl Ready {
    /// For programs: `{api, endpoint, project, token}`, the token on the first start only.
    fn line(&self) -> serde_json::Value {
        let token = self.first.as_ref().map(|first| first.token.expose());
        json!({ "api": self.api, "endpoint": self.endpoint, "project": PROJECT, "token": token })
    }

    fn words(&self) -> String {
        let mut text = format!(
            "mcpctl is up, on the log in {}\n\n  control plane  {}\n  endpoint       {}\n",
            shown(&self.data),
            self.api,
            self.endpoint
        );
        match &self.first {
            Some(first) => text.push_str(&self.first_words(first)),
            None => text
                .push_str("\nThe command line is signed in. A further token: mcpctl create mcptoken NAME -p default\n"),
        }
        text.push_str("\nCtrl-C stops it.\n");
        text
    }

    fn first_words(&self, first: &FirstStart) -> String {
        let (token, endpoint) = (first.token.expose(), &self.endpoint);
        format!(
            "\nFirst start. Keep these two, they are shown once:\n\
             \x20 token          {token}\n\
             \x20 administrator  {ADMINISTRATOR}, password {}\n\n\
             Test the endpoint:\n\
             \x20 mcpctl test mcp {endpoint} --token {token}\n\n\
             Connect an agent:\n\
             \x20 claude mcp add --transport http mcpctl {endpoint} --header \"Authorization: Bearer {token}\"\n\
             \x20 codex: export MCPCTL_TOKEN={token}, then codex mcp add mcpctl --url {endpoint} --bearer-token-env-var MCPCTL_TOKEN\n\
             \x20 any other: {}\n\
             \x20 desktop apps that start a program: mcpctl config claude -p {PROJECT}\n",
            first.password.expose(),
            json!({ "mcpServers": { "mcpctl": { "type": "http", "url": endpoint, "headers": { "Authorization": format!("Bearer {token}") } } } }),
        )
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
