//! `mcplocal`: the gateway as a process of its own. It holds no credential: each request brings its caller's.
use std::error::Error;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use mcpctl_api::client::{Address, RemotePlane};
use mcpctl_api::otel::Traces;
use mcpctl_gateway::{Options, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The gateway of mcpctl: one MCP endpoint per project, at /projects/<name>/mcp.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  MCPLOCAL_MCPD_URL=http://127.0.0.1:3100 mcplocal serve\n  mcplocal serve --mcpd-url https://mcpd.example.com --host 0.0.0.0 --allow-host gate.example.com"
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serves projects over HTTP until it is told to stop.
    Serve(Serve),
}

#[derive(Args)]
struct Serve {
    /// Where the control plane is.
    #[arg(long, env = "MCPLOCAL_MCPD_URL")]
    mcpd_url: Address,
    /// Folder in which the last place in the control plane's log is remembered, so that a log that was cut off or forked is
    /// refused after a restart too, and in which audit entries wait while the control plane can't be reached. Without it the
    /// place is remembered as long as the gateway runs, and what can't be recorded is not answered.
    #[arg(long, env = "MCPLOCAL_CACHE_DIR", value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Most bytes of audit entries that wait; when they are full, what can't be recorded is not answered.
    #[arg(long, env = "MCPLOCAL_SPOOL_BYTES", value_name = "N", default_value_t = 64 << 20)]
    spool_bytes: u64,
    /// Address to listen on.
    #[arg(long, env = "MCPLOCAL_HTTP_HOST", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, env = "MCPLOCAL_HTTP_PORT", default_value_t = 3200)]
    port: u16,
    /// A host name under which the gateway is reached, besides localhost (repeatable).
    #[arg(long = "allow-host", value_name = "NAME")]
    hosts: Vec<String>,
    /// An origin of web pages that may use the gateway, such as https://console.example.com (repeatable).
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    origins: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match std::env::var("MCPCTL_LOG_FORMAT").as_deref() {
        Ok("json") => log.json().flatten_event(true).init(),
        _ => log.init(),
    }
    let Verb::Serve(given) = Cli::parse().verb;
    match given.run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Serve {
    async fn run(self) -> Result<(), Box<dyn Error>> {
        let (host, port) = (self.host, self.port);
        let listener = TcpListener::bind((host, port)).await.map_err(|error| {
            format!("can't listen on {host}:{port}: {error}; choose another with --port (or MCPLOCAL_HTTP_PORT)")
        })?;
        let plane = RemotePlane::connect_remembering(self.mcpd_url, self.cache_dir.as_deref(), Some(self.spool_bytes))?;
        eprintln!("mcplocal serves http://{}", listener.local_addr()?);
        let traces = Traces::from_environment("mcplocal");
        let tracer = traces.as_ref().map(Traces::tracer);
        let options = Options { hosts: self.hosts, origins: self.origins, tracer, ..Options::default() };
        let stop = CancellationToken::new();
        let served = async {
            let served = serve(listener, Arc::new(plane.clone()), options, stop.clone()).await;
            stop.cancel();
            served
        };
        let (served, stopped) = tokio::join!(served, stop_on_signal(&stop));
        plane.shutdown().await;
        if let Some(traces) = traces {
            traces.finish().await;
        }
        Ok(served.and(stopped)?)
    }
}

/// Stops the gateway on Ctrl-C and on SIGTERM.
async fn stop_on_signal(stop: &CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        () = stop.cancelled() => {}
        pressed = tokio::signal::ctrl_c() => pressed?,
        _ = terminate.recv() => {}
    }
    stop.cancel();
    Ok(())
}
