//! The listening sockets that came with the start (socket activation).

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::SupervisorError;
use crate::uring::{PASSED_FIRST, adopt_listener, take_passed};

/// More listeners than any node needs.
const COUNT_MAX: u16 = 64;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Clients.
    Public,
    /// Operators.
    Admin,
}

impl Purpose {
    /// By the name that a descriptor came with. Without `FileDescriptorName=`, systemd gives it the name of its socket unit.
    fn of(name: &str) -> Option<Self> {
        let is_unnamed = name.is_empty() || name == "unknown" || name.ends_with(".socket");
        match name {
            "public" => Some(Self::Public),
            "admin" => Some(Self::Admin),
            _ => is_unnamed.then_some(Self::Public),
        }
    }
}

/// A listening TCP socket that is ours now.
#[derive(Debug)]
pub struct Passed {
    purpose: Purpose,
    socket: OwnedFd,
    address: SocketAddr,
}

impl Passed {
    /// A misspelt `admin` must not become public, so a name that we do not know is refused.
    fn of(name: &str, socket: Result<OwnedFd, Errno>, has_admin: bool) -> Result<Self, String> {
        let Some(purpose) = Purpose::of(name) else {
            let problem = "has a name that means nothing here: set FileDescriptorName= of its socket unit to public or admin";
            return Err(problem.to_owned());
        };
        if purpose == Purpose::Admin && has_admin {
            return Err("is the second for operators, who have one listener".to_owned());
        }
        let socket = socket.map_err(|errno| format!("is not open ({errno})"))?;
        let address = adopt_listener(&socket).map_err(|error| error.to_string())?;
        Ok(Self { purpose, socket, address })
    }

    /// What it is for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// The socket, for good.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }
}

/// Takes the descriptors, each with its name.
pub(super) fn take(count: &OsStr, names: Option<&OsStr>) -> Result<Vec<Passed>, SupervisorError> {
    let Some(count @ 0..=COUNT_MAX) = count.to_str().and_then(|text| text.parse().ok()) else {
        return Err(SupervisorError::Variable {
            variable: "LISTEN_FDS",
            value: count.to_string_lossy().into_owned(),
            problem: "is no number of descriptors between 0 and 64",
        });
    };
    let names = names.unwrap_or_default().to_string_lossy();
    // There may be fewer names than descriptors.
    let mut names = names.split(':').chain(std::iter::repeat(""));
    let mut all: Vec<Passed> = Vec::new();
    for (descriptor, socket) in (PASSED_FIRST..).zip(take_passed(count)) {
        let name = names.next().expect("an endless iterator");
        let has_admin = all.iter().any(|other| other.purpose == Purpose::Admin);
        let passed = Passed::of(name, socket, has_admin);
        all.push(passed.map_err(|problem| SupervisorError::Descriptor {
            descriptor,
            name: name.to_owned(),
            problem,
        })?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_public_unless_it_is_named_otherwise_and_a_strange_name_is_nothing() {
        for (name, expected) in [
            ("public", Some(Purpose::Public)),
            ("", Some(Purpose::Public)),
            ("unknown", Some(Purpose::Public)),
            ("forebay.socket", Some(Purpose::Public)),
            ("admin", Some(Purpose::Admin)),
            ("amdin", None),
            ("connection", None),
        ] {
            assert_eq!(Purpose::of(name), expected, "{name}");
        }
    }
}
