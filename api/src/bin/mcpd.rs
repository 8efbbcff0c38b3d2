//! `mcpd`: the control plane as a process of its own.
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mcpctl_api::otel::Traces;
use mcpctl_api::server::bootstrap::{ADMINISTRATOR, first_start};
use mcpctl_api::server::control_plane::ControlPlane;
use mcpctl_api::server::oidc::OidcFlags;
use mcpctl_api::server::process::{StopSignals, bind, chain};
use mcpctl_api::server::rate_limit::{REQUESTS, Rate};

/// The control plane of mcpctl: users, rights, projects, servers, secrets and tokens, as an event log.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  mcpd serve\n  mcpd serve --data-dir /var/lib/mcpctl --host 0.0.0.0 --port 3100"
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serves the API until it is told to stop.
    Serve {
        /// Folder of the log, the key and the sealed values.
        #[arg(long, env = "MCPD_DATA_DIR")]
        data_dir: PathBuf,
        /// Address to listen on.
        #[arg(long, env = "MCPD_HOST", default_value = "127.0.0.1")]
        host: IpAddr,
        /// Port to listen on; 0 takes a free one.
        #[arg(long, env = "MCPD_PORT", default_value_t = 3100)]
        port: u16,
        /// How many requests each principal may make in a minute.
        #[arg(long, env = "MCPD_REQUESTS_PER_MINUTE", value_name = "N", default_value_t = REQUESTS.per_minute, value_parser = clap::value_parser!(u32).range(1..))]
        requests_per_minute: u32,
        #[command(flatten)]
        oidc: OidcFlags,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    mcpctl_api::server::process::log_to_stderr();
    let Verb::Serve { data_dir, host, port, requests_per_minute, oidc } = Cli::parse().verb;
    match serve(data_dir, host, port, Rate::per_minute(requests_per_minute), &oidc).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn serve(
    data_dir: PathBuf,
    host: IpAddr,
    port: u16,
    requests: Rate,
    oidc: &OidcFlags,
) -> Result<(), Box<dyn std::error::Error>> {
    let provider = oidc.settings()?;
    let mut signals = StopSignals::listen()?;
    let listener = bind(host, port, "--port").await?;
    let control = ControlPlane::open(&data_dir).await?;
    control.app().limits.limit_requests(requests);
    if let Some(provider) = provider {
        control.sign_in_at(provider);
    }
    if let Some(first) = first_start(control.app()).await.map_err(|answer| answer.0.detail)? {
        eprintln!("administrator {ADMINISTRATOR}, password (shown once): {}", first.password.expose());
        eprintln!("token of the project default (shown once): {}", first.token.expose());
    }
    let traces = Traces::from_environment("mcpd");
    if let Some(traces) = &traces {
        control.trace_with(traces.tracer());
    }
    eprintln!("mcpd serves http://{}", listener.local_addr()?);
    let stop = control.stopping();
    let (served, ()) = tokio::join!(control.serve(listener), async {
        signals.received().await;
        stop.cancel();
    });
    control.shutdown().await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    Ok(served?)
}
