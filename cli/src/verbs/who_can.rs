//! `mcpctl who-can`: everybody who may.
use mcpctl_api::access_wire::WhoCan as Answer;

use super::question::{How, What, failed, in_short, shown};
use crate::failure::Done;
use crate::out;
use crate::session::Global;
use crate::table::Table;

/// Lists everybody who may do something, each with the way by which they may
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl who-can edit servers/everything
  mcpctl who-can run projects/web --at 2026-11-21
  mcpctl who-can run impersonate -o json")]
pub struct WhoCan {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    how: How,
}

impl WhoCan {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let question = self.what.question(&session, None, &self.how);
        let answer = session.client.who_can(&question).await.map_err(failed)?;
        out::print(&shown(&answer, self.how.output, table))?;
        if !answer.complete {
            out::note("note: there are others, whom you may not view");
        } else if answer.items.is_empty() {
            out::note(&format!("Nobody may {} at seq {}.", answer.asked, answer.seq));
        }
        Ok(())
    }
}

fn table(answer: &Answer) -> String {
    if answer.items.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["WHO", "RULE", "BY WAY OF", "SEQ", "GIVEN BY"]);
    for able in &answer.items {
        let [way, seqs, by] = in_short(&able.chain);
        table.row(vec![able.subject.clone(), able.rule.clone(), way, seqs, by]);
    }
    table.render()
}
