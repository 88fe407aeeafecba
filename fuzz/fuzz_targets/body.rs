//! A body's way: decoded, taken apart, checked. Nothing panics, no bound is passed, and what is taken for an object is one to another parser, too.
//!
//! The first byte chooses the coding and the form.

#![no_main]

use forebay::event::{Checked, JsonChecker, SecondLook, split_array, split_lines};
use forebay::http::Coding;
use libfuzzer_sys::fuzz_target;

const BYTES_MAX: usize = 64 << 10;

struct Unbounded;

impl SecondLook for Unbounded {
    fn spend(&mut self, _: usize) -> bool {
        true
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let coding = match choice % 5 {
        0 => None,
        1 => Some(Coding::Gzip),
        2 => Some(Coding::Deflate),
        3 => Some(Coding::Zstd),
        _ => Some(Coding::Brotli),
    };
    let mut body = Vec::new();
    match coding {
        None => body.extend_from_slice(rest),
        Some(coding) => {
            let decoded = coding.decode(rest, BYTES_MAX, &mut body);
            assert!(body.len() <= BYTES_MAX + 1);
            if decoded.is_err() {
                return;
            }
        }
    }
    let mut items = Vec::new();
    let split = match choice / 5 % 3 {
        0 => {
            items.push(0..body.len());
            Ok(None)
        }
        1 => split_array(&body, &mut items),
        _ => split_lines(&body, &mut items).map(|()| None),
    };
    let Ok(known) = split else { return };
    let mut checker = JsonChecker::default();
    let mut end = 0;
    for item in items {
        assert!(item.start >= end && item.end <= body.len(), "items lie one after the other");
        end = item.end;
        let text = &body[item];
        let checked = checker.check_object(text, &mut Unbounded);
        assert!(known.is_none_or(|known| checked == Ok(known)), "{:?}", String::from_utf8_lossy(text));
        if checked == Ok(Checked::Strict) {
            let parsed: Result<serde_json::Value, _> = serde_json::from_slice(text);
            assert!(parsed.is_ok_and(|value| value.is_object()), "{:?}", String::from_utf8_lossy(text));
        }
    }
});
