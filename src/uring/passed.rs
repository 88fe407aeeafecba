//! Descriptors that came with the start of the process.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, FdFlags, fcntl_setfd};

/// The first descriptor that a service manager passes (`SD_LISTEN_FDS_START`).
pub const PASSED_FIRST: RawFd = 3;

/// Takes the `count` descriptors that the service manager has passed; those that are not open are an error. No child of ours inherits them.
///
/// To be called at the start, once, before anything else opens a descriptor.
///
/// # Panics
///
/// At the second call: each descriptor has one owner.
pub fn take_passed(count: u16) -> Vec<Result<OwnedFd, Errno>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    assert!(!TAKEN.swap(true, Ordering::Relaxed), "passed descriptors are taken once");
    (PASSED_FIRST..).take(usize::from(count)).map(take).collect()
}

fn take(descriptor: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: not -1; and nothing in this process closes it meanwhile, for nobody else knows of it.
    let looked_at = unsafe { BorrowedFd::borrow_raw(descriptor) };
    fcntl_setfd(looked_at, FdFlags::CLOEXEC)?;
    // SAFETY: it is open (the kernel has just answered), it was passed to this process to be its own, and it is taken once (`TAKEN`).
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
