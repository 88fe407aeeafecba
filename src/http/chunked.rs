//! The chunked transfer coding (RFC 9112 section 7.1), strictly.

use super::Violation;
use super::head::is_token_byte;

/// Longest chunk-size line, extensions included.
const LINE_BYTES_MAX: u16 = 256;
/// Most hexadecimal digits of a size: 2^32 is above every bound on bodies.
const SIZE_DIGITS_MAX: u32 = 8;
/// Largest trailer section; its fields are checked and dropped (RFC 9110 section 6.5.1 allows that).
const TRAILER_BYTES_MAX: u16 = 4096;

/// Where in the coding the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a size.
    Size {
        size: u32,
        digits: u32,
    },
    /// In an extension, behind the digits.
    Extension {
        size: u32,
        line_bytes: u16,
        part: Extension,
    },
    /// The line feed of a size line is due.
    SizeLineFeed {
        size: u32,
    },
    /// In the data of a chunk.
    Data {
        left: u32,
    },
    /// CR, then LF, behind the data are due.
    DataReturn,
    DataLineFeed,
    /// In the trailer section.
    Trailer {
        bytes: u16,
        line_bytes: u16,
        colon: bool,
    },
    /// The line feed of a trailer line is due.
    TrailerLineFeed {
        bytes: u16,
        line_bytes: u16,
    },
}

/// Where in the extensions of a chunk (RFC 9112 section 7.1.1) the next byte stands:
/// `*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    /// White space ahead of a `;`, which is due.
    Gap,
    /// Behind a `;`.
    Begin,
    Name,
    /// White space behind a name.
    NameGap,
    /// Behind a `=`.
    Equals,
    Value,
    Quoted,
    /// Behind a backslash in quotes.
    Escaped,
    /// Behind the closing quote.
    Unquoted,
}

impl Extension {
    /// Takes a byte; `None` if it has no place here.
    fn step(self, byte: u8) -> Option<Self> {
        let is_text = matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        Some(match (self, byte) {
            (Self::Quoted, b'"') => Self::Unquoted,
            (Self::Quoted, b'\\') => Self::Escaped,
            (Self::Quoted | Self::Escaped, _) => is_text.then_some(Self::Quoted)?,
            (Self::Begin | Self::Equals, b' ' | b'\t') => self,
            (Self::Equals, b'"') => Self::Quoted,
            (Self::Name | Self::NameGap, b' ' | b'\t') => Self::NameGap,
            (Self::Name | Self::NameGap, b'=') => Self::Equals,
            (Self::Gap | Self::Value | Self::Unquoted, b' ' | b'\t') => Self::Gap,
            (Self::Begin | Self::Equals, b';') => return None,
            (_, b';') => Self::Begin,
            (Self::Begin | Self::Name, _) => is_token_byte(byte).then_some(Self::Name)?,
            (Self::Equals | Self::Value, _) => is_token_byte(byte).then_some(Self::Value)?,
            (Self::Gap | Self::NameGap | Self::Unquoted, _) => return None,
        })
    }

    /// Whether the line may end here: no white space ends it.
    fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Value | Self::Unquoted)
    }
}

/// Takes the coding apart, byte by byte where it is grammar and in runs where it is data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunked(State);

/// What a run of input came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All input was used; more is needed.
    More,
    /// The body has ended.
    Done,
}

const MALFORMED: Violation = Violation::Malformed("the chunked coding is invalid");

impl Chunked {
    pub(super) fn new() -> Self {
        Self(State::Size { size: 0, digits: 0 })
    }

    /// Reads from `input`, gives data to `keep`; returns how much was used. `keep` may refuse (the body is too large).
    pub(super) fn decode(
        &mut self,
        input: &[u8],
        mut keep: impl FnMut(&[u8]) -> Result<(), Violation>,
    ) -> Result<(usize, Progress), Violation> {
        let mut used = 0;
        while used < input.len() {
            if let State::Data { left } = self.0 {
                let run = input.len().min(used + left as usize) - used;
                keep(&input[used..used + run])?;
                used += run;
                let left = left - u32::try_from(run).expect("a run is at most what is left");
                self.0 = if left > 0 { State::Data { left } } else { State::DataReturn };
                continue;
            }
            let byte = input[used];
            used += 1;
            match self.step(byte)? {
                Some(next) => self.0 = next,
                None => return Ok((used, Progress::Done)),
            }
        }
        Ok((used, Progress::More))
    }

    /// One byte of grammar; `None` when it was the last.
    fn step(&self, byte: u8) -> Result<Option<State>, Violation> {
        let next = match (self.0, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).ok_or(MALFORMED)?;
                let digits = digits + 1;
                if digits > SIZE_DIGITS_MAX {
                    return Err(MALFORMED);
                }
                State::Size { size: size << 4 | digit, digits }
            }
            (State::Size { digits: 0, .. }, _) => return Err(MALFORMED),
            (State::Size { size, .. }, b'\r') => State::SizeLineFeed { size },
            (State::Extension { size, part, .. }, b'\r') if part.may_end() => State::SizeLineFeed { size },
            (State::Size { size, .. }, _) => {
                State::Extension { size, line_bytes: 1, part: Extension::Gap.step(byte).ok_or(MALFORMED)? }
            }
            (State::Extension { size, line_bytes, part }, _) => {
                let part = part.step(byte).filter(|_| line_bytes < LINE_BYTES_MAX).ok_or(MALFORMED)?;
                State::Extension { size, line_bytes: line_bytes + 1, part }
            }
            (State::SizeLineFeed { size: 0 }, b'\n') => {
                State::Trailer { bytes: 0, line_bytes: 0, colon: false }
            }
            (State::SizeLineFeed { size }, b'\n') => State::Data { left: size },
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::Size { size: 0, digits: 0 },
            (State::Trailer { bytes, line_bytes, colon }, b'\r') if line_bytes == 0 || colon => {
                State::TrailerLineFeed { bytes, line_bytes }
            }
            (State::Trailer { bytes, line_bytes, colon }, _) => {
                let is_name = is_token_byte(byte);
                let is_value = byte >= b' ' && byte != 0x7f || byte == b'\t';
                let allowed = if colon { is_value } else { is_name || (byte == b':' && line_bytes > 0) };
                if !allowed || bytes >= TRAILER_BYTES_MAX {
                    return Err(MALFORMED);
                }
                State::Trailer { bytes: bytes + 1, line_bytes: line_bytes + 1, colon: colon || byte == b':' }
            }
            (State::TrailerLineFeed { line_bytes: 0, .. }, b'\n') => return Ok(None),
            (State::TrailerLineFeed { bytes, .. }, b'\n') => {
                State::Trailer { bytes, line_bytes: 0, colon: false }
            }
            _ => return Err(MALFORMED),
        };
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes in pieces cut at `cuts`; the body, and how many bytes were used.
    fn decode(input: &[u8], cuts: &[usize]) -> Result<Option<(Vec<u8>, usize)>, Violation> {
        let mut chunked = Chunked::new();
        let (mut body, mut used) = (Vec::new(), 0);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
        ends.extend([input.len()]);
        ends.sort_unstable();
        for end in ends {
            if end < used {
                continue;
            }
            let (more, progress) = chunked.decode(&input[used..end], |data| {
                body.extend_from_slice(data);
                Ok(())
            })?;
            used += more;
            if progress == Progress::Done {
                return Ok(Some((body, used)));
            }
        }
        Ok(None)
    }

    #[test]
    fn rfc9112_7_1_chunks_extensions_and_trailers() {
        for (text, body) in [
            ("0\r\n\r\n", ""),
            ("3\r\nabc\r\n0\r\n\r\n", "abc"),
            ("1\r\na\r\n0A\r\n0123456789\r\n00\r\n\r\n", "a0123456789"),
            ("1;x=y;z=\"a;b\\\"c\"\r\na\r\n0\r\nA: b\r\nC:\r\n\r\n", "a"),
            ("1 ;\tx = y ; z\r\na\r\n0;x=\"\";y=\"\u{e9}\"\r\n\r\n", "a"),
        ] {
            let expected = (body.as_bytes().to_vec(), text.len());
            assert_eq!(decode(text.as_bytes(), &[]), Ok(Some(expected)), "{text:?}");
        }
    }

    #[test]
    fn rfc9112_7_1_deviations_are_refused() {
        for text in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\na\r\n",
            "0x1\r\na\r\n",
            " 1\r\na\r\n",
            "1 \r\na\r\n",
            "1\na\r\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "1;a\nb\r\na\r\n",
            "1;\0\r\n",
            "1;x=\"\r\n\"\r\na\r\n",
            "1;\r\na\r\n",
            "1;;x\r\na\r\n",
            "1;x;\r\na\r\n",
            "1;x=\r\na\r\n",
            "1;=x\r\na\r\n",
            "1;x=;y\r\na\r\n",
            "1;x \r\na\r\n",
            "1;x y\r\na\r\n",
            "1;x=y z\r\na\r\n",
            "1;x=\"y\"z\r\na\r\n",
            "1;x=y\"z\"\r\na\r\n",
            "1;x=\"y\x01\"\r\na\r\n",
            "1;x=\"y\\\r\n\"\r\na\r\n",
            "1;[x]\r\na\r\n",
            "1;\u{e9}\r\na\r\n",
            "1\t\r\na\r\n",
            "1 2\r\na\r\n",
            "1_0\r\na\r\n",
            "123456789\r\n",
            "0\r\nA b: c\r\n\r\n",
            "0\r\n: c\r\n\r\n",
            "0\r\nA\r\n\r\n",
            "0\r\n a: b\r\n\r\n",
            "0\r\n\n",
            "1\r\na\rb",
            "0\r\nA: b\n\r\n",
            "0\r\nA: \x01\r\n\r\n",
        ] {
            assert_eq!(decode(text.as_bytes(), &[]), Err(MALFORMED), "{text:?}");
        }
        let endless = format!("1;{}\r\n", "x".repeat(usize::from(LINE_BYTES_MAX) + 1));
        assert_eq!(decode(endless.as_bytes(), &[]), Err(MALFORMED));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_body(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(decode(&text, &cuts), Ok(Some((chunks.concat(), text.len()))));
        }
    }
}
