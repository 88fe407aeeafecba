//! What was found, as tables and plots.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::FOREBAY;
use crate::lab::Load;
use crate::lab::plot::{self, Bar};
use crate::lab::statistics::Interval;

/// What the node promises, as a share of the other's CPU per request.
const PROMISES: [(&str, Run, f64); 3] =
    [("nginx", Run::Full("1"), 0.60), ("axum", Run::Full("1"), 0.45), ("nginx", Run::Full("16"), 0.20)];
/// Levels of the 202: the node's own rows.
const OURS: [&str; 4] = ["queued", "written", "synced", "confirmed"];

/// How a server is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Run {
    /// With all that the connections give, each with so many requests at once.
    Full(&'static str),
    /// With so many percent of its own limit.
    Part(u8),
}

impl Run {
    pub(crate) const FULL: [Self; 2] = [Self::Full("1"), Self::Full("16")];

    pub(crate) fn parts() -> [Self; 2] {
        [Self::Part(50), Self::Part(80)]
    }

    pub(crate) fn depth(self) -> &'static str {
        let Self::Full(depth) = self else { unreachable!("a part of the limit is sent one by one") };
        depth
    }

    pub(crate) fn share(self) -> f64 {
        let Self::Part(percent) = self else { unreachable!("full load has no rate") };
        f64::from(percent) / 100.0
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(depth) => write!(f, "depth {depth}"),
            Self::Part(percent) => write!(f, "{percent} % of its limit"),
        }
    }
}

/// One of the figures of a run.
type Figure = fn(&Load) -> f64;

/// All runs.
#[derive(Default)]
pub(crate) struct Found {
    loads: BTreeMap<(Run, &'static str), Vec<Load>>,
    /// The most that each has held.
    pub(crate) memory_bytes: BTreeMap<&'static str, u64>,
}

impl Found {
    pub(crate) fn add(&mut self, run: Run, name: &'static str, load: Load) {
        self.loads.entry((run, name)).or_default().push(load);
    }

    /// What each takes one by one in its worst round, requests a second.
    pub(crate) fn limits(&self) -> BTreeMap<&'static str, f64> {
        let full = self.loads.iter().filter(|((run, _), _)| *run == Run::FULL[0]);
        full.map(|((_, name), loads)| {
            (*name, loads.iter().map(|load| load.rate).fold(f64::INFINITY, f64::min))
        })
        .collect()
    }

    fn column(&self, run: Run, name: &'static str, of: Figure) -> Vec<f64> {
        self.loads[&(run, name)].iter().map(of).collect()
    }

    fn cell(&self, run: Run, name: &'static str, of: Figure) -> Interval {
        Interval::of_median(&self.column(run, name, of))
    }

    /// Forebay's as a share of another's.
    fn share(&self, run: Run, name: &'static str, of: Figure) -> Interval {
        Interval::of_ratios(&self.column(run, FOREBAY, of), &self.column(run, name, of))
    }

    pub(crate) fn print(&self, names: &[&'static str]) {
        println!(
            "\n| depth | server | CPU µs/request, server thread | all threads | requests/s | p50 µs | p99 µs |"
        );
        println!("|---|---|---|---|---|---|---|");
        for run in Run::FULL {
            for name in names {
                println!(
                    "| {} | {name} | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} |",
                    run.depth(),
                    self.cell(run, name, |load| load.server_us),
                    self.cell(run, name, |load| load.process_us),
                    self.cell(run, name, |load| load.rate),
                    self.cell(run, name, |load| load.p50_us),
                    self.cell(run, name, |load| load.p99_us),
                );
            }
        }
        println!("\n| depth | Forebay's CPU per request as a share of | server thread | all threads |");
        println!("|---|---|---|---|");
        for run in Run::FULL {
            for name in names.iter().filter(|name| !OURS.contains(name)) {
                println!(
                    "| {} | {name} | {:.3} | {:.3} |",
                    run.depth(),
                    self.share(run, name, |load| load.server_us),
                    self.share(run, name, |load| load.process_us)
                );
            }
        }
        println!("\n| server | load | requests/s | p50 µs | p99 µs | p99.9 µs | peak memory, MiB |");
        println!("|---|---|---|---|---|---|---|");
        for name in names {
            for run in Run::parts() {
                println!(
                    "| {name} | {run} | {:.0} | {:.0} | {:.0} | {:.0} | {} |",
                    self.cell(run, name, |load| load.rate).median,
                    self.cell(run, name, |load| load.p50_us),
                    self.cell(run, name, |load| load.p99_us),
                    self.cell(run, name, |load| load.p999_us),
                    self.memory_bytes[name] >> 20,
                );
            }
        }
        println!();
        for (name, run, promise) in PROMISES {
            let found = self.share(run, name, |load| load.server_us);
            let verdict = if found.median <= promise { "kept" } else { "MISSED" };
            println!("at most {promise:.2} of {name} at {run}: {found:.3}, {verdict}");
        }
    }

    pub(crate) fn plot(&self, root: &Path) {
        let folder = plot::folder(root);
        let charts: [(&str, &str, Run, Figure); 4] = [
            ("peers-cpu.svg", "CPU per request, all threads, µs", Run::Full("1"), |load| load.process_us),
            ("peers-cpu-16.svg", "CPU per request, 16 deep, all threads, µs", Run::Full("16"), |load| {
                load.process_us
            }),
            ("peers-rate.svg", "requests a second on one CPU", Run::Full("1"), |load| load.rate),
            ("peers-p99.svg", "p99 at half of each one's own limit, µs", Run::Part(50), |load| load.p99_us),
        ];
        for (file, title, run, of) in charts {
            let title = format!("{title} (logarithmic)");
            let rows = self.loads.keys().filter(|(of_run, _)| *of_run == run).map(|(_, name)| *name);
            let mut bars: Vec<Bar> = rows
                .map(|name| {
                    let is_ours = OURS.contains(&name);
                    let shown = if is_ours { format!("forebay, {name}") } else { name.to_owned() };
                    Bar { name: shown, value: self.cell(run, name, of), is_ours }
                })
                .collect();
            bars.sort_by(|one, other| one.value.median.total_cmp(&other.value.median));
            plot::write_bars(&folder, file, &title, true, &bars);
        }
    }
}
