//! Reading answers: strictly enough to notice when a server answers wrongly.

/// Most header fields in an answer.
const FIELDS_MAX: usize = 32;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
    /// The server will take no more requests on this connection.
    pub(crate) close: bool,
}

/// The bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotHttp;

/// Reads the answer at the start of `bytes`, and how many bytes it took; `None` if it is not complete. `100 Continue` is passed over.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Response<'_>, usize)>, NotHttp> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let head_bytes = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(NotHttp),
    };
    let status = response.code.ok_or(NotHttp)?;
    let (mut length, mut close) = (None, response.version == Some(0));
    for field in response.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            let value = std::str::from_utf8(field.value).ok().and_then(|value| value.parse().ok());
            length = Some(value.ok_or(NotHttp)?);
        } else if field.name.eq_ignore_ascii_case("connection") {
            close = field.value.eq_ignore_ascii_case(b"close");
        }
    }
    let length: usize = match (status, length) {
        (100 | 204 | 304, _) => 0,
        (_, Some(length)) => length,
        (_, None) => return Err(NotHttp),
    };
    let Some(body) = bytes.get(head_bytes..head_bytes + length) else { return Ok(None) };
    Ok(Some((Response { status, body, close }, head_bytes + length)))
}

/// The text of a string member, `"name":"…"`, without a full parse: answers are many. Good for members without escapes.
pub(crate) fn member<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(body).ok()?;
    let start = text.find(&format!("\"{name}\":\""))? + name.len() + 4;
    let end = start + text[start..].find('"')?;
    Some(&text[start..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_one_after_another_and_only_when_complete() {
        let text = b"HTTP/1.1 202 Accepted\r\nContent-Length: 12\r\n\r\n{\"id\":\"abc\"}HTTP/1.1 503 x\r\nConnection: close\r\ncontent-length: 0\r\n\r\n";
        for end in 0..53 {
            assert_eq!(parse(&text[..end]), Ok(None), "{end}");
        }
        let (first, used) = parse(text).expect("HTTP").expect("complete");
        assert_eq!((first.status, member(first.body, "id"), first.close), (202, Some("abc"), false));
        let (second, rest) = parse(&text[used..]).expect("HTTP").expect("complete");
        assert_eq!((second.status, second.body, second.close), (503, &b""[..], true));
        assert_eq!(used + rest, text.len());
    }

    #[test]
    fn what_is_no_answer_is_noticed() {
        assert_eq!(parse(b"garbage\r\n\r\n"), Err(NotHttp));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n"), Err(NotHttp), "no length");
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), Err(NotHttp));
        assert!(matches!(parse(b"HTTP/1.1 204 No Content\r\n\r\n"), Ok(Some(_))));
    }
}
