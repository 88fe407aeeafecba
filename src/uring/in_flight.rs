//! Memory that the kernel reads while an operation is in flight, and that nobody else touches until then.

use bytes::Bytes;

use super::driver::Token;

/// The memory of a write in flight: boxed, so that the vectors stay where they are.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) vectors: [libc::iovec; 3],
    #[expect(dead_code, reason = "the kernel reads what the vectors point to")]
    parts: [Bytes; 3],
}

impl Writing {
    pub(super) fn new(parts: [Bytes; 3]) -> Self {
        let vectors = parts.each_ref().map(|part| libc::iovec {
            // The kernel only reads there.
            iov_base: part.as_ptr().cast_mut().cast(),
            iov_len: part.len(),
        });
        Self { vectors, parts }
    }
}

/// The memory of sends in flight, found again by index.
#[derive(Debug, Default)]
pub(super) struct Sends {
    slots: Vec<Option<Send>>,
    free: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Send {
    pub(super) token: Token,
    /// Never touched between `put` and `take`: the kernel reads it.
    pub(super) bytes: Vec<u8>,
    pub(super) start: usize,
}

impl Sends {
    pub(super) fn put(&mut self, send: Send) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(send);
            slot
        } else {
            self.slots.push(Some(send));
            u32::try_from(self.slots.len() - 1).expect("fewer sends than connections")
        }
    }

    pub(super) fn rest(&self, slot: u32) -> &[u8] {
        let send = self.slots[slot as usize].as_ref().expect("just put");
        &send.bytes[send.start..]
    }

    pub(super) fn take(&mut self, slot: u32) -> Send {
        self.free.push(slot);
        self.slots[slot as usize].take().expect("a send has one completion")
    }
}
