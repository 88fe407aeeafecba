//! What an event is: the check of its JSON, its identity, and the record that it becomes.
//!
//! Pure functions over bytes: no socket, no clock, no thread. Time comes in as an argument.

mod batch;
#[cfg(test)]
mod conformance;
mod id;
mod json;
mod record;
mod split;
mod stop;
mod strict;

pub use batch::{Mark, TurnBatch};
pub use id::{EventIds, item_id};
pub use json::{Checked, DEPTH_MAX, DEPTH_STRICT_MAX, JsonChecker, NotAnEvent, SecondLook};
pub use record::{
    EventKind, RECORD_BYTES_EXTRA_MAX, RECORD_HEAD_BYTES, RECORD_VERSION, Record, RecordError, Records,
    Traceparent,
};
pub use split::{
    BATCH_ITEMS_MAX, NotABatch, split_array, split_lines, split_strict_array, split_strict_lines,
};
pub use stop::stopped_at;
pub use strict::is_strict_object;
