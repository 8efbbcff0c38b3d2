//! `mcpctl delete`: removes objects.
use std::path::PathBuf;

use mcpctl_api::client::{Target, Write};

use super::InProject;
use super::create::dry;
use crate::failure::{Done, FAILED, Failure};
use crate::manifests::Sources;
use crate::session::{Global, Session};
use crate::{completion, noun, out};

/// Removes objects, by name or as manifests name them
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl delete server everything
  mcpctl delete mcptoken ci -p web
  mcpctl delete -f web.yaml

Nothing is asked. What went with an object, such as the tokens of a project, is said.")]
pub struct Delete {
    /// Kind and names, or KIND/NAME
    #[arg(required_unless_present = "files", value_name = "KIND NAME", add = completion::objects())]
    words: Vec<String>,
    /// Manifests that name the objects: file, folder or -; repeatable
    #[arg(short = 'f', long = "filename", id = "files", value_name = "FILE|DIR|-", conflicts_with = "words")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    project: InProject,
    /// What is not there is no failure
    #[arg(long)]
    ignore_not_found: bool,
    /// Has it decided, and changes nothing
    #[arg(long)]
    dry_run: bool,
}

impl Delete {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let targets = self.targets(&session)?;
        let write = if self.dry_run { Write::DryRun } else { Write::Real };
        let mut refused = 0;
        for target in &targets {
            match session.client.delete(target, None, write).await {
                Ok(done) => {
                    out::print(&format!("{target} {}{}\n", done.outcome, dry(write)))?;
                    for other in done.also {
                        out::print(&format!("  with it: {other}\n"))?;
                    }
                }
                Err(error) if error.is_not_found() && self.ignore_not_found => {}
                Err(error) => {
                    Failure::from(error).about(&target.to_string()).report();
                    refused += 1;
                }
            }
        }
        if refused == 0 { Ok(()) } else { Err(Failure::silent(FAILED)) }
    }

    /// What refers to others goes first.
    fn targets(&self, session: &Session) -> Done<Vec<Target>> {
        if self.files.is_empty() {
            return noun::targets(session, &self.words, self.project.name());
        }
        let documents = Sources { files: self.files.clone() }.read(session, self.project.name())?;
        Ok(documents.into_iter().rev().map(|document| document.target).collect())
    }
}
