//! `mcpctl secret rotate-key`: another key for the sealed values of a data folder.
use std::path::PathBuf;

use mcpctl_api::server::audit::AuditLog;
use mcpctl_api::server::effects::key_rotation::rotate;
use mcpctl_api::server::process::chain;

use crate::failure::{Done, Failure};
use crate::out;

/// Looks after the sealed values of secrets
#[derive(clap::Subcommand)]
pub enum Secret {
    RotateKey(RotateKey),
}

/// Draws another key file and wraps the key of every sealed version under it
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl secret rotate-key --data-dir /var/lib/mcpctl

Run it while mcpd is stopped. Values are not sealed again, and no event says anything else than before. Cut off at any
point, it is finished by the next start. Copies of the old key file open nothing that is in the data folder any more;
copies of the data folder they still open.")]
pub struct RotateKey {
    /// The data folder; nobody else may be using it
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
}

impl Secret {
    pub fn run(self) -> Done {
        let Self::RotateKey(RotateKey { data_dir }) = self;
        if !data_dir.join("key").is_file() {
            return Err(Failure::usage(format!("{} is no data folder of mcpd: it has no key", data_dir.display())));
        }
        // Its lock is that of the control plane.
        let held = AuditLog::open(&data_dir.join("audit"), [0; 32]).map_err(|error| Failure::new(chain(&error)))?;
        let wrapped = rotate(&data_dir).map_err(|error| Failure::new(chain(&error)))?;
        drop(held);
        out::print(&format!("the key of {wrapped} sealed versions was wrapped anew\n"))
    }
}
