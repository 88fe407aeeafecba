//! The kernel's ring: typed operations in, a closed set of completions out.
//!
//! Everything above sees the [`Driver`] trait alone: submit an [`Operation`], take a [`Driver::turn`], look at the
//! [`Completion`]s. [`Ring`] is the real one, on io_uring; `tests/simulation` brings another with virtual time and
//! faults. Static dispatch: the reactor is generic over its driver.
//!
//! What it promises:
//!
//! - **Memory belongs to the operation.** What is sent moves into the driver and comes back with the *last* completion of
//!   its send; what is received lies in a buffer that is out on loan ([`Lease`]) until it is given back.
//! - **No completion is mistaken.** Each carries the [`Token`] it was submitted with, slot and generation, so that a late one meets a
//!   newer generation and is dropped by whoever reuses the slot.
//! - **No completion is lost.** A full completion queue overflows into kernel memory and is flushed at the next turn (`NODROP`).
//!
//! What it does not know: HTTP, connections, timers. Errors of the kernel are sorted in one table, [`faults`].
//!
//! Most `unsafe` of the crate lives here, each block with the invariant that it rests on.

mod driver;
pub mod faults;
mod in_flight;
mod listener;
mod process;
mod support;
mod user_data;

#[allow(unsafe_code, reason = "shares memory with the kernel: the provided buffers")]
mod buffers;
#[allow(unsafe_code, reason = "takes descriptors that came with the start of the process")]
mod passed;
#[allow(unsafe_code, reason = "hands pointers to the kernel and takes descriptors from it")]
mod ring;

pub use driver::{Completion, Driver, How, Lease, Operation, Received, Socket, Token, Usage};
pub use listener::{NoListener, adopt_listener, listen};
pub use passed::{PASSED_FIRST, take_passed};
pub use process::{pin_thread, raise_descriptor_limit};
pub use ring::{Ring, RingOptions};
pub use support::UringError;
