//! `mcpctl logs`: what servers wrote to their standard error.
use futures::StreamExt;

use crate::completion;
use crate::failure::{Done, Failure};
use crate::noun::Noun;
use crate::out;
use crate::session::Global;

/// Shows what an instance, or all instances of a server, wrote to their standard error
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl logs everything
  mcpctl logs everything-1 -f --tail 20")]
pub struct Logs {
    /// Server or instance; server/NAME and instance/NAME are taken too
    #[arg(value_name = "SERVER|INSTANCE", add = completion::names_of(mcpctl_core::kinds::Kind::Server))]
    name: String,
    /// Goes on with each new line until Ctrl-C
    #[arg(short = 'f', long)]
    follow: bool,
    /// How many lines to begin with
    #[arg(long, value_name = "N", default_value = "100")]
    tail: u32,
}

impl Logs {
    pub async fn run(self, global: &Global) -> Done {
        let name = match self.name.split_once('/') {
            Some((noun, name)) => match Noun::parse(noun)? {
                Noun::Instance | Noun::Kind(mcpctl_core::kinds::Kind::Server) => name,
                Noun::Gateway => {
                    return Err(Failure::usage("a gateway's log is on its own standard error")
                        .hint("look there, or at `mcpctl audit tail`"));
                }
                Noun::Kind(other) => {
                    return Err(Failure::usage(format!("a {other} has no logs")).hint("servers and instances have"));
                }
            },
            None => &self.name,
        };
        let session = global.session()?;
        let tail = Some(self.tail);
        let mut lines = match self.follow {
            true => session.client.follow_logs(name, tail).await?,
            false => session.client.logs(name, tail).await?,
        };
        while let Some(piece) = lines.next().await {
            out::print_bytes(&piece?)?;
        }
        Ok(())
    }
}
