//! Comparing what a stranger must not be able to guess piece by piece.

use wide::u8x16;

/// Whether two texts are the same; for equal lengths it takes the same time wherever they differ.
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let difference = |a: &[u8; 16], b: &[u8; 16]| u8x16::new(*a) ^ u8x16::new(*b);
    // Sixteen bytes at a time; the last ones once more, in place of the rest.
    let ends = match one.last_chunk().zip(other.last_chunk()) {
        Some((a, b)) => difference(a, b),
        None => u8x16::splat(one.iter().zip(other).fold(0, |found, (a, b)| found | (a ^ b))),
    };
    let (one_chunks, other_chunks) = (one.as_chunks().0, other.as_chunks().0);
    let found = one_chunks.iter().zip(other_chunks).fold(ends, |found, (a, b)| found | difference(a, b));
    one.len() == other.len() && found == u8x16::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_same_if_no_byte_differs() {
        let text: Vec<u8> = (0..40).collect();
        for length in 0..text.len() {
            let one = &text[..length];
            assert!(is_same(one, one));
            assert!(!is_same(one, &text[..=length]), "longer than {length}");
            for at in 0..length {
                let mut other = one.to_vec();
                other[at] ^= 0x80;
                assert!(!is_same(one, &other), "{length} bytes, another at {at}");
            }
        }
    }
}
