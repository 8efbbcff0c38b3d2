//! `tools/call` through the gateway against the same upstream directly and through nginx, side by side in one run.
//!
//! `cargo bench -p mcpctl-cli --bench gateway` prints Markdown for `docs/benchmarks.md`. Rounds are interleaved, so that
//! what else the machine does hits every target alike; CPU per call is the figure to trust where cores are shared.
//! nginx is left out, and the table says so, where it is not installed. Environment: `BENCH_ROUNDS`, `BENCH_SECONDS`
//! (of one measurement), `BENCH_ERA` (`modern` or `legacy`), `BENCH_MCPCTL` (another build of the program under test),
//! `BENCH_ONLY=audit`: instead the gateway with its audit log and without.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod load;
mod report;
mod targets;
mod unrecorded;
mod upstream;

use std::path::Path;
use std::time::Duration;

use load::{Load, Sample, Work};
use report::Cell;
use targets::{Era, Target};

/// Connections that are busy at the same time.
const CONNECTIONS: [usize; 3] = [1, 16, 64];

/// Tools of the upstream, each named for the size of its answer.
const TOOLS: [(&str, &str); 3] = [("small", "100 B"), ("large", "64 KiB"), ("stream", "100 B as SSE")];

/// Servers that the long list of tools comes from, and tools of each.
const LISTED: (usize, usize) = (10, 100);

fn main() {
    if std::env::args().any(|argument| argument == "--upstream") {
        return upstream::serve();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, data, project, how] = &arguments[..]
        && flag == "--gateway"
    {
        return unrecorded::serve(Path::new(data), project, how == "recorded");
    }
    let rounds: usize = setting("BENCH_ROUNDS", "5").parse().expect("BENCH_ROUNDS is a number");
    let seconds: f64 = setting("BENCH_SECONDS", "1").parse().expect("BENCH_SECONDS is a number");
    let era = if setting("BENCH_ERA", "modern") == "legacy" { Era::Legacy } else { Era::Modern };
    let long = Duration::from_secs_f64(seconds);
    let upstream = targets::start_upstream();
    if setting("BENCH_ONLY", "") == "audit" {
        let targets = targets::start_audited_and_not(&upstream.url, era);
        let lines: Vec<Line> =
            works(era).into_iter().filter(|line| TOOLS[..2].iter().any(|(_, name)| *name == line.name)).collect();
        let cells = measure(&targets, &lines, rounds, long);
        return report::print_audit(&lines, &cells, era, rounds, seconds);
    }
    let (gateway, start) = targets::start_gateway(&upstream.url, era);
    let nginx = targets::start_nginx(upstream.address, era);
    let targets: Vec<Target> = [Some(upstream), nginx, Some(gateway)].into_iter().flatten().collect();
    let works = works(era);
    let cells = measure(&targets, &works, rounds, long);
    report::print(&targets, &works, &cells, &start, era, rounds, seconds);
}

/// The program under test.
fn program() -> String {
    setting("BENCH_MCPCTL", env!("CARGO_BIN_EXE_mcpctl"))
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// A line of the table: its name, the connections, and what each target is asked.
pub struct Line {
    pub name: &'static str,
    pub connections: usize,
    work: fn(&Target) -> Work,
}

fn works(era: Era) -> Vec<Line> {
    let calls: [fn(&Target) -> Work; 3] =
        [|t| Work::Ask(t.call(TOOLS[0].0)), |t| Work::Ask(t.call(TOOLS[1].0)), |t| Work::Ask(t.call(TOOLS[2].0))];
    let mut lines = Vec::new();
    for ((_, name), work) in TOOLS.into_iter().zip(calls) {
        lines.extend(CONNECTIONS.map(|connections| Line { name, connections, work }));
    }
    // A modern client has no session, and a legacy one needs one for its lists.
    let (name, work): (_, fn(&Target) -> Work) = match era {
        Era::Modern => ("tools/list, 1,000 tools of 10 servers", |t| Work::Ask(t.list())),
        Era::Legacy => ("session set up and ended", |t| Work::Session(t.session())),
    };
    lines.extend([1, 16].map(|connections| Line { name, connections, work }));
    lines
}

/// Every cell of the table in every round; the order of the targets turns from round to round.
fn measure(targets: &[Target], lines: &[Line], rounds: usize, long: Duration) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for round in 0..rounds {
        for line in lines {
            for turn in 0..targets.len() {
                let target = &targets[(turn + round) % targets.len()];
                let sample = measure_one(target, line, long);
                let Line { name, connections, .. } = line;
                eprintln!("round {round} {} {name} {connections}: {:.0}/s", target.name, sample.calls_per_second());
                let place = cells.iter().position(|c| c.is(target.name, name, *connections));
                let place = place.unwrap_or_else(|| {
                    cells.push(Cell::new(target.name, name, *connections));
                    cells.len() - 1
                });
                cells[place].samples.push(sample);
            }
        }
    }
    cells
}

fn measure_one(target: &Target, line: &Line, long: Duration) -> Sample {
    let load = Load { address: target.address, work: (line.work)(target), connections: line.connections };
    load.run(Duration::from_millis(200), target.pid());
    let mut sample = load.run(long, target.pid());
    sample.resident_kib = targets::resident_kib(target.pid());
    sample
}
