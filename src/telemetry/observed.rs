//! What nobody counts, and what is therefore looked at: once a second, by the operators' thread.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::Mutex;

/// What the process and its threads use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPUs that each thread used since the look before, by its name; see [`ThreadTimes`].
    pub threads: BTreeMap<String, f64>,
    /// CPU time of the process, user and system.
    pub cpu: Duration,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

/// What was seen at the last look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// What the process and its threads use.
    pub usage: Usage,
    /// Age of the oldest event that is neither confirmed nor parked; 0 if there is none.
    pub oldest_pending: Duration,
}

/// The last look, for those who show it.
#[derive(Debug, Default)]
pub struct SharedObserved(Mutex<Observed>);

impl SharedObserved {
    /// The last look.
    pub fn last(&self) -> Observed {
        self.0.lock().clone()
    }

    /// A new look.
    pub fn replace(&self, observed: Observed) {
        *self.0.lock() = observed;
    }
}

/// A thread at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadTime {
    /// Its number; that of the main thread is the process's.
    pub id: u32,
    /// Its name, cut to 15 bytes by the kernel.
    pub name: String,
    /// CPU time so far, user and system.
    pub cpu: Duration,
}

impl ThreadTime {
    /// Reads `/proc/<pid>/task/<id>/stat`, proc(5), whose times are counted in `tick`.
    pub fn parse(stat: &str, tick: Duration) -> Option<Self> {
        // The name may hold anything, parentheses included.
        let (start, rest) = stat.rsplit_once(") ")?;
        let (id, name) = start.split_once(" (")?;
        // The state is field 3; utime and stime are 14 and 15.
        let mut times = rest.split(' ').skip(11);
        let mut ticks = || times.next()?.parse::<u32>().ok();
        let cpu = tick * ticks()? + tick * ticks()?;
        Some(Self { id: id.parse().ok()?, name: name.to_owned(), cpu })
    }
}

/// Finds out which thread was how busy, from what each has used in total.
///
/// Reactors are left out, for they say it of themselves, more exactly. The main thread is called `operators`; the kernel's workers, which do a
/// ring's blocking writes, are one (`iou-wrk`), and so are all threads that have no name of ours (`other`).
#[derive(Debug, Default)]
pub struct ThreadTimes {
    /// When it was looked last, monotonic.
    looked: Option<Duration>,
    cpu: HashMap<u32, Duration>,
    /// Names that were shown once: a thread that is gone is not busy.
    shown: BTreeMap<String, f64>,
}

impl ThreadTimes {
    /// A look at `now` (monotonic) at all threads of the process `process`; what each used since the look before.
    pub fn look(
        &mut self,
        now: Duration,
        process: u32,
        threads: impl IntoIterator<Item = ThreadTime>,
    ) -> BTreeMap<String, f64> {
        let elapsed = self.looked.replace(now).map(|looked| now.saturating_sub(looked));
        for name in ["iou-wrk", "other"] {
            self.shown.entry(name.to_owned()).or_default();
        }
        self.shown.values_mut().for_each(|busy| *busy = 0.0);
        let before = std::mem::take(&mut self.cpu);
        for ThreadTime { id, name, cpu } in threads {
            self.cpu.insert(id, cpu);
            let Some(name) = shown_name(&name, id == process) else { continue };
            let busy = self.shown.entry(name.to_owned()).or_default();
            // One that was not there at the look before has used everything since.
            let used = cpu.saturating_sub(before.get(&id).copied().unwrap_or_default());
            if let Some(elapsed) = elapsed.filter(|elapsed| !elapsed.is_zero()) {
                *busy += used.div_duration_f64(elapsed);
            }
        }
        self.shown.clone()
    }
}

/// What a thread is called where it is shown, if it is.
fn shown_name(name: &str, is_main: bool) -> Option<&str> {
    match name {
        _ if is_main => Some("operators"),
        "forwarder" | "keeper" => Some(name),
        _ if name.starts_with("reactor-") => None,
        _ if name.starts_with("pool-") => Some(name),
        _ if name.starts_with("iou-wrk-") => Some("iou-wrk"),
        _ => Some("other"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(10);

    #[test]
    fn a_threads_line_is_read_whatever_its_name() {
        let rest = "S 1 2 3 0 -1 4194304 10 0 0 0 150 50 7 8 20 0 3 0 12345 1 2";
        for name in ["keeper", "a) S (b", "", "two words"] {
            let stat = format!("4711 ({name}) {rest}");
            let thread = ThreadTime { id: 4711, name: name.to_owned(), cpu: Duration::from_secs(2) };
            assert_eq!(ThreadTime::parse(&stat, TICK), Some(thread));
        }
        for bad in ["", "1 (a) S 1", "x (a) S 1 2 3 0 -1 0 0 0 0 0 1 1", "1 (a) S 1 2 3 0 -1 0 0 0 0 0 1 x"] {
            assert_eq!(ThreadTime::parse(bad, TICK), None, "{bad}");
        }
    }

    fn thread(id: u32, name: &str, ms: u64) -> ThreadTime {
        ThreadTime { id, name: name.to_owned(), cpu: Duration::from_millis(ms) }
    }

    fn busy(shown: &BTreeMap<String, f64>) -> Vec<(&str, f64)> {
        shown.iter().map(|(name, busy)| (name.as_str(), *busy)).collect()
    }

    #[test]
    fn a_thread_was_busy_for_what_it_used_since_the_look_before() {
        let mut times = ThreadTimes::default();
        let first = [thread(1, "forebay", 5000), thread(2, "reactor-0", 9000), thread(3, "keeper", 100)];
        let shown = times.look(Duration::from_secs(10), 1, first);
        assert_eq!(busy(&shown), [("iou-wrk", 0.0), ("keeper", 0.0), ("operators", 0.0), ("other", 0.0)]);
        let second = [
            thread(1, "forebay", 5500),
            thread(2, "reactor-0", 11_000),
            thread(3, "keeper", 600),
            thread(4, "iou-wrk-2", 250),
            thread(5, "iou-wrk-3", 250),
            thread(6, "tokio-rt-worker", 1000),
        ];
        let shown = times.look(Duration::from_secs(12), 1, second);
        assert_eq!(busy(&shown), [("iou-wrk", 0.25), ("keeper", 0.25), ("operators", 0.25), ("other", 0.5)]);
        let third = [thread(1, "forebay", 5500), thread(6, "tokio-rt-worker", 1000)];
        let shown = times.look(Duration::from_secs(13), 1, third);
        assert_eq!(busy(&shown), [("iou-wrk", 0.0), ("keeper", 0.0), ("operators", 0.0), ("other", 0.0)]);
    }
}
