//! The bounded way from a reactor to the forwarder, and how each wakes the other.
//!
//! A reactor sends **one [`Batch`] a turn**, never one an event. The queue is bounded twice, in batches
//! and in bytes; bytes are given back when the broker has confirmed them, so that what waits for a confirm
//! counts too. What both sides know of the log of a core is in [`CoreLog`](crate::journal::CoreLog): a chain of offsets of
//! which the reactor alone moves the right end and the forwarder alone the left.
//!
//! The queue is the fast way, not the only one: what is in the journal and finds it full is told by its offset alone, and read back;
//! so is what comes after it until the forwarder has caught up.
//!
//! Neither side polls: the forwarder sleeps on a [`Bell`], a reactor on its [`Doorbell`], and a ring
//! costs a system call only when the other side really sleeps.

mod doorbell;
mod queue;

pub use doorbell::{Bell, Doorbell};
pub use queue::{Batch, Inlet, Outlet, QueueLimits, queue};
