//! Content codings of bodies (RFC 9110 section 8.4.1).

use std::io::Write;

use clap::ValueEnum;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

/// A brotli window of 4 MiB, as its own tool has it.
const BROTLI_WINDOW: u32 = 22;
/// What clients choose that compress each request anew: fast.
const BROTLI_QUALITY: u32 = 4;
const BUFFER_BYTES: usize = 4096;

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    Gzip,
    /// The zlib format, as RFC 9110 has it.
    Deflate,
    Zstd,
    Br,
}

impl Encoding {
    /// As `Content-Encoding` names it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
            Self::Br => "br",
        }
    }

    pub(crate) fn encode(self, body: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(body)?;
                encoder.finish()
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(body)?;
                encoder.finish()
            }
            Self::Zstd => zstd::bulk::compress(body, zstd::DEFAULT_COMPRESSION_LEVEL),
            Self::Br => {
                let mut encoded = Vec::new();
                let mut encoder =
                    brotli::CompressorWriter::new(&mut encoded, BUFFER_BYTES, BROTLI_QUALITY, BROTLI_WINDOW);
                encoder.write_all(body)?;
                encoder.flush()?;
                drop(encoder);
                Ok(encoded)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_is_encoded_is_smaller_and_comes_out_again() {
        let body = crate::payload::make(1).swap_remove(0);
        for encoding in Encoding::value_variants() {
            let encoded = encoding.encode(&body).expect("memory");
            assert!(encoded.len() < body.len() * 3 / 4, "{encoding:?}: {} of {}", encoded.len(), body.len());
            let mut decoded = Vec::new();
            let read = match encoding {
                Encoding::Gzip => flate2::read::GzDecoder::new(&encoded[..]).read_to_end(&mut decoded),
                Encoding::Deflate => flate2::read::ZlibDecoder::new(&encoded[..]).read_to_end(&mut decoded),
                Encoding::Zstd => {
                    decoded = zstd::bulk::decompress(&encoded, body.len()).expect("zstd");
                    Ok(decoded.len())
                }
                Encoding::Br => {
                    brotli::Decompressor::new(&encoded[..], BUFFER_BYTES).read_to_end(&mut decoded)
                }
            };
            assert_eq!((read.expect("an encoded body"), &decoded), (body.len(), &body), "{encoding:?}");
        }
    }
}
