//! `mcpctl what-can`: everything that somebody may.
use mcpctl_api::access_wire::WhatCan as Answer;
use mcpctl_api::client::AccessQuestion;

use super::question::{How, failed, in_short, shown};
use crate::failure::Done;
use crate::out;
use crate::session::Global;
use crate::table::Table;

/// Lists everything that somebody may do, each with the grant that gives it
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl what-can alice@example.com
  mcpctl what-can Group:developers
  mcpctl what-can McpToken:web/ci --at \"30 days ago\" -o yaml")]
pub struct WhatCan {
    /// About whom: an e-mail address, User:…, Group:…, ServiceAccount:…, McpToken:PROJECT/NAME; without one, you
    #[arg(value_name = "SUBJECT", add = crate::completion::subjects())]
    subject: Option<String>,
    /// The same as SUBJECT
    #[arg(long = "as", value_name = "SUBJECT", conflicts_with = "subject", add = crate::completion::subjects())]
    other: Option<String>,
    #[command(flatten)]
    how: How,
}

impl WhatCan {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let question = AccessQuestion {
            subject: self.subject.or(self.other),
            at: self.how.at.clone(),
            ..AccessQuestion::default()
        };
        let answer = session.client.what_can(&question).await.map_err(failed)?;
        out::print(&shown(&answer, self.how.output, table))?;
        match &answer.ended {
            Some(ended) => out::note(&format!("{} may nothing: {}", answer.subject, ended.says)),
            None if answer.items.is_empty() => out::note(&format!("{} may nothing.", answer.subject)),
            None => {}
        }
        Ok(())
    }
}

fn table(answer: &Answer) -> String {
    if answer.items.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["RIGHT", "BY WAY OF", "SEQ", "GIVEN BY"]);
    for right in &answer.items {
        let [way, seqs, by] = in_short(&right.chain);
        table.row(vec![right.right.clone(), way, seqs, by]);
    }
    table.render()
}
