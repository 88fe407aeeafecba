//! The last head of a connection: clients repeat theirs, but for the length of the body, and what was read once need not be read again.

use std::ops::Range;

use super::head::{self, BodyLength, Head, Method};
use crate::constant_time::is_same;

/// Longer heads are read each time.
const BYTES_MAX: usize = 1 << 10;

/// A head that was read, and what it says. One that is the same to the byte says the same, and is told without reading it; the digits of its
/// `Content-Length` may be others. It may have been another client's, with a secret in it: it is compared in constant time.
#[derive(Debug, Default)]
pub struct KnownHead {
    /// Empty without one.
    bytes: Vec<u8>,
    /// Where the digits of `Content-Length` stand.
    length: Range<usize>,
    said: Option<Said>,
}

/// What a [`Head`] says, with places for what it borrows.
#[derive(Debug)]
struct Said {
    method: Method,
    is_http10: bool,
    keep_alive: bool,
    expects_continue: bool,
    method_name: Range<usize>,
    path: Range<usize>,
    query: Option<Range<usize>>,
    authorization: Option<Range<usize>>,
    content_type: Option<Range<usize>>,
    content_encoding: Option<Range<usize>>,
    ack: Option<Range<usize>>,
    api_key: Option<Range<usize>>,
    forwarded_for: Option<Range<usize>>,
    origin: Option<Range<usize>>,
    request_headers: Option<Range<usize>>,
}

impl KnownHead {
    /// Reads a head that lies whole at the start of `bytes`, as [`head::parse_whole`] does, and tells its length.
    pub(super) fn read<'a>(&mut self, bytes: &'a [u8]) -> Option<(Head<'a>, usize)> {
        if let Some(told) = self.tell(bytes) {
            return Some(told);
        }
        let (head, length) = head::parse_whole(bytes)?;
        self.remember(&head, &bytes[..length]);
        Some((head, length))
    }

    fn tell<'a>(&self, bytes: &'a [u8]) -> Option<(Head<'a>, usize)> {
        let said = self.said.as_ref()?;
        let (ahead, behind) = (&self.bytes[..self.length.start], &self.bytes[self.length.end..]);
        let (start, rest) = bytes.split_at_checked(ahead.len())?;
        if !is_same(start, ahead) {
            return None;
        }
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = rest.split_at(digits);
        if !is_same(rest.get(..behind.len())?, behind) {
            return None;
        }
        let body = BodyLength::Length(head::parse_length(digits).ok()?);
        // What stands behind the digits moves with them.
        let moved = |place: usize| {
            if place > self.length.start { place - self.length.len() + digits.len() } else { place }
        };
        let at = |place: &Range<usize>| &bytes[moved(place.start)..moved(place.end)];
        let text = |place: &Range<usize>| std::str::from_utf8(at(place)).ok();
        let field = |place: &Option<Range<usize>>| place.as_ref().map(at);
        let head = Head {
            method: said.method,
            method_name: text(&said.method_name)?,
            path: text(&said.path)?,
            query: match &said.query {
                Some(place) => Some(text(place)?),
                None => None,
            },
            is_http10: said.is_http10,
            keep_alive: said.keep_alive,
            expects_continue: said.expects_continue,
            body,
            content_length: Some(digits),
            authorization: field(&said.authorization),
            content_type: field(&said.content_type),
            content_encoding: field(&said.content_encoding),
            event_id: None,
            ack: field(&said.ack),
            request_id: None,
            traceparent: None,
            api_key: field(&said.api_key),
            forwarded_for: field(&said.forwarded_for),
            origin: field(&said.origin),
            request_headers: field(&said.request_headers),
        };
        Some((head, moved(self.bytes.len())))
    }

    /// Takes a head in the other's stead, if it may come again: not if it has a field that is another each time.
    fn remember(&mut self, head: &Head<'_>, bytes: &[u8]) {
        let is_new_each_time = head.event_id.or(head.request_id).or(head.traceparent).is_some();
        let Some(length) = head.content_length.filter(|_| !is_new_each_time && bytes.len() <= BYTES_MAX)
        else {
            return;
        };
        // None of a text that is not the head's own, such as the path of a target without one.
        let place = |part: &[u8]| {
            let start = part.as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
            (start + part.len() <= bytes.len()).then_some(start..start + part.len())
        };
        let (Some(length), Some(method_name), Some(path)) =
            (place(length), place(head.method_name.as_bytes()), place(head.path.as_bytes()))
        else {
            return;
        };
        self.said = Some(Said {
            method: head.method,
            is_http10: head.is_http10,
            keep_alive: head.keep_alive,
            expects_continue: head.expects_continue,
            method_name,
            path,
            query: head.query.and_then(|query| place(query.as_bytes())),
            authorization: head.authorization.and_then(place),
            content_type: head.content_type.and_then(place),
            content_encoding: head.content_encoding.and_then(place),
            ack: head.ack.and_then(place),
            api_key: head.api_key.and_then(place),
            forwarded_for: head.forwarded_for.and_then(place),
            origin: head.origin.and_then(place),
            request_headers: head.request_headers.and_then(place),
        });
        self.length = length;
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &[u8] = b"POST /v1/events?a=b HTTP/1.1\r\nAuthorization: Bearer x\r\nContent-Length: 600\r\nHost: h\r\nOrigin: http://o\r\n\r\n";

    fn knows(head: &[u8]) -> KnownHead {
        let mut known = KnownHead::default();
        assert!(known.read(head).is_some(), "a head");
        known
    }

    #[test]
    fn a_head_that_comes_again_is_known_whatever_the_length_of_its_body() {
        let known = knows(HEAD);
        for length in ["600", "1", "65536", "0600", "99999999999999999999"] {
            let head = String::from_utf8_lossy(HEAD).replace("600", length).into_bytes();
            let (told, end) = known.tell(&head).expect("known");
            assert_eq!((Some((told, end)), end), (head::parse_whole(&head), head.len()), "{length}");
        }
    }

    #[test]
    fn a_head_that_differs_in_any_byte_or_has_not_all_come_is_not_known() {
        let known = knows(HEAD);
        for at in 0..HEAD.len() {
            let mut other = HEAD.to_vec();
            other[at] ^= 0x40;
            assert_eq!(known.tell(&other), None, "{}", String::from_utf8_lossy(&other));
            assert_eq!(known.tell(&HEAD[..at]), None, "{at} bytes");
        }
        let without = String::from_utf8_lossy(HEAD).replace("600", "");
        assert_eq!(known.tell(without.as_bytes()), None);
    }

    #[test]
    fn what_will_not_come_again_is_not_kept() {
        for field in
            ["traceparent: 00-a-b-01", "X-Request-Id: 1", "Forebay-Event-Id: 1", "Transfer-Encoding: chunked"]
        {
            let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n").into_bytes();
            assert_eq!(knows(&head).tell(&head), None, "{field}");
        }
        let long = format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nA: {}\r\n\r\n",
            "a".repeat(BYTES_MAX)
        );
        assert_eq!(knows(long.as_bytes()).tell(long.as_bytes()), None);
    }

    fn any_head() -> impl Strategy<Value = String> {
        let lines = [
            "POST / HTTP/1.1",
            "POST http://h?a HTTP/1.1",
            "POST http://h HTTP/1.1",
            "GET /v1?q=1?2 HTTP/1.0",
            "CONNECT h:1 HTTP/1.1",
        ];
        let fields = [
            "Host: h",
            "Content-Length: 7",
            "Content-Length: 70 ",
            "content-length:0",
            "Content-Length: 123456",
            "Content-Length: 1,1",
            "Connection: close",
            "Connection: keep-alive",
            "Expect: 100-continue",
            "Authorization: Bearer 7",
            "X-ApiKey: 70",
            "Origin: null",
            "X-Forwarded-For: 7",
            "X-Request-Id: 7",
            "Content-Type: 7",
        ];
        let fields = prop::collection::vec(prop::sample::select(fields.to_vec()), 0..4);
        (prop::sample::select(lines.to_vec()), fields)
            .prop_map(|(line, fields)| format!("{line}\r\nHost: h\r\n{}\r\n\r\n", fields.join("\r\n")))
    }

    proptest! {
        #[test]
        fn heads_say_the_same_whatever_was_known_before(heads in prop::collection::vec(any_head(), 1..12), times in 1..3usize) {
            let mut known = KnownHead::default();
            for head in heads.iter().flat_map(|head| std::iter::repeat_n(head, times)) {
                prop_assert_eq!(known.read(head.as_bytes()), head::parse_whole(head.as_bytes()), "{}", head);
            }
        }
    }
}
