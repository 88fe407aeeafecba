//! The HTTP codec: any bytes, cut anywhere, mean the same; nothing panics; what is kept is bounded.
//!
//! The first byte says how many of the next bytes are cuts; the rest is what the client sends.

#![no_main]

use forebay::http::{Decoder, HeadLimits, KnownHead, Step};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 2048 };
const BODY_BYTES_MAX: usize = 512;

/// What the bytes came to.
#[derive(Debug, PartialEq)]
enum Told {
    Head(String),
    Body(Vec<u8>),
    Skipped,
    Violation(String),
}

fn feed(input: &[u8], cuts: &[u8]) -> Vec<Told> {
    let (mut decoder, mut known) = (Decoder::default(), KnownHead::default());
    let mut told = Vec::new();
    let (mut start, mut cuts) = (0, cuts.iter());
    while start < input.len() {
        let length = cuts.next().map_or(usize::MAX, |cut| usize::from(*cut));
        let end = input.len().min(start.saturating_add(length.max(1)));
        let piece = &input[start..end];
        start = end;
        let mut used = 0;
        loop {
            let (more, step) = decoder.step(&piece[used..], LIMITS, &mut known);
            used += more;
            let mut keep = None;
            match step {
                Step::More => break,
                Step::Head(head) => {
                    // A declared length is judged with the head, so that nothing beyond the bound is kept.
                    let is_small = !matches!(head.body, forebay::http::BodyLength::Length(n) if n > BODY_BYTES_MAX as u64);
                    keep = Some(is_small && head.path.len() % 2 == 0);
                    told.push(Told::Head(format!("{head:?}")));
                }
                Step::Body(body) => {
                    assert!(body.len() <= BODY_BYTES_MAX);
                    told.push(Told::Body(body.to_vec()));
                }
                Step::Skipped => told.push(Told::Skipped),
                Step::Violation(violation) => {
                    told.push(Told::Violation(format!("{violation:?}")));
                    return told;
                }
            }
            match keep {
                Some(true) => decoder.take_body(BODY_BYTES_MAX),
                Some(false) => decoder.skip_body(BODY_BYTES_MAX),
                None => {}
            }
        }
        assert_eq!(used, piece.len(), "all input is used");
        assert!(decoder.assembled_bytes() <= LIMITS.head_bytes_max.max(BODY_BYTES_MAX));
    }
    told
}

fuzz_target!(|data: &[u8]| {
    let Some((count, rest)) = data.split_first() else { return };
    let (cuts, input) = rest.split_at(rest.len().min(usize::from(*count)));
    assert_eq!(feed(input, &[]), feed(input, cuts));
});
