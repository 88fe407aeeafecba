//! Which texts any parser takes, told in one pass and without a copy; of the others nothing is said, a whole parser judges them.
//!
//! Nearly every event is such a text, and simd-json builds more of it than a yes needs: this takes half the time, and finds the ends of a batch's
//! items on the way. It knows RFC 8259's grammar but for what parsers disagree on: deep nesting, numbers that a double does not hold, surrogates.
//! Strings are passed over sixteen bytes at a time, and their UTF-8 is checked for the whole text at once.
//!
//! Each function takes where something begins and returns where it ends, so that the place stays in a register. `None` is a stop: something is
//! wrong, or not every parser takes it.

use std::ops::Range;

use wide::u8x16;

use super::json::DEPTH_STRICT_MAX;

/// Digits that a double tells apart, and that every parser takes as a number.
const DIGITS_MAX: usize = 15;
/// Digits of an exponent, for the same reason.
const EXPONENT_DIGITS_MAX: usize = 2;

/// Whether `text` is a JSON object that any parser takes, told in half a nanosecond a byte. `false` says nothing.
pub fn is_strict_object(text: &[u8]) -> bool {
    object(text, space(text, 0)).is_some_and(|end| space(text, end) == text.len()) && is_utf8(text)
}

/// Finds the items of a JSON array, at least one and at most `items_max`, if each is an object that any parser takes. `false` says nothing.
pub(super) fn strict_items(text: &[u8], items: &mut Vec<Range<usize>>, items_max: usize) -> bool {
    array(text, items, items_max).is_some_and(|end| space(text, end) == text.len()) && is_utf8(text)
}

fn is_utf8(text: &[u8]) -> bool {
    simdutf8::basic::from_utf8(text).is_ok()
}

/// The objects and arrays around a place.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// A bit for each of them, the innermost lowest: is it an object?
    objects: u128,
}

impl Nesting {
    fn enter(&mut self, is_object: bool) -> Option<()> {
        const { assert!(DEPTH_STRICT_MAX <= u128::BITS as usize, "a bit for each") };
        if self.depth == DEPTH_STRICT_MAX {
            return None;
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(is_object);
        Some(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.objects >>= 1;
    }

    fn is_in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

fn array(text: &[u8], items: &mut Vec<Range<usize>>, items_max: usize) -> Option<usize> {
    let mut at = byte_is(text, space(text, 0), b'[')?;
    loop {
        let start = space(text, at);
        let end = object(text, start)?;
        if items.len() == items_max {
            return None;
        }
        items.push(start..end);
        at = space(text, end) + 1;
        match byte(text, at - 1) {
            b',' => {}
            b']' => return Some(at),
            _ => return None,
        }
    }
}

fn object(text: &[u8], mut at: usize) -> Option<usize> {
    byte_is(text, at, b'{')?;
    let mut around = Nesting::default();
    loop {
        // A value begins.
        let first = byte(text, at);
        at = match first {
            b'"' => string(text, at)?,
            b'{' | b'[' => {
                let is_object = first == b'{';
                around.enter(is_object)?;
                at = space(text, at + 1);
                if byte(text, at) != if is_object { b'}' } else { b']' } {
                    at = if is_object { key(text, at)? } else { at };
                    continue;
                }
                around.leave();
                at + 1
            }
            b'-' | b'0'..=b'9' => number(text, at)?,
            b't' => literal(text, at, b"true")?,
            b'f' => literal(text, at, b"false")?,
            b'n' => literal(text, at, b"null")?,
            _ => return None,
        };
        // It has ended, and with it perhaps what is around it.
        loop {
            if around.depth == 0 {
                return Some(at);
            }
            at = space(text, at);
            match (byte(text, at), around.is_in_object()) {
                (b',', is_in_object) => {
                    at = space(text, at + 1);
                    at = if is_in_object { key(text, at)? } else { at };
                    break;
                }
                (b'}', true) | (b']', false) => {
                    around.leave();
                    at += 1;
                }
                _ => return None,
            }
        }
    }
}

/// A key with its colon, up to its value.
#[inline]
fn key(text: &[u8], at: usize) -> Option<usize> {
    byte_is(text, at, b'"')?;
    let end = string(text, at)?;
    let value = byte_is(text, space(text, end), b':')?;
    Some(space(text, value))
}

#[inline]
fn string(text: &[u8], quote: usize) -> Option<usize> {
    let mut at = quote + 1;
    loop {
        while let Some(chunk) = text.get(at..).and_then(<[u8]>::first_chunk) {
            if let Some(remarkable) = first_remarkable(*chunk) {
                at += remarkable;
                break;
            }
            at += size_of_val(chunk);
        }
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at = escape(text, at + 1)?,
            0..b' ' => return None,
            _ => at += 1, // one of the last bytes, fewer than a chunk
        }
    }
}

/// Where in a chunk a string may not simply be passed over: at the first `"`, `\` or control character.
#[inline]
fn first_remarkable(chunk: [u8; 16]) -> Option<usize> {
    let bytes = u8x16::new(chunk);
    // With this bit turned over, `"` comes right after the control characters, and they stay among themselves.
    let turned = bytes ^ u8x16::splat(2);
    let controls_and_quotes = turned.min(u8x16::splat(b' ')).simd_eq(turned);
    let backslashes = bytes.simd_eq(u8x16::splat(b'\\'));
    let found = (controls_and_quotes | backslashes).to_bitmask();
    (found != 0).then_some(found.trailing_zeros() as usize)
}

/// What follows a `\`. A surrogate comes as the first of a pair, with the second behind it (RFC 8259 section 7).
#[cold]
fn escape(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 1),
        b'u' => match utf16_unit(text, at + 1)? {
            0xd800..0xdc00 => {
                let second = literal(text, at + 5, b"\\u")?;
                matches!(utf16_unit(text, second)?, 0xdc00..0xe000).then_some(second + 4)
            }
            0xdc00..0xe000 => None,
            _ => Some(at + 5),
        },
        _ => None,
    }
}

fn utf16_unit(text: &[u8], at: usize) -> Option<u32> {
    let digits: &[u8; 4] = text.get(at..)?.first_chunk()?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

#[inline]
fn number(text: &[u8], at: usize) -> Option<usize> {
    let start = at + usize::from(byte(text, at) == b'-');
    let mut end = digits(text, start, DIGITS_MAX)?;
    let mut count = end - start;
    if count > 1 && byte(text, start) == b'0' {
        return None;
    }
    if byte(text, end) == b'.' {
        let start = end + 1;
        end = digits(text, start, DIGITS_MAX)?;
        count += end - start;
    }
    if matches!(byte(text, end), b'e' | b'E') {
        let sign = end + 1;
        let start = sign + usize::from(matches!(byte(text, sign), b'+' | b'-'));
        end = digits(text, start, EXPONENT_DIGITS_MAX)?;
    }
    (count <= DIGITS_MAX).then_some(end)
}

/// Digits, of which there are some and no more than `most`.
#[inline]
fn digits(text: &[u8], start: usize, most: usize) -> Option<usize> {
    let mut end = start;
    while byte(text, end).is_ascii_digit() {
        end += 1;
    }
    (1..=most).contains(&(end - start)).then_some(end)
}

fn literal(text: &[u8], at: usize, literal: &[u8]) -> Option<usize> {
    text.get(at..)?.starts_with(literal).then_some(at + literal.len())
}

/// Passes white space.
#[inline]
fn space(text: &[u8], mut at: usize) -> usize {
    while matches!(byte(text, at), b' ' | b'\t' | b'\n' | b'\r') {
        at += 1;
    }
    at
}

#[inline]
fn byte_is(text: &[u8], at: usize, expected: u8) -> Option<usize> {
    (byte(text, at) == expected).then_some(at + 1)
}

/// The byte there, 0 at the end: it has no place in JSON.
#[inline]
fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Checked, JsonChecker};
    use proptest::prelude::*;

    fn is_strict(text: &str) -> bool {
        is_strict_object(text.as_bytes())
    }

    /// What simd-json says by itself.
    fn is_strict_to_simd_json(text: &[u8]) -> bool {
        JsonChecker::default().parse(text) == Some(Ok(Checked::Strict))
    }

    fn items(text: &str) -> Option<Vec<&str>> {
        let mut items = Vec::new();
        strict_items(text.as_bytes(), &mut items, 3)
            .then(|| items.into_iter().map(|item| &text[item]).collect())
    }

    #[test]
    fn the_events_of_every_day_are_told_at_once() {
        for text in [
            "{}",
            " {\"a\":1}\r\n",
            r#"{"a":[1,-2.5e3,0,-0.0,true,false,null,"\u00e9\n\"\\\/",{"b":{}},[]],"a":2E-07}"#,
            r#"{"message":"\ud83d\ude00 and 😀 and \u0000","ü":"exactly8exactly8"}"#,
            "{ \"a\" : [ 1 , { } , [ ] ] , \"b\" : 123456789012345 }",
        ] {
            assert!(is_strict(text), "{text}");
        }
    }

    #[test]
    fn what_parsers_disagree_on_is_left_to_others() {
        for text in [
            r#"{"a":"\ud83d"}"#,
            r#"{"a":"\ud83d\n"}"#,
            r#"{"a":"\ud83d\ud83d"}"#,
            r#"{"a":"\ude00"}"#,
            r#"{"a":1e999}"#,
            r#"{"a":1234567890123456}"#,
            r#"{"a":12345678.12345678}"#,
            "[]",
            "1",
        ] {
            assert!(!is_strict(text), "{text}");
        }
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(is_strict(&nested(DEPTH_STRICT_MAX)));
        assert!(!is_strict(&nested(DEPTH_STRICT_MAX + 1)));
    }

    #[test]
    fn no_byte_of_a_string_is_passed_over_that_may_not_be() {
        for length in 0..40 {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut text = format!("{{\"a\":\"{}\"}}", "x".repeat(length)).into_bytes();
                    text[6 + at] = byte;
                    let is_plain = byte.is_ascii() && !byte.is_ascii_control() && !b"\"\\".contains(&byte);
                    // DEL is a control character to ASCII and none to JSON.
                    assert_eq!(
                        is_strict_object(&text),
                        is_plain || byte == 0x7f,
                        "{:?}",
                        String::from_utf8_lossy(&text)
                    );
                }
            }
        }
    }

    #[test]
    fn items_are_found_where_all_are_plain() {
        assert_eq!(
            items(r#" [{"a":[1,2]}, {"b":"],\"[,"} ] "#),
            Some(vec![r#"{"a":[1,2]}"#, r#"{"b":"],\"[,"}"#])
        );
        assert_eq!(items("[{},{},{}]"), Some(vec!["{}"; 3]));
        for text in
            ["", "[]", "{}", "[{},{},{},{}]", "[{},]", "[{}", "[{}]]", "[{} {}]", "[{},1]", "[,{}]", "[{}],"]
        {
            assert_eq!(items(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

        #[test]
        fn what_it_takes_simd_json_takes(
            text in "\\{(\"[a-c\\\\ud8-e]{0,9}\"[:,]?|[\\[\\]{}:,\"\\\\a-c0-2.eE+ nul\u{e9}-]){0,12}\\}",
        ) {
            prop_assert!(!is_strict(&text) || is_strict_to_simd_json(text.as_bytes()), "{}", text);
        }

        #[test]
        fn one_wrong_byte_in_a_report_is_no_yes_more_than_it_is_to_simd_json(at in 0..1000usize, byte in any::<u8>()) {
            let report = r#"{"occurredOn":"2026-11-24T12:00:00.000Z","n":[-1.5e-3,0,17],"é":{"a\u00e9":"\ud83d\ude00","b":[true,null,{}]}}"#;
            let mut text = report.as_bytes().to_vec();
            let length = text.len();
            text[at % length] = byte;
            prop_assert!(!is_strict_object(&text) || is_strict_to_simd_json(&text), "{:?}", String::from_utf8_lossy(&text));
        }

        #[test]
        fn any_object_of_plain_values_is_taken(
            keys in prop::collection::vec(".{0,12}", 0..6),
            number in -999_999_999_999_999i64..999_999_999_999_999,
        ) {
            let members = keys.iter().map(|key| (key.clone(), serde_json::json!([number, { key: key }])));
            let text = serde_json::Value::Object(members.collect()).to_string();
            prop_assert!(is_strict(&text), "{}", text);
            let array = format!("[{text} , {text}]");
            prop_assert_eq!(items(&array), Some(vec![&text[..]; 2]));
        }
    }
}
