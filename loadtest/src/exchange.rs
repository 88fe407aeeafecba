//! One request on a connection of its own, outside of the load.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::response;

/// How long a node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer: a node's page of metrics has a few kilobytes.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// Sends a request that ends the connection; status and body of the answer.
pub(crate) fn exchange(address: &str, request: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    match response::parse(&bytes) {
        Ok(Some((response, _))) => Ok((response.status, String::from_utf8_lossy(response.body).into_owned())),
        _ => Err(Error::new(ErrorKind::InvalidData, "the answer is not HTTP")),
    }
}
