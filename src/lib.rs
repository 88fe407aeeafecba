//! Forebay: the front door for telemetry. Events come in over HTTP in bursts, are authenticated, checked and written into a queue, and leave
//! for RabbitMQ as a steady stream of confirmed batches.
//!
//! The modules, in the order in which an event meets them:
//!
//! | module | job |
//! |---|---|
//! | [`uring`] | the ring of a core: typed operations on sockets, and the seam that tests simulate it at |
//! | [`reactor`] | the loop of a core: connections, turns, answers in order, timeouts |
//! | [`wire`] | what lies around HTTP: a balancer's PROXY header, TLS |
//! | [`http`] | HTTP/1.1 as bytes, without I/O |
//! | [`api`] | what a request means, and what is answered |
//! | [`auth`] | apps, keys, tokens |
//! | [`event`] | JSON checked, ids given, records framed |
//! | [`journal`] | what was accepted, written down: segments, watermarks, recovery, the ledger |
//! | [`handoff`] | the queue from a reactor to the forwarder |
//! | [`forward`] | batches to the broker, and which of them are confirmed |
//!
//! Around them: [`node`] starts and stops it all, [`admin`] and [`telemetry`] show how it does, [`config`] holds every flag, [`clock`] is where
//! time comes from, [`crash`] what a node leaves behind when it dies. [`fleet`] keeps the apps and keys of many nodes the same, [`remote`] is how a
//! node is asked from elsewhere, and [`amqp`] what all who speak to a broker share.
//! `docs/architecture.md` has the pictures and what must stay true.

pub mod admin;
pub mod amqp;
pub mod api;
pub mod auth;
pub mod backoff;
pub mod clock;
pub mod config;
mod constant_time;
pub mod crash;
pub mod event;
pub mod fleet;
pub mod forward;
pub mod handoff;
pub mod http;
pub mod journal;
pub mod node;
pub mod reactor;
pub mod remote;
pub mod supervisor;
pub mod telemetry;
pub mod uring;
pub mod wire;
