//! A server that answers each request after the same pause: how long it takes is known, and hardly depends on who asks, or when.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Says 202 to everything, `pause` after its last byte; a thread for each connection, until it is killed.
pub(crate) fn serve(address: &str, pause: Duration) {
    let listener = TcpListener::bind(address).expect("a free port");
    for stream in listener.incoming() {
        let stream = stream.expect("a connection");
        // Who goes away has heard enough.
        thread::spawn(move || answer(stream, pause));
    }
}

#[expect(clippy::disallowed_methods, reason = "to pause is what this server is for")]
fn answer(mut stream: TcpStream, pause: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = Vec::new();
    loop {
        while !is_whole(&request) {
            let mut bytes = [0; 4096];
            match stream.read(&mut bytes)? {
                0 => return Ok(()),
                read => request.extend_from_slice(&bytes[..read]),
            }
        }
        // Requests are not pipelined here: nothing follows before the answer.
        request.clear();
        thread::sleep(pause);
        stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")?;
    }
}

/// Whether head and body are there.
fn is_whole(request: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(head_bytes)) = head.parse(request) else { return false };
    let length = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let body_bytes: usize =
        length.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok()).unwrap_or_default();
    request.len() >= head_bytes + body_bytes
}
