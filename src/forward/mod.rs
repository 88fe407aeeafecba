//! From the queues to RabbitMQ: messages of many events, published with confirms, published again until they are.
//!
//! ```text
//! queue or journal -> Source -> Assembler -> Message -> Tracker -> Session (lapin) -> broker
//!   (of each log)                                          ^                           |
//!                               settle <- gapless prefix <-+-- ack, nack, return, silence
//! ```
//!
//! - [`Source`] takes a log's events out of the queue from its reactor and, where that had no room, out of the journal, in order.
//! - [`Assembler`] turns records into `CloudEvents` batches of about `--batch-bytes`, one log's events in a message.
//! - [`Tracker`] is the memory of what is under way: a window of unconfirmed messages, what must go again, what is confirmed in one gapless
//!   prefix a log. No socket, no clock.
//! - [`Dispatch`] joins them: which message goes next, and who is told what became of it. No I/O.
//! - `Session` speaks AMQP through lapin; any doubt ends it, and a new one publishes again whatever has no confirm.
//! - [`Forwarder`] runs them on a thread of its own, inside of `tokio_uring`.
//!
//! Delivery is at least once: a message is never dropped, and one that no broker takes is split down to the event at fault, which is
//! parked in a file.

mod assembler;
mod dispatch;
mod envelope;
mod forwarder;
mod line;
mod message;
mod parking;
mod read_back;
mod session;
mod source;
mod tracker;

pub use assembler::Assembler;
pub use dispatch::{Dispatch, DispatchOptions, Word};
pub use forwarder::{Forwarder, ForwarderOptions};
pub use line::EventLines;
pub use message::{Message, MessageId};
pub use parking::{Parking, ParkingError};
pub use session::{PublishOptions, SessionOptions};
pub use source::Source;
pub use tracker::{Settled, Ticket, Tracker, TrackerOptions};
