//! `mcpctl apply`: makes objects what their manifests say, all of them or none.
use mcpctl_api::client::{BATCH_MAX, ClientError, Write};
use mcpctl_core::refusal::Violation;
use serde_json::{Map, Value};

use super::InProject;
use super::create::dry;
use crate::failure::{Done, Failure};
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

Documents may stand in any order: what others refer to is applied first. All of them are applied, or none: when one is
refused, nothing changes, and the refusal names it.")]
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
        for (number, batch) in documents.chunks(BATCH_MAX).enumerate() {
            apply(&session, batch, write).await.map_err(|failure| match number {
                0 => failure,
                _ => failure
                    .hint(format!("the first {} documents are applied; apply the rest again", number * BATCH_MAX)),
            })?;
        }
        Ok(())
    }
}

async fn apply(session: &Session, batch: &[Document], write: Write) -> Done {
    let manifests: Vec<Map<String, Value>> = batch.iter().map(|document| document.fields.clone()).collect();
    let applied = session.client.apply_all(&manifests, write).await.map_err(|error| refusal(batch, error))?;
    let mut text = String::new();
    for (document, applied) in batch.iter().zip(applied) {
        text.push_str(&format!("{} {}{}\n", document.target, applied.outcome, dry(write)));
        if let Some(token) = applied.token {
            text.push_str(&format!("  token, shown once: {token}\n"));
        }
    }
    out::print(&text)
}

/// The control plane counts documents; their author knows them by file and place.
fn refusal(batch: &[Document], mut error: ClientError) -> Failure {
    if let ClientError::Refused(problem) = &mut error {
        for violation in &mut problem.errors {
            placed(violation, batch);
        }
    }
    let failure = Failure::from(error);
    if batch.len() > 1 { failure.note("nothing was applied") } else { failure }
}

fn placed(violation: &mut Violation, batch: &[Document]) {
    let Some((index, field)) = violation.field.strip_prefix("items[").and_then(|rest| rest.split_once(']')) else {
        return;
    };
    let Some(document) = index.parse().ok().and_then(|index: usize| batch.get(index)) else { return };
    let field = field.trim_start_matches('.');
    violation.field =
        format!("{} ({}){}{field}", document.target, document.place, if field.is_empty() { "" } else { " " });
}
