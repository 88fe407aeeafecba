//! Content codings (RFC 9110 section 8.4): bodies that were made smaller on their way.
//!
//! What comes out is bounded while it comes out, so a body that was made to burst costs no more than the bound.

use std::io::{self, Read};

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// The codings that are taken, as `Accept-Encoding` says it.
pub const ACCEPTED_CODINGS: &str = "gzip, deflate, zstd, br";
/// Largest window of a zstd frame, as a power of two: 8 MiB, which RFC 8878 section 3.1.1.1.2 asks decoders to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Bytes that brotli's decoder writes at once.
const BROTLI_PIECE_BYTES: usize = 8 << 10;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `gzip` (RFC 1952).
    Gzip,
    /// `deflate`: zlib's format (RFC 1950), or what it holds alone (RFC 1951), which many clients send under this name.
    Deflate,
    /// `zstd` (RFC 8878).
    Zstd,
    /// `br` (RFC 7932).
    Brotli,
}

/// A coding, or several, that are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCoding;

/// Why a body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// It breaks the rules of its coding, or ends too soon.
    Broken,
    /// It holds more than the bound.
    TooLarge,
}

impl Coding {
    /// Reads a `Content-Encoding`; `identity` and nothing at all are no coding.
    pub fn of(value: Option<&[u8]>) -> Result<Option<Self>, UnknownCoding> {
        let value = value.unwrap_or_default().trim_ascii();
        let is = |name: &[u8]| value.eq_ignore_ascii_case(name);
        match value.len() {
            0 => Ok(None),
            8 if is(b"identity") => Ok(None),
            // RFC 9110 section 8.4.1.3: the two are the same.
            4 if is(b"gzip") => Ok(Some(Self::Gzip)),
            6 if is(b"x-gzip") => Ok(Some(Self::Gzip)),
            7 if is(b"deflate") => Ok(Some(Self::Deflate)),
            4 if is(b"zstd") => Ok(Some(Self::Zstd)),
            2 if is(b"br") => Ok(Some(Self::Brotli)),
            _ => Err(UnknownCoding),
        }
    }

    /// Decodes `body` to the end of `out`, which is empty, up to `bytes_max`.
    pub fn decode(self, body: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        debug_assert!(out.is_empty(), "the bound counts all that is there");
        let mut rest = body;
        match self {
            Self::Gzip => read(MultiGzDecoder::new(&mut rest), bytes_max, out)?,
            Self::Deflate if is_zlib(body) => read(ZlibDecoder::new(&mut rest), bytes_max, out)?,
            Self::Deflate => read(DeflateDecoder::new(&mut rest), bytes_max, out)?,
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(&mut rest).map_err(|_| DecodeError::Broken)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| DecodeError::Broken)?;
                read(decoder, bytes_max, out)?;
            }
            Self::Brotli => rest = decode_brotli(body, bytes_max, out)?,
        }
        // What follows the end was never meant to be read, or somebody else would read it differently.
        if rest.is_empty() { Ok(()) } else { Err(DecodeError::Broken) }
    }
}

fn read(decoder: impl Read, bytes_max: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    // One byte more tells a body that just fits from one that does not.
    let read: io::Result<usize> = decoder.take(bytes_max as u64 + 1).read_to_end(out);
    match read {
        Err(_) => Err(DecodeError::Broken),
        Ok(_) if out.len() > bytes_max => Err(DecodeError::TooLarge),
        Ok(_) => Ok(()),
    }
}

/// Decodes a brotli stream; returns what follows it. The crate's own reader would swallow that.
fn decode_brotli<'a>(body: &'a [u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<&'a [u8], DecodeError> {
    let memory = StandardAlloc::default();
    let mut state = BrotliState::new(memory, memory, memory);
    let (mut left, mut used, mut written) = (body.len(), 0, 0);
    let mut piece = [0u8; BROTLI_PIECE_BYTES];
    loop {
        let (mut room, mut filled) = (piece.len(), 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut used,
            body,
            &mut room,
            &mut filled,
            &mut piece,
            &mut written,
            &mut state,
        );
        if out.len() + filled > bytes_max {
            return Err(DecodeError::TooLarge);
        }
        out.extend_from_slice(&piece[..filled]);
        match result {
            BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultSuccess => return Ok(&body[used..]),
            BrotliResult::NeedsMoreInput | BrotliResult::ResultFailure => return Err(DecodeError::Broken),
        }
    }
}

/// Whether `body` begins with zlib's two bytes (RFC 1950 section 2.2): deflate, and a check that 31 divides.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    /// `body` as each coding writes it.
    fn encoded(body: &[u8]) -> Vec<(Coding, Vec<u8>)> {
        let level = Compression::default();
        let (mut gzip, mut zlib, mut raw) = (
            GzEncoder::new(Vec::new(), level),
            ZlibEncoder::new(Vec::new(), level),
            DeflateEncoder::new(Vec::new(), level),
        );
        for writer in [&mut gzip as &mut dyn Write, &mut zlib, &mut raw] {
            writer.write_all(body).expect("memory");
        }
        let mut brotli = Vec::new();
        brotli::CompressorWriter::new(&mut brotli, 4096, 5, 20).write_all(body).expect("memory");
        vec![
            (Coding::Gzip, gzip.finish().expect("memory")),
            (Coding::Deflate, zlib.finish().expect("memory")),
            (Coding::Deflate, raw.finish().expect("memory")),
            (Coding::Zstd, zstd::encode_all(body, 3).expect("memory")),
            (Coding::Brotli, brotli),
        ]
    }

    fn decode(coding: Coding, body: &[u8], bytes_max: usize) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::new();
        coding.decode(body, bytes_max, &mut out).map(|()| out)
    }

    #[test]
    fn codings_are_known_by_name() {
        for (name, coding) in [
            (None, Ok(None)),
            (Some("identity"), Ok(None)),
            (Some(""), Ok(None)),
            (Some(" GZip "), Ok(Some(Coding::Gzip))),
            (Some("x-gzip"), Ok(Some(Coding::Gzip))),
            (Some("deflate"), Ok(Some(Coding::Deflate))),
            (Some("zstd"), Ok(Some(Coding::Zstd))),
            (Some("br"), Ok(Some(Coding::Brotli))),
            (Some("compress"), Err(UnknownCoding)),
            (Some("gzip, br"), Err(UnknownCoding)),
        ] {
            assert_eq!(Coding::of(name.map(str::as_bytes)), coding, "{name:?}");
        }
    }

    #[test]
    fn a_body_that_bursts_costs_its_bound_and_no_more() {
        let bomb = vec![b' '; 64 << 20];
        for (coding, body) in encoded(&bomb) {
            assert!(body.len() < 1 << 17, "{coding:?}: {}", body.len());
            let mut out = Vec::new();
            assert_eq!(coding.decode(&body, 1 << 16, &mut out), Err(DecodeError::TooLarge), "{coding:?}");
            assert!(out.capacity() <= 1 << 18, "{coding:?}: {}", out.capacity());
        }
    }

    #[test]
    fn a_body_may_fill_its_bound() {
        for (coding, body) in encoded(&[b'x'; 1000]) {
            assert_eq!(decode(coding, &body, 1000), Ok(vec![b'x'; 1000]), "{coding:?}");
            assert_eq!(decode(coding, &body, 999), Err(DecodeError::TooLarge), "{coding:?}");
        }
    }

    #[test]
    fn what_is_cut_or_followed_by_more_is_broken() {
        for (coding, body) in encoded(br#"{"message":"it works, it works, it works"}"#) {
            for cut in 0..body.len() {
                assert_eq!(
                    decode(coding, &body[..cut], 1000),
                    Err(DecodeError::Broken),
                    "{coding:?} at {cut}"
                );
            }
            let more = [&body[..], b"{}"].concat();
            assert_eq!(decode(coding, &more, 1000), Err(DecodeError::Broken), "{coding:?}");
        }
    }

    #[test]
    fn rfc1952_2_2_several_members_are_one_body() {
        let halves: Vec<u8> =
            [&b"{\"a\""[..], b":1}"].iter().flat_map(|half| encoded(half).swap_remove(0).1).collect();
        assert_eq!(decode(Coding::Gzip, &halves, 100), Ok(b"{\"a\":1}".to_vec()));
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back(body in prop::collection::vec(any::<u8>(), 0..2000)) {
            for (coding, encoded) in encoded(&body) {
                prop_assert_eq!(decode(coding, &encoded, 2000), Ok(body.clone()), "{:?}", coding);
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd, Coding::Brotli] {
                if let Ok(out) = decode(coding, &body, 500) {
                    prop_assert!(out.len() <= 500);
                }
            }
        }
    }
}
