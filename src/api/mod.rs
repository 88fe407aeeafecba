//! What requests mean: routes, credentials, verdicts, and the answers of the contract.
//!
//! A [`Service`] belongs to one reactor. It judges a request twice, cheap things first: when its head is complete
//! ([`Service::judge`]: route, method, declared length, credentials, room) and when its body is ([`Service::complete`]: JSON). Accepted events go
//! into the turn's batch; everything else becomes a [`Response`].
//!
//! What the client did wrong is a value with a [`Code`], counted, and never a line in the log.
//!
//! What it does not know: sockets, connections, clocks, the queue. Room is a number and time an argument.

mod client;
mod code;
mod echo;
mod examine;
mod ingest;
mod judge;
mod keep;
mod oauth;
mod probes;
mod response;
mod route;
mod sample;
mod second_looks;
mod service;

pub use crate::auth::{AppId, source};
pub use code::Code;
pub use echo::Echo;
pub use examine::{Examination, Examiner};
pub use judge::{Judgement, Ticket};
pub use response::{RequestId, Response};
pub use service::{Accepted, AcceptedBody, Moment, Outcome, Service, ServiceOptions, one_body};
