//! `tools/call` through the gateway against the same upstream directly and through nginx, side by side in one run.
//!
//! `cargo bench -p mcpctl-cli --bench gateway` prints Markdown for `docs/benchmarks.md`. Rounds are interleaved, so that
//! what else the machine does hits every target alike; CPU per call is the figure to trust where cores are shared.
//! nginx is left out, and the table says so, where it is not installed. Environment: `BENCH_ROUNDS`, `BENCH_SECONDS`
//! (of one measurement), `BENCH_ERA` (`modern` or `legacy`), `BENCH_MCPCTL` (another build of the program under test).
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod load;
mod report;
mod targets;
mod upstream;

use std::time::Duration;

use load::{Load, Sample};
use report::Cell;
use targets::{Era, Target};

/// Connections that are busy at the same time.
const CONNECTIONS: [usize; 3] = [1, 16, 64];

/// Tools of the upstream, each named for the size of its answer.
const TOOLS: [(&str, &str); 2] = [("small", "100 B"), ("large", "64 KiB")];

fn main() {
    if std::env::args().any(|argument| argument == "--upstream") {
        return upstream::serve();
    }
    let rounds: usize = setting("BENCH_ROUNDS", "5").parse().expect("BENCH_ROUNDS is a number");
    let seconds: f64 = setting("BENCH_SECONDS", "1").parse().expect("BENCH_SECONDS is a number");
    let era = if setting("BENCH_ERA", "modern") == "legacy" { Era::Legacy } else { Era::Modern };
    let upstream = targets::start_upstream();
    let (gateway, start) = targets::start_gateway(&upstream.url, era);
    let nginx = targets::start_nginx(upstream.address, era);
    let targets: Vec<Target> = [Some(upstream), nginx, Some(gateway)].into_iter().flatten().collect();
    let cells = measure(&targets, rounds, Duration::from_secs_f64(seconds));
    report::print(&targets, &cells, &start, era, rounds, seconds);
}

/// The program under test.
fn program() -> String {
    setting("BENCH_MCPCTL", env!("CARGO_BIN_EXE_mcpctl"))
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// Every cell of the table in every round; the order of the targets turns from round to round.
fn measure(targets: &[Target], rounds: usize, long: Duration) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for round in 0..rounds {
        for (tool, size) in TOOLS {
            for connections in CONNECTIONS {
                for turn in 0..targets.len() {
                    let target = &targets[(turn + round) % targets.len()];
                    let sample = measure_one(target, tool, connections, long);
                    eprintln!("round {round} {} {size} {connections}: {:.0}/s", target.name, sample.calls_per_second());
                    let place = cells.iter().position(|c| c.is(target.name, size, connections));
                    let place = place.unwrap_or_else(|| {
                        cells.push(Cell::new(target.name, size, connections));
                        cells.len() - 1
                    });
                    cells[place].samples.push(sample);
                }
            }
        }
    }
    cells
}

fn measure_one(target: &Target, tool: &str, connections: usize, long: Duration) -> Sample {
    let load = Load { address: target.address, request: target.call(tool), connections };
    load.run(Duration::from_millis(200), target.pid());
    let mut sample = load.run(long, target.pid());
    sample.resident_kib = targets::resident_kib(target.pid());
    sample
}
