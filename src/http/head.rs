//! The head of a request: finding its end, and reading it strictly.

use std::mem::MaybeUninit;
use std::net::Ipv6Addr;

use memchr::memchr;

/// Longest request target. RFC 9112 section 3 asks for at least 8,000 octets of request line.
pub const TARGET_BYTES_MAX: usize = 8 << 10;
/// Most header fields in a head.
const FIELDS_MAX: usize = 100;
/// Longest method; the registry's longest is `UPDATEREDIRECTREF`, 17.
const METHOD_BYTES_MAX: usize = 32;

/// What is wrong with the bytes of a connection. It cannot be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The grammar of RFC 9112 or a rule on framing is broken; says which.
    Malformed(&'static str),
    /// The request target is longer than [`TARGET_BYTES_MAX`] or than the head may be.
    TargetTooLong,
    /// The head is larger than allowed, or has too many fields.
    HeadTooLarge,
    /// The body is larger than allowed.
    BodyTooLarge,
}

/// Bounds of a head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Largest head, in bytes, the empty line included.
    pub head_bytes_max: usize,
}

/// The methods that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `HEAD`.
    Head,
    /// `POST`.
    Post,
    /// `OPTIONS`.
    Options,
    /// Any other token.
    Other,
}

/// How the body's end is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// No body was announced.
    None,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// A request's head: what routing and judging need of it, borrowed from the connection's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The method.
    pub method: Method,
    /// The method as it came; at most 32 characters of a token.
    pub method_name: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// What follows the first `?`.
    pub query: Option<&'a str>,
    /// HTTP/1.0 (1.1 otherwise).
    pub is_http10: bool,
    /// Whether the connection may serve another request (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// How the body's end is found.
    pub body: BodyLength,
    /// The digits of `Content-Length`.
    pub content_length: Option<&'a [u8]>,
    /// `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// `Content-Type`.
    pub content_type: Option<&'a [u8]>,
    /// `Content-Encoding`.
    pub content_encoding: Option<&'a [u8]>,
    /// `Forebay-Event-Id`.
    pub event_id: Option<&'a [u8]>,
    /// `Forebay-Ack`.
    pub ack: Option<&'a [u8]>,
    /// `X-Request-Id`.
    pub request_id: Option<&'a [u8]>,
    /// `traceparent`.
    pub traceparent: Option<&'a [u8]>,
    /// `X-ApiKey`.
    pub api_key: Option<&'a [u8]>,
    /// The last `X-Forwarded-For`: it may be repeated, and a proxy adds to the end.
    pub forwarded_for: Option<&'a [u8]>,
    /// `Origin`.
    pub origin: Option<&'a [u8]>,
    /// `Access-Control-Request-Headers`.
    pub request_headers: Option<&'a [u8]>,
}

/// Looks for the end of a head, line by line, and remembers how far it looked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeadScan {
    line_start: usize,
    position: usize,
}

/// What a scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The head ends (exclusively) here.
    End(usize),
    /// An empty line ahead of the request line (RFC 9112 section 2.2 asks to ignore it): two bytes.
    EmptyLineAhead,
    /// A line feed without carriage return.
    BareLineFeed,
    /// More bytes are needed.
    Nothing,
}

impl HeadScan {
    /// Looks at `bytes` from where it stopped last time; `bytes` may only have grown.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Found {
        while let Some(found) = memchr(b'\n', &bytes[self.position..]) {
            let feed = self.position + found;
            if feed == self.line_start || bytes[feed - 1] != b'\r' {
                return Found::BareLineFeed;
            }
            if feed - 1 == self.line_start {
                return if self.line_start == 0 { Found::EmptyLineAhead } else { Found::End(feed + 1) };
            }
            self.line_start = feed + 1;
            self.position = feed + 1;
        }
        self.position = bytes.len();
        Found::Nothing
    }

    /// Why a head that has not ended within its bound is refused: by the first part that is too long.
    pub(super) fn too_large(&self, bytes: &[u8]) -> Violation {
        if self.line_start > 0 {
            return Violation::HeadTooLarge;
        }
        // Still in the request line. The method is judged before the target.
        match memchr(b' ', &bytes[..bytes.len().min(METHOD_BYTES_MAX + 1)]) {
            Some(end) if end > 0 && bytes[..end].iter().all(|b| is_token_byte(*b)) => {
                Violation::TargetTooLong
            }
            _ => Violation::Malformed("the method is no token of at most 32 characters"),
        }
    }
}

/// Reads a head that lies whole at the start of `bytes`, and tells its length. `None` if it does not, or if anything is wrong with it: then the way
/// by [`HeadScan`] and [`parse`] says what, and says the same however the bytes were cut.
pub(super) fn parse_whole(bytes: &[u8]) -> Option<(Head<'_>, usize)> {
    // Empty lines ahead are counted elsewhere.
    if !bytes.first().is_some_and(|first| is_token_byte(*first)) {
        return None;
    }
    let mut fields = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let Ok(httparse::Status::Complete(length)) = request.parse_with_uninit_headers(bytes, &mut fields) else {
        return None;
    };
    // httparse takes a line feed alone for the end of a line.
    let bare_feeds = bytes[..length - 1]
        .iter()
        .zip(&bytes[1..length])
        // Without branches, so that it runs on whole vectors.
        .fold(0, |bare, (before, byte)| bare | u8::from(*byte == b'\n') & u8::from(*before != b'\r'));
    if bare_feeds != 0 {
        return None;
    }
    read(&request).ok().map(|head| (head, length))
}

/// Reads a complete head: `bytes` ends with the empty line.
pub(super) fn parse(bytes: &[u8]) -> Result<Head<'_>, Violation> {
    let mut fields = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, &mut fields);
    match parsed {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => read(&request),
        Ok(_) => Err(Violation::Malformed("the head does not end where its empty line is")),
        Err(httparse::Error::TooManyHeaders) => Err(Violation::HeadTooLarge),
        Err(error) => Err(Violation::Malformed(explain(error))),
    }
}

/// What a head of proper form says.
fn read<'a>(request: &httparse::Request<'_, 'a>) -> Result<Head<'a>, Violation> {
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Violation::Malformed("the request line is incomplete"));
    };
    if method.len() > METHOD_BYTES_MAX {
        return Err(Violation::Malformed("the method is no token of at most 32 characters"));
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(Violation::TargetTooLong);
    }
    // RFC 9110 section 9.3.6: what follows a CONNECT is for the tunnel, and no request of this connection.
    let method_name = method;
    let is_connect = method_name == "CONNECT";
    let method = match method_name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "OPTIONS" => Method::Options,
        _ => Method::Other,
    };
    let (path, query) = split_target(target, method)?;
    let is_http10 = version == 0;

    let mut fields = Fields::default();
    for field in request.headers.iter() {
        fields.take(field.name, field.value)?;
    }
    match fields.host {
        Some(host) if is_valid_host(host) => {}
        Some(_) => return Err(Violation::Malformed("Host is not a valid host and port")),
        None if is_http10 => {}
        None => return Err(Violation::Malformed("Host is missing")),
    }
    let body = match (fields.transfer_encoding, fields.content_length) {
        (None, None) => BodyLength::None,
        (None, Some(length)) => BodyLength::Length(parse_length(length)?),
        (Some(_), Some(_)) => return Err(Violation::Malformed("both Transfer-Encoding and Content-Length")),
        (Some(_), None) if is_http10 => return Err(Violation::Malformed("Transfer-Encoding in HTTP/1.0")),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => BodyLength::Chunked,
        (Some(_), None) => return Err(Violation::Malformed("Transfer-Encoding other than chunked")),
    };
    Ok(Head {
        method,
        method_name,
        path,
        query,
        is_http10,
        keep_alive: !fields.close && !is_connect && (!is_http10 || fields.keep_alive),
        expects_continue: fields.expects_continue && !is_http10,
        body,
        content_length: fields.content_length,
        authorization: fields.authorization,
        content_type: fields.content_type,
        content_encoding: fields.content_encoding,
        event_id: fields.event_id,
        ack: fields.ack,
        request_id: fields.request_id,
        traceparent: fields.traceparent,
        api_key: fields.api_key,
        forwarded_for: fields.forwarded_for,
        origin: fields.origin,
        request_headers: fields.request_headers,
    })
}

/// The fields that mean something here.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    expects_continue: bool,
    close: bool,
    keep_alive: bool,
    authorization: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    content_encoding: Option<&'a [u8]>,
    event_id: Option<&'a [u8]>,
    ack: Option<&'a [u8]>,
    request_id: Option<&'a [u8]>,
    traceparent: Option<&'a [u8]>,
    api_key: Option<&'a [u8]>,
    origin: Option<&'a [u8]>,
    forwarded_for: Option<&'a [u8]>,
    request_headers: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &str, value: &'a [u8]) -> Result<(), Violation> {
        // By length first: most fields are told apart without looking at their letters.
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let (place, what) = match name.len() {
            4 if is("host") => (&mut self.host, "Host is repeated"),
            6 if is("expect") => {
                // RFC 9110 section 10.1.1: other expectations may be left unmet.
                self.expects_continue |= members(value).any(|one| one.eq_ignore_ascii_case(b"100-continue"));
                return Ok(());
            }
            6 if is("origin") => (&mut self.origin, "Origin is repeated"),
            8 if is("x-apikey") => (&mut self.api_key, "X-ApiKey is repeated"),
            10 if is("connection") => {
                for option in members(value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
                return Ok(());
            }
            11 if is("forebay-ack") => (&mut self.ack, "Forebay-Ack is repeated"),
            11 if is("traceparent") => (&mut self.traceparent, "traceparent is repeated"),
            12 if is("content-type") => (&mut self.content_type, "Content-Type is repeated"),
            12 if is("x-request-id") => (&mut self.request_id, "X-Request-Id is repeated"),
            13 if is("authorization") => (&mut self.authorization, "Authorization is repeated"),
            14 if is("content-length") => (&mut self.content_length, "Content-Length is repeated"),
            15 if is("x-forwarded-for") => {
                self.forwarded_for = Some(value);
                return Ok(());
            }
            16 if is("content-encoding") => (&mut self.content_encoding, "Content-Encoding is repeated"),
            16 if is("forebay-event-id") => (&mut self.event_id, "Forebay-Event-Id is repeated"),
            17 if is("transfer-encoding") => (&mut self.transfer_encoding, "Transfer-Encoding is repeated"),
            30 if is("access-control-request-headers") => {
                (&mut self.request_headers, "Access-Control-Request-Headers is repeated")
            }
            _ => return Ok(()),
        };
        if place.replace(value).is_some() {
            return Err(Violation::Malformed(what));
        }
        Ok(())
    }
}

/// The members of a list (RFC 9110 section 5.6.1), empty ones included.
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Takes origin-form, absolute-form and, for OPTIONS, asterisk-form (RFC 9112 section 3.2). The method is judged before the target: one without a meaning
/// here may have any form, such as the authority-form of CONNECT, which has no path.
fn split_target(target: &str, method: Method) -> Result<(&str, Option<&str>), Violation> {
    const WRONG: Violation = Violation::Malformed("the request target has no form that this method allows");
    if !target.bytes().all(|byte| TARGET_BYTES[usize::from(byte)]) {
        return Err(Violation::Malformed("the request target has a character that no URI has"));
    }
    let origin =
        if target.starts_with('/') || (target == "*" && matches!(method, Method::Options | Method::Other)) {
            target
        } else {
            let Some(scheme_end) = target.find("://") else {
                return if method == Method::Other { Ok(("", None)) } else { Err(WRONG) };
            };
            let scheme = &target[..scheme_end];
            if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
                return Err(WRONG);
            }
            let rest = &target[scheme_end + 3..];
            let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
            if !is_valid_host(&rest.as_bytes()[..authority_end]) {
                return Err(WRONG);
            }
            match &rest[authority_end..] {
                "" => "/",
                path => path,
            }
        };
    match origin.split_once('?') {
        Some(("", query)) => Ok(("/", Some(query))),
        Some((path, query)) => Ok((path, Some(query))),
        None => Ok((origin, None)),
    }
}

/// `uri-host [ ":" port ]` of RFC 3986 section 3.2, not empty.
fn is_valid_host(host: &[u8]) -> bool {
    let port = if let [b'[', rest @ ..] = host {
        let Some(end) = memchr(b']', rest) else { return false };
        let literal =
            std::str::from_utf8(&rest[..end]).ok().and_then(|literal| literal.parse::<Ipv6Addr>().ok());
        match &rest[end + 1..] {
            _ if literal.is_none() => return false,
            [] => return true,
            [b':', port @ ..] => port,
            _ => return false,
        }
    } else {
        let (name, port) = match memchr(b':', host) {
            Some(colon) => (&host[..colon], &host[colon + 1..]),
            None => (host, &[][..]),
        };
        let is_name = name.iter().all(|byte| HOST_BYTES[usize::from(*byte)]) && is_percent_encoded(name);
        if name.is_empty() || !is_name {
            return false;
        }
        port
    };
    port.len() <= 5 && port.iter().all(u8::is_ascii_digit)
}

/// Whether each `%` begins an octet in two hexadecimal digits (RFC 3986 section 2.1).
fn is_percent_encoded(text: &[u8]) -> bool {
    let is_octet = |rest: &[u8]| matches!(rest, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
    text.split(|byte| *byte == b'%').skip(1).all(is_octet)
}

/// `1*DIGIT` and nothing else (RFC 9110 section 8.6). A length above `u64` is larger than any bound anyway.
pub(super) fn parse_length(value: &[u8]) -> Result<u64, Violation> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Violation::Malformed("Content-Length is not a plain number"));
    }
    Ok(value
        .iter()
        .fold(0u64, |length, digit| length.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// `tchar` of RFC 9110 section 5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[usize::from(byte)]
}

const TOKEN_BYTES: [bool; 256] = letters_digits_and(b"!#$%&'*+-.^_`|~");
/// What a target may hold: all of a URI (RFC 3986 appendix A) but its fragment, which stays with the client.
const TARGET_BYTES: [bool; 256] = letters_digits_and(b"-._~%!$&'()*+,;=:@/?[]");
/// What a host's name may hold: `reg-name` of RFC 3986 section 3.2.2.
const HOST_BYTES: [bool; 256] = letters_digits_and(b"-._~%!$&'()*+,;=");

const fn letters_digits_and(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
}

fn explain(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a field name is invalid",
        httparse::Error::HeaderValue => "a field value is invalid",
        httparse::Error::NewLine => "a line does not end with CR LF",
        httparse::Error::Token => "the request line is invalid",
        httparse::Error::Version => "the version is neither HTTP/1.0 nor HTTP/1.1",
        _ => "the head is invalid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn malformed(text: &str) -> bool {
        matches!(parse(text.as_bytes()), Err(Violation::Malformed(_)))
    }

    fn with(fields: &str) -> String {
        format!("POST /v1/events HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    }

    #[test]
    fn rfc9112_3_2_host_is_required_once_and_valid() {
        assert!(malformed("GET / HTTP/1.1\r\n\r\n"));
        assert!(parse(b"GET / HTTP/1.0\r\n\r\n").is_ok());
        assert!(malformed(&with("Host: b\r\n")));
        for host in ["a", "a.b:80", "[::1]:8080", "127.0.0.1", "a:", "%41b"] {
            let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert!(parse(text.as_bytes()).is_ok(), "{host}");
        }
        for host in [
            "",
            "a b",
            "a:b",
            "a/b",
            "[::1",
            "[]",
            "a@b",
            "a:123456",
            "[::1]x",
            "a[b]",
            "a]",
            "[::g]",
            "[1.2.3.4]",
            "a%",
            "a%4",
            "%zz",
        ] {
            assert!(malformed(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), "{host}");
        }
    }

    #[test]
    fn rfc9112_3_2_2_absolute_form_is_taken_apart() {
        let text = b"POST http://example.com/v1/events?x=1 HTTP/1.1\r\nHost: example.com\r\n\r\n";
        let head = parse(text).expect("absolute-form");
        assert_eq!((head.path, head.query), ("/v1/events", Some("x=1")));
        assert!(malformed("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(malformed("GET example.com:80 HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(malformed("GET * HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(parse(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
    }

    #[test]
    fn rfc9112_3_2_a_target_holds_what_a_uri_may_hold() {
        for target in
            ["/a#b", "/\u{e9}", "/a\"", "/<a>", "/a\\b", "/{a}", "/a|b", "/^", "/`", "/a\u{7f}", "a", ""]
        {
            assert!(malformed(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")), "{target}");
        }
        let target = "/a-._~%20!$&'()*+,;=:@/b?c=d/e?[]";
        assert!(parse(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).is_ok());
    }

    #[test]
    fn rfc9112_3_2_3_an_unknown_method_is_judged_before_its_target() {
        let head = parse(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n").expect("authority-form");
        assert_eq!((head.method, head.path, head.keep_alive), (Method::Other, "", false));
        let head = parse(b"PURGE /a?b HTTP/1.1\r\nHost: a\r\n\r\n").expect("origin-form");
        assert_eq!((head.path, head.query, head.keep_alive), ("/a", Some("b"), true));
    }

    #[test]
    fn rfc9112_6_1_transfer_encoding_is_chunked_alone_or_nothing() {
        assert_eq!(
            parse(with("Transfer-Encoding: chunked\r\n").as_bytes()).map(|h| h.body),
            Ok(BodyLength::Chunked)
        );
        assert_eq!(
            parse(with("Transfer-Encoding: CHUNKED\r\n").as_bytes()).map(|h| h.body),
            Ok(BodyLength::Chunked)
        );
        for fields in [
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: \"chunked\"\r\n",
            "Transfer-Encoding:\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
            "Transfer-Encoding : chunked\r\n",
            " Transfer-Encoding: chunked\r\n",
        ] {
            assert!(malformed(&with(fields)), "{fields}");
        }
        assert!(malformed("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"));
    }

    #[test]
    fn rfc9112_6_2_content_length_is_one_plain_number() {
        assert_eq!(
            parse(with("Content-Length: 12\r\n").as_bytes()).map(|h| h.body),
            Ok(BodyLength::Length(12))
        );
        let huge = with("Content-Length: 99999999999999999999999\r\n");
        assert_eq!(parse(huge.as_bytes()).map(|h| h.body), Ok(BodyLength::Length(u64::MAX)));
        for value in ["", "+1", "-1", "1,1", "1 1", "0x10", "1.0", "१"] {
            assert!(malformed(&with(&format!("Content-Length: {value}\r\n"))), "{value}");
        }
        assert!(malformed(&with("Content-Length: 1\r\nContent-Length: 1\r\n")));
    }

    #[test]
    fn rfc9112_2_2_and_5_bare_cr_nul_fold_and_space_before_colon_are_refused() {
        for fields in
            ["A: b\rc\r\n", "A: b\0c\r\n", "A: b\r\n c\r\n", "A : b\r\n", "A\r\n", ": b\r\n", "A\x01: b\r\n"]
        {
            assert!(malformed(&with(fields)), "{fields:?}");
        }
    }

    #[test]
    fn rfc9112_9_3_persistence_follows_version_and_connection() {
        let keep = |text: &str| parse(text.as_bytes()).map(|h| h.keep_alive);
        assert_eq!(keep("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(true));
        assert_eq!(keep("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n"), Ok(false));
        assert_eq!(keep("GET / HTTP/1.0\r\n\r\n"), Ok(false));
        assert_eq!(keep("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), Ok(true));
    }

    #[test]
    fn rfc9110_10_1_1_expect_counts_in_http11_alone() {
        let expects = |fields: &str| parse(with(fields).as_bytes()).map(|h| h.expects_continue);
        assert_eq!(expects("Expect: 100-Continue\r\n"), Ok(true));
        assert_eq!(expects("Expect: x, 100-continue\r\n"), Ok(true));
        assert_eq!(expects("Expect: 100-continue\r\nExpect: x\r\n"), Ok(true));
        assert_eq!(expects("Expect: 100-continued\r\n"), Ok(false));
        assert_eq!(
            parse(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").map(|h| h.expects_continue),
            Ok(false)
        );
    }

    #[test]
    fn bounds_of_target_and_fields_have_their_own_violations() {
        let long = "a".repeat(TARGET_BYTES_MAX);
        assert_eq!(
            parse(format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()),
            Err(Violation::TargetTooLong)
        );
        assert_eq!(parse(with(&"A: b\r\n".repeat(FIELDS_MAX)).as_bytes()), Err(Violation::HeadTooLarge));
        assert!(malformed(&format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(33))));
        assert!(malformed("GET / HTTP/2.0\r\nHost: a\r\n\r\n"));
    }

    #[test]
    fn fields_are_found_whatever_their_case() {
        let text = with(
            "AUTHORIZATION: Bearer x\r\nforebay-event-id: 1\r\nFOREBAY-ACK: queued\r\nX-request-ID: r\r\n",
        );
        let head = parse(text.as_bytes()).expect("valid");
        assert_eq!(head.authorization, Some(&b"Bearer x"[..]));
        assert_eq!(
            (head.event_id, head.ack, head.request_id),
            (Some(&b"1"[..]), Some(&b"queued"[..]), Some(&b"r"[..]))
        );
    }
}
