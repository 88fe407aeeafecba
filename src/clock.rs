//! The three clocks. Only those at the rim read them (the driver, once a turn; the forwarder; the operators' listener); all else takes time as an argument.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Monotonic clock: for timers, the same for all threads.
pub fn monotonic() -> Duration {
    read(ClockId::Monotonic)
}

/// Wall clock, since the Unix epoch.
pub fn wall() -> Duration {
    read(ClockId::Realtime)
}

/// CPU time of the calling thread.
pub fn thread_cpu() -> Duration {
    read(ClockId::ThreadCPUTime)
}

/// CPU time of all threads of the process.
pub fn process_cpu() -> Duration {
    read(ClockId::ProcessCPUTime)
}

/// Whole milliseconds.
pub fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whole microseconds.
pub fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn read(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(
        u64::try_from(now.tv_sec).expect("after 1970"),
        u32::try_from(now.tv_nsec).expect("below a second"),
    )
}
