//! The PROXY protocol, versions 1 and 2: how a balancer says whose connection it passes on.
//!
//! Source: "The PROXY protocol, versions 1 & 2" (HAProxy, `doc/proxy-protocol.txt`), sections 2.1 and 2.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest header that is read, version 2's type-length-values included. The protocol allows 64 KiB; what balancers send is far below this.
pub const HEADER_BYTES_MAX: usize = 4096;
/// Longest header of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
const LINE_START: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const FIXED_BYTES: usize = SIGNATURE.len() + 4;

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header.
    More,
    /// A whole header.
    Header {
        /// Whose connection it is; none if it is the balancer's own (a health check), or if the balancer does not know.
        client: Option<IpAddr>,
        /// How many bytes the header takes.
        bytes: usize,
    },
    /// No header, or one that breaks the rules.
    Broken,
}

/// Reads a header at the beginning of `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed {
    if bytes.starts_with(SIGNATURE) {
        parse_binary(bytes).unwrap_or(Parsed::Broken)
    } else if bytes.starts_with(LINE_START) {
        parse_line(bytes).unwrap_or(Parsed::Broken)
    } else if SIGNATURE.starts_with(bytes) || LINE_START.starts_with(bytes) {
        Parsed::More
    } else {
        Parsed::Broken
    }
}

/// Version 1: a line of text. `None` if it breaks the rules.
fn parse_line(bytes: &[u8]) -> Option<Parsed> {
    let window = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memmem::find(window, b"\r\n") else {
        return (bytes.len() < LINE_BYTES_MAX).then_some(Parsed::More);
    };
    let line = std::str::from_utf8(&window[LINE_START.len()..end]).ok()?;
    let mut words = line.split(' ');
    let client = match words.next()? {
        // What follows is to be ignored.
        "UNKNOWN" => None,
        "TCP4" => Some(parse_words::<Ipv4Addr>(words)?.into()),
        "TCP6" => Some(parse_words::<Ipv6Addr>(words)?.into()),
        _ => return None,
    };
    Some(Parsed::Header { client, bytes: end + 2 })
}

/// Source and destination, then their ports; the source.
fn parse_words<'a, A: std::str::FromStr>(mut words: impl Iterator<Item = &'a str>) -> Option<A> {
    let client = words.next()?.parse().ok()?;
    let _: A = words.next()?.parse().ok()?;
    for _ in 0..2 {
        let port = words.next()?;
        // Plain decimal, as the protocol has it; the parser alone would take a sign.
        let is_plain = port.bytes().all(|b| b.is_ascii_digit()) && (port == "0" || !port.starts_with('0'));
        if !is_plain || port.parse::<u16>().is_err() {
            return None;
        }
    }
    words.next().is_none().then_some(client)
}

/// Version 2: binary. `None` if it breaks the rules.
fn parse_binary(bytes: &[u8]) -> Option<Parsed> {
    let Some(fixed) = bytes.get(SIGNATURE.len()..FIXED_BYTES) else { return Some(Parsed::More) };
    let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let whole = FIXED_BYTES + length;
    if fixed[0] >> 4 != 2 || whole > HEADER_BYTES_MAX {
        return None;
    }
    let is_proxied = match fixed[0] & 0x0f {
        0 => false, // LOCAL: whatever follows is to be passed over
        1 => true,
        _ => return None,
    };
    let Some(rest) = bytes.get(FIXED_BYTES..whole) else { return Some(Parsed::More) };
    let client = match fixed[1] {
        _ if !is_proxied => None,
        // Stream over IPv4: both addresses, then both ports. What follows are type-length-values, of which none is needed here.
        0x11 => Some(IpAddr::from(*rest.get(..12)?.first_chunk::<4>()?)),
        0x21 => Some(IpAddr::from(*rest.get(..36)?.first_chunk::<16>()?)),
        // Unspecified, or a Unix socket: there is no address to be had.
        0x00 | 0x31 => None,
        _ => return None,
    };
    Some(Parsed::Header { client, bytes: whole })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([version_command, family]);
        bytes.extend(u16::try_from(rest.len()).expect("short").to_be_bytes());
        bytes.extend_from_slice(rest);
        bytes
    }

    fn header(client: Option<&str>, bytes: usize) -> Parsed {
        Parsed::Header { client: client.map(|text| text.parse().expect("an address")), bytes }
    }

    #[test]
    fn section_2_1_lines() {
        for (line, client) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", Some("192.0.2.1")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n", Some("2001:db8::1")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        ] {
            assert_eq!(parse(line.as_bytes()), header(client, line.len()), "{line}");
            assert_eq!(parse(format!("{line}GET /").as_bytes()), header(client, line.len()), "{line}");
            for end in 0..line.len() {
                assert_eq!(parse(&line.as_bytes()[..end]), Parsed::More, "{line} to {end}");
            }
        }
    }

    #[test]
    fn section_2_1_lines_that_break_the_rules() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        assert_eq!(long.len(), LINE_BYTES_MAX + 1);
        for line in [
            "GET / HTTP/1.1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 1\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.1 56324 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +56324 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 056324 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY tcp4 192.0.2.1 198.51.100.1 1 2\r\n",
            "proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
            &long,
        ] {
            assert_eq!(parse(line.as_bytes()), Parsed::Broken, "{line}");
        }
    }

    #[test]
    fn section_2_2_binary() {
        let four = [&[192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb][..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        let six = [&Ipv6Addr::LOCALHOST.octets()[..], &[0; 20]].concat();
        for (bytes, client) in [
            (binary(0x21, 0x11, &four), Some("192.0.2.1")),
            (binary(0x21, 0x11, &four[..12]), Some("192.0.2.1")),
            (binary(0x21, 0x21, &six), Some("::1")),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x20, 0x11, &four), None),
            (binary(0x21, 0x00, &four), None),
            (binary(0x21, 0x31, &[0; 216]), None),
        ] {
            assert_eq!(parse(&bytes), header(client, bytes.len()));
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end]), Parsed::More, "to {end}");
            }
        }
        for bytes in [
            binary(0x11, 0x11, &four),
            binary(0x22, 0x11, &four),
            binary(0x21, 0x12, &four),
            binary(0x21, 0x11, &four[..11]),
            binary(0x21, 0x21, &six[..35]),
            binary(0x21, 0x11, &[0; HEADER_BYTES_MAX]),
        ] {
            assert_eq!(parse(&bytes), Parsed::Broken);
        }
    }

    proptest! {
        #[test]
        fn a_header_is_told_once_it_is_whole_and_never_differently_with_more(
            start in prop_oneof![Just(SIGNATURE.to_vec()), Just(LINE_START.to_vec()), Just(Vec::new())],
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [start, rest].concat();
            let mut told = Parsed::More;
            for end in 0..=bytes.len() {
                let now = parse(&bytes[..end]);
                if told == Parsed::More {
                    told = now;
                }
                prop_assert_eq!(now, told, "to {}", end);
                if let Parsed::Header { bytes, .. } = now {
                    prop_assert!(bytes <= end);
                }
            }
        }
    }
}
