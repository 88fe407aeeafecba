//! Where a text stops being JSON, for whoever has to mend it.

use memchr::memchr_iter;
use serde::de::IgnoredAny;

/// The offset at which a reader of JSON stops in `text`, of which it reads `bytes_max` at most. None if that much is JSON, or may be the beginning of
/// some.
///
/// Cost: about 5 ns a byte.
pub fn stopped_at(text: &[u8], bytes_max: usize) -> Option<usize> {
    let read = &text[..text.len().min(bytes_max)];
    let (legal, is_legal) = match std::str::from_utf8(read) {
        Ok(_) => (read, true),
        // Cut by our own bound, and not wrong.
        Err(error) if error.error_len().is_none() && read.len() < text.len() => {
            (&read[..error.valid_up_to()], true)
        }
        Err(error) => (&read[..error.valid_up_to()], false),
    };
    match serde_json::from_slice::<IgnoredAny>(legal) {
        Err(error) if !error.is_eof() => Some(offset(legal, error.line(), error.column())),
        Err(_) if is_legal && read.len() < text.len() => None,
        Err(_) => Some(legal.len()),
        Ok(IgnoredAny) => (!is_legal).then_some(legal.len()),
    }
}

/// The offset of a line and a column, both counted from one.
fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let lines_before = line.saturating_sub(1);
    let start = match lines_before.checked_sub(1) {
        None => 0,
        Some(last) => memchr_iter(b'\n', text).nth(last).map_or(0, |feed| feed + 1),
    };
    (start + column.saturating_sub(1)).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: impl AsRef<[u8]>) -> Option<usize> {
        stopped_at(text.as_ref(), 1 << 20)
    }

    #[test]
    fn it_is_where_a_person_would_point_to() {
        assert_eq!(at("{}"), None);
        assert_eq!(at("{\"a\":nul}"), Some(8));
        assert_eq!(at("{\"a\":1,}"), Some(7));
        assert_eq!(at("{\n\"a\":1,\n\"b\" 2}"), Some(13));
        assert_eq!(at("{\"a\":1"), Some(6), "the end of what was cut");
        assert_eq!(at("{} {}"), Some(3));
        assert_eq!(at(b"{\"a\":\"\xff\"}"), Some(6), "no UTF-8");
        assert_eq!(at(""), Some(0));
    }

    #[test]
    fn beyond_what_it_reads_it_says_nothing() {
        let text = format!("{{\"a\":\"{}é\",}}", "x".repeat(100));
        assert_eq!(at(&text), Some(text.len() - 1));
        for bytes_max in 0..text.len() - 1 {
            assert_eq!(stopped_at(text.as_bytes(), bytes_max), None, "{bytes_max}");
        }
        assert_eq!(stopped_at(b"{,      }", 3), Some(1));
    }

    proptest! {
        #[test]
        fn it_lies_within_the_text(text in prop::collection::vec(any::<u8>(), 0..60), bytes_max in 0usize..80) {
            if let Some(at) = stopped_at(&text, bytes_max) {
                prop_assert!(at <= text.len().min(bytes_max));
            }
        }
    }
}
