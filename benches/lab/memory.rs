//! Free memory that is there when it is needed, as on a machine whose memory is its own.
//!
//! A journal that grows needs new pages all the time. Where Linux reports free pages to a host (`Documentation/mm/free_page_reporting.rst`), the host takes
//! them back within seconds, which stalls all that runs by tens of milliseconds, and hands them out again several times as slowly as others: then a
//! benchmark measures the host. Only blocks of 2 MiB and more are reported, as the kernel comes. So this touches most of what is free and lets go of all of it but
//! a page in each mebibyte.

use std::fs::{self, File};
use std::io::{self, Read};

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};

const PAGE_BYTES: u64 = 4096;
/// Less than what is reported.
const BLOCK_BYTES: u64 = 1 << 20;

/// Holds the pages between the free ones.
pub(crate) struct WarmMemory {
    _pages: File,
}

impl WarmMemory {
    /// Warms three quarters of the memory that lies free.
    pub(crate) fn of_free() -> Self {
        let blocks = free_bytes() / 4 * 3 / BLOCK_BYTES;
        let fd = memfd_create("warm", MemfdFlags::CLOEXEC).expect("Linux has it");
        let mut pages = File::from(fd);
        io::copy(&mut io::repeat(0).take(blocks * BLOCK_BYTES), &mut pages).expect("room in memory");
        for block in 0..blocks {
            let hole = block * BLOCK_BYTES + PAGE_BYTES;
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&pages, flags, hole, BLOCK_BYTES - PAGE_BYTES)
                .expect("a file in memory can have holes");
        }
        Self { _pages: pages }
    }
}

fn free_bytes() -> u64 {
    let memory = fs::read_to_string("/proc/meminfo").expect("Linux tells");
    let free = memory.lines().find_map(|line| line.strip_prefix("MemFree:")).expect("how much is free");
    let kib: u64 = free.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}
