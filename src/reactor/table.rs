//! The connections of one reactor, by slot.

use super::connection::{Connection, Life};
use crate::uring::{Socket, Token};

/// A slot is used again with the next generation, so that a late completion or waiter finds nobody.
#[derive(Debug)]
pub(super) struct Table {
    connections: Vec<Connection>,
    free: Vec<u32>,
    open: usize,
}

impl Table {
    /// Room for `connections_max`. Memory that no connection has used yet costs address space alone.
    pub(super) fn new(connections_max: usize) -> Self {
        Self { connections: Vec::with_capacity(connections_max), free: Vec::new(), open: 0 }
    }

    /// How many slots are in use.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Takes a slot; `None` if there are as many connections as there is room for.
    pub(super) fn insert(&mut self, socket: Socket) -> Option<&mut Connection> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.connections.len() == self.connections.capacity() => return None,
            None => {
                let slot = u32::try_from(self.connections.len()).expect("bounded by configuration");
                self.connections.push(Connection::free(slot, 0));
                slot
            }
        };
        self.open += 1;
        let connection = &mut self.connections[slot as usize];
        connection.socket = socket;
        connection.life = Life::Open;
        Some(connection)
    }

    /// Frees a slot whose descriptor is closed.
    pub(super) fn remove(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        assert!(
            connection.life == Life::Closing && !connection.is_receiving && !connection.is_sending,
            "a slot is freed when nothing is in flight on it"
        );
        *connection = Connection::free(slot, Token::next_generation(connection.generation));
        self.open -= 1;
        self.free.push(slot);
    }

    /// The connection that a token means, unless it is gone.
    pub(super) fn find(&mut self, token: Token) -> Option<&mut Connection> {
        self.connections
            .get_mut(token.slot as usize)
            .filter(|connection| connection.generation == token.generation && connection.life != Life::Free)
    }

    /// The connection in a slot.
    pub(super) fn at(&mut self, slot: u32) -> &mut Connection {
        &mut self.connections[slot as usize]
    }

    /// All connections.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.connections.iter_mut().filter(|connection| connection.life != Life::Free)
    }
}
