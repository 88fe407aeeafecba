//! How many instructions each piece of an event's way takes, beside the counts that were accepted: `scripts/instructions`.
//!
//! Counts do not depend on how busy the machine is, so that a few percent more are told from noise. They are callgrind's, in user space: the same
//! piece once `FEW` and once `MANY` times, each in a process of its own, so that starting up and warming up cancel out. They do depend on the
//! compiler and on the CPU features that are chosen at run time (`simd-json`, `crc32c`, `ring`, `memchr`), as valgrind shows them to the process:
//! both are kept with the counts, and with others nothing can be said.

#[path = "../../pieces/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the micro-benchmarks, of which this needs a part")]
mod pieces;
mod surroundings;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread::ScopedJoinHandle;

use serde::{Deserialize, Serialize};
use surroundings::Surroundings;

const COUNTS_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/counts.json");
/// How far a count may be from the accepted one.
const PERCENT_MAX: f64 = 3.0;
/// Beyond the first times, in which memory is taken that serves again later.
const FEW: u64 = 200;
const MANY: u64 = 1200;

/// What was accepted.
#[derive(Deserialize, Serialize)]
struct Accepted {
    /// Where the counts hold.
    surroundings: Surroundings,
    /// Instructions of a piece, once.
    counts: BTreeMap<String, u64>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(),
        ["--accept"] => accept(),
        ["--surroundings"] => {
            println!("{}", Surroundings::seen_here().features);
            ExitCode::SUCCESS
        }
        ["--work", name, times] => {
            work(name, times.parse().expect("a number of times"));
            ExitCode::SUCCESS
        }
        _ => panic!("usage: scripts/instructions [--accept]"),
    }
}

/// What runs below valgrind.
fn work(name: &str, times: u64) {
    let mut piece = pieces::pieces().into_iter().find(|piece| piece.name == name).expect("a piece");
    for _ in 0..times {
        (piece.work)();
    }
}

fn accept() -> ExitCode {
    let accepted = Accepted { surroundings: Surroundings::below_valgrind(), counts: count_all() };
    let text = serde_json::to_string_pretty(&accepted).expect("names and numbers");
    fs::write(COUNTS_FILE, text + "\n").expect("the file can be written");
    for (name, count) in accepted.counts {
        println!("{count:>10}  {name}");
    }
    println!("accepted: see {COUNTS_FILE}");
    ExitCode::SUCCESS
}

fn compare() -> ExitCode {
    let text = fs::read_to_string(COUNTS_FILE).expect("counts that were accepted");
    let accepted: Accepted = serde_json::from_str(&text).expect("counts.json is as --accept writes it");
    let here = Surroundings::below_valgrind();
    if let Some(difference) = accepted.surroundings.difference_to(&here) {
        println!("skipped: the accepted counts hold elsewhere ({difference})");
        println!(
            "`scripts/instructions --accept` counts anew and keeps that, if this is where it is to be checked."
        );
        return ExitCode::SUCCESS;
    }
    let counts = count_all();
    let mut is_within = counts.keys().eq(accepted.counts.keys());
    if !is_within {
        println!("other pieces were counted than accepted");
    }
    println!("  accepted       found");
    for (name, found) in counts {
        let Some(expected) = accepted.counts.get(&name) else {
            println!("{:>10}  {found:>10}          {name}", "-");
            continue;
        };
        #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let percent = (found as f64 / *expected as f64 - 1.0) * 100.0;
        let is_off = percent.abs() > PERCENT_MAX;
        is_within &= !is_off;
        let verdict = if is_off { "  OFF" } else { "" };
        println!("{expected:>10}  {found:>10}  {percent:>+6.1} %  {name}{verdict}");
    }
    if is_within {
        return ExitCode::SUCCESS;
    }
    println!(
        "\nMore than {PERCENT_MAX} % from what was accepted. If it is meant to be so: scripts/instructions --accept"
    );
    ExitCode::FAILURE
}

/// All at once: what is counted does not depend on what else runs.
fn count_all() -> BTreeMap<String, u64> {
    let folder = tempfile::tempdir().expect("a folder");
    let count = |name, times| count(&folder.path().join(format!("{name}.{times}")), name, times);
    std::thread::scope(|scope| {
        let names: Vec<&str> = pieces::pieces().into_iter().map(|piece| piece.name).collect();
        let counts = names.into_iter().map(|name| {
            let [few, many] = [FEW, MANY].map(|times| scope.spawn(move || count(name, times)));
            (name, few, many)
        });
        // Collected before the first is waited for.
        let counts: Vec<_> = counts.collect();
        let once = |few: u64, many: u64| (many - few) / (MANY - FEW);
        let join = |count: ScopedJoinHandle<'_, u64>| count.join().expect("it was counted");
        counts.into_iter().map(|(name, few, many)| (name.to_owned(), once(join(few), join(many)))).collect()
    })
}

/// Instructions of a process that does a piece so many times.
fn count(out: &Path, name: &str, times: u64) -> u64 {
    let own = std::env::current_exe().expect("a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", &format!("--callgrind-out-file={}", out.display())])
        .arg(own)
        .args(["--work", name, &times.to_string()])
        .output()
        .expect("valgrind is installed: scripts/install valgrind");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(out).expect("callgrind writes it");
    let total = text.lines().find_map(|line| line.strip_prefix("summary: ")).expect("a sum");
    total.trim().parse().expect("a number")
}
