//! Which message goes next, what becomes of it, and who is told: the forwarder without a broker and without I/O.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::assembler::Assembler;
use super::message::{Message, MessageId};
use super::source::Source;
use super::tracker::{Settled, Ticket, Tracker, TrackerOptions};
use crate::handoff::Outlet;
use crate::journal::{Ledger, LogId, ReadRequest};

/// A message that is not full waits while this many are in flight: under load messages grow by themselves, and when there is
/// little to do nothing waits.
const PARTIAL_IN_FLIGHT_MAX: usize = 4;
/// Logs of earlier lives that are read at the same time.
const LEFT_AT_ONCE: usize = 4;

/// What a dispatch is configured with.
#[derive(Clone, Copy, Debug)]
pub struct DispatchOptions {
    /// Bounds of what is under way.
    pub tracker: TrackerOptions,
    /// Target size of a message.
    pub message_bytes_target: usize,
    /// Extra wait for more events before a smaller message is sent.
    pub linger: Duration,
}

/// What the broker said of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Acknowledged, or so it seems.
    Acked,
    /// Refused.
    Nacked,
    /// A fence was answered.
    Fence,
}

/// See the module.
#[derive(Debug)]
pub struct Dispatch {
    /// Those of logs with a reactor come first.
    assemblers: Vec<Assembler>,
    /// How many of them have a reactor.
    live: usize,
    /// Whose turn it is, so that no log waits behind a busier one.
    turn: usize,
    tracker: Tracker,
    ledger: Arc<Ledger>,
}

impl Dispatch {
    /// Takes from `sources`, and keeps account in `ledger`.
    pub fn new(options: DispatchOptions, mut sources: Vec<Source>, ledger: Arc<Ledger>) -> Self {
        sources.sort_by_key(|source| source.outlet().is_none());
        let live = sources.iter().filter(|source| source.outlet().is_some()).count();
        let assembler = |source| Assembler::new(source, options.message_bytes_target, options.linger);
        let assemblers = sources.into_iter().map(assembler).collect();
        Self { assemblers, live, turn: 0, tracker: Tracker::new(options.tracker), ledger }
    }

    /// What is under way.
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// The next message to send, with its ticket, and whether it was sent before; none if there is none or it may not be sent now.
    pub fn next(&mut self, now: Duration) -> Option<(Ticket, Message, bool)> {
        if !self.tracker.may_send(now) {
            return None;
        }
        let (message, is_again) = match self.tracker.poll_again() {
            Some(message) => (message, true),
            None => (self.next_new(now)?, false),
        };
        let ticket = self.tracker.handle_sent(message.clone(), now);
        Some((ticket, message, is_again))
    }

    /// The next message that was never sent, from each log in turn.
    fn next_new(&mut self, now: Duration) -> Option<Message> {
        let partial = self.wants_more(now);
        let logs = self.active();
        for step in 0..logs {
            let index = (self.turn + step) % logs;
            let assembler = &mut self.assemblers[index];
            if let Some(message) = assembler.next(partial, now) {
                self.turn = (index + 1) % logs;
                self.tracker.handle_new(&message);
                assembler.source().log().marks().set_published(message.id.end);
                return Some(message);
            }
        }
        None
    }

    fn active(&self) -> usize {
        self.assemblers.len().min(self.live + LEFT_AT_ONCE)
    }

    /// What has to be read back before more messages can be made; give it to [`Self::handle_read`].
    pub fn wanted(&self) -> impl Iterator<Item = (LogId, &ReadRequest)> {
        let active = &self.assemblers[..self.active()];
        active.iter().filter_map(|assembler| Some((assembler.source().log().id(), assembler.wanted()?)))
    }

    /// Takes bytes that were wanted.
    pub fn handle_read(&mut self, log: LogId, bytes: &[u8]) {
        self.assembler(log).handle_read(bytes);
    }

    /// What was wanted could not be read: perhaps it lies elsewhere now.
    pub fn handle_unread(&mut self, log: LogId) {
        self.assembler(log).handle_unread();
    }

    /// A fence to send, if acknowledged messages wait for one.
    pub fn next_fence(&mut self) -> Option<Ticket> {
        let is_awaited = self.assemblers[..self.live]
            .iter()
            .any(|assembler| assembler.source().outlet().is_some_and(Outlet::is_awaited));
        self.tracker.wants_fence(is_awaited).then(|| self.tracker.handle_fence_sent())
    }

    /// Takes what the broker said of a message, and whichever message came back along with it.
    pub fn handle_word(&mut self, ticket: Ticket, word: Word, returned: Option<MessageId>, now: Duration) {
        match word {
            Word::Acked => self.tracker.handle_acked(ticket),
            Word::Nacked => self.tracker.handle_refused(ticket, now),
            Word::Fence => {}
        }
        if let Some(id) = returned {
            self.tracker.handle_returned(id, now);
        }
    }

    /// Everything that was said by now was taken, `highest` being the latest that was spoken of.
    pub fn handle_answered(&mut self, highest: Ticket) {
        self.tracker.handle_answered(highest);
        self.settle();
    }

    /// The connection is gone.
    pub fn handle_lost(&mut self) {
        self.tracker.handle_lost();
    }

    /// The broker closed the channel over a message; returns a message of one event that it will not take, to be parked.
    pub fn handle_channel_closed(&mut self) -> Option<Message> {
        self.tracker.handle_channel_closed()
    }

    /// Whether a confirm is overdue: the connection is to be given up.
    pub fn take_overdue(&mut self, now: Duration) -> bool {
        self.tracker.take_overdue(now)
    }

    /// Whether the broker has refused everything for so long that a new connection is worth a try.
    pub fn take_refusal(&mut self, now: Duration) -> bool {
        self.tracker.take_refusal(now)
    }

    /// The broker was not to be heard: waiting starts anew.
    pub fn restart_timeouts(&mut self, now: Duration) {
        self.tracker.restart_timeouts(now);
    }

    /// Tells the log's reactor that a message of one event was parked; `false` if it cannot be told now: try again.
    pub fn handle_parked(&mut self, id: MessageId) -> bool {
        let outlet = self.assembler(id.log).source().outlet();
        // Nobody waits for what an earlier life took over.
        if outlet.is_some_and(|outlet| !outlet.park(id.first)) {
            return false;
        }
        self.tracker.handle_parked(id);
        self.settle();
        true
    }

    /// Tells the reactors and the ledger how far the logs are settled.
    fn settle(&mut self) {
        while let Some(Settled { log, end, total, apps, record_bytes }) = self.tracker.poll_settled() {
            let source = self.assembler(log).source();
            let marks = source.log().marks();
            match source.outlet() {
                Some(outlet) => outlet.settle(end, total.events(), total.parked, record_bytes),
                None => marks.set_settled(end, total.events(), total.parked),
            }
            let is_done = source.outlet().is_none() && end == marks.appended();
            self.ledger.settle(log, end, apps);
            if is_done {
                info!(%log, "everything that an earlier life of the node left in this log is settled");
                self.assemblers.retain(|assembler| assembler.source().log().id() != log);
            }
        }
    }

    /// Whether a log may still have something to forward.
    pub fn has(&self, log: LogId) -> bool {
        self.assemblers.iter().any(|assembler| assembler.source().log().id() == log)
    }

    /// Whether any event that comes now could be sent now. If not, the next answer is soon enough to look: it spares a system call a turn
    /// on both sides.
    pub fn wants_more(&self, now: Duration) -> bool {
        self.tracker.in_flight() < PARTIAL_IN_FLIGHT_MAX && self.tracker.may_send(now)
    }

    /// When a message that is not full has lingered long enough.
    pub fn due(&self) -> Option<Duration> {
        self.assemblers.iter().filter_map(Assembler::due).min()
    }

    /// Whether all reactors are gone and everything they handed over is settled.
    pub fn is_finished(&self) -> bool {
        self.tracker.is_empty()
            // Closed first: nothing comes behind that.
            && self.assemblers.iter().all(|assembler| assembler.source().is_closed() && assembler.is_empty())
    }

    /// Whether all reactors are gone and what they handed over is settled or in the journal: without a broker, there is nothing to wait for.
    pub fn may_leave(&self) -> bool {
        let is_kept = |source: &Source| source.is_closed() && source.log().marks().unkept() == 0;
        self.assemblers.iter().all(|assembler| is_kept(assembler.source()))
    }

    fn assembler(&mut self, log: LogId) -> &mut Assembler {
        let found = self.assemblers.iter_mut().find(|assembler| assembler.source().log().id() == log);
        found.expect("a log is there until all of it is settled")
    }
}
