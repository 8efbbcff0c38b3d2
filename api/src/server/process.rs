//! What a server process needs around its work: a port, a signal to stop, a log.
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A port that can't be had.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: choose another port with {flag}, or stop what uses it")]
pub struct PortError {
    address: SocketAddr,
    flag: &'static str,
    #[source]
    source: std::io::Error,
}

/// Binds a port; 0 takes a free one.
///
/// # Errors
/// When it is in use or not allowed; names the flag that changes it.
pub async fn bind(host: IpAddr, port: u16, flag: &'static str) -> Result<TcpListener, PortError> {
    let address = SocketAddr::new(host, port);
    TcpListener::bind(address).await.map_err(|source| PortError { address, flag, source })
}

/// Ctrl-C and SIGTERM, listened to from the moment this is made: a process that says it is ready can be stopped in order.
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the system gives no handler.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for one of them.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Waits for Ctrl-C or SIGTERM.
pub async fn stop_signal() {
    match StopSignals::listen() {
        Ok(mut signals) => signals.received().await,
        Err(_) => std::future::pending().await,
    }
}

/// Logs on standard error; `RUST_LOG` sets the level, `warn` without it, and `MCPCTL_LOG_FORMAT=json` makes a line an object.
pub fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let is_json = std::env::var("MCPCTL_LOG_FORMAT").is_ok_and(|format| format == "json");
    // A log that is set up already stays.
    let _ = if is_json { log.json().flatten_event(true).try_init() } else { log.try_init() };
}

/// An error and all its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
