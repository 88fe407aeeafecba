//! Telling the service manager: one datagram for each piece of news.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::SupervisorError;

/// How long a manager may leave its datagrams unread. It is told by the main thread, which no request waits for.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// One piece of news. Its text is what `sd_notify(3)` lays down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The start is over.
    Ready {
        /// Who runs the service, for managers that started something else, which then started us.
        pid: u32,
    },
    /// The stop has begun.
    Stopping,
    /// A sign of life.
    Alive,
    /// What goes on takes up to this much longer, whatever the unit's own time limit says.
    Extend(Duration),
    /// A word for people, shown by `systemctl status`.
    Status(String),
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { pid } => write!(f, "READY=1\nMAINPID={pid}"),
            Self::Stopping => f.write_str("STOPPING=1"),
            Self::Alive => f.write_str("WATCHDOG=1"),
            Self::Extend(duration) => write!(f, "EXTEND_TIMEOUT_USEC={}", duration.as_micros()),
            Self::Status(text) => write!(f, "STATUS={text}"),
        }
    }
}

/// Where the manager listens.
#[derive(Clone, Debug)]
pub struct Notifier {
    address: SocketAddr,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET`: a path, or a name in the abstract name space after an `@`.
    pub(super) fn to(value: &OsStr) -> Result<Self, SupervisorError> {
        let address = match value.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(value),
            [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        };
        address.map(|address| Self { address }).map_err(|_| SupervisorError::Variable {
            variable: "NOTIFY_SOCKET",
            value: value.to_string_lossy().into_owned(),
            problem: "is neither a path nor `@` and an abstract name",
        })
    }

    /// Tells. A socket for each time, as `sd_notify` does it: a manager that was itself restarted in between is reached again.
    pub fn tell(&self, news: &[News]) -> io::Result<()> {
        let mut text = String::new();
        for news in news {
            let _ = writeln!(text, "{news}");
        }
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        socket.send_to_addr(text.as_bytes(), &self.address).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_an_abstract_name_are_reached_with_one_datagram() {
        let news = [
            News::Ready { pid: 7 },
            News::Status("ready".to_owned()),
            News::Extend(Duration::from_millis(1500)),
        ];
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let name = format!("forebay-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).expect("a short name");
        for (socket, address) in [
            (UnixDatagram::bind(&path), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&abstract_address), format!("@{name}").into()),
        ] {
            let socket = socket.expect("a free name");
            Notifier::to(&address).expect("an address").tell(&news).expect("somebody listens");
            let mut buffer = [0u8; 256];
            let count = socket.recv(&mut buffer).expect("a datagram");
            let expected = "READY=1\nMAINPID=7\nSTATUS=ready\nEXTEND_TIMEOUT_USEC=1500000\n";
            assert_eq!(std::str::from_utf8(&buffer[..count]), Ok(expected));
        }
    }

    #[test]
    fn a_manager_that_does_not_read_is_not_waited_for_longer_than_a_moment() {
        let name = format!("forebay-test-full-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let _socket = UnixDatagram::bind_addr(&address).expect("a free name");
        let notifier = Notifier { address };
        // net.unix.max_dgram_qlen is 10 to 512 on all machines that we know.
        let error = (0..5000).find_map(|_| notifier.tell(&[News::Alive]).err()).expect("full");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn nobody_there_is_an_error_and_no_more() {
        let notifier = Notifier::to(OsStr::new("/nobody/listens/here")).expect("a path");
        assert!(notifier.tell(&[News::Stopping]).is_err());
    }
}
