//! What a reactor asks of the process: its CPU and its descriptors.

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Pins the calling thread to the given CPUs.
pub fn pin_thread(cpus: &[usize]) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        if *cpu >= CpuSet::MAX_CPU {
            return Err(Errno::INVAL);
        }
        set.set(*cpu);
    }
    sched_setaffinity(None, &set)
}

/// Raises the soft limit of open descriptors (`RLIMIT_NOFILE`) to the hard one, and returns it.
pub fn raise_descriptor_limit() -> Result<u64, Errno> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
