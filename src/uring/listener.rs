//! Listening sockets.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_reuseaddr, set_socket_reuseport, set_tcp_nodelay};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen as listen_on, socket_with};

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
