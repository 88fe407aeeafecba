//! Input that waits.

/// Bytes in the order they came, the front of which is used up piece by piece.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Stalled {
    bytes: Vec<u8>,
    used: usize,
}

impl Stalled {
    pub(in crate::reactor) fn len(&self) -> usize {
        self.bytes.len() - self.used
    }

    pub(in crate::reactor) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn extend(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
    }

    pub(super) fn rest(&mut self) -> &mut [u8] {
        &mut self.bytes[self.used..]
    }

    /// Moved to the front only when more than half is used up: a long row of small requests costs each byte one move or so, not one a request.
    pub(super) fn advance(&mut self, more: usize) {
        self.used += more;
        if self.is_empty() {
            *self = Self::default();
        } else if self.used > self.bytes.len() / 2 {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
    }
}
