//! The provided buffers: one block of memory, cut into equal pieces that the kernel fills as data arrives.
//!
//! An idle connection holds none; that is why ten thousand of them cost about nothing.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use rustix::io::Errno;

const PAGE_BYTES: usize = 4096;

/// Buffers shared with the kernel through a ring of descriptions (`io_uring_register_buf_ring(3)`).
///
/// Each buffer is in exactly one of three places: described in the ring (the kernel's), in a completion on its way, or out on
/// loan. Only the last may be looked at.
#[derive(Debug)]
pub(super) struct Buffers {
    /// Descriptions, one page-aligned array.
    entries: NonNull<BufRingEntry>,
    /// `count * buffer_bytes` bytes.
    memory: NonNull<u8>,
    count: u16,
    buffer_bytes: usize,
    group: u16,
    tail: u16,
    /// Which buffers are out on loan, and how many.
    loans: Box<[bool]>,
    on_loan: u16,
}

impl Buffers {
    /// Allocates `count` (a power of two) buffers of `buffer_bytes` and registers them with the ring as `group`.
    pub(super) fn register(
        ring: &IoUring,
        count: u16,
        buffer_bytes: usize,
        group: u16,
    ) -> Result<Self, Errno> {
        assert!(count.is_power_of_two() && count <= 1 << 15 && buffer_bytes > 0);
        let entries = allocate(entries_layout(count)).cast::<BufRingEntry>();
        let memory = allocate(memory_layout(count, buffer_bytes));
        let loans = vec![false; usize::from(count)].into_boxed_slice();
        let mut buffers = Self { entries, memory, count, buffer_bytes, group, tail: 0, loans, on_loan: 0 };
        // SAFETY: `entries` is page-aligned, zeroed, large enough for `count` descriptions, and lives until `Drop`, which
        // runs only after the ring is quiet (`Ring::drop` joins all operations before it lets the buffers go).
        let registered = unsafe {
            ring.submitter().register_buf_ring_with_flags(entries.as_ptr() as u64, count, group, 0)
        };
        registered.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))?;
        for buffer in 0..count {
            buffers.describe(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The group that receives name.
    pub(super) fn group(&self) -> u16 {
        self.group
    }

    /// How many buffers are out on loan.
    pub(super) fn on_loan(&self) -> u16 {
        self.on_loan
    }

    /// The kernel says that it filled `buffer`: from now on it is on loan.
    pub(super) fn lend(&mut self, buffer: u16) {
        let loan =
            self.loans.get_mut(usize::from(buffer)).expect("the kernel names a buffer that it was given");
        assert!(!std::mem::replace(loan, true), "the kernel fills no buffer that is on loan");
        self.on_loan += 1;
    }

    /// The first `bytes` of a buffer on loan.
    pub(super) fn lent(&mut self, buffer: u16, bytes: usize) -> &mut [u8] {
        assert!(
            self.loans[usize::from(buffer)] && bytes <= self.buffer_bytes,
            "a lease of this driver's own"
        );
        // SAFETY: the piece lies inside `memory`, and is on loan (asserted). So the kernel does not write to it: its description
        // was consumed by the completion that made the lease, and comes back only in `give_back`, which ends the loan. The
        // returned borrow is exclusive through `&mut self`.
        unsafe {
            let start = self.memory.as_ptr().add(usize::from(buffer) * self.buffer_bytes);
            std::slice::from_raw_parts_mut(start, bytes)
        }
    }

    /// Ends a loan: the kernel may fill the buffer again.
    pub(super) fn give_back(&mut self, buffer: u16) {
        let loan = std::mem::replace(&mut self.loans[usize::from(buffer)], false);
        assert!(loan, "a lease of this driver's own, given back once");
        self.on_loan -= 1;
        self.describe(buffer);
        self.publish();
    }

    fn describe(&mut self, buffer: u16) {
        let index = usize::from(self.tail & (self.count - 1));
        // SAFETY: `index` is below `count`, so the entry lies inside `entries`; the kernel reads entries only up to the
        // published tail, and this one is behind it. The address lies inside `memory`.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(index);
            entry.set_addr(self.memory.as_ptr().add(usize::from(buffer) * self.buffer_bytes) as u64);
            entry.set_len(u32::try_from(self.buffer_bytes).expect("buffers are far below 4 GiB"));
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&mut self) {
        // SAFETY: the tail lies inside the first entry (`BufRingEntry::tail`), is aligned for `u16`, and is only written
        // here; the kernel reads it. `Release` makes the descriptions visible before it.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: both were allocated in `register` with these very layouts, and `Ring::drop` guarantees that no operation
        // of the kernel refers to them any more.
        unsafe {
            dealloc(self.entries.as_ptr().cast(), entries_layout(self.count));
            dealloc(self.memory.as_ptr(), memory_layout(self.count, self.buffer_bytes));
        }
    }
}

fn entries_layout(count: u16) -> Layout {
    Layout::from_size_align(usize::from(count) * size_of::<BufRingEntry>(), PAGE_BYTES)
        .expect("bounded by 2^15 entries")
}

fn memory_layout(count: u16, buffer_bytes: usize) -> Layout {
    Layout::from_size_align(usize::from(count) * buffer_bytes, PAGE_BYTES).expect("bounded by configuration")
}

fn allocate(layout: Layout) -> NonNull<u8> {
    assert!(layout.size() > 0);
    // SAFETY: the layout is not empty.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}
