//! Is it JSON, and of what kind? What is not plain at first sight ([`super::strict`]), simd-json decides; what it refuses gets a second look.
//!
//! simd-json is strict and bounded in depth, but refuses some of what RFC 8259's grammar allows: a lone surrogate escape (`"\ud83d"`, common in
//! truncated crash text), a number beyond a double (`1e999`). The second look (`serde_json` without building anything, UTF-8, the same depth) accepts
//! those, and marks them *lenient*: a consumer may be strict too, so they travel alone. It is slower, hence the [`SecondLook`] budget.

use serde::de::IgnoredAny;
use simd_json::{Buffers, Node, Tape};

use super::strict::is_strict_object;

/// Deepest nesting that is accepted: simd-json's own bound, which the second look shares.
pub const DEPTH_MAX: usize = 1024;
/// Nesting beyond this is legal and marked lenient: many parsers stop near 128.
pub const DEPTH_STRICT_MAX: usize = 100;

/// What kind of JSON a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Any parser takes it.
    Strict,
    /// Legal, but a strict parser may refuse it.
    Lenient,
}

/// Why a text is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnEvent {
    /// Nothing but white space.
    Empty,
    /// Valid JSON, but no object.
    NotAnObject,
    /// Not JSON: by grammar, by UTF-8, or nested deeper than [`DEPTH_MAX`].
    Invalid,
    /// The strict look refused it and the budget for second looks is used up.
    NoSecondLook,
}

/// How many bytes may still get a second look.
pub trait SecondLook {
    /// Takes `bytes` from the budget; `false` if it has not that much.
    fn spend(&mut self, bytes: usize) -> bool;
}

/// Checks texts, one after another, in the same memory.
#[derive(Default)]
pub struct JsonChecker {
    /// A copy of the text: simd-json writes over it.
    spoiled: Vec<u8>,
    buffers: Buffers,
    tape: Vec<Node<'static>>,
    ends: Vec<usize>,
}

impl std::fmt::Debug for JsonChecker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsonChecker").finish_non_exhaustive()
    }
}

impl JsonChecker {
    /// Checks that `text` is a JSON object.
    ///
    /// Cost: about half a nanosecond a byte for nearly every event, three times that where simd-json has to judge, and ten times with a second look.
    pub fn check_object(
        &mut self,
        text: &[u8],
        second_look: &mut impl SecondLook,
    ) -> Result<Checked, NotAnEvent> {
        if is_strict_object(text) {
            return Ok(Checked::Strict);
        }
        self.parse(text).unwrap_or_else(|| look_again(text, second_look))
    }

    /// What simd-json says; nothing if it refuses the text.
    pub(super) fn parse(&mut self, text: &[u8]) -> Option<Result<Checked, NotAnEvent>> {
        self.spoiled.clear();
        self.spoiled.extend_from_slice(text);
        let mut tape = Tape(std::mem::take(&mut self.tape)).reset();
        let parsed = simd_json::fill_tape(&mut self.spoiled, &mut self.buffers, &mut tape);
        let checked = parsed.ok().map(|()| match tape.0.first() {
            Some(Node::Object { .. }) if is_deep(&tape.0, &mut self.ends) => Ok(Checked::Lenient),
            Some(Node::Object { .. }) => Ok(Checked::Strict),
            _ => Err(NotAnEvent::NotAnObject),
        });
        self.tape = tape.reset().0;
        checked
    }
}

/// Whether the nesting goes beyond [`DEPTH_STRICT_MAX`]. `ends` is scratch memory.
fn is_deep(tape: &[Node<'_>], ends: &mut Vec<usize>) -> bool {
    if tape.len() <= DEPTH_STRICT_MAX {
        return false; // each level takes a node
    }
    ends.clear();
    for (index, node) in tape.iter().enumerate() {
        while ends.last().is_some_and(|end| *end <= index) {
            ends.pop();
        }
        if let Node::Object { count, .. } | Node::Array { count, .. } = node {
            ends.push(index + count + 1);
            if ends.len() > DEPTH_STRICT_MAX {
                return true;
            }
        }
    }
    false
}

#[cold]
fn look_again(text: &[u8], second_look: &mut impl SecondLook) -> Result<Checked, NotAnEvent> {
    let trimmed = trim(text);
    if trimmed.is_empty() {
        return Err(NotAnEvent::Empty);
    }
    if !second_look.spend(text.len()) {
        return Err(NotAnEvent::NoSecondLook);
    }
    let is_legal = std::str::from_utf8(trimmed).is_ok()
        && depth(trimmed) <= DEPTH_MAX
        // `IgnoredAny` walks the grammar with a stack of its own in memory, not by recursion.
        && serde_json::from_slice::<IgnoredAny>(trimmed).is_ok();
    match (is_legal, trimmed[0]) {
        (true, b'{') => Ok(Checked::Lenient),
        (true, _) => Err(NotAnEvent::NotAnObject),
        (false, _) => Err(NotAnEvent::Invalid),
    }
}

/// The deepest nesting, by brackets outside of strings.
fn depth(text: &[u8]) -> usize {
    let (mut deepest, mut open) = (0usize, 0usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                open += 1;
                deepest = deepest.max(open);
            }
            b'}' | b']' if !in_string => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Takes JSON's white space (RFC 8259 section 2) off both ends.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    let is_space = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
    while let [first, rest @ ..] = text
        && is_space(first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_space(last)
    {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A budget without end, or none at all.
    struct Looks(bool);

    impl SecondLook for Looks {
        fn spend(&mut self, _: usize) -> bool {
            self.0
        }
    }

    fn check(text: impl AsRef<[u8]>) -> Result<Checked, NotAnEvent> {
        let text = text.as_ref();
        JsonChecker::default().check_object(text, &mut Looks(true))
    }

    fn nested(depth: usize) -> String {
        format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1))
    }

    #[test]
    fn objects_are_taken_and_nothing_else() {
        for text in ["{}", " {\"a\":1}\r\n", r#"{"a":[1,2.5e3,true,null,"\u00e9\n",{"b":{}}],"a":2}"#] {
            assert_eq!(check(text), Ok(Checked::Strict), "{text}");
        }
        for text in ["[]", "[{}]", "1", "\"a\"", "null", "\"\\ud83d\"", "1e999"] {
            assert_eq!(check(text), Err(NotAnEvent::NotAnObject), "{text}");
        }
        for text in ["", " \n"] {
            assert_eq!(check(text), Err(NotAnEvent::Empty), "{text:?}");
        }
    }

    #[test]
    fn rfc8259_what_the_grammar_forbids_is_refused() {
        for text in [
            "{",
            "}",
            "{}}",
            "{}{}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{'a':1}",
            "{\"a\":01}",
            "{\"a\":+1}",
            "{\"a\":.5}",
            "{\"a\":1.}",
            "{\"a\":1e}",
            "{\"a\":NaN}",
            "{\"a\":Infinity}",
            "{\"a\":\"\t\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12g4\"}",
            "{\"a\":tru}",
            "{\"a\":[1}",
            "{\"a\":\"b}",
            "\u{feff}{}",
            "{}\0",
            "/**/{}",
            "{\"a\":-}",
            "nul",
            "{\"a\":1 \"b\":2}",
        ] {
            assert_eq!(check(text), Err(NotAnEvent::Invalid), "{text}");
        }
        for text in
            [&b"{\"a\":\"\xff\"}"[..], b"{\"a\":\"\xc0\xaf\"}", b"{\"a\":\"\xed\xa0\x80\"}", b"\xff{}"]
        {
            assert_eq!(check(text), Err(NotAnEvent::Invalid), "{text:?}");
        }
    }

    #[test]
    fn rfc8259_what_the_grammar_allows_and_strict_parsers_refuse_is_marked() {
        for text in [
            r#"{"a":"\ud83d"}"#,
            r#"{"a":"\udc00\ud800"}"#,
            r#"{"a":1e999}"#,
            r#"{"a":-1e-999999}"#,
            r#"{"a":123456789012345678901234567890}"#,
        ] {
            let checked = check(text);
            assert!(matches!(checked, Ok(Checked::Lenient | Checked::Strict)), "{text}: {checked:?}");
        }
        assert_eq!(check(r#"{"a":"\ud83d"}"#), Ok(Checked::Lenient));
    }

    #[test]
    fn depth_is_strict_to_100_lenient_to_1024_and_refused_beyond() {
        assert_eq!(check(nested(DEPTH_STRICT_MAX)), Ok(Checked::Strict));
        assert_eq!(check(nested(DEPTH_STRICT_MAX + 1)), Ok(Checked::Lenient));
        assert_eq!(check(nested(DEPTH_MAX)), Ok(Checked::Lenient));
        assert_eq!(check(nested(DEPTH_MAX + 1)), Err(NotAnEvent::Invalid));
        assert_eq!(check(nested(100_000)), Err(NotAnEvent::Invalid), "no recursion, no crash");
        assert_eq!(check("[".repeat(1_000_000)), Err(NotAnEvent::Invalid));
        let wide = format!("{{\"a\":[{}]}}", vec!["[[]]"; 1000].join(","));
        assert_eq!(check(wide), Ok(Checked::Strict), "wide is not deep");
    }

    #[test]
    fn without_budget_there_is_no_second_look() {
        let text = br#"{"a":"\ud83d"}"#;
        let mut checker = JsonChecker::default();
        assert_eq!(checker.check_object(text, &mut Looks(false)), Err(NotAnEvent::NoSecondLook));
        assert_eq!(checker.check_object(b"{}", &mut Looks(false)), Ok(Checked::Strict));
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde_json_on_anything(text in "[\\[\\]{}:,\"\\\\a-c0-2.eE+ nul\u{e9}-]{0,24}") {
            let legal = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(!matches!(check(&text), Err(NotAnEvent::Invalid | NotAnEvent::Empty)), legal, "{}", text);
        }

        #[test]
        fn arbitrary_bytes_never_panic(text in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = check(text);
        }
    }
}
