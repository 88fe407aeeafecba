//! Reading answers: strictly enough to notice when a server answers wrongly.

use serde::Deserialize;

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

/// Reads answers, most of which begin with the same head: comparing it is cheaper than reading it once more.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// The head of the last answer that had a body, up to the empty line.
    head: Vec<u8>,
    status: u16,
    close: bool,
    body_bytes: usize,
}

impl Reader {
    /// As [`parse`].
    pub(crate) fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(Response<'a>, usize)>, NotHttp> {
        if !self.head.is_empty() && bytes.starts_with(&self.head) {
            let length = self.head.len() + self.body_bytes;
            let answer = bytes
                .get(self.head.len()..length)
                .map(|body| (Response { status: self.status, body, close: self.close }, length));
            return Ok(answer);
        }
        let answer = parse(bytes)?;
        if let Some((response, length)) = &answer {
            let body_bytes = response.body.len();
            self.head.clear();
            self.head.extend_from_slice(&bytes[..length - body_bytes]);
            (self.status, self.close, self.body_bytes) = (response.status, response.close, body_bytes);
        }
        Ok(answer)
    }
}

/// What a batch's 202 says: how many items were accepted, their ids in order, and which items were not.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) struct BatchAnswer {
    accepted: u64,
    pub(crate) ids: Vec<String>,
    rejected: Vec<RejectedItem>,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct RejectedItem {
    index: usize,
}

impl BatchAnswer {
    /// Reads it; none if it contradicts itself, or what was sent.
    pub(crate) fn parse(body: &[u8], items: usize) -> Option<Self> {
        let answer: Self = serde_json::from_slice(body).ok()?;
        let is_whole = answer.accepted == answer.ids.len() as u64
            && answer.ids.len() + answer.rejected.len() == items
            && answer.rejected.iter().all(|item| item.index < items)
            && answer.rejected.windows(2).all(|pair| pair[0].index < pair[1].index);
        is_whole.then_some(answer)
    }

    /// Which items were accepted, in the order of [`Self::ids`].
    pub(crate) fn accepted_items(&self) -> impl Iterator<Item = usize> {
        let items = self.ids.len() + self.rejected.len();
        (0..items).filter(|index| self.rejected.binary_search_by_key(index, |item| item.index).is_err())
    }
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
    fn a_head_that_was_read_before_means_the_same_again() {
        let one = b"HTTP/1.1 202 Accepted\r\nContent-Length: 12\r\n\r\n{\"id\":\"abc\"}";
        let other = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        let mut reader = Reader::default();
        for text in [&one[..], one, other, one, other, other, b"HTTP/1.1 204 x\r\n\r\n", one] {
            for end in 0..text.len() {
                assert_eq!(reader.read(&text[..end]), Ok(None), "{end}");
            }
            let twice = [text, text].concat();
            assert_eq!(reader.read(&twice), parse(&twice));
        }
        assert_eq!(reader.read(b"garbage\r\n\r\n"), Err(NotHttp));
    }

    #[test]
    fn a_batch_tells_which_items_are_in_and_must_not_contradict_itself() {
        let body = br#"{"accepted":2,"ids":["a","b"],"rejected":[{"index":1,"code":"too_large"}]}"#;
        let answer = BatchAnswer::parse(body, 3).expect("an answer");
        let accepted: Vec<_> = answer.accepted_items().zip(&answer.ids).collect();
        assert_eq!(accepted, [(0, &"a".to_owned()), (2, &"b".to_owned())]);
        assert_eq!(BatchAnswer::parse(body, 2), None, "more than was sent");
        assert_eq!(BatchAnswer::parse(br#"{"accepted":3,"ids":["a"],"rejected":[]}"#, 1), None);
        assert_eq!(BatchAnswer::parse(br#"{"id":"a"}"#, 1), None);
    }

    #[test]
    fn what_is_no_answer_is_noticed() {
        assert_eq!(parse(b"garbage\r\n\r\n"), Err(NotHttp));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n"), Err(NotHttp), "no length");
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), Err(NotHttp));
        assert!(matches!(parse(b"HTTP/1.1 204 No Content\r\n\r\n"), Ok(Some(_))));
    }
}
