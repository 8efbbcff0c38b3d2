//! The results as Markdown, with the facts of the machine they were found on.
use std::fs;

use crate::Line;
use crate::load::Sample;
use crate::targets::{Era, Start, Target};

/// All samples of one target, size of answer and number of connections.
pub struct Cell {
    target: &'static str,
    size: &'static str,
    connections: usize,
    pub samples: Vec<Sample>,
}

impl Cell {
    pub fn new(target: &'static str, size: &'static str, connections: usize) -> Self {
        Self { target, size, connections, samples: Vec::new() }
    }

    pub fn is(&self, target: &str, size: &str, connections: usize) -> bool {
        self.target == target && self.size == size && self.connections == connections
    }

    fn median(&self, figure: impl Fn(&Sample) -> f64) -> f64 {
        let mut all: Vec<f64> = self.samples.iter().map(figure).collect();
        all.sort_unstable_by(f64::total_cmp);
        all[all.len() / 2]
    }
}

/// Prints everything.
pub fn print(targets: &[Target], lines: &[Line], cells: &[Cell], start: &Start, era: Era, rounds: usize, seconds: f64) {
    println!("{}", machine());
    println!("{rounds} interleaved rounds of {seconds} s, medians; {era:?} clients; audit on; nginx with one worker.");
    println!("CPU is that of the process in the middle alone (not of the load generator or the upstream).\n");
    println!(
        "| what | connections | target | calls/s | p50 µs | p99 µs | CPU µs/call | × nginx calls/s | resident MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for line in lines {
        let of = |target: &str| cells.iter().find(|c| c.is(target, line.name, line.connections));
        for target in targets {
            if let Some(cell) = of(target.name) {
                row(cell, of("nginx"));
            }
        }
    }
    println!();
    if !targets.iter().any(|t| t.name == "nginx") {
        println!("nginx is not installed here, so its rows are missing.");
    }
    for target in targets.iter().filter(|t| t.name != "direct") {
        println!("- {} idle: {:.1} MiB resident", target.name, target.idle_kib as f64 / 1024.0);
    }
    let ms = |d: std::time::Duration| d.as_secs_f64() * 1e3;
    println!(
        "- `up` on an empty folder: ready after {:.0} ms, first call served after {:.0} ms; a second start is \
              ready after {:.0} ms",
        ms(start.ready),
        ms(start.first_call),
        ms(start.again)
    );
    let size = fs::metadata(crate::program()).map_or(0, |m| m.len());
    println!("- size of `mcpctl`: {:.1} MiB", size as f64 / 1024.0 / 1024.0);
}

/// Prints what the audit log costs: CPU of a call with it and without.
pub fn print_audit(lines: &[Line], cells: &[Cell], era: Era, rounds: usize, seconds: f64) {
    println!("{}", machine());
    println!("{rounds} interleaved rounds of {seconds} s, medians; {era:?} clients.\n");
    println!("| what | connections | CPU µs/call, audit on | audit off | audit costs | calls/s on | off |");
    println!("|---|---|---|---|---|---|---|");
    for line in lines {
        let of =
            |target: &str| cells.iter().find(|c| c.is(target, line.name, line.connections)).expect("both are measured");
        let (on, off) = (of("audit on"), of("audit off"));
        let [cpu_on, cpu_off] = [on, off].map(|cell| cell.median(Sample::cpu_us_per_call));
        let [rate_on, rate_off] = [on, off].map(|cell| cell.median(Sample::calls_per_second));
        let costs = (cpu_on / cpu_off - 1.0) * 100.0;
        println!(
            "| {} | {} | {cpu_on:.1} | {cpu_off:.1} | {costs:.0} % | {rate_on:.0} | {rate_off:.0} |",
            line.name, line.connections
        );
    }
}

fn row(cell: &Cell, nginx: Option<&Cell>) {
    let rate = cell.median(Sample::calls_per_second);
    let ratio = nginx.map_or_else(|| "–".into(), |n| format!("{:.2}", rate / n.median(Sample::calls_per_second)));
    let cpu = match cell.target {
        "direct" => "–".into(),
        _ => format!("{:.1}", cell.median(Sample::cpu_us_per_call)),
    };
    println!(
        "| {} | {} | {} | {rate:.0} | {:.0} | {:.0} | {cpu} | {ratio} | {:.1} |",
        cell.size,
        cell.connections,
        cell.target,
        cell.median(|s| s.quantile_us(0.50)),
        cell.median(|s| s.quantile_us(0.99)),
        cell.median(|s| s.resident_kib as f64 / 1024.0),
    );
}

/// Processor, cores, memory, kernel, compiler profile.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: String, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).map(str::to_owned).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    format!(
        "Machine: {}; {} cores; memory {}; Linux {}; {} build of mcpctl {}.",
        field(read("/proc/cpuinfo"), "model name"),
        std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        field(read("/proc/meminfo"), "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim(),
        if cfg!(debug_assertions) { "debug" } else { "release" },
        env!("CARGO_PKG_VERSION"),
    )
}
