//! `mcpctl simulate`: what manifests would do to access, without doing it.
use mcpctl_api::access_wire::{RecordedCalls, Simulation};
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
  mcpctl simulate -f rbac.yaml --replay 7d      # what it would have meant for the calls of a week
  mcpctl simulate -f rbac.yaml && mcpctl apply -f rbac.yaml   # only if nobody gains anything

It is decided under your rights, as the apply would be. With --replay the calls of the audit log are decided as things
are and as they would be, and the exit code is about these: 1 when one would become allowed. Exit codes: 0 nobody would gain anything, 1 somebody would,
2 wrong usage, 3 it can't be told, because the apply would be refused or the control plane can't be asked.")]
pub struct Simulate {
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    project: InProject,
    /// Also decides recorded calls since then, and lists those that would flip: 7d, a moment, a date, a seq
    #[arg(long, value_name = "SINCE")]
    replay: Option<String>,
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
        exit_unless(!told.recorded.as_ref().map_or(told.added, |recorded| recorded.added))
    }

    async fn ask(&self, session: &Session) -> Done<Simulation> {
        let documents = self.sources.read(session, self.project.name())?;
        let manifests: Vec<Map<String, Value>> = documents.iter().map(|document| document.fields.clone()).collect();
        session.client.simulate(&manifests, self.replay.as_deref()).await.map_err(Failure::from)
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
    let recorded = told.recorded.as_ref().map(flips).unwrap_or_default();
    format!("Objects:\n{}\nAccess:\n{access}{recorded}", objects.render_with("  "))
}

/// Recorded calls that would be answered otherwise.
fn flips(recorded: &RecordedCalls) -> String {
    let RecordedCalls { since, calls, questions, flips, left_out, .. } = recorded;
    let mut text = format!("\nRecorded since {}: {calls} calls, {questions} different ones\n", format::moment(*since));
    if flips.is_empty() {
        text.push_str("  None would be answered otherwise.\n");
        return text;
    }
    let mut table =
        Table::new(["NOW", "WOULD BE", "CALLS", "LAST", "WHO", "OWNER", "PROJECT", "SERVER", "TOOL", "TAKES"]);
    for flip in flips {
        let word = |allowed: bool| if allowed { "allowed" } else { "refused" }.to_owned();
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        table.row(vec![
            word(!flip.allowed),
            word(flip.allowed),
            flip.count.to_string(),
            format::moment(flip.last),
            flip.subject.clone(),
            or_dash(&flip.owner),
            or_dash(&flip.project),
            or_dash(&flip.server),
            or_dash(&flip.tool),
            flip.asked.clone(),
        ]);
    }
    text.push_str(&table.render_with("  "));
    if *left_out > 0 {
        text.push_str(&format!("  and {left_out} more\n"));
    }
    text
}
