//! Who may send: the registry of apps, their credentials, and the tokens made from them.
//!
//! Everything a request needs lies in one immutable [`Credentials`] snapshot: looking a token up never leaves the process and takes
//! no lock. A change of the files makes a new snapshot, which is swapped in whole ([`SharedCredentials`]); reactors see it at their next turn.
//!
//! Secrets are kept as SHA-256 alone, compared in constant time, and never appear in `Debug` output.
//!
//! What it does not know: HTTP, sockets, threads, clocks (time is an argument).

mod app;
mod cache;
mod change;
mod credentials;
mod file;
mod key_set;
mod keys;
mod live;
mod origin;
mod rate;
mod registry;
mod strangers;
mod token;

pub use app::{ApiKey, App, AppId, PUBLIC_KEY_EVENTS_PER_SECOND, Retiring, Secret, SecretHash};
pub use cache::TokenCache;
pub use change::{AppChange, AppRule};
pub use credentials::{Credentials, CredentialsFiles, SharedCredentials};
pub use file::{
    AppsFile, FileError, KeysFile, create_private, create_signing_keys, load_signing_keys, read_private,
    replace_private,
};
pub use key_set::{KeyEntry, KeySet, KeySetError, KeyUse, Margins, Rotation, Step};
pub use keys::{KeyRing, KeyRingError, SigningKey};
pub use live::LiveCredentials;
pub use origin::is_origin;
pub use rate::{EVENTS_PER_SECOND_MAX, Exhausted, Limit};
pub use registry::{PutError, Registry, RegistryError};
pub use strangers::{Strangers, source};
pub use token::{AUDIENCE, Claims, TOKEN_BYTES_MAX, TokenError, mint, mint_for, verify};
