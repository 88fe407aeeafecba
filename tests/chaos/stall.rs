//! A disk that stalls keeps those who need nothing of it from nothing.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use tempfile::TempDir;

use crate::disk::{is_root, mount, run, unmount};
use crate::is_speed_judged;
use crate::support::{Broker, Http, Loadtest, Node, await_true};

/// The last one is longer than ext4 lets its journal wait: it has something to commit, which writes may have to wait for.
const STALLS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(1), Duration::from_secs(6)];
/// How long the answers of others may take, 99 of 100 of them.
const P99_MAX: Duration = Duration::from_millis(50);
/// From one question to the next.
const PACE: Duration = Duration::from_millis(5);

/// A file system on a device whose writes can be made to wait: the device is a file on another file system, which can be frozen.
struct StallingDisk {
    below: TempDir,
    above: TempDir,
}

impl StallingDisk {
    fn mount() -> Self {
        let (below, above) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let image = below.path().with_extension("image");
        make(&image, 1 << 30);
        mount(&["-o", "loop"], &image, below.path());
        // The mount holds it.
        std::fs::remove_file(&image).expect("it was made");
        let inner = below.path().join("image");
        make(&inner, 768 << 20);
        mount(&["-o", "loop"], &inner, above.path());
        Self { below, above }
    }

    fn stall(&self, how_long: Duration) {
        run("fsfreeze", &["--freeze".as_ref(), self.below.path()]);
        let since = Instant::now();
        await_true("the end of the stall", || since.elapsed() >= how_long);
        run("fsfreeze", &["--unfreeze".as_ref(), self.below.path()]);
    }
}

impl Drop for StallingDisk {
    fn drop(&mut self) {
        unmount(self.above.path());
        unmount(self.below.path());
    }
}

fn make(image: &Path, bytes: u64) {
    std::fs::File::create(image).and_then(|file| file.set_len(bytes)).expect("a file");
    run("mkfs.ext4", &["-q".as_ref(), image]);
}

#[test]
fn while_the_disk_stalls_others_get_their_answers() {
    if !is_root() || !Path::new("/dev/loop-control").exists() {
        eprintln!("no disk can be made to stall here");
        return;
    }
    // What is timed has the machine for itself.
    let _alone = Broker::chaos();
    for level in ["written", "synced"] {
        let disk = StallingDisk::mount();
        let journal = disk.above.path().join("journal");
        let journal = journal.to_str().expect("a plain path");
        let node = Node::alone(&[
            "--reactors",
            "1",
            "--ack",
            level,
            "--journal-dir",
            journal,
            "--journal-max",
            "512MiB",
        ]);
        let app = node.app("stall");
        let load = Loadtest { node: &node, app: &app };
        let running = load.start(&["--duration", "10m", "--connections", "16", "--rate", "2000"]);
        let accepted = || node.metric("forebay_events_accepted_total");
        await_true("the load", || accepted() > 1000);
        let (going_on, end) = bounded::<()>(0);
        let (refusals, health) = thread::scope(|scope| {
            let refusals = scope.spawn(|| {
                ask(&node, &end, |http| assert_eq!(http.post("/v1/events", &[], b"{}").status, 401))
            });
            let health = scope.spawn(|| ask(&node, &end, |http| assert_eq!(http.get("/livez").status, 200)));
            for stall in STALLS {
                disk.stall(stall);
                let count = accepted();
                await_true("the flow is back", || accepted() > count + 2000);
            }
            drop(going_on);
            (refusals.join().expect("answers"), health.join().expect("answers"))
        });
        let report = running.stop();
        for (what, mut times) in [("refusals", refusals), ("health", health)] {
            times.sort_unstable();
            let (p50, p99, max) =
                (times[times.len() / 2], times[times.len() * 99 / 100], times[times.len() - 1]);
            eprintln!("{level}, {} {what}: p50 {p50:.2?}, p99 {p99:.2?}, max {max:.2?}", times.len());
            assert!(p99 < P99_MAX || !is_speed_judged(), "{what} waited for the disk: {p99:?}");
        }
        assert_eq!(report["accepted"].as_u64(), Some(node.metric("forebay_events_pending")), "{report}");
    }
}

/// Asks again and again; how long after their time the answers were there.
fn ask(node: &Node, end: &Receiver<()>, question: impl Fn(&mut Http)) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut http = node.http();
    let mut at = Instant::now();
    while end.recv_deadline(at) == Err(RecvTimeoutError::Timeout) {
        question(&mut http);
        // Not since it was sent: a question that waits makes those behind it late.
        times.push(at.elapsed());
        at += PACE;
    }
    times
}
