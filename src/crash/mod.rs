//! What a node leaves behind when it dies of a mistake of its own: a report in the data directory, for whoever is to mend it.
//!
//! A panic in any thread ends the process ([`Reporter::install`]); an error that the node cannot explain stops it ([`Reporter::fatal`]). Either leaves
//! one file, `crash-<time>-<pid>.json`, mode 0600, and at most [`REPORTS_MAX`] are kept. A report says where it happened and how the node did: thread,
//! place, backtrace, version, uptime, sums of the counters, flags that are no secrets. It holds no payload, no secret and no client's address: what a
//! panic says beyond a constant text is kept only as far as it cannot hold one.
//!
//! Nothing here may keep a process from ending. No lock is taken that somebody else may hold, all sizes are bounded, and the file is written by a thread
//! of its own that is waited for no longer than [`WRITE_TIMEOUT`].
//!
//! What it does not know: how a report reaches those who are to read it.

mod files;
mod report;
mod reporter;

pub use files::{REPORTS_MAX, mark_sent, unsent};
pub use report::Flags;
pub use reporter::{Reporter, WRITE_TIMEOUT};
