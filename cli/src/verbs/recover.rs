//! `mcpctl recover`: gives back what nobody can any more, to whoever owns the data folder.
use std::path::PathBuf;

use mcpctl_api::local::{LocalError, recover_administrator};

use crate::failure::{Done, Failure};
use crate::format;
use crate::home::Home;
use crate::out;

/// Gives back access that was lost, at the machine itself; it leaves events and an audit entry
#[derive(clap::Subcommand)]
pub enum Recover {
    Admin(Admin),
}

/// Makes somebody an administrator with a new password, which is shown once
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl recover admin
  mcpctl recover admin --user alice@example.com --data-dir /var/lib/mcpctl

It talks to the control plane that runs on the data folder, over the socket in it, and takes the key file beside it:
only the owner of the folder, or root, can do that. The person is made where missing and enabled where disabled; rights
are given only where they are gone. All open logins of the person end.")]
pub struct Admin {
    /// E-mail address of the person [default: admin@localhost]
    #[arg(long, value_name = "E-MAIL")]
    user: Option<String>,
    /// Data folder of the control plane [default: ~/.mcpctl]
    #[arg(long, value_name = "DIR", env = "MCPD_DATA_DIR", value_hint = clap::ValueHint::DirPath)]
    data_dir: Option<PathBuf>,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: format::Plain,
}

impl Recover {
    pub async fn run(self) -> Done {
        match self {
            Self::Admin(admin) => admin.run().await,
        }
    }
}

impl Admin {
    async fn run(self) -> Done {
        let data = match self.data_dir {
            Some(data) => data,
            None => Home::find()?.folder().to_owned(),
        };
        let recovered = recover_administrator(&data, self.user).await.map_err(failed)?;
        let text = match self.output {
            format::Plain::Json => format::json(&recovered),
            format::Plain::Yaml => format::yaml(&recovered),
            format::Plain::Table => {
                let rights =
                    if recovered.bound { "all rights were given back" } else { "they held all rights already" };
                format!(
                    "administrator {}, new password (shown once): {}\n{rights} (seq {})\n",
                    recovered.user, recovered.password, recovered.seq
                )
            }
        };
        out::print(&text)
    }
}

fn failed(error: LocalError) -> Failure {
    let hint = match &error {
        LocalError::Refused { hint, .. } => hint.clone(),
        _ => None,
    };
    let failure = Failure::new(mcpctl_api::server::process::chain(&error));
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
