//! What requests carry: events, alone or in batches, compressed or not. Made once, shared by all threads.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum;
use ring::digest;

use crate::encoding::Encoding;

/// All batches together take about as much memory.
const BATCHES_BYTES_MAX: usize = 64 << 20;
/// Most items of a batch.
pub(crate) const BATCH_ITEMS_MAX: usize = 10_000;

/// How a batch is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BatchForm {
    /// An event a line.
    #[default]
    Ndjson,
    /// A JSON array.
    Array,
}

/// Why events cannot be sent like that.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodiesError {
    #[error(
        "payload {0} has line breaks, so it cannot be a line of NDJSON: send arrays with --batch-form array"
    )]
    LineBreak(usize),
    #[error("payload {0} is empty")]
    Empty(usize),
    #[error("cannot compress: {0}")]
    Encoding(#[from] std::io::Error),
}

/// How events become bodies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// Events of a batch; none for single events.
    pub(crate) batch: Option<usize>,
    pub(crate) layout: BatchForm,
    pub(crate) encoding: Option<Encoding>,
}

/// A body that is to be accepted.
#[derive(Debug)]
pub(crate) struct Body {
    /// The end of a request: from `Content-Type` to the last byte.
    pub(crate) tail: Vec<u8>,
    /// Numbers of the events in it.
    pub(crate) events: Vec<u32>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Bodies {
    pub(crate) good: Vec<Body>,
    /// Tails of requests that are to be refused because JSON ends in its midst, and because it is no UTF-8.
    pub(crate) broken_json: Vec<u8>,
    pub(crate) invalid_utf8: Vec<u8>,
    /// What `verify` compares, of each event.
    pub(crate) hashes: Vec<String>,
}

impl Bodies {
    pub(crate) fn make(events: &[Vec<u8>], form: Form) -> Result<Self, BodiesError> {
        let is_ndjson = form.batch.is_some() && form.layout == BatchForm::Ndjson;
        for (number, event) in events.iter().enumerate() {
            let event = event.trim_ascii();
            if event.is_empty() {
                return Err(BodiesError::Empty(number));
            }
            if is_ndjson && event.contains(&b'\n') {
                return Err(BodiesError::LineBreak(number));
            }
        }
        let sample = events[0].trim_ascii();
        let good = match form.batch {
            None => (0..events.len()).map(|number| body(events, vec![number], form)).collect(),
            Some(items) => {
                let bytes = events.iter().map(Vec::len).sum::<usize>() / events.len() * items;
                let batches = (BATCHES_BYTES_MAX / bytes.max(1)).clamp(1, events.len());
                (0..batches)
                    .map(|batch| {
                        let numbers = (0..items).map(|item| (batch * items + item) % events.len());
                        body(events, numbers.collect(), form)
                    })
                    .collect()
            }
        };
        let wrong = |event: &[u8]| match form.batch {
            Some(_) => tail(&join(&[event], form.layout), form),
            None => tail(event, form),
        };
        Ok(Self {
            good: Result::from_iter::<Vec<_>>(good)?,
            broken_json: wrong(&sample[..sample.len() - 1])?,
            invalid_utf8: wrong(b"{\"message\":\"caf\xe9\"}")?,
            // What lies around an event is not part of it.
            hashes: events.iter().map(|event| hash(event.trim_ascii())).collect(),
        })
    }
}

/// SHA-256 in base64url.
pub(crate) fn hash(event: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, event))
}

fn body(events: &[Vec<u8>], numbers: Vec<usize>, form: Form) -> Result<Body, BodiesError> {
    let tail = if form.batch.is_some() {
        let items: Vec<_> = numbers.iter().map(|number| events[*number].trim_ascii()).collect();
        tail(&join(&items, form.layout), form)?
    } else {
        tail(&events[numbers[0]], form)?
    };
    let events = numbers.into_iter().map(|number| u32::try_from(number).expect("far fewer payloads"));
    Ok(Body { tail, events: events.collect() })
}

fn join(items: &[&[u8]], form: BatchForm) -> Vec<u8> {
    match form {
        BatchForm::Ndjson => [&items.join(&b'\n')[..], b"\n"].concat(),
        BatchForm::Array => [b"[", &items.join(&b',')[..], b"]"].concat(),
    }
}

fn tail(content: &[u8], form: Form) -> Result<Vec<u8>, BodiesError> {
    let content_type = match (form.batch, form.layout) {
        (Some(_), BatchForm::Ndjson) => "application/x-ndjson",
        _ => "application/json",
    };
    let encoded = form.encoding.map(|encoding| encoding.encode(content)).transpose()?;
    let content = encoded.as_deref().unwrap_or(content);
    let encoding = form
        .encoding
        .map_or(String::new(), |encoding| format!("Content-Encoding: {}\r\n", encoding.as_str()));
    let head = format!("Content-Type: {content_type}\r\n{encoding}Content-Length: {}\r\n\r\n", content.len());
    Ok([head.as_bytes(), content].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINGLE: Form = Form { batch: None, layout: BatchForm::Ndjson, encoding: None };

    fn events() -> Vec<Vec<u8>> {
        [&b"{\"a\":1}"[..], b" {\"b\":2}\n", b"{\"c\":3}"].map(<[u8]>::to_vec).to_vec()
    }

    fn text(tail: &[u8]) -> &str {
        std::str::from_utf8(tail).expect("UTF-8")
    }

    #[test]
    fn events_travel_alone_as_they_are() {
        let bodies = Bodies::make(&events(), SINGLE).expect("bodies");
        assert_eq!(
            text(&bodies.good[1].tail),
            "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n {\"b\":2}\n"
        );
        assert_eq!(bodies.good[1].events, [1]);
        assert_eq!(bodies.hashes[1], hash(b"{\"b\":2}"), "JSON as it comes out of the queue");
        assert!(bodies.broken_json.ends_with(b"\r\n\r\n{\"a\":1"));
    }

    #[test]
    fn batches_have_their_items_in_order_and_all_events_come() {
        let form = Form { batch: Some(2), ..SINGLE };
        let bodies = Bodies::make(&events(), form).expect("bodies");
        let numbers: Vec<_> = bodies.good.iter().map(|body| body.events.clone()).collect();
        assert_eq!(numbers, [[0, 1], [2, 0], [1, 2]]);
        assert!(text(&bodies.good[0].tail).starts_with("Content-Type: application/x-ndjson\r\n"));
        assert!(text(&bodies.good[0].tail).ends_with("\r\n\r\n{\"a\":1}\n{\"b\":2}\n"));
        let array = Form { layout: BatchForm::Array, ..form };
        let bodies = Bodies::make(&events(), array).expect("bodies");
        assert!(text(&bodies.good[1].tail).ends_with("\r\n\r\n[{\"c\":3},{\"a\":1}]"));
        assert!(text(&bodies.broken_json).ends_with("\r\n\r\n[{\"a\":1]"), "no item of it is good");
    }

    #[test]
    fn what_is_no_line_is_not_sent_as_one() {
        let form = Form { batch: Some(2), ..SINGLE };
        let events = [b"{\"a\":\n1}".to_vec()];
        assert!(matches!(Bodies::make(&events, form), Err(BodiesError::LineBreak(0))));
        assert!(Bodies::make(&events, Form { layout: BatchForm::Array, ..form }).is_ok());
        assert!(matches!(Bodies::make(&[b" ".to_vec()], SINGLE), Err(BodiesError::Empty(0))));
    }

    #[test]
    fn compressed_bodies_say_so_and_how_long_they_are() {
        let form = Form { encoding: Some(Encoding::Gzip), ..SINGLE };
        let bodies = Bodies::make(&events(), form).expect("bodies");
        let encoded = Encoding::Gzip.encode(b"{\"a\":1}").expect("memory");
        let head = format!(
            "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            encoded.len()
        );
        assert_eq!(bodies.good[0].tail, [head.as_bytes(), &encoded].concat());
    }
}
