//! Comparing what a stranger must not be able to guess piece by piece.

/// Whether two texts are the same; for equal lengths it takes the same time wherever they differ.
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    // Eight bytes at a time, and the rest.
    let ((one_words, one_rest), (other_words, other_rest)) = (one.as_chunks(), other.as_chunks());
    let words = one_words
        .iter()
        .zip(other_words)
        .fold(0, |difference, (a, b)| difference | (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b)));
    let rest = one_rest.iter().zip(other_rest).fold(0, |difference, (a, b)| difference | (a ^ b));
    one.len() == other.len() && words | u64::from(rest) == 0
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
