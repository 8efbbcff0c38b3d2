//! `mcpctl`: the command line of the control plane.
mod argv;
mod audit_export;
mod audit_follow;
mod completion;
mod failure;
mod flags;
mod format;
mod home;
mod log_seen;
mod manifests;
mod noun;
mod oidc;
mod out;
#[cfg(test)]
mod reference;
mod session;
mod table;
mod test_mcp;
mod tree;
mod verbs;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;

use crate::failure::{Done, Failure, INTERRUPTED};
use crate::verbs::Cli;

/// How long what still runs in the background may take after the command is over.
const WIND_UP: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    CompleteEnv::with_factory(Cli::command).complete();
    let cli = Cli::parse_from(argv::expand(std::env::args_os().collect()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("the system gives threads");
    let result = runtime.block_on(until_interrupted(cli));
    runtime.shutdown_timeout(WIND_UP);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            failure.exit_code()
        }
    }
}

/// Every command is an auditor: a log that is not the one that was seen before is refused, whatever the command was.
async fn audited(cli: Cli) -> Done {
    let done = cli.verb.run(&cli.global).await;
    let looked = cli.global.look_back().await;
    match (done, looked) {
        (Err(failure), Err(looked)) => {
            failure.report();
            Err(looked)
        }
        (done, looked) => looked.and(done),
    }
}

/// Ctrl-C drops the command where it waits, so that everything it holds is cleaned up: files, echo of the terminal.
async fn until_interrupted(cli: Cli) -> Done {
    if cli.verb.ends_itself() {
        return cli.verb.run(&cli.global).await;
    }
    tokio::select! {
        result = audited(cli) => result,
        Ok(()) = tokio::signal::ctrl_c() => Err(Failure::silent(INTERRUPTED)),
    }
}
