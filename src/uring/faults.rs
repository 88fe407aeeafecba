//! The kernel's errors, each sorted once: (operation, errno) → what to do. An unknown one is fatal.

use rustix::io::Errno;

/// The operations that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// `Operation::Accept` and `Operation::AcceptOne`.
    Accept,
    /// `Operation::Receive`.
    Receive,
    /// `Operation::Send`.
    Send,
    /// Entering the kernel to submit and wait.
    Enter,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Submit it again: nothing is wrong.
    Retry,
    /// It was asked for.
    Cancelled,
    /// Wait for a while (or until a descriptor is freed), then submit it again.
    Pause,
    /// This peer or path is broken: close the connection.
    ClosePeer,
    /// A state that this program cannot explain: end the process.
    Fatal,
}

/// Looks the error up.
pub fn remedy(operation: Failing, errno: Errno) -> Remedy {
    use Failing::{Accept, Enter, Receive, Send};
    match (operation, errno) {
        (Accept | Receive | Send, Errno::CANCELED) => Remedy::Cancelled,
        // ETIME: the wait was over. EBUSY: completions must be taken before more is submitted, which the turn does next.
        // Receive and ENOBUFS: the provided buffers ran out for this turn; they are back before the next submission.
        // Accept: accept(2), "Error handling": a connection that died in the backlog, or news of its path, is as EAGAIN.
        (_, Errno::INTR | Errno::AGAIN)
        | (Enter, Errno::TIME | Errno::BUSY)
        | (Receive, Errno::NOBUFS)
        | (
            Accept,
            Errno::CONNABORTED
            | Errno::NETDOWN
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
            | Errno::PERM,
        ) => Remedy::Retry,
        (Accept, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Remedy::Pause,
        (
            Receive | Send,
            Errno::CONNRESET
            | Errno::PIPE
            | Errno::NOTCONN
            | Errno::TIMEDOUT
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::NETDOWN
            | Errno::NETRESET
            | Errno::HOSTDOWN
            | Errno::CONNABORTED
            | Errno::CONNREFUSED
            | Errno::SHUTDOWN
            // What ICMP says of the path, kept by the socket until it gives up (tcp(7), "Error handling").
            | Errno::ACCESS
            | Errno::PERM
            | Errno::NOPROTOOPT
            | Errno::NONET
            | Errno::OPNOTSUPP
            | Errno::MSGSIZE
            | Errno::PROTO
            | Errno::NOMEM
            | Errno::NOBUFS,
        ) => Remedy::ClosePeer,
        _ => Remedy::Fatal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_its_own_reading_of_an_errno() {
        for (operation, errno, expected) in [
            (Failing::Accept, Errno::MFILE, Remedy::Pause),
            (Failing::Accept, Errno::NFILE, Remedy::Pause),
            (Failing::Accept, Errno::CONNABORTED, Remedy::Retry),
            (Failing::Accept, Errno::CANCELED, Remedy::Cancelled),
            (Failing::Receive, Errno::NOBUFS, Remedy::Retry),
            (Failing::Send, Errno::NOBUFS, Remedy::ClosePeer),
            (Failing::Receive, Errno::CONNRESET, Remedy::ClosePeer),
            (Failing::Send, Errno::PIPE, Remedy::ClosePeer),
            (Failing::Receive, Errno::ACCESS, Remedy::ClosePeer),
            (Failing::Enter, Errno::TIME, Remedy::Retry),
            (Failing::Enter, Errno::BUSY, Remedy::Retry),
            (Failing::Receive, Errno::BADF, Remedy::Fatal),
            (Failing::Enter, Errno::BADF, Remedy::Fatal),
        ] {
            assert_eq!(remedy(operation, errno), expected, "{operation:?} {errno:?}");
        }
    }
}
