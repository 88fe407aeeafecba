//! Where a node listens: on sockets of its own, or on those that the service manager has passed.

use std::net::SocketAddr;
use std::os::fd::{IntoRawFd, OwnedFd};

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::getsockname;
use tokio::net::TcpListener;

use super::NodeError;
use crate::config::ServeOptions;
use crate::supervisor::{Passed, Purpose};
use crate::uring::{Socket, listen};

/// The listeners of a node.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) public: Public,
    pub(super) admin: Admin,
}

impl Listeners {
    /// What was passed replaces what the flags say, public and operators' each for itself.
    pub(super) fn of(options: &ServeOptions, passed: Vec<Passed>) -> Self {
        let (admin, public): (Vec<_>, Vec<_>) =
            passed.into_iter().partition(|passed| passed.purpose() == Purpose::Admin);
        let public =
            if public.is_empty() { Public::Own(options.listen.clone()) } else { Public::Passed(public) };
        let admin = admin.into_iter().next();
        Self { public, admin: admin.map_or(Admin::Own(options.admin_listen), Admin::Passed) }
    }
}

/// Where clients come.
#[derive(Debug)]
pub(super) enum Public {
    /// A `SO_REUSEPORT` socket a reactor and address.
    Own(Vec<SocketAddr>),
    /// The same sockets for all reactors.
    Passed(Vec<Passed>),
}

impl Public {
    /// Opens a reactor's listeners. A port that was left to the kernel (0) is kept, so that the next reactor gets the same.
    pub(super) fn open(&mut self) -> Result<Vec<Socket>, NodeError> {
        match self {
            Self::Own(addresses) => addresses.iter_mut().map(open).collect(),
            // A reactor closes its listeners, so each needs a descriptor of its own.
            Self::Passed(passed) => passed.iter().map(share).collect(),
        }
    }

    /// Whether the reactors accept on the same sockets.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Passed(_))
    }

    /// Where.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Own(addresses) => addresses.clone(),
            Self::Passed(passed) => passed.iter().map(Passed::address).collect(),
        }
    }
}

fn open(address: &mut SocketAddr) -> Result<Socket, NodeError> {
    let opened = listen(*address).and_then(|listener| {
        *address = getsockname(&listener)?.try_into()?;
        Ok(Socket(listener.into_raw_fd()))
    });
    opened.map_err(|errno| listen_error(*address, errno))
}

fn share(passed: &Passed) -> Result<Socket, NodeError> {
    let shared = fcntl_dupfd_cloexec(passed.socket(), 0);
    shared.map(|socket| Socket(socket.into_raw_fd())).map_err(|errno| listen_error(passed.address(), errno))
}

fn listen_error(address: SocketAddr, errno: Errno) -> NodeError {
    NodeError::Listen { address, error: errno.into() }
}

/// Where operators come.
#[derive(Debug)]
pub(super) enum Admin {
    Own(SocketAddr),
    Passed(Passed),
}

impl Admin {
    /// Where, as far as it is known before it is opened.
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Own(address) => *address,
            Self::Passed(passed) => passed.address(),
        }
    }

    /// Opens it; also says where, as far as it is known.
    pub(super) async fn open(self) -> Result<(TcpListener, SocketAddr), NodeError> {
        let (address, opened) = match self {
            Self::Own(address) => (address, TcpListener::bind(address).await),
            Self::Passed(passed) => (passed.address(), adopt(passed.into_socket())),
        };
        let listener = opened.map_err(|error| NodeError::Listen { address, error })?;
        let address = listener.local_addr().unwrap_or(address);
        Ok((listener, address))
    }
}

fn adopt(socket: OwnedFd) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
