//! What the process and its threads use, as the kernel counts it: proc(5).

use std::fs::{self, File};
use std::io::{self, Read};
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};

use crate::clock;
use crate::telemetry::{ThreadTime, ThreadTimes, Usage};

/// More than the line of a thread has.
const STAT_BYTES_MAX: usize = 1024;

/// Looks, and remembers what threads had used at the look before.
#[derive(Debug, Default)]
pub(super) struct Meter(ThreadTimes);

impl Meter {
    /// A look. What cannot be read is 0, or is missing among the threads: it is for people, and nothing depends on it.
    pub(super) fn look(&mut self) -> Usage {
        let threads = threads().unwrap_or_default();
        Usage {
            threads: self.0.look(clock::monotonic(), std::process::id(), threads),
            cpu: clock::process_cpu(),
            resident_bytes: resident_bytes().unwrap_or(0),
            descriptors: descriptors().unwrap_or(0),
        }
    }
}

fn threads() -> io::Result<Vec<ThreadTime>> {
    let tick = Duration::from_secs(1) / u32::try_from(clock_ticks_per_second()).expect("a hundred or so");
    let mut threads = Vec::new();
    for entry in fs::read_dir("/proc/self/task")? {
        // A thread may end between one look and the next.
        let Ok(stat) = entry.and_then(|entry| first_line(&entry.path().join("stat"))) else { continue };
        threads.extend(ThreadTime::parse(&stat, tick));
    }
    Ok(threads)
}

/// One read is enough, and half of what `read_to_string` would ask of the kernel.
fn first_line(path: &std::path::Path) -> io::Result<String> {
    let mut buffer = [0u8; STAT_BYTES_MAX];
    let count = File::open(path)?.read(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}

/// Since Linux 6.2 the folder's size is their number; before, they have to be counted.
fn descriptors() -> io::Result<u64> {
    match fs::metadata("/proc/self/fd")?.len() {
        0 => Ok(fs::read_dir("/proc/self/fd")?.count() as u64),
        count => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{TryRecvError, channel};

    use super::*;

    #[test]
    fn a_thread_that_works_is_busy_and_one_that_waits_is_not() {
        let (stop, stopped) = channel::<()>();
        let (wake, woken) = channel::<()>();
        let busy = std::thread::Builder::new().name("pool-7".to_owned()).spawn(move || {
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                std::hint::spin_loop();
            }
        });
        let waits = std::thread::Builder::new().name("keeper".to_owned()).spawn(move || woken.recv());
        let mut meter = Meter::default();
        meter.look();
        // Other tests run beside this one: it takes as long as it takes until the thread had some time.
        let usage = loop {
            std::thread::park_timeout(Duration::from_millis(100));
            let usage = meter.look();
            if usage.threads["pool-7"] > 0.05 {
                break usage;
            }
        };
        assert!(usage.threads["pool-7"] < 1.2, "{usage:?}");
        assert!(usage.threads["keeper"] < 0.05, "{usage:?}");
        assert!(usage.cpu >= Duration::from_millis(5) && usage.descriptors >= 3, "{usage:?}");
        assert!(usage.resident_bytes > 1 << 20, "{usage:?}");
        drop((stop, wake));
        busy.expect("a thread").join().expect("it ends");
        waits.expect("a thread").join().expect("it ends").expect_err("nobody sends");
    }
}
