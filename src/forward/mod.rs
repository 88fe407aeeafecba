//! From the queues to RabbitMQ: messages of many events, published with confirms, published again until they are.
//!
//! ```text
//! Outlet (one a core) -> Assembler -> Message -> Tracker -> Session (lapin) -> broker
//!                                                  ^                            |
//!                          settle <- gapless <-----+--- ack, nack, return, silence
//! ```
//!
//! - [`Assembler`] turns records into `CloudEvents` batches of about `--batch-bytes`, one core's events in a message.
//! - [`Tracker`] is the memory of what is under way: a window of unconfirmed messages, what must go again, what is confirmed in one gapless
//!   prefix a core. No socket, no clock.
//! - `Session` speaks AMQP through lapin; any doubt ends it, and a new one publishes again whatever has no confirm.
//! - [`Forwarder`] runs them on a thread of its own, inside of `tokio_uring`.
//!
//! Delivery is at least once: a message is never dropped, and one that no broker takes is split down to the event at fault, which is
//! parked in a file.

mod assembler;
mod backoff;
mod envelope;
mod forwarder;
mod message;
mod parking;
mod session;
mod tracker;

pub use assembler::Assembler;
pub use backoff::Backoff;
pub use forwarder::{Forwarder, ForwarderOptions};
pub use message::{Message, MessageId};
pub use parking::{Parking, ParkingError};
pub use session::{PublishOptions, SessionOptions};
pub use tracker::{Settled, Ticket, Tracker, TrackerOptions};
