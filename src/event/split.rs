//! The items of a batch: where each begins and ends, byte for byte. Whether an item is valid is judged afterwards, one by one, unless all are plainly so.

use std::ops::Range;

use memchr::{memchr_iter, memchr2};

use super::json::{Checked, trim};
use super::strict::{is_strict_object, strict_items};

/// Most items in a batch.
pub const BATCH_ITEMS_MAX: usize = 10_000;

/// Why a text is no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotABatch {
    /// No array (or, for NDJSON, not even white space that could hold lines).
    Invalid,
    /// More than [`BATCH_ITEMS_MAX`] items.
    TooManyItems,
}

/// Finds the items of a JSON array. `items` is cleared first.
///
/// The answer is what every item is, if that was seen on the way. Else only the array's own structure was looked at: brackets and commas outside
/// of strings.
pub fn split_array(text: &[u8], items: &mut Vec<Range<usize>>) -> Result<Option<Checked>, NotABatch> {
    if split_strict_array(text, items) {
        return Ok(Some(Checked::Strict));
    }
    items.clear();
    cut_array(text, items).map(|()| None)
}

/// Finds the items of a JSON array, if each is an object that any parser takes: in half a nanosecond a byte. `items` is cleared first.
pub fn split_strict_array(text: &[u8], items: &mut Vec<Range<usize>>) -> bool {
    items.clear();
    strict_items(text, items, BATCH_ITEMS_MAX)
}

/// The same for the lines of NDJSON.
pub fn split_strict_lines(text: &[u8], items: &mut Vec<Range<usize>>) -> bool {
    split_lines(text, items).is_ok()
        && !items.is_empty()
        && items.iter().all(|item| is_strict_object(&text[item.clone()]))
}

fn cut_array(text: &[u8], items: &mut Vec<Range<usize>>) -> Result<(), NotABatch> {
    let trimmed = trim(text);
    let [b'[', .., b']'] = trimmed else { return Err(NotABatch::Invalid) };
    let first = subslice_start(text, trimmed) + 1;
    let last = first + trimmed.len() - 2;
    if trim(&text[first..last]).is_empty() {
        return Ok(());
    }
    let inside = &text[..last];
    let (mut start, mut open, mut at) = (first, 0usize, first);
    while let Some(byte) = inside.get(at) {
        match byte {
            b'"' => at = string_end(inside, at + 1).ok_or(NotABatch::Invalid)?,
            b'{' | b'[' => open += 1,
            b'}' | b']' => open = open.checked_sub(1).ok_or(NotABatch::Invalid)?,
            b',' if open == 0 => {
                push(text, start..at, items)?;
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    if open > 0 {
        return Err(NotABatch::Invalid);
    }
    push(text, start..last, items)
}

/// Where the string ends whose text begins at `at`: most of a batch lies in strings, which are passed over many bytes at a time.
fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2; // whatever is escaped
    }
}

fn push(text: &[u8], item: Range<usize>, items: &mut Vec<Range<usize>>) -> Result<(), NotABatch> {
    let trimmed = trim(&text[item]);
    if trimmed.is_empty() {
        return Err(NotABatch::Invalid); // `[1,,2]` and `[1,]` are no arrays
    }
    push_trimmed(text, trimmed, items)
}

fn push_trimmed(text: &[u8], trimmed: &[u8], items: &mut Vec<Range<usize>>) -> Result<(), NotABatch> {
    if items.len() == BATCH_ITEMS_MAX {
        return Err(NotABatch::TooManyItems);
    }
    let start = subslice_start(text, trimmed);
    items.push(start..start + trimmed.len());
    Ok(())
}

/// Finds the lines of NDJSON that hold something. `items` is cleared first.
pub fn split_lines(text: &[u8], items: &mut Vec<Range<usize>>) -> Result<(), NotABatch> {
    items.clear();
    let ends = memchr_iter(b'\n', text).chain([text.len()]);
    let mut start = 0;
    for end in ends {
        let trimmed = trim(&text[start..end]);
        start = end + 1;
        if !trimmed.is_empty() {
            push_trimmed(text, trimmed, items)?;
        }
    }
    Ok(())
}

/// Where `part`, a subslice of `whole`, begins in it.
fn subslice_start(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn array(text: &str) -> Result<Vec<&str>, NotABatch> {
        let mut items = Vec::new();
        split_array(text.as_bytes(), &mut items)?;
        Ok(items.into_iter().map(|item| &text[item]).collect())
    }

    #[test]
    fn items_are_cut_at_the_commas_of_the_array_alone() {
        assert_eq!(array("[]"), Ok(vec![]));
        assert_eq!(array(" [ ] \n"), Ok(vec![]));
        assert_eq!(
            array(r#"[{"a":[1,2]}, {"b":"],\"[,"} ,3]"#),
            Ok(vec![r#"{"a":[1,2]}"#, r#"{"b":"],\"[,"}"#, "3"])
        );
        assert_eq!(
            array(r#"[{"a":1},{b:2}]"#),
            Ok(vec![r#"{"a":1}"#, "{b:2}"]),
            "a bad item is judged later"
        );
    }

    #[test]
    fn what_is_no_array_is_refused_whole() {
        for text in
            ["", "{}", "[", "]", "[1,]", "[,1]", "[1,,2]", "[1", "1]", "[}]", "[{]", "[\"]", "[1]]", "[1][2"]
        {
            assert_eq!(array(text), Err(NotABatch::Invalid), "{text}");
        }
    }

    #[test]
    fn the_count_of_items_is_bounded() {
        let text = format!("[{}1]", "1,".repeat(BATCH_ITEMS_MAX));
        assert_eq!(array(&text), Err(NotABatch::TooManyItems));
        assert_eq!(
            split_lines("1\n".repeat(BATCH_ITEMS_MAX + 1).as_bytes(), &mut vec![]),
            Err(NotABatch::TooManyItems)
        );
    }

    #[test]
    fn lines_may_end_with_cr_lf_and_empty_ones_do_not_count() {
        let text = "{\"a\":1}\r\n\n  {\"b\":2}\n{\"c\":3}";
        let mut items = Vec::new();
        assert_eq!(split_lines(text.as_bytes(), &mut items), Ok(()));
        let lines: Vec<&str> = items.into_iter().map(|item| &text[item]).collect();
        assert_eq!(lines, ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]);
    }

    proptest! {
        #[test]
        fn any_array_that_serde_json_writes_is_cut_as_it_was_joined(
            items in prop::collection::vec("[\\[\\]{},\"\\\\a]{0,8}", 0..6),
        ) {
            let texts: Vec<String> = items.iter().map(|item| serde_json::json!({ "k": item, item: [1, {}] }).to_string()).collect();
            let text = format!("[{}]", texts.join(" ,\n"));
            prop_assert_eq!(array(&text), Ok(texts.iter().map(String::as_str).collect::<Vec<_>>()));
        }
    }
}
