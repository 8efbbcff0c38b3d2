//! `mcpctl audit replay`: was everything that was done and decided allowed when it was?
use std::path::PathBuf;

use mcpctl_api::replay_wire::{NotProved, ReplayLine, ReplayReport, ReplayRequest, Replayed};

use super::question::shown;
use crate::failure::{Done, FAILED, Failure};
use crate::format::{self, Plain};
use crate::out;
use crate::session::Global;
use crate::table::Table;

/// Decides every mutation and every recorded call again, and says the first that was not allowed
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl audit replay
  mcpctl audit replay --from 7d -o json
  mcpctl audit replay --data-dir /mnt/copy-of-data

Each event of the log is decided again in the state before it, by the command that left it; each call, refusal and look
of the audit log in the state that it names. With --data-dir the logs are read from a folder without a control plane:
nothing in it is locked or changed, so that it can be a copy, read-only.

Exit codes: 0 everything is proved, 1 something is not, or a log can't be read.")]
pub struct Replay {
    /// Not before: a seq, a moment, a date, or how long ago, such as 7d
    #[arg(long, value_name = "SEQ|TIME")]
    from: Option<String>,
    /// Not after
    #[arg(long, value_name = "SEQ|TIME")]
    to: Option<String>,
    /// Reads the logs in this data folder, or a copy of one, instead of asking the control plane
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    data_dir: Option<PathBuf>,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Plain,
}

impl Replay {
    pub async fn run(self, global: &Global) -> Done {
        let asked = ReplayRequest { from: self.from.clone(), to: self.to.clone() };
        let report = match &self.data_dir {
            None => global.session()?.client.audit_replay(&asked, &mut |line| tell(line)).await?,
            Some(folder) => offline(folder.clone(), asked).await?,
        };
        out::print(&shown(&report, self.output, |report| {
            let findings = [&report.mutations, &report.decisions].map(|log| log.findings.len()).iter().sum::<usize>();
            let table = if findings == 0 { String::new() } else { table(report).render() };
            format!("{}{table}", summary(report))
        }))?;
        if report.proved() { Ok(()) } else { Err(Failure::silent(FAILED)) }
    }
}

/// Reading and folding takes a while and must not hold up the signals.
async fn offline(folder: PathBuf, asked: ReplayRequest) -> Done<ReplayReport> {
    if !folder.join("log").is_dir() {
        let what = format!("{} is no data folder: it has no folder `log`", folder.display());
        return Err(Failure::usage(what).hint("name the folder that `mcpctl up --data-dir` or mcpd was given"));
    }
    let work = tokio::task::spawn_blocking(move || {
        mcpctl_api::server::replay::offline(&folder, &asked, &mut |line| {
            tell(&line);
            true
        })
    });
    let told = work.await.map_err(|error| Failure::new(format!("the replay failed: {error}")))?;
    told.map_err(|error| Failure::new(mcpctl_api::server::process::chain(&error)))
}

fn tell(line: &ReplayLine) {
    if let ReplayLine::Progress { phase, done, of } = line {
        let of = if *of == 0 { String::new() } else { format!(" of {of}") };
        out::note(&format!("{phase}: {done}{of}"));
    }
}

/// Two lines: one for each log.
fn summary(report: &ReplayReport) -> String {
    let line = |what: &str, log: &Replayed, took_ms: u64| {
        let verdict = match log.not_proved {
            0 => "all proved".to_owned(),
            some => format!("{some} NOT PROVED"),
        };
        let undecided = match log.undecided {
            0 => String::new(),
            some => format!(", {some} without a decision that could be made again"),
        };
        format!("{what}: {} decided again, {verdict}{undecided} ({took_ms} ms)\n", log.checked)
    };
    format!(
        "{}{}",
        line("mutations", &report.mutations, report.mutations_ms),
        line("decisions", &report.decisions, report.decisions_ms)
    )
}

fn table(report: &ReplayReport) -> Table {
    let mut table = Table::new(["LOG", "POSITION", "SEQ", "WHEN", "WHO", "WHAT", "WHY"]);
    for (log, replayed) in [("config", &report.mutations), ("audit", &report.decisions)] {
        for NotProved { position, seq, at, actor, what, why } in &replayed.findings {
            table.row(vec![
                log.to_owned(),
                position.to_string(),
                seq.to_string(),
                format::moment(*at),
                actor.clone().unwrap_or_else(|| "-".to_owned()),
                what.clone(),
                why.clone(),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_proved_stands_out() {
        let bad = Replayed { checked: 7, undecided: 2, not_proved: 1, ..Replayed::default() };
        let report = ReplayReport { decisions: bad, mutations_ms: 3, ..ReplayReport::default() };
        let expected = "mutations: 0 decided again, all proved (3 ms)\ndecisions: 7 decided again, 1 NOT PROVED, 2 without a decision that could be made again (0 ms)\n";
        assert_eq!(summary(&report), expected);
    }
}
