//! Answers, as bytes.

use std::io::Write;

/// The interim answer that asks for the body (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The value of `Date` (RFC 9110 section 6.6.1), made anew at most once a second.
#[derive(Clone, Debug)]
pub struct DateHeader {
    second: u64,
    text: [u8; Self::BYTES],
}

impl DateHeader {
    const BYTES: usize = 29;

    /// The date of a moment, in seconds since the Unix epoch.
    pub fn at(second: u64) -> Self {
        Self { second, text: imf_fixdate(second) }
    }

    /// Moves on; nothing happens within the same second.
    pub fn advance(&mut self, second: u64) {
        if second != self.second {
            *self = Self::at(second);
        }
    }
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It goes on, as HTTP/1.1 does by itself.
    KeepAlive,
    /// It goes on, which an HTTP/1.0 client must be told.
    KeepAliveHttp10,
    /// It ends.
    Close,
}

/// One answer with a body in memory.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The status code.
    pub status: u16,
    /// `Content-Type`; none for an answer without a body.
    pub content_type: Option<&'static str>,
    /// More header fields: name and value.
    pub fields: &'a [(&'static str, Vec<u8>)],
    /// The body.
    pub body: &'a [u8],
    /// For an answer to HEAD: the body is counted and not sent.
    pub is_head: bool,
    /// What becomes of the connection.
    pub persistence: Persistence,
}

impl Answer<'_> {
    /// Appends the answer.
    pub fn write(&self, date: &DateHeader, out: &mut Vec<u8>) {
        out.extend_from_slice(status_line(self.status));
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(&date.text);
        out.extend_from_slice(b"\r\n");
        if let Some(content_type) = self.content_type {
            field(out, "Content-Type", content_type.as_bytes());
        }
        // RFC 9110 section 8.6: never in a 204.
        if self.status != 204 {
            out.extend_from_slice(b"Content-Length: ");
            decimal(out, self.body.len());
            out.extend_from_slice(b"\r\n");
        }
        for (name, value) in self.fields {
            field(out, name, value);
        }
        match self.persistence {
            Persistence::KeepAlive => {}
            Persistence::KeepAliveHttp10 => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            Persistence::Close => out.extend_from_slice(b"Connection: close\r\n"),
        }
        out.extend_from_slice(b"\r\n");
        if !self.is_head {
            out.extend_from_slice(self.body);
        }
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    debug_assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "a value cannot end its line");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn decimal(out: &mut Vec<u8>, value: usize) {
    // Two digits are by far the most common length of a body here, and `write!` is many times dearer.
    if value < 100 {
        let [tens, ones] = [value / 10, value % 10].map(|digit| b'0' + u8::try_from(digit).expect("a digit"));
        if tens > b'0' {
            out.push(tens);
        }
        out.push(ones);
    } else {
        let _ = write!(out, "{value}");
    }
}

/// The reason phrase of a status that this server gives.
pub fn reason(status: u16) -> &'static str {
    let line = status_line(status);
    std::str::from_utf8(&line[13..line.len() - 2]).expect("ASCII constants")
}

fn status_line(status: u16) -> &'static [u8] {
    match status {
        200 => b"HTTP/1.1 200 OK\r\n",
        202 => b"HTTP/1.1 202 Accepted\r\n",
        204 => b"HTTP/1.1 204 No Content\r\n",
        400 => b"HTTP/1.1 400 Bad Request\r\n",
        401 => b"HTTP/1.1 401 Unauthorized\r\n",
        403 => b"HTTP/1.1 403 Forbidden\r\n",
        404 => b"HTTP/1.1 404 Not Found\r\n",
        405 => b"HTTP/1.1 405 Method Not Allowed\r\n",
        408 => b"HTTP/1.1 408 Request Timeout\r\n",
        411 => b"HTTP/1.1 411 Length Required\r\n",
        413 => b"HTTP/1.1 413 Content Too Large\r\n",
        414 => b"HTTP/1.1 414 URI Too Long\r\n",
        415 => b"HTTP/1.1 415 Unsupported Media Type\r\n",
        429 => b"HTTP/1.1 429 Too Many Requests\r\n",
        431 => b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
        503 => b"HTTP/1.1 503 Service Unavailable\r\n",
        500 => b"HTTP/1.1 500 Internal Server Error\r\n",
        _ => panic!("{status} is no status of the contract"),
    }
}

/// `IMF-fixdate` (RFC 9110 section 5.6.7), for example `Sun, 06 Nov 1994 08:49:37 GMT`.
fn imf_fixdate(second: u64) -> [u8; DateHeader::BYTES] {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = second / 86_400;
    let weekday = WEEKDAYS[usize::try_from(days % 7).expect("below 7")];
    // Formatting RFC 3339 is the library's; only the order of the parts differs here.
    let stamp =
        humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + std::time::Duration::from_secs(second))
            .to_string();
    let month = MONTHS[stamp[5..7].parse::<usize>().expect("two digits") - 1];
    let text = format!("{weekday}, {} {month} {} {} GMT", &stamp[8..10], &stamp[..4], &stamp[11..19]);
    text.as_bytes().try_into().expect("29 characters until the year 9999")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(answer: &Answer<'_>) -> String {
        let mut out = Vec::new();
        answer.write(&DateHeader::at(784_111_777), &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn an_answer_has_its_length_and_says_what_becomes_of_the_connection() {
        let mut answer = Answer {
            status: 202,
            content_type: Some("application/json"),
            fields: &[("Forebay-Ack", b"queued".to_vec())],
            body: b"{}",
            is_head: false,
            persistence: Persistence::KeepAlive,
        };
        let head = "HTTP/1.1 202 Accepted\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/json\r\n\
                    Content-Length: 2\r\nForebay-Ack: queued\r\n";
        assert_eq!(written(&answer), format!("{head}\r\n{{}}"));
        answer.persistence = Persistence::Close;
        assert_eq!(written(&answer), format!("{head}Connection: close\r\n\r\n{{}}"));
        answer.persistence = Persistence::KeepAliveHttp10;
        answer.is_head = true;
        assert_eq!(written(&answer), format!("{head}Connection: keep-alive\r\n\r\n"));
    }

    #[test]
    fn rfc9110_8_6_a_204_has_no_length() {
        let answer = Answer {
            status: 204,
            content_type: None,
            fields: &[],
            body: b"",
            is_head: false,
            persistence: Persistence::KeepAlive,
        };
        assert!(!written(&answer).contains("Content-Length"));
    }

    #[test]
    fn lengths_are_written_in_full() {
        for value in [0, 7, 10, 45, 99, 100, 65_536] {
            let mut out = Vec::new();
            decimal(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }

    #[test]
    fn the_date_moves_with_the_second() {
        let mut date = DateHeader::at(0);
        assert_eq!(&date.text, b"Thu, 01 Jan 1970 00:00:00 GMT");
        date.advance(951_782_400);
        assert_eq!(&date.text, b"Tue, 29 Feb 2000 00:00:00 GMT");
    }
}
