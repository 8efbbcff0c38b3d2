//! `mcpctl audit erase`: takes what the audit log says of a subject out of it; every proof still holds.
use mcpctl_api::audit_wire::Erased;

use super::undo::agreed;
use crate::failure::{Done, FAILED, Failure};
use crate::format::{self, Plain};
use crate::out;
use crate::session::Global;

/// Erases what the audit log says of a person, a service account or a token; headers and proofs stay
#[derive(clap::Args)]
#[command(after_help = "\
It takes the operation `erase`. Erased are the details of every entry that names the subject, or whose texts hold its
e-mail address. When, what sort of entry it was, whether it was allowed and by which grants stays, as does every proof.
Copies that were exported or backed up are not reached. That it was done is an entry itself.

Examples:
  mcpctl audit erase --subject User:alice@example.com --dry-run
  mcpctl audit erase --subject User:alice@example.com
  mcpctl audit erase --subject McpToken:1f3b… --yes")]
pub struct Erase {
    /// User:E-MAIL, ServiceAccount:NAME or McpToken:SHA256
    #[arg(long, value_name = "SUBJECT")]
    subject: String,
    /// Says what would be erased, and changes nothing
    #[arg(long)]
    dry_run: bool,
    /// Does it without asking, for scripts
    #[arg(short = 'y', long, conflicts_with = "dry_run")]
    yes: bool,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Plain,
}

impl Erase {
    pub async fn run(self, global: &Global) -> Done {
        let client = global.session()?.client;
        let foreseen = client.audit_erase(&self.subject, true).await?;
        if self.dry_run || foreseen.entries == 0 {
            return self.print(&foreseen, "would be erased");
        }
        if !self.yes {
            out::note(&told(&foreseen, "would be erased, for ever"));
            if !agreed().await? {
                out::note("Nothing was changed.");
                return Err(Failure::silent(FAILED));
            }
        }
        let done = client.audit_erase(&self.subject, false).await?;
        self.print(&done, "erased")
    }

    fn print(&self, erased: &Erased, what: &str) -> Done {
        out::print(&match self.output {
            Plain::Json => format::json(erased),
            Plain::Yaml => format::yaml(erased),
            Plain::Table => format!("{}\n", told(erased, what)),
        })
    }
}

fn told(erased: &Erased, what: &str) -> String {
    let between = match (erased.first, erased.last) {
        (Some(first), Some(last)) => format!(", at positions {first} to {last}"),
        _ => String::new(),
    };
    let entry = erased.position.map(|position| format!("; recorded at position {position}")).unwrap_or_default();
    format!("details of {} entries {what}{between}{entry}", erased.entries)
}
