//! `mcpctl simulate`: what manifests would do to access, without doing it.
use mcpctl_api::access_wire::Simulation;
use serde_json::{Map, Value};

use super::InProject;
use super::history::CHANGES_SHOWN;
use super::question::{exit_unless, shown, turns};
use crate::failure::{Done, Failure, OTHER};
use crate::format::{self, Plain};
use crate::manifests::Sources;
use crate::out;
use crate::session::{Global, Session};
use crate::table::Table;

/// Shows who would gain and lose what by an `apply`, and changes nothing; exits 1 when access would be added
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl simulate -f rbac.yaml
  mcpctl simulate -f policy/ -o json
  mcpctl simulate -f rbac.yaml && mcpctl apply -f rbac.yaml   # only if nobody gains anything

It is decided under your rights, as the apply would be. Exit codes: 0 nobody would gain anything, 1 somebody would,
2 wrong usage, 3 it can't be told, because the apply would be refused or the control plane can't be asked.")]
pub struct Simulate {
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    project: InProject,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Plain,
}

impl Simulate {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let told = self.ask(&session).await.map_err(|failure| failure.or_code(OTHER))?;
        out::print(&shown(&told, self.output, table))?;
        if !told.complete {
            out::note("note: there are others who would gain or lose access, whom you may not view");
        }
        exit_unless(!told.added)
    }

    async fn ask(&self, session: &Session) -> Done<Simulation> {
        let documents = self.sources.read(session, self.project.name())?;
        let manifests: Vec<Map<String, Value>> = documents.iter().map(|document| document.fields.clone()).collect();
        session.client.simulate(&manifests).await.map_err(Failure::from)
    }
}

fn table(told: &Simulation) -> String {
    let mut objects = Table::new(["OBJECT", "WOULD BE", "CHANGES"]);
    for object in &told.objects {
        let changes = format::shortened(&object.changes.join("; "), CHANGES_SHOWN);
        objects.row(vec![object.object.clone(), object.outcome.clone(), changes]);
    }
    let access = match told.access.as_slice() {
        [] => "Nobody's access would change.\n".to_owned(),
        access => turns(access).render_with("  "),
    };
    format!("Objects:\n{}\nAccess:\n{access}", objects.render_with("  "))
}
