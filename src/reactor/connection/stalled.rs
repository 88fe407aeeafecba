//! Input that waits.

/// Bytes in the order they came, the front of which is used up piece by piece. In a box, for connections are many and few have any.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Stalled(Option<Box<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    used: usize,
}

impl Stalled {
    pub(in crate::reactor) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.bytes.len() - waiting.used)
    }

    pub(in crate::reactor) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn extend(&mut self, more: &[u8]) {
        if !more.is_empty() {
            self.0.get_or_insert_default().bytes.extend_from_slice(more);
        }
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |waiting| &waiting.bytes[waiting.used..])
    }

    /// Moved to the front only when more than half is used up: a long row of small requests costs each byte one move or so, not one a request.
    pub(super) fn advance(&mut self, more: usize) {
        let Some(waiting) = &mut self.0 else { return };
        waiting.used += more;
        if waiting.used == waiting.bytes.len() {
            self.0 = None;
        } else if waiting.used > waiting.bytes.len() / 2 {
            waiting.bytes.drain(..waiting.used);
            waiting.used = 0;
        }
    }
}
