//! One core's loop: accept, receive, decide, commit, answer.
//!
//! A [`Reactor`] owns its listeners, its connections, its timers, its journal and its end of the queue, and shares nothing that it writes on the way of an
//! event. It runs at its own pace, turn by turn, never in reaction to a single completion:
//!
//! 1. `turn`: hand over what was submitted, take what completed, read the clocks once;
//! 2. feed received bytes to their connections; accepted events gather in a batch;
//! 3. `commit`: hand the batch to the journal, unless another is being written: then it goes on gathering. Only when it is written does it go to the
//!    forwarder, and are its answers made: if the write fails, every event of it gets 503;
//! 4. release the answers whose watermark was reached, and those whose time is up;
//! 5. `advance` each connection that was touched: one coalesced send, re-arm, linger, join, free.
//!
//! Step 5 compares what a connection is with what it should be and submits the difference, so that no completion needs to know what
//! led to it.
//!
//! It is generic over the [`Driver`](crate::uring::Driver): tests bring one with virtual time and faults.

mod answers;
mod awaiting;
mod connection;
mod listeners;
mod memory;
mod pool;
mod sources;
mod table;
mod timers;
mod turn;
mod waiters;

pub use answers::ANSWERS_MAX;
pub use memory::MemoryCap;
pub use pool::{Pool, Worker};
pub use sources::Sources;
pub use turn::{Reactor, ReactorOptions, ReactorParts, Turned};
