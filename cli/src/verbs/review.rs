//! `mcpctl review`: what a reviewer of rights should look at.
use mcpctl_api::access_wire::{Attestation, Finding, Review as Answer};
use mcpctl_api::client::ReviewQuestion;

use super::question::{exit_unless, failed, shown};
use crate::failure::{Done, OTHER};
use crate::format::{self, Plain};
use crate::out;
use crate::session::Global;
use crate::table::Table;

/// Most characters of the rights in one line of the table; `-o json` has all.
const RIGHTS_SHOWN: usize = 60;

/// Lists what a reviewer of rights should look at; exits 1 when there is anything to mend
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl review
  mcpctl review --only no-expiry,disabled
  mcpctl review --not-attested-since 90d --only not-attested
  mcpctl attest rbac/developers --note \"checked\"
  mcpctl review -o json

Findings: grantor-cannot (who gave it could not give it now), owner-lacks (a token's right that its owner has lost),
never-used (no call and no change is known that used it; takes run:audit), no-expiry (tokens), disabled (subjects whose
rights wait), not-attested (with --not-attested-since), administrator (information: who may give rights).
Exit codes: 0 nothing to mend, 1 something, 2 wrong usage, 3 it can't be told.")]
pub struct Review {
    /// Only these findings
    #[arg(long, value_name = "FINDING", value_delimiter = ',')]
    only: Vec<String>,
    /// Also every rbac that nobody attested since then, or that gives more than it did: 90d, 2026-11-01
    #[arg(long, value_name = "TIME")]
    not_attested_since: Option<String>,
    /// Reviews the state after an event (its seq), or at a moment; what was never used is not told of the past
    #[arg(long, value_name = "SEQ|TIME")]
    at: Option<String>,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Plain,
}

impl Review {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let only = (!self.only.is_empty()).then(|| self.only.join(","));
        let asked = ReviewQuestion { only, not_attested_since: self.not_attested_since, at: self.at };
        let told = session.client.review(&asked).await.map_err(|error| failed(error).or_code(OTHER))?;
        out::print(&shown(&told, self.output, table))?;
        notes(&told);
        exit_unless(!told.to_mend)
    }
}

fn notes(told: &Answer) {
    match &told.usage {
        Some(usage) => {
            let since = usage
                .audit_since
                .map_or_else(|| "has no entry yet".to_owned(), |at| format!("reaches back to {}", format::moment(at)));
            out::note(&format!(
                "note: the audit log {since} ({} entries); changes are known from the first",
                usage.audit_entries
            ));
        }
        None => {
            out::note("note: what was never used is not told: that takes the operation audit, and the newest state")
        }
    }
    if !told.complete {
        out::note("note: there is more, which you may not view or which does not fit");
    }
}

fn table(told: &Answer) -> String {
    if told.findings.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["FINDING", "WHO", "RIGHT", "SOURCE", "SEQ", "SINCE", "BY", "WHY", "ATTESTED"]);
    told.findings.iter().for_each(|finding| table.row(row(finding)));
    table.render()
}

fn row(finding: &Finding) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        finding.finding.clone(),
        finding.subject.clone(),
        or_dash(finding.right.as_ref().map(|right| format::shortened(right, RIGHTS_SHOWN))),
        or_dash(finding.source.clone()),
        or_dash(finding.seq.map(|seq| seq.to_string())),
        or_dash(finding.at.map(format::moment)),
        or_dash(finding.by.as_ref().map(ToString::to_string)),
        finding.says.clone(),
        or_dash(finding.attested.as_ref().map(attested)),
    ]
}

fn attested(made: &Attestation) -> String {
    let outdated = if made.outdated { ", and it gives more since" } else { "" };
    format!("{} by {}{outdated}", format::moment(made.at), made.by)
}
