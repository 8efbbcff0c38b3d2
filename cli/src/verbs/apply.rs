//! `mcpctl apply`: makes objects what their manifests say.
use std::collections::BTreeSet;

use mcpctl_api::client::Write;
use mcpctl_core::kinds::Kind;

use super::InProject;
use super::create::dry;
use crate::failure::{Done, FAILED, Failure};
use crate::manifests::{Document, Sources};
use crate::out;
use crate::session::{Global, Session};

/// Makes objects what manifests say: creates what is missing, changes what differs
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl apply -f web.yaml
  mcpctl apply -f manifests/ --dry-run
  mcpctl get server everything -o yaml | mcpctl apply -f -

Documents may stand in any order: what others refer to is applied first. When one is refused, the others are applied
all the same, and the exit code is 1.")]
pub struct Apply {
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    project: InProject,
    /// Has it decided, and changes nothing
    #[arg(long)]
    dry_run: bool,
}

impl Apply {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let documents = self.sources.read(&session, self.project.name())?;
        let write = if self.dry_run { Write::DryRun } else { Write::Real };
        let mut made = BTreeSet::new();
        let mut refused = 0;
        for document in &documents {
            match apply(&session, document, write).await {
                Ok(outcome) => made.extend((outcome == "created").then(|| key(document))),
                Err(failure) if failure.is_silent() => return Err(failure),
                Err(failure) => match document.refers.iter().find(|refer| made.contains(refer)) {
                    // Nothing was made, so what is built on it can't be decided.
                    Some((kind, name)) if self.dry_run => {
                        made.insert(key(document));
                        out::print(&format!("{} undecided: it needs {kind}/{name} (dry run)\n", document.target))?;
                    }
                    _ => {
                        failure.about(&document.target.to_string()).report();
                        refused += 1;
                    }
                },
            }
        }
        match refused {
            0 => Ok(()),
            1 if documents.len() == 1 => Err(Failure::silent(FAILED)),
            _ => Err(Failure::new(format!("{refused} of {} documents were refused", documents.len()))),
        }
    }
}

fn key(document: &Document) -> (Kind, String) {
    (document.target.kind, document.target.name.clone())
}

/// Says what came of it, and gives it back.
async fn apply(session: &Session, document: &Document, write: Write) -> Done<String> {
    let target = &document.target;
    let changed = session.client.apply(target, document.fields.clone(), document.version, write).await?;
    out::print(&format!("{target} {}{}\n", changed.outcome, dry(write)))?;
    if let Some(token) = changed.token() {
        out::print(&format!("  token, shown once: {token}\n"))?;
    }
    Ok(changed.outcome)
}
