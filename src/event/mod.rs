//! What an event is: the check of its JSON, its identity, and the record that it becomes.
//!
//! Pure functions over bytes: no socket, no clock, no thread. Time comes in as an argument.

mod record;

pub use record::{EventKind, RECORD_HEAD_BYTES, RECORD_VERSION, Record, RecordError, Records, Traceparent};
