//! Holds what the architecture promises of the source itself: who may use whom, where `unsafe` is, who looks at clocks and files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules a module may use; all others are above it, or none of its business.
const EDGES: &[(&str, &[&str])] = &[
    ("amqp", &[]),
    ("backoff", &[]),
    ("clock", &[]),
    ("config", &[]),
    ("constant_time", &[]),
    ("remote", &[]),
    ("uring", &["clock"]),
    ("supervisor", &["uring"]),
    ("http", &["constant_time"]),
    ("auth", &["constant_time"]),
    ("event", &[]),
    ("journal", &[]),
    ("handoff", &["journal"]),
    ("telemetry", &["journal"]),
    ("wire", &["telemetry"]),
    ("api", &["auth", "clock", "config", "event", "http", "telemetry"]),
    (
        "reactor",
        &["api", "clock", "config", "event", "handoff", "http", "journal", "telemetry", "uring", "wire"],
    ),
    ("crash", &["clock", "telemetry"]),
    ("forward", &["amqp", "backoff", "clock", "config", "event", "handoff", "journal", "telemetry"]),
    ("fleet", &["amqp", "auth", "backoff", "clock", "telemetry"]),
    ("admin", &["auth", "clock", "fleet", "journal", "remote", "telemetry", "wire"]),
    (
        "node",
        &[
            "admin",
            "api",
            "auth",
            "clock",
            "config",
            "crash",
            "event",
            "fleet",
            "forward",
            "handoff",
            "journal",
            "reactor",
            "remote",
            "supervisor",
            "telemetry",
            "uring",
            "wire",
        ],
    ),
];
/// Those that may read a clock; all others take time as an argument. `clock` also does arithmetic, which anybody may use.
const CLOCK_READERS: &[&str] =
    &["clock.rs", "uring/", "forward/", "fleet/follow/", "admin/", "crash/", "node/", "cli/"];
/// Those that may touch the file system.
const FILE_USERS: &[&str] = &[
    "auth/file.rs",
    "auth/credentials.rs",
    "cli/journal/export.rs",
    "cli/remote.rs",
    "crash/files.rs",
    "forward/parking.rs",
    "forward/read_back.rs",
    "journal/disk.rs",
    "node/",
    "uring/support.rs",
];
/// The only places of `unsafe`.
const UNSAFE_PLACES: &[&str] = &["uring/buffers.rs", "uring/passed.rs", "uring/ring.rs"];

/// A source file: its path below `src`, and its lines without comments and tests.
struct Source {
    path: String,
    lines: Vec<String>,
}

fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the project") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("UTF-8");
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned());
                let path = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
                sources.push(Source { path, lines: lines.collect() });
            }
        }
    }
    assert!(!sources.is_empty(), "{folder} has sources");
    sources
}

/// The names that follow `prefix::` in a line, `prefix::{a, b}` included.
fn used(line: &str, prefix: &str) -> Vec<String> {
    line.match_indices(prefix)
        .flat_map(|(at, _)| {
            let rest = &line[at + prefix.len()..];
            let names = rest.strip_prefix('{').map_or(rest, |list| list.split('}').next().unwrap_or(list));
            let count = if rest.starts_with('{') { usize::MAX } else { 1 };
            names
                .split(',')
                .take(count)
                .map(|name| {
                    name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
                })
                .filter(|name| !name.is_empty())
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut seen = BTreeSet::new();
    for Source { path, lines } in sources("src") {
        let module = path.split(['/', '.']).next().expect("a name");
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == module) else {
            assert!(["main", "lib", "cli"].contains(&module), "{path}: add `{module}` to EDGES");
            continue;
        };
        for name in lines.iter().flat_map(|line| used(line, "crate::")) {
            assert!(name == module || allowed.contains(&name.as_str()), "{path} must not use {name}");
            seen.insert((module.to_owned(), name));
        }
    }
    for (module, allowed) in EDGES {
        for name in *allowed {
            let edge = ((*module).to_owned(), (*name).to_owned());
            assert!(seen.contains(&edge), "{module} does not use {name} any more: take it out of EDGES");
        }
    }
}

#[test]
fn the_load_tester_shares_the_ring_and_the_flags_types_alone() {
    for Source { path, lines } in sources("loadtest/src") {
        for name in lines.iter().flat_map(|line| used(line, "forebay::")) {
            assert!(["uring", "config"].contains(&name.as_str()), "{path} must not use {name}");
        }
    }
}

fn only_in(places: &[&str], signs: &[&str]) {
    let mut found = BTreeSet::new();
    for Source { path, lines } in sources("src") {
        let is_place = places.iter().find(|place| path.starts_with(**place));
        for line in &lines {
            if signs.iter().any(|sign| line.contains(sign)) {
                let place = is_place.unwrap_or_else(|| panic!("{path}: `{}` has no place here", line.trim()));
                found.insert(*place);
            }
        }
    }
    let unused: Vec<_> = places.iter().filter(|place| !found.contains(**place)).collect();
    assert!(unused.is_empty(), "{unused:?} have none of {signs:?} any more");
}

#[test]
fn unsafe_stays_where_memory_is_shared_with_the_kernel() {
    only_in(UNSAFE_PLACES, &["unsafe {", "unsafe fn", "unsafe impl"]);
}

#[test]
fn clocks_are_read_at_the_rim() {
    only_in(
        CLOCK_READERS,
        &[
            "clock::monotonic()",
            "clock::wall()",
            "clock::thread_cpu()",
            "clock::process_cpu()",
            "clock_gettime(",
            "Instant::now()",
        ],
    );
}

#[test]
fn files_are_touched_at_the_rim() {
    only_in(FILE_USERS, &["std::fs", "fs::", "File::open"]);
}
