//! HTTP/1.1 without I/O: bytes in, requests and violations out, answer bytes out.
//!
//! A [`Decoder`] belongs to one connection. It is fed whatever bytes came and says, step by step, what they mean; how they were cut
//! makes no difference to the result. It never sees a socket, a clock or a thread.
//!
//! Strictness follows RFC 9112 with no leniency where a second reader of the same bytes could disagree about where a message ends:
//! every deviation in framing is a [`Violation`], after which the connection is of no more use.

mod chunked;
mod coding;
mod decoder;
mod head;
mod known;
mod response;

pub use coding::{ACCEPTED_CODINGS, Coding, DecodeError};
pub use decoder::{Decoder, Step};
pub use head::{BodyLength, Head, HeadLimits, Method, TARGET_BYTES_MAX, Violation};
pub use known::KnownHead;
pub use response::{Answer, CONTINUE, DateHeader, Persistence, reason};
