//! The PROXY header: told once it is whole, never differently with more, and the same client and rest however the bytes are cut.
//!
//! The first byte says how many of the next bytes are cuts; the rest is what the balancer sends.

#![no_main]

use std::net::IpAddr;

use forebay::wire::proxy::{HEADER_BYTES_MAX, Parsed, parse};
use forebay::wire::{Step, Wire};
use libfuzzer_sys::fuzz_target;

/// What the bytes came to.
#[derive(Debug, Default, PartialEq)]
struct Told {
    /// Whose connection it is, once that is known.
    client: Option<Option<IpAddr>>,
    is_broken: bool,
    /// What came behind the header.
    plain: Vec<u8>,
}

fn feed(input: &[u8], cuts: &[u8]) -> Told {
    let mut wire = Wire::new(true, None);
    let mut told = Told::default();
    let (mut start, mut cuts) = (0, cuts.iter());
    while start < input.len() {
        let length = cuts.next().map_or(usize::MAX, |cut| usize::from(*cut));
        let end = input.len().min(start.saturating_add(length.max(1)));
        let mut piece = input[start..end].to_vec();
        start = end;
        let mut rest = &mut piece[..];
        while !rest.is_empty() {
            let (used, step) = wire.receive(rest, &mut told.plain);
            rest = &mut rest[used..];
            match step {
                Step::Plain => {}
                Step::Client(client) => {
                    assert_eq!(told.client.replace(client), None, "told once");
                    assert!(wire.is_plain());
                }
                Step::Broken(_) => {
                    told.is_broken = true;
                    return told;
                }
                other => panic!("no TLS is spoken: {other:?}"),
            }
        }
        assert_eq!(wire.is_plain(), told.client.is_some());
    }
    told
}

fuzz_target!(|data: &[u8]| {
    let Some((count, rest)) = data.split_first() else { return };
    let (cuts, input) = rest.split_at(rest.len().min(usize::from(*count)));
    let whole = parse(input);
    let mut told = Parsed::More;
    for end in 0..=input.len().min(HEADER_BYTES_MAX) {
        let now = parse(&input[..end]);
        if told == Parsed::More {
            told = now;
        }
        assert_eq!(now, told, "to {end}");
        if let Parsed::Header { bytes, .. } = now {
            assert!(bytes <= end);
        }
    }
    assert_eq!(whole, told);
    let expected = match whole {
        Parsed::More => Told::default(),
        Parsed::Header { client, bytes } => {
            Told { client: Some(client), plain: input[bytes..].to_vec(), is_broken: false }
        }
        Parsed::Broken => Told { is_broken: true, ..Told::default() },
    };
    assert_eq!(feed(input, &[]), expected);
    assert_eq!(feed(input, cuts), expected);
});
