//! Listening sockets.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::sockopt::{
    set_socket_reuseaddr, set_socket_reuseport, set_tcp_nodelay, socket_acceptconn, socket_domain,
    socket_type,
};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, listen as listen_on, socket_with,
};

/// Connections that the kernel completes before they are accepted; it is capped by `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Opens a listening socket with `SO_REUSEPORT`: one for each reactor, and the kernel spreads connections over them.
///
/// `TCP_NODELAY` is set on the listener, from which accepted sockets inherit it: answers are written whole, once a
/// turn, so that waiting for more (Nagle, RFC 9293 section 3.7.4) would only add delay.
pub fn listen(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
    set_socket_reuseaddr(&socket, true)?;
    set_socket_reuseport(&socket, true)?;
    set_tcp_nodelay(&socket, true)?;
    bind(&socket, &address)?;
    listen_on(&socket, BACKLOG)?;
    Ok(socket)
}

/// Why a descriptor is none to accept connections on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoListener {
    /// A file, a pipe.
    #[error("is no socket")]
    NoSocket,
    /// Datagrams, or a Unix socket: there is no address that a client could be known by.
    #[error("is no TCP socket: use ListenStream= with an address and a port")]
    NoTcp,
    /// Somebody's connection.
    #[error("does not listen: use ListenStream= and Accept=no")]
    NotListening,
    /// The kernel's answer to something that works on each socket.
    #[error("cannot be used ({0})")]
    Failed(#[from] Errno),
}

/// Makes a listening socket of somebody else's like one of [`listen`]'s, but for what only its maker can choose; returns where it listens.
pub fn adopt_listener(socket: &OwnedFd) -> Result<SocketAddr, NoListener> {
    let kind = socket_type(socket).map_err(|_| NoListener::NoSocket)?;
    let domain = socket_domain(socket)?;
    if kind != SocketType::STREAM || ![AddressFamily::INET, AddressFamily::INET6].contains(&domain) {
        return Err(NoListener::NoTcp);
    }
    if !socket_acceptconn(socket)? {
        return Err(NoListener::NotListening);
    }
    set_tcp_nodelay(socket, true)?;
    // The ring waits by itself; a socket that does not block could make its accepts fail instead.
    ioctl_fionbio(socket, false)?;
    Ok(getsockname(socket)?.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_a_listening_tcp_socket_is_adopted() {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let connection = TcpStream::connect(address).expect("loopback");
        let file = std::fs::File::open("/dev/null").expect("a device");
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let local = UnixListener::bind(folder.path().join("socket")).expect("ours");
        for (descriptor, expected) in [
            (OwnedFd::from(listener), Ok(address)),
            (connection.into(), Err(NoListener::NotListening)),
            (file.into(), Err(NoListener::NoSocket)),
            (datagrams.into(), Err(NoListener::NoTcp)),
            (local.into(), Err(NoListener::NoTcp)),
        ] {
            assert_eq!(adopt_listener(&descriptor), expected);
        }
    }
}
