//! A broker without a network: it confirms, refuses, returns, closes, forgets and falls silent, as seeds will have it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forebay::forward::{Dispatch, Message, MessageId, Ticket, Word};
use forebay::journal::{LogId, Offset};
use uuid::Uuid;

use crate::driver::Dice;

/// How often things go wrong, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BrokerFaults {
    /// A message is nacked.
    pub(crate) nack: usize,
    /// A message comes back, and what looks like its confirm is none.
    pub(crate) returned: usize,
    /// The connection is lost; what was on its way may have arrived.
    pub(crate) lost: usize,
    /// Nothing is heard for a while.
    pub(crate) silent: usize,
    /// So many of a thousand events are never taken.
    pub(crate) poison: u64,
}

#[derive(Debug)]
struct Sent {
    ticket: Ticket,
    /// None: a fence.
    message: Option<Message>,
}

/// The broker, and what arrived there: it survives all lives of the node.
#[derive(Debug)]
pub(crate) struct SimBroker {
    pub(crate) faults: BrokerFaults,
    /// Events that are in the queue, and how often.
    pub(crate) stored: BTreeMap<Uuid, u32>,
    /// Events that were parked.
    pub(crate) parked: BTreeSet<Uuid>,
    /// Which event an offset of a log names.
    names: BTreeMap<(LogId, Offset), Uuid>,
    bodies: BTreeMap<MessageId, Vec<u8>>,
    sent: Vec<Sent>,
    /// What it has said already, and is heard later than the rest of the same frame.
    unheard: Vec<(Ticket, Word, Option<MessageId>)>,
    silent_until: Duration,
    dice: Dice,
}

impl SimBroker {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            faults: BrokerFaults::default(),
            stored: BTreeMap::new(),
            parked: BTreeSet::new(),
            names: BTreeMap::new(),
            bodies: BTreeMap::new(),
            sent: Vec::new(),
            unheard: Vec::new(),
            silent_until: Duration::ZERO,
            dice: Dice(seed ^ 0xb10c),
        }
    }

    /// The node's life ends; what was on its way may have arrived.
    pub(crate) fn hang_up(&mut self) {
        self.unheard.clear();
        for Sent { message, .. } in std::mem::take(&mut self.sent) {
            if let Some(message) = message
                && self.dice.happens(500)
            {
                self.store(&message);
            }
        }
    }

    /// Takes messages, and says something of those that it has.
    pub(crate) fn step(&mut self, dispatch: &mut Dispatch, now: Duration) {
        if now < self.silent_until {
            return;
        }
        if self.dice.happens(self.faults.silent) {
            self.silent_until = now + Duration::from_millis(self.dice.below(3000) as u64);
        }
        if self.dice.happens(self.faults.lost) {
            self.hang_up();
            dispatch.handle_lost();
            return;
        }
        while let Some((ticket, message, _)) = dispatch.next(now) {
            self.look_at(&message);
            self.sent.push(Sent { ticket, message: Some(message) });
        }
        if let Some(ticket) = dispatch.next_fence() {
            self.sent.push(Sent { ticket, message: None });
        }
        self.answer(dispatch, now);
    }

    /// Says something of a few messages, in any order; returns come with whichever confirm there is, and some of it is heard only after the rest
    /// was believed to be all.
    fn answer(&mut self, dispatch: &mut Dispatch, now: Duration) {
        // The rest of the frame before is heard ahead of any other.
        let unheard = std::mem::take(&mut self.unheard);
        tell(dispatch, unheard, now);
        let count = self.dice.below(self.sent.len() + 1);
        let mut words = Vec::new();
        let mut returned = Vec::new();
        for _ in 0..count {
            let Sent { ticket, message } = self.sent.remove(self.dice.below(self.sent.len()));
            let Some(message) = message else {
                words.push((ticket, Word::Fence));
                continue;
            };
            if ids(&message).iter().any(|id| self.is_poison(*id)) {
                self.close_channel(dispatch);
                return;
            }
            if self.dice.happens(self.faults.nack) {
                words.push((ticket, Word::Nacked));
            } else if self.dice.happens(self.faults.returned) {
                returned.push(message.id);
                words.push((ticket, Word::Acked));
            } else {
                self.store(&message);
                words.push((ticket, Word::Acked));
            }
        }
        let mut words: Vec<_> = words
            .into_iter()
            .map(|(ticket, word)| {
                let has_it = !returned.is_empty() && word != Word::Fence;
                (ticket, word, has_it.then(|| returned.remove(self.dice.below(returned.len()))))
            })
            .collect();
        self.unheard = words.split_off(self.dice.below(words.len() + 1));
        tell(dispatch, words, now);
    }

    fn close_channel(&mut self, dispatch: &mut Dispatch) {
        // What was on its way ahead of the poison may have arrived.
        self.hang_up();
        if let Some(message) = dispatch.handle_channel_closed() {
            self.parked.extend(ids(&message));
            while !dispatch.handle_parked(message.id) {}
        }
    }

    fn is_poison(&self, id: Uuid) -> bool {
        Dice((id.as_u128() >> 64) as u64).below(1000) < usize::try_from(self.faults.poison).expect("small")
    }

    fn store(&mut self, message: &Message) {
        for id in ids(message) {
            if !self.is_poison(id) {
                *self.stored.entry(id).or_default() += 1;
            }
        }
    }

    /// An id of a message means its bytes, and an offset of a log one event, for good.
    fn look_at(&mut self, message: &Message) {
        let before = self.bodies.entry(message.id).or_insert_with(|| message.body.to_vec());
        assert_eq!(before.as_slice(), &message.body[..], "message {} has changed", message.id);
        for (offset, id) in (message.id.first.0..).zip(ids(message)) {
            let before = *self.names.entry((message.id.log, Offset(offset))).or_insert(id);
            assert_eq!(before, id, "offset {offset} of log {} names two events", message.id.log);
        }
    }

    /// All events that were ever sent here.
    pub(crate) fn seen(&self) -> BTreeSet<Uuid> {
        self.names.values().copied().collect()
    }
}

fn tell(dispatch: &mut Dispatch, words: Vec<(Ticket, Word, Option<MessageId>)>, now: Duration) {
    let Some(highest) = words.iter().map(|(ticket, ..)| *ticket).max() else { return };
    for (ticket, word, returned) in words {
        dispatch.handle_word(ticket, word, returned, now);
    }
    dispatch.handle_answered(highest);
}

fn ids(message: &Message) -> Vec<Uuid> {
    #[derive(serde::Deserialize)]
    struct Event {
        id: Uuid,
    }
    let events: Vec<Event> = serde_json::from_slice(&message.body).expect("a JSON array of events");
    assert_eq!(events.len() as u64, message.events());
    events.into_iter().map(|event| event.id).collect()
}
