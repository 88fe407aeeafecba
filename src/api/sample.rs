//! What a refused body looked like where it was wrong, without what it said.
//!
//! An app's developer has to find the place; nobody needs the values. So a sample is built of what is known to be harmless, and all else is left out:
//! JSON's own signs, names of members that are plain words, short values, short numbers where a number belongs, the words that parsers are known to
//! trip over. Whatever is left out, a credential or an ordinary sentence, is shown as `…`. Nothing has to *look* like a secret to be left out.

use std::collections::VecDeque;

use crate::event::stopped_at;
use crate::telemetry::Excerpt;

/// How far a body is read; past it, nothing is known of where it is wrong. What is kept a second is bounded, so this is half a percent of a core.
const READ_BYTES_MAX: usize = 16 << 10;
/// Pieces that are shown ahead of the place, and behind it.
const PIECES_BEFORE: usize = 40;
const PIECES_BEHIND: usize = 20;
/// Longest value that is shown.
const SHORT_BYTES: usize = 4;
/// Most digits of a number that is shown.
const DIGITS_MAX: usize = 6;
/// Longest name that is shown. Keys of 22 and secrets of 43 characters are longer.
const NAME_BYTES_MAX: usize = 20;
/// Most digits at the end of a name: `sha256` has three.
const NAME_DIGITS_MAX: usize = 3;
/// Longest path that is shown.
const PATH_BYTES_MAX: usize = 128;
/// What stands for all that is left out.
const LEFT_OUT: &str = "…";

/// Words outside of strings that say what is wrong, and nothing else.
const WORDS: [&[u8]; 11] = [
    b"true",
    b"false",
    b"null",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"undefined",
    b"None",
    b"True",
    b"False",
    b"nil",
];
/// Below a member whose name has one of these in it, no value is shown, however short.
const TELLING: [&str; 24] = [
    "pass",
    "pwd",
    "secret",
    "token",
    "auth",
    "cookie",
    "session",
    "key",
    "credential",
    "pin",
    "cvv",
    "cvc",
    "otp",
    "iban",
    "card",
    "ssn",
    "account",
    "mail",
    "phone",
    "user",
    "name",
    "address",
    "birth",
    "sign",
];

/// A piece of a text.
#[derive(Clone, Copy, Debug)]
enum Piece {
    /// White space, however much.
    Space,
    /// One of JSON's signs.
    Sign(u8),
    /// Something that is shown.
    Shown { start: usize, end: usize },
    /// Something that is left out, between quotes if it was; a string that does not end has one quote.
    LeftOut { opening: bool, closing: bool },
}

/// A sample of a body that is no event, around the place where it stops being JSON, else of its beginning.
pub(super) fn sample(body: &[u8]) -> Option<Excerpt> {
    if body.trim_ascii().is_empty() {
        return None;
    }
    let stopped_at = stopped_at(body, READ_BYTES_MAX);
    let text = redact(&body[..body.len().min(READ_BYTES_MAX)], stopped_at.unwrap_or(0));
    Some(Excerpt { text: text.into(), stopped_at })
}

/// A path, of which plain names are shown.
pub(super) fn path(path: &str) -> Box<str> {
    let mut shown = String::with_capacity(path.len().min(PATH_BYTES_MAX));
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            shown.push('/');
        }
        let is_shown = segment.is_empty() || is_segment(segment.as_bytes());
        shown.push_str(if is_shown { segment } else { LEFT_OUT });
        if shown.len() > PATH_BYTES_MAX - NAME_BYTES_MAX - LEFT_OUT.len() {
            shown.push_str(LEFT_OUT);
            break;
        }
    }
    shown.into()
}

/// A method, or a request's id that its client has chosen: one made of hexadecimal digits and hyphens, as most are, or short.
pub(super) fn identifier(text: &str) -> Box<str> {
    let is_hexadecimal =
        text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let is_short = text.len() <= NAME_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_hexadecimal || is_short { text.into() } else { LEFT_OUT.into() }
}

/// What is shown of `text` around `place`.
fn redact(text: &[u8], place: usize) -> String {
    let mut reader = Reader { text, at: 0, depth: 0, telling_depth: None, before: None };
    let mut pieces = VecDeque::with_capacity(PIECES_BEFORE + PIECES_BEHIND + 1);
    let (mut is_cut, mut behind) = (false, 0);
    while let Some(piece) = reader.next() {
        pieces.push_back(piece);
        if reader.at > place {
            behind += 1;
        } else if pieces.len() > PIECES_BEFORE {
            pieces.pop_front();
            is_cut = true;
        }
        if behind == PIECES_BEHIND {
            break;
        }
    }
    let mut shown = String::from(if is_cut { LEFT_OUT } else { "" });
    for piece in pieces {
        match piece {
            Piece::Space => shown.push(' '),
            Piece::Sign(sign) => shown.push(char::from(sign)),
            Piece::Shown { start, end } => shown.push_str(&String::from_utf8_lossy(&text[start..end])),
            Piece::LeftOut { opening, closing } => {
                shown.extend(opening.then_some('"'));
                shown.push_str(LEFT_OUT);
                shown.extend(closing.then_some('"'));
            }
        }
    }
    if reader.at < text.len() {
        shown.push_str(LEFT_OUT);
    }
    shown
}

/// Takes a text apart, JSON or not.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    /// How deep the member lies below which nothing is shown.
    telling_depth: Option<usize>,
    /// The last piece that was not white space.
    before: Option<u8>,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<Piece> {
        let start = self.at;
        let piece = match *self.text.get(start)? {
            byte if byte.is_ascii_whitespace() => {
                self.at = self.end_of(start, |byte| byte.is_ascii_whitespace());
                return Some(Piece::Space);
            }
            sign if is_sign(sign) => {
                self.at += 1;
                self.take_sign(sign);
                Piece::Sign(sign)
            }
            quote @ (b'"' | b'\'') => self.take_string(quote),
            _ => self.take_bare(),
        };
        self.before = Some(self.text[start]);
        Some(piece)
    }

    fn take_sign(&mut self, sign: u8) {
        match sign {
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.telling_depth = self.telling_depth.filter(|depth| *depth <= self.depth);
            }
            _ => {}
        }
    }

    fn take_string(&mut self, quote: u8) -> Piece {
        let start = self.at + 1;
        let mut end = start;
        while let Some(byte) = self.text.get(end).filter(|byte| **byte != quote) {
            end += if *byte == b'\\' { 2 } else { 1 };
        }
        let is_whole = end < self.text.len();
        let end = end.min(self.text.len());
        self.at = (end + 1).min(self.text.len());
        let inside = &self.text[start..end];
        let is_member = is_whole && quote == b'"' && self.next_sign() == Some(b':');
        let is_shown = if is_member {
            self.take_member(inside);
            is_name(inside)
        } else {
            let is_short = inside.len() <= SHORT_BYTES && inside.iter().all(u8::is_ascii_alphanumeric);
            is_short && quote == b'"' && self.telling_depth.is_none() && self.is_at_end_of_value()
        };
        if is_shown {
            Piece::Shown { start: start - 1, end: self.at }
        } else {
            Piece::LeftOut { opening: true, closing: is_whole }
        }
    }

    /// Notes whether anything may be shown below a member of this name.
    fn take_member(&mut self, name: &[u8]) {
        if self.telling_depth.is_none_or(|depth| depth >= self.depth) {
            let letters = name.iter().filter(|byte| byte.is_ascii_alphabetic());
            let plain: String = letters.map(|byte| char::from(byte.to_ascii_lowercase())).collect();
            let is_telling = TELLING.iter().any(|part| plain.contains(part));
            self.telling_depth = is_telling.then_some(self.depth);
        }
    }

    fn take_bare(&mut self) -> Piece {
        let start = self.at;
        let ends = |byte: u8| byte.is_ascii_whitespace() || is_sign(byte) || byte == b'"' || byte == b'\'';
        self.at = self.end_of(start, |byte| !ends(byte));
        let word = &self.text[start..self.at];
        let is_value = matches!(self.before, Some(b':' | b',' | b'[')) && self.is_at_end_of_value();
        let is_number = is_value && self.telling_depth.is_none() && is_short_number(word);
        if WORDS.contains(&word) || is_number {
            Piece::Shown { start, end: self.at }
        } else {
            Piece::LeftOut { opening: false, closing: false }
        }
    }

    /// Where those that are `wanted` end.
    fn end_of(&self, start: usize, wanted: impl Fn(u8) -> bool) -> usize {
        let end = self.text[start..].iter().position(|byte| !wanted(*byte));
        end.map_or(self.text.len(), |count| start + count)
    }

    /// Whether what comes next is what comes behind a value.
    fn is_at_end_of_value(&self) -> bool {
        matches!(self.next_sign(), Some(b',' | b']' | b'}'))
    }

    /// What comes next that is not white space.
    fn next_sign(&self) -> Option<u8> {
        self.text[self.at..].iter().copied().find(|byte| !byte.is_ascii_whitespace())
    }
}

fn is_sign(byte: u8) -> bool {
    b"{}[]:,".contains(&byte)
}

/// Whether a name is a word, with a number at its end maybe, and no key or password that somebody has put in its place.
fn is_name(name: &[u8]) -> bool {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let word = &name[..name.len() - digits];
    !word.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && digits <= NAME_DIGITS_MAX
        && word.iter().all(|byte| byte.is_ascii_alphabetic() || b"_-$".contains(byte))
}

/// Whether a segment of a path is a word, or a version such as `v1`.
fn is_segment(segment: &[u8]) -> bool {
    let has_digits = segment.iter().any(u8::is_ascii_digit);
    is_name(segment) && (!has_digits || segment.len() <= 3 && segment.starts_with(b"v"))
}

fn is_short_number(word: &[u8]) -> bool {
    let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    (1..=DIGITS_MAX).contains(&digits)
        && word.split(|byte| *byte == b'.').count() <= 2
        && word.len() <= 2 * DIGITS_MAX
        && word.iter().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(body: impl AsRef<[u8]>) -> String {
        sample(body.as_ref()).expect("a sample").text.into()
    }

    #[test]
    fn the_place_can_be_found_and_the_values_cannot() {
        for (body, expected) in [
            (
                r#"{"count":12,"kind":"web","message":"it broke","at":nul}"#,
                r#"{"count":12,"kind":"web","message":"…","at":…}"#,
            ),
            (r#"{"count":NaN}"#, r#"{"count":NaN}"#),
            (r#"{"a":1,}"#, r#"{"a":1,}"#),
            (r#"{"a":"cut off"#, r#"{"a":"…"#),
            ("{\"a\": 1\n  \"b\": 2}", r#"{"a": … "b": 2}"#),
            ("{'a': None}", r#"{"…": None}"#),
            ("{a: undefined}", "{…: undefined}"),
            ("<Crash><User>bob</User></Crash>", "…"),
            ("user=bob&password=swordfish", "…"),
            ("[1, 2]", "[1, 2]"),
        ] {
            assert_eq!(text(body), expected, "{body}");
        }
        assert_eq!(sample(b" \n"), None);
    }

    #[test]
    fn what_names_people_or_opens_doors_is_left_out() {
        for body in [
            r#"{"to":"bob@example.org","x":nul}"#,
            r#"{"x":bob@example.org}"#,
            r#"{"a@b.example":1,}"#,
            r#"{"a":"::1","b":10.0.0.1,"c":"10.0.0.1",}"#,
            r#"{"card":4111,"n":[4111 1111 1111 1111]}"#,
            r#"{"n":4111111111111111,}"#,
            r#"{"pin":1234,"otp":["1234"],"auth":{"code":"ab1"},}"#,
            r#"{"API_Key":"ab1","apiKey":12,}"#,
            r#"{"12-swordfish":1,}"#,
            "Bearer abcdef",
            r#"{"a":"he said "swordfish, swordfish" loudly"}"#,
        ] {
            let shown = text(body);
            for secret in
                ["bob", "example", "10.0", "::1", "4111", "1111", "1234", "ab1", "12", "abc", "swordfish"]
            {
                assert!(!shown.contains(secret), "{body}: {shown}");
            }
        }
        assert_eq!(
            text(r#"{"auth":{"code":"ab1"},"kind":"ab1",}"#),
            r#"{"auth":{"code":"…"},"kind":"ab1",}"#
        );
    }

    #[test]
    fn a_sample_is_short_and_around_the_place() {
        let many: Vec<String> = (0..500).map(|n| format!("\"m{n}\":{n}")).collect();
        let body = format!("{{{},\"wrong\":nul,{}}}", many.join(","), many.join(","));
        let found = sample(body.as_bytes()).expect("a sample");
        assert!(found.text.contains(r#""m499":499,"wrong":…,"m0":0"#), "{found:?}");
        assert!(found.text.starts_with(LEFT_OUT) && found.text.ends_with(LEFT_OUT) && found.text.len() < 600);
        assert!(found.stopped_at.is_some_and(|at| body[..=at].ends_with("\"wrong\":nul,")), "{found:?}");
        // Too far away to be looked for: the beginning.
        let body = format!("{{\"first\":1,\"a\":\"{}\",}}", "x".repeat(READ_BYTES_MAX));
        let found = sample(body.as_bytes()).expect("a sample");
        assert_eq!((&*found.text, found.stopped_at), (r#"{"first":1,"a":"…"#, None));
    }

    #[test]
    fn paths_and_identifiers_show_what_is_plain() {
        assert_eq!(&*path("/v1/events"), "/v1/events");
        assert_eq!(&*path("/v1/eyJhbGciOiJIUzI1NiJ9.e30/bob@example.org/4711471147"), "/v1/…/…/…");
        assert_eq!(&*path("/api/v2/hunter2/sword2-fish"), "/api/v2/…/…");
        assert_eq!(&*path(""), "");
        assert!(path(&"/events".repeat(1000)).len() <= PATH_BYTES_MAX);
        assert_eq!(
            &*identifier("0190b6a0-0000-7000-8000-000000000000"),
            "0190b6a0-0000-7000-8000-000000000000"
        );
        assert_eq!(&*identifier("req-42"), "req-42");
        assert_eq!(&*identifier("bob@example.org"), LEFT_OUT);
        assert_eq!(&*identifier(&"x".repeat(43)), LEFT_OUT);
    }

    /// Whether five characters in a row of `secret` can be read in `shown`.
    fn leaks(shown: &str, secret: &str) -> bool {
        let characters: Vec<char> = secret.chars().collect();
        characters.windows(5).any(|part| shown.contains(&part.iter().collect::<String>()))
    }

    /// Bodies around a secret, most of them broken.
    fn bodies(secret: &str) -> Vec<String> {
        let quoted = serde_json::to_string(secret).expect("a string");
        vec![
            format!(r#"{{"a":{quoted},}}"#),
            format!(r#"{{"a":[1,{quoted}],"b":{{"c":{quoted}}}"#),
            format!("[{quoted}"),
            quoted.clone(),
            format!(r#"{{"a":1}}{quoted}"#),
            format!("{{\"a\": \"{}", secret.replace('"', "'")),
        ]
    }

    /// The same without quotes, for secrets without a sign of JSON.
    fn bare_bodies(secret: &str) -> Vec<String> {
        vec![
            secret.to_owned(),
            format!("{{\"a\":{secret}}}"),
            format!("{{{secret}:1}}"),
            format!("{{\"a\":1,{secret}"),
            format!("token={secret}&a=b"),
            format!("Authorization: Bearer {secret}"),
            format!("<a>{secret}</a>"),
            format!("{{'a':'{secret}'}}"),
            format!("{{\"a\":\"x\"{secret}\"y\"}}"),
        ]
    }

    proptest! {
        #[test]
        fn no_secret_comes_through_from_a_string(secret in "[ -~]{5,80}") {
            for body in bodies(&secret) {
                // A place for it, wherever the parser stops.
                for place in 0..=body.len() {
                    let shown = redact(body.as_bytes(), place);
                    prop_assert!(!leaks(&shown, &secret), "{body}: {shown}");
                }
            }
        }

        #[test]
        fn no_credential_comes_through_from_anywhere(secret in "[A-Za-z0-9_~+/.=@-]{7,80}") {
            for body in bare_bodies(&secret) {
                for place in 0..=body.len() {
                    let shown = redact(body.as_bytes(), place);
                    prop_assert!(!leaks(&shown, &secret), "{body}: {shown}");
                }
            }
        }

        #[test]
        fn no_key_of_ours_comes_through_as_a_name(key in "[A-Za-z0-9_-]{22}|[A-Za-z0-9_-]{43}") {
            prop_assume!(!key.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'));
            let shown = [text(format!("{{\"{key}\":1,}}")), path(&format!("/v1/{key}/x")).into(), identifier(&key).into()];
            prop_assert!(shown.iter().all(|shown| !leaks(shown, &key)), "{shown:?}");
        }

        #[test]
        fn long_numbers_and_addresses_never_come_through(digits in "[0-9]{7,30}", address in any::<std::net::Ipv4Addr>()) {
            for secret in [digits, address.to_string()] {
                for body in bodies(&secret).into_iter().chain(bare_bodies(&secret)) {
                    let shown = text(&body);
                    prop_assert!(!shown.contains(&secret), "{body}: {shown}");
                }
            }
        }

        #[test]
        fn any_bytes_make_a_short_sample(body in prop::collection::vec(any::<u8>(), 0..300), place in 0usize..300) {
            let shown = redact(&body, place);
            let most = (PIECES_BEFORE + PIECES_BEHIND + 2) * (NAME_BYTES_MAX + 2);
            prop_assert!(shown.len() <= most, "{shown}");
        }
    }
}
