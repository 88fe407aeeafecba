//! What all who speak to a broker have in common.

use std::io;
use std::time::Duration;

/// A step of talking to a broker, up to a limit: one that does not answer must not hold us for ever.
pub async fn in_time<T>(
    limit: Duration,
    what: &'static str,
    step: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, lapin::Error> {
    let timed_out = |_| {
        let text = format!("{what}: no answer from the broker for {} s", limit.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
    };
    tokio::time::timeout(limit, step).await.unwrap_or_else(timed_out)
}
