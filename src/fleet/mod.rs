//! Nodes that share their apps and signing keys, without a server of their own for it: through a stream of the broker that they know.
//!
//! ```text
//!  apps file, keys file <-> LocalCopy <-> Follower <-> Session (lapin) <-> the stream <-> other nodes
//!    (forebay app …)           |            |
//!                   reconcile -+            +- Replica <- Entry <- Sealer
//! ```
//!
//! - [`FleetKey`] is the one secret that all nodes have; all other keys here are made of it.
//! - `Sealer` and `Entry` say how a change reads: sealed, so that access to the broker alone forges nothing.
//! - `Replica` is the state machine: what entries, in the stream's order, come to. No clock, no stream, no file.
//! - `reconcile` settles the node's files with that: who has moved, who has to give way.
//! - `LocalCopy` are those files, and the state that the next start goes on from.
//! - `Session` speaks AMQP; any doubt ends it, and a new one begins where the last was.
//! - [`Follower`] runs them all as one task, on the operators' thread; [`Fleet`] is how others of the process reach it.
//!
//! A change that was made on one node holds on every node that reaches the broker, in one order for all. A node that does not reach it serves by what
//! it has, and says so. `docs/fleet.md` has the format of the entries, what is promised and what is not.
//!
//! What it does not know: requests, reactors, the journal, the forwarder. It shares the broker's address with the forwarder and nothing else.

mod copy;
mod entry;
mod follow;
mod handle;
mod key;
mod reconcile;
mod seal;
mod state;
mod stream;

pub use copy::{CopyError, signing_keys_to_begin_with};
pub use follow::{Follower, FollowerOptions};
pub use handle::{Fleet, PutError};
pub use key::{FleetKey, FleetKeyError};
pub use stream::StreamOptions;
