//! What a node will have, worked out from its flags and its machine before anything starts.

use std::fs;
use std::io;
use std::path::Path;

use rustix::system::sysinfo;
use rustix::thread::{CpuSet, sched_getaffinity};
use tracing::warn;

use super::NodeError;
use crate::auth::create_private;
use crate::config::{ConfigError, CpuList, MAX_CONNECTIONS_DEFAULT, ServeOptions, is_node_id};
use crate::event::RECORD_BYTES_EXTRA_MAX;
use crate::uring::raise_descriptor_limit;

/// Descriptors besides connections: rings, listeners, files, the broker.
const DESCRIPTORS_RESERVED: u64 = 256;

/// The CPU of each reactor; none where there are more reactors than CPUs.
pub(super) fn reactor_cpus(
    options: &ServeOptions,
    allowed: &[usize],
) -> Result<Vec<Option<usize>>, ConfigError> {
    let cpus = match &options.cpus {
        Some(CpuList(cpus)) => {
            check_cpus("cpus", cpus, allowed)?;
            cpus
        }
        None => allowed,
    };
    let reactors = options.reactors.map_or(cpus.len(), usize::from);
    if reactors > cpus.len() {
        return Ok(vec![None; reactors]);
    }
    Ok(cpus[..reactors].iter().copied().map(Some).collect())
}

/// Whether the forwarder can be pinned as asked.
pub(super) fn check_forwarder_cpus(options: &ServeOptions, allowed: &[usize]) -> Result<(), ConfigError> {
    match &options.broker.forwarder_cpus {
        Some(CpuList(cpus)) => check_cpus("forwarder-cpus", cpus, allowed),
        None => Ok(()),
    }
}

fn check_cpus(flag: &'static str, cpus: &[usize], allowed: &[usize]) -> Result<(), ConfigError> {
    match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        Some(cpu) => Err(ConfigError::Flag {
            flag,
            value: cpu.to_string(),
            problem: format!("this process may only run on {allowed:?}"),
        }),
        None => Ok(()),
    }
}

pub(super) fn allowed_cpus() -> Vec<usize> {
    let set = sched_getaffinity(None).expect("a process may always ask for its own CPUs");
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// Each core's share of the queue, which has to hold the largest event.
pub(super) fn queue_share(options: &ServeOptions, reactors: usize) -> Result<usize, ConfigError> {
    let share = options.limits.queue_max / reactors;
    let least = options.limits.max_body + RECORD_BYTES_EXTRA_MAX;
    if share < least {
        return Err(ConfigError::Flag {
            flag: "queue-max",
            value: options.limits.queue_max.to_string(),
            problem: format!(
                "each of {reactors} reactors gets {share} bytes of it, less than one event of --max-body needs: give at least {}",
                least * reactors
            ),
        });
    }
    Ok(share)
}

/// What clients may make the node hold: --memory-max without what the queue may take. Below that, not even one batch of every reactor would fit.
pub(super) fn held_bytes_max(options: &ServeOptions, reactors: usize) -> Result<usize, ConfigError> {
    let limits = &options.limits;
    let least = limits.queue_max + reactors * 2 * limits.max_batch_body;
    let memory = limits.memory_max.unwrap_or_else(|| (memory() / 2).max(least));
    if memory < least {
        return Err(ConfigError::Flag {
            flag: "memory-max",
            value: memory.to_string(),
            problem: format!(
                "--queue-max and a batch being decoded in each of {reactors} reactors take {least} bytes: give at least that, or lower --queue-max or --max-batch-body"
            ),
        });
    }
    Ok(memory - limits.queue_max)
}

/// Memory that this process may have: of the machine, or of its cgroup (version 2) if that is less.
pub(super) fn memory() -> usize {
    let machine = sysinfo();
    let machine = usize::try_from(machine.totalram * u64::from(machine.mem_unit)).unwrap_or(usize::MAX);
    // The innermost cgroup that says something: `max` is no number. Its parents may say less, which no container does.
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| {
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
        fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.max")).ok()?.trim().parse::<usize>().ok()
    });
    group.map_or(machine, |group| group.min(machine))
}

/// How many connections the descriptors are enough for.
pub(super) fn connections_max(options: &ServeOptions) -> Result<usize, NodeError> {
    let limit = raise_descriptor_limit()
        .map_err(|errno| NodeError::System { what: "raising RLIMIT_NOFILE", error: errno.into() })?;
    let most = usize::try_from(limit.saturating_sub(DESCRIPTORS_RESERVED)).unwrap_or(usize::MAX);
    match options.limits.max_connections {
        Some(given) if given > most => Err(ConfigError::Flag {
            flag: "max-connections",
            value: given.to_string(),
            problem: format!(
                "the descriptor limit {limit} is enough for {most}: raise the hard limit RLIMIT_NOFILE (LimitNOFILE= of the systemd unit)"
            ),
        }
        .into()),
        Some(given) => Ok(given),
        None if most < MAX_CONNECTIONS_DEFAULT => {
            warn!(max_connections = most, descriptor_limit = limit, "lowered --max-connections to what the descriptor limit allows");
            Ok(most)
        }
        None => Ok(MAX_CONNECTIONS_DEFAULT),
    }
}

/// The node's name: random, made on the first start, kept in the data directory.
pub(super) fn kept_node_id(data_dir: &Path) -> Result<String, NodeError> {
    let path = data_dir.join("node-id");
    match fs::read_to_string(&path) {
        Ok(id) if is_node_id(id.trim()) => return Ok(id.trim().to_owned()),
        Ok(_) => {
            let problem = "holds no name of a node: remove it, and a new one is made";
            return Err(data_dir_error(&path, io::Error::new(io::ErrorKind::InvalidData, problem)));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(data_dir_error(&path, error)),
    }
    let id = random_hex(8);
    // Written whole or not at all; if another node was faster, its name is the one.
    let made = create_private(&path, format!("{id}\n").as_bytes());
    let is_ours = made.map_err(|error| data_dir_error(&path, io::Error::other(error)))?;
    if is_ours { Ok(id) } else { kept_node_id(data_dir) }
}

pub(super) fn data_dir_error(path: &Path, error: io::Error) -> NodeError {
    NodeError::DataDir { path: path.display().to_string(), error }
}

pub(super) fn random_hex(bytes: usize) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    random[..bytes * 2].to_owned()
}
