//! A client that sends exactly the bytes it is given.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use super::DEADLINE;

/// One connection.
pub(crate) struct Http {
    socket: Arc<TcpStream>,
    stream: Box<dyn Duplex + Send>,
    buffer: Vec<u8>,
}

/// Both directions of a connection.
pub(crate) trait Duplex: Read + Write {}

impl<S: Read + Write> Duplex for S {}

/// A socket without anything around HTTP: one descriptor, however many look at it.
struct Plain(Arc<TcpStream>);

impl Read for Plain {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        (&*self.0).read(room)
    }
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        (&*self.0).flush()
    }
}

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Http {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = Arc::new(socket_to(address));
        Self { socket: socket.clone(), stream: Box::new(Plain(socket)), buffer: Vec::new() }
    }

    /// HTTP through what is spoken on a socket.
    pub(crate) fn through(socket: &TcpStream, stream: impl Duplex + Send + 'static) -> Self {
        let socket = Arc::new(socket.try_clone().expect("a descriptor"));
        Self { socket, stream: Box::new(stream), buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the node reads");
    }

    /// Ends our side of the stream.
    pub(crate) fn end(&self) {
        self.socket.shutdown(Shutdown::Write).expect("connected");
    }

    /// Reads one answer.
    pub(crate) fn answer(&mut self) -> Answer {
        loop {
            if let Some((answer, used)) = parse(&self.buffer) {
                self.buffer.drain(..used);
                return answer;
            }
            let mut piece = [0u8; 4096];
            let count = self.stream.read(&mut piece).expect("an answer in time");
            assert!(
                count > 0,
                "the node closed instead of answering: {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
            self.buffer.extend_from_slice(&piece[..count]);
        }
    }

    /// Whether the node has ended the stream, without another byte.
    pub(crate) fn has_ended(&mut self) -> bool {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).is_ok() && rest.is_empty() && self.buffer.is_empty()
    }

    /// All that still comes until the node ends the stream, as text.
    pub(crate) fn rest(&mut self) -> String {
        self.stream.read_to_end(&mut self.buffer).expect("the node ends the stream in time, without a reset");
        String::from_utf8(std::mem::take(&mut self.buffer)).expect("UTF-8")
    }

    /// Posts a body and reads the answer.
    pub(crate) fn post(&mut self, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        self.tell("POST", path, fields, body)
    }

    /// Sends a request with a body and reads its answer.
    pub(crate) fn tell(&mut self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in fields {
            let _ = write!(request, "{name}: {value}\r\n");
        }
        request.push_str("\r\n");
        self.send(&[request.as_bytes(), body].concat());
        self.answer()
    }

    /// Sends a request without a body and reads its answer.
    pub(crate) fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in fields {
            let _ = write!(request, "{name}: {value}\r\n");
        }
        request.push_str("\r\n");
        self.send(request.as_bytes());
        self.answer()
    }

    /// Posts an event with a token.
    pub(crate) fn event(&mut self, token: &str, body: impl AsRef<[u8]>) -> Answer {
        let authorization = format!("Bearer {token}");
        self.post("/v1/events", &[("Authorization", &authorization)], body.as_ref())
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }
}

/// A socket on which nothing waits for ever.
pub(crate) fn socket_to(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the node listens");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    socket.set_nodelay(true).expect("no delay");
    socket
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The `code` of a refusal.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The `id` of an accepted event.
    pub(crate) fn id(&self) -> String {
        assert_eq!(self.status, 202, "{self:?}");
        self.json()["id"].as_str().expect("an id").to_owned()
    }
}

fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let head = match response.parse(bytes).expect("the answer is HTTP") {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return None,
    };
    let fields: Vec<(String, String)> = response
        .headers
        .iter()
        .map(|field| (field.name.to_owned(), String::from_utf8_lossy(field.value).into_owned()))
        .collect();
    let mut answer = Answer { status: response.code.expect("a status"), fields, body: Vec::new() };
    let length =
        answer.field("Content-Length").map_or(0, |length| length.parse::<usize>().expect("a length"));
    answer.body = bytes.get(head..head + length)?.to_vec();
    Some((answer, head + length))
}
