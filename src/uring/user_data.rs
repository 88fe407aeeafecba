//! What the kernel gives back with each completion: which operation it was, and whose.

use io_uring::{opcode, squeue};

use super::driver::Token;

/// What is in flight, as it travels in `user_data`: kind (4 bits) | generation (28) | slot (32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Accept,
    Receive,
    Send,
    Close,
    Watch,
    Cancel,
    Sync,
    Write,
}

const KINDS: [Kind; 8] = [
    Kind::Accept,
    Kind::Receive,
    Kind::Send,
    Kind::Close,
    Kind::Watch,
    Kind::Cancel,
    Kind::Sync,
    Kind::Write,
];

pub(super) fn pack(kind: Kind, token: Token) -> u64 {
    debug_assert!(token.generation < 1 << Token::GENERATION_BITS);
    (kind as u64) << 60 | u64::from(token.generation) << 32 | u64::from(token.slot)
}

#[allow(clippy::cast_possible_truncation, reason = "takes the bits apart")]
pub(super) fn unpack(user_data: u64) -> (Kind, Token) {
    let generation = (user_data >> 32) as u32 & ((1 << Token::GENERATION_BITS) - 1);
    (KINDS[(user_data >> 60) as usize], Token { slot: user_data as u32, generation })
}

pub(super) fn cancel(kind: Kind, token: Token) -> squeue::Entry {
    opcode::AsyncCancel::new(pack(kind, token)).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_keeps_kind_generation_and_slot_apart() {
        for kind in KINDS {
            let token = Token { slot: u32::MAX, generation: (1 << Token::GENERATION_BITS) - 1 };
            assert_eq!(unpack(pack(kind, token)), (kind, token));
            let token = Token { slot: 5, generation: 0 };
            assert_eq!(unpack(pack(kind, token)), (kind, token));
        }
    }
}
