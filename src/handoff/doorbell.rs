//! Wake-ups in both directions.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// Wakes the forwarder. Cloned freely; a ring while it is awake is an atomic operation, no system call.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<tokio::sync::Notify>);

impl Bell {
    /// Makes sure that one [`Self::rung`] returns after this call.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Waits for a ring; rings since the last call count as one.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}

/// Wakes a reactor from any thread, through an eventfd that the reactor's ring watches.
///
/// Many rings between two turns cost one `write(2)`: only the first writes.
#[derive(Clone, Debug)]
pub struct Doorbell(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    eventfd: OwnedFd,
    rung: AtomicBool,
}

impl Doorbell {
    /// Makes the eventfd.
    pub fn new() -> std::io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Inner { eventfd, rung: AtomicBool::new(false) })))
    }

    /// Wakes the reactor, now or at its next wait.
    pub fn ring(&self) {
        if !self.0.rung.swap(true, Ordering::AcqRel) {
            // It fails only when the counter is full, and then the eventfd is readable anyway.
            let _ = rustix::io::write(&self.0.eventfd, &1u64.to_ne_bytes());
        }
    }

    /// Whether it was rung and not answered yet.
    pub fn is_rung(&self) -> bool {
        self.0.rung.load(Ordering::Acquire)
    }

    /// The descriptor that becomes readable.
    pub fn descriptor(&self) -> RawFd {
        self.0.eventfd.as_raw_fd()
    }

    /// Reactor: takes the ring. Look at what may have changed only *after* this call.
    pub fn answer(&self) {
        let _ = rustix::io::read(&self.0.eventfd, &mut [0u8; 8]);
        self.0.rung.store(false, Ordering::Release);
        std::sync::atomic::fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rings_are_one_wake_and_the_next_ring_wakes_again() {
        let bell = Doorbell::new().expect("an eventfd");
        bell.ring();
        bell.ring();
        let mut counter = [0u8; 8];
        rustix::io::read(&bell.0.eventfd, &mut counter).expect("readable after a ring");
        assert_eq!(u64::from_ne_bytes(counter), 1, "two rings, one write");
        bell.answer();
        bell.ring();
        rustix::io::read(&bell.0.eventfd, &mut counter).expect("readable again");
    }
}
