//! `mcpctl witness serve`: watches the logs of others, and cosigns what goes on from what it saw before.
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use mcpctl_api::server::process::{StopSignals, bind, chain, log_to_stderr};
use mcpctl_api::server::witness::Witness as Cosigner;
use mcpctl_tlog::LogKey;
use tokio_util::sync::CancellationToken;

use crate::failure::{Done, Failure};
use crate::out;

/// Watches logs of others as a witness
#[derive(clap::Subcommand)]
pub enum Witness {
    Serve(Serve),
}

/// Cosigns checkpoints of logs that go on from what was seen before (C2SP tlog-witness)
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl log witness keys --data-dir /var/lib/mcpctl          # at the control plane: the keys of its logs
  mcpctl witness serve --name w1.example.com --log mcpctl.log/…+…+… --log … --data-dir /var/lib/witness

Run it where who runs the control plane can't reach. It remembers in its folder what it saw of each log, for ever: a
witness whose folder is lost is retired, not started anew. Put a proxy with TLS in front of it.")]
pub struct Serve {
    /// Its name, for ever: a host name is customary
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Public key of a log to watch; repeatable
    #[arg(long = "log", value_name = "KEY", required = true)]
    logs: Vec<String>,
    /// Folder of its key, and of what it saw
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port; 0 takes a free one
    #[arg(long, default_value_t = 3300)]
    port: u16,
}

impl Witness {
    pub async fn run(self) -> Done {
        let Self::Serve(serve) = self;
        serve.run().await
    }
}

impl Serve {
    async fn run(self) -> Done {
        log_to_stderr();
        let failed = |error: &dyn std::error::Error| Failure::new(chain(error));
        let logs: Result<Vec<LogKey>, _> = self.logs.iter().map(|key| LogKey::read(key)).collect();
        let logs = logs.map_err(|error| Failure::usage(error.to_string()))?;
        let mut signals = StopSignals::listen().map_err(|error| failed(&error))?;
        let listener = bind(self.host, self.port, "--port").await.map_err(|error| failed(&error))?;
        let address = listener.local_addr().map_err(|error| failed(&error))?;
        let witness = Arc::new(Cosigner::open(&self.data_dir, &self.name, logs).map_err(|error| failed(&error))?);
        out::print(&format!("http://{address} {}\n", witness.key().as_str()))?;
        let stop = CancellationToken::new();
        let serving = witness.serve(listener, stop.clone());
        tokio::pin!(serving);
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = signals.received() => {
                stop.cancel();
                serving.await
            }
        };
        ended.map_err(|error| failed(&error))
    }
}
