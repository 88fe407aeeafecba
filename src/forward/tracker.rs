//! What is under way to the broker: the window, what must go again, and what is confirmed.
//!
//! **A confirm is believed late.** lapin hands a returned message out with whichever confirm it resolves next, and resolves the confirms of one
//! `basic.ack(multiple)` in no order: a message may seem confirmed while its return sits with another one. So a return is known by the
//! `message_id` it carries, never by the confirm it came with; and an acknowledged message counts as confirmed only when something that was
//! sent *after its acknowledgement was seen* (a later message, or an empty request as fence) is answered too: by then every
//! confirm of the earlier frame has been seen, and with them the return.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::message::{Message, MessageId, Piece};
use crate::backoff::Backoff;
use crate::journal::{LogId, Offset, SettledEvents};

/// How often the broker must close the channel over a message alone before it is split, or parked.
const STRIKES_MAX: u8 = 2;
/// Pauses after a nack or return.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a broker may refuse every message before it is tried over a new connection. A full queue refuses rightly for hours; but a
/// quorum queue of `RabbitMQ` 3.10 goes on refusing a channel whose messages it once refused, even when its limit was lifted by a policy.
const REFUSAL_MAX: Duration = Duration::from_secs(10);

/// The number of a sending, or of a fence; grows with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Bounds of a tracker.
#[derive(Clone, Copy, Debug)]
pub struct TrackerOptions {
    /// Most messages that are sent and not confirmed.
    pub window_max: usize,
    /// How long a confirm may take.
    pub confirm_timeout: Duration,
    /// Tells the jitter of its pauses.
    pub jitter_seed: u64,
}

/// Events at the front of a log that are settled: confirmed, or parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which log.
    pub log: LogId,
    /// Everything below is settled.
    pub end: Offset,
    /// How many events that are.
    pub total: SettledEvents,
    /// Whose they are.
    pub apps: HashMap<Uuid, SettledEvents>,
    /// What they weigh in the queue.
    pub record_bytes: usize,
}

#[derive(Debug)]
struct InFlight {
    message: Message,
    sent_at: Duration,
    /// Since when its confirm is waited for, as far as a timeout is concerned.
    waiting_since: Duration,
}

/// Acknowledged, and believed once an answer to `fence` or a later ticket was seen.
#[derive(Debug)]
struct Acked {
    message: Message,
    sent_at: Duration,
    fence: Ticket,
}

/// The messages of one log that are not settled, by their first offset.
#[derive(Debug, Default)]
struct Log {
    spans: VecDeque<Span>,
}

#[derive(Clone, Debug)]
struct Span {
    id: MessageId,
    pieces: Arc<[Piece]>,
    done: Option<Done>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Confirmed,
    Parked,
}

impl Log {
    fn find(&mut self, id: MessageId) -> usize {
        let index = self.spans.binary_search_by_key(&id.first, |span| span.id.first);
        let index = index.expect("an unsettled message is in its log");
        assert!(self.spans[index].id == id, "a message covers what it always did");
        index
    }
}

fn log_of(logs: &mut BTreeMap<LogId, Log>, id: MessageId) -> &mut Log {
    logs.get_mut(&id.log).expect("an unsettled message has its log")
}

/// The state machine.
#[derive(Debug)]
pub struct Tracker {
    options: TrackerOptions,
    window: usize,
    again: VecDeque<Message>,
    in_flight: BTreeMap<Ticket, InFlight>,
    acked: Vec<Acked>,
    /// The one that is under way.
    fence: Option<Ticket>,
    logs: BTreeMap<LogId, Log>,
    next: Ticket,
    pause: Backoff,
    paused_until: Option<Duration>,
    /// Since when the broker has refused all that it answered.
    refused_since: Option<Duration>,
    /// Messages that were in flight when the broker closed the channel, below this ticket's successors: they go one at a time.
    suspects: usize,
}

impl Tracker {
    /// A tracker with nothing under way.
    pub fn new(options: TrackerOptions) -> Self {
        Self {
            options,
            window: options.window_max,
            again: VecDeque::new(),
            in_flight: BTreeMap::new(),
            acked: Vec::new(),
            fence: None,
            logs: BTreeMap::new(),
            next: Ticket(0),
            pause: Backoff::seeded(PAUSE_FIRST, PAUSE_MAX, options.jitter_seed),
            paused_until: None,
            refused_since: None,
            suspects: 0,
        }
    }

    /// Messages sent and not confirmed.
    pub fn unconfirmed(&self) -> usize {
        self.in_flight.len() + self.acked.len()
    }

    /// Messages on their way, without those that only wait for their fence.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether nothing is unsettled.
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.acked.is_empty() && self.again.is_empty()
    }

    /// Whether a message may be sent now.
    pub fn may_send(&self, now: Duration) -> bool {
        // What is acknowledged and not believed yet is no work for the broker any more: it takes no place in the window, within bounds.
        let has_room = if self.suspects > 0 {
            self.unconfirmed() == 0
        } else {
            self.in_flight.len() < self.window && self.unconfirmed() < 2 * self.window
        };
        has_room && self.paused_until.is_none_or(|until| until <= now)
    }

    /// A message that must go again, if there is one. Otherwise take a new one and tell [`Self::handle_new`].
    pub fn poll_again(&mut self) -> Option<Message> {
        self.again.pop_front()
    }

    /// A message that was never sent before.
    pub fn handle_new(&mut self, message: &Message) {
        let spans = &mut self.logs.entry(message.id.log).or_default().spans;
        if let Some(last) = spans.back() {
            // Offsets may be missing in a log that was read back: no event has them.
            assert!(last.id.end <= message.id.first, "messages of a log come in order");
        }
        spans.push_back(Span { id: message.id, pieces: message.pieces.clone(), done: None });
    }

    /// A message goes out.
    pub fn handle_sent(&mut self, message: Message, now: Duration) -> Ticket {
        let ticket = self.take_ticket();
        self.in_flight.insert(ticket, InFlight { message, sent_at: now, waiting_since: now });
        ticket
    }

    /// The broker acknowledged it, or so it seems.
    pub fn handle_acked(&mut self, ticket: Ticket) {
        // Already gone if its return was faster.
        if let Some(InFlight { message, sent_at, .. }) = self.in_flight.remove(&ticket) {
            self.acked.push(Acked { message, sent_at, fence: self.next });
        }
    }

    /// Whether a fence should go out. Acknowledged messages wait for the next answer: somebody has to ask for one if nothing else is on its
    /// way, or if there are clients who wait (`is_awaited`) and a message's confirm would take longer.
    pub fn wants_fence(&self, is_awaited: bool) -> bool {
        self.fence.is_none() && !self.acked.is_empty() && (is_awaited || self.in_flight.is_empty())
    }

    /// A fence goes out: a request whose answer comes after all that the broker said before.
    pub fn handle_fence_sent(&mut self) -> Ticket {
        let ticket = self.take_ticket();
        self.fence = Some(ticket);
        ticket
    }

    /// When those messages were sent that [`Self::handle_answered`] will take for confirmed when it is told of `ticket`.
    pub fn believable(&self, ticket: Ticket) -> impl Iterator<Item = Duration> {
        self.acked.iter().filter(move |acked| acked.fence <= ticket).map(|acked| acked.sent_at)
    }

    /// Everything that was answered by now was handled, `ticket` being the highest that was: earlier acknowledgements can be believed.
    pub fn handle_answered(&mut self, ticket: Ticket) {
        self.fence.take_if(|fence| *fence <= ticket);
        let mut confirmed = 0;
        let logs = &mut self.logs;
        self.acked.retain(|acked| {
            let is_believed = acked.fence <= ticket;
            if is_believed {
                let log = log_of(logs, acked.message.id);
                let index = log.find(acked.message.id);
                log.spans[index].done = Some(Done::Confirmed);
                confirmed += 1;
            }
            !is_believed
        });
        if confirmed > 0 {
            self.suspects = self.suspects.saturating_sub(confirmed);
            self.window = (self.window + confirmed).min(self.options.window_max);
            self.pause.reset();
            self.refused_since = None;
        }
    }

    /// A message that was sent comes back: it goes again, later and with fewer beside it.
    pub fn handle_refused(&mut self, ticket: Ticket, now: Duration) {
        if let Some(InFlight { message, .. }) = self.in_flight.remove(&ticket) {
            self.go_again([message]);
            self.slow_down(now);
            self.refused_since.get_or_insert(now);
        }
    }

    /// Whether the broker has refused everything for so long that a new connection is worth a try.
    pub fn take_refusal(&mut self, now: Duration) -> bool {
        self.refused_since.take_if(|since| now.saturating_sub(*since) >= REFUSAL_MAX).is_some()
    }

    /// The broker returned the message with this id, whatever confirm that came with. Returns whether it was under way.
    pub fn handle_returned(&mut self, id: MessageId, now: Duration) -> bool {
        let in_flight =
            self.in_flight.iter().find(|(_, sent)| sent.message.id == id).map(|(ticket, _)| *ticket);
        let message = if let Some(ticket) = in_flight {
            self.in_flight.remove(&ticket).map(|sent| sent.message)
        } else {
            let acked = self.acked.iter().position(|acked| acked.message.id == id);
            acked.map(|index| self.acked.swap_remove(index).message)
        };
        let is_known = message.is_some();
        self.go_again(message);
        self.slow_down(now);
        is_known
    }

    /// The connection is gone: everything without a believed confirm goes again.
    pub fn handle_lost(&mut self) {
        self.fence = None;
        let in_flight = std::mem::take(&mut self.in_flight).into_values().map(|sent| sent.message);
        let acked = std::mem::take(&mut self.acked).into_iter().map(|acked| acked.message);
        self.go_again(in_flight.chain(acked).collect::<Vec<_>>());
    }

    /// The broker closed the channel over a message. Alone, that message is to blame, and after its second strike it is split; the event that
    /// remains is given back to be parked. Several are suspects: they go one at a time.
    pub fn handle_channel_closed(&mut self) -> Option<Message> {
        let is_alone = self.unconfirmed() == 1;
        if !is_alone {
            self.suspects = self.suspects.max(self.unconfirmed());
            self.handle_lost();
            return None;
        }
        self.handle_lost();
        let mut message = self.again.pop_front().expect("the one that was alone");
        message.strikes += 1;
        self.suspects = self.suspects.max(1);
        if message.strikes < STRIKES_MAX {
            self.again.push_front(message);
            return None;
        }
        if message.events() == 1 {
            return Some(message);
        }
        let log = log_of(&mut self.logs, message.id);
        let index = log.find(message.id);
        let halves = message.split();
        log.spans.remove(index);
        for half in halves.iter().rev() {
            log.spans.insert(index, Span { id: half.id, pieces: half.pieces.clone(), done: None });
        }
        // The one suspect is two now.
        self.suspects += 1;
        self.go_again(halves);
        None
    }

    /// The message was parked: nobody waits for the broker any more.
    pub fn handle_parked(&mut self, id: MessageId) {
        let log = log_of(&mut self.logs, id);
        let index = log.find(id);
        log.spans[index].done = Some(Done::Parked);
        self.suspects = self.suspects.saturating_sub(1);
    }

    /// What has become settled: a gapless prefix of a log, and never more.
    pub fn poll_settled(&mut self) -> Option<Settled> {
        let (log, spans) = self
            .logs
            .iter_mut()
            .map(|(log, Log { spans })| (*log, spans))
            .find(|(_, spans)| spans.front().is_some_and(|span| span.done.is_some()))?;
        let mut settled = Settled {
            log,
            end: Offset(0),
            total: SettledEvents::default(),
            apps: HashMap::new(),
            record_bytes: 0,
        };
        while let Some(Span { id, pieces, done }) = spans.pop_front_if(|span| span.done.is_some()) {
            settled.end = id.end;
            let is_parked = done == Some(Done::Parked);
            let one = SettledEvents { confirmed: (!is_parked).into(), parked: is_parked.into() };
            for piece in &*pieces {
                settled.total.add(one);
                settled.apps.entry(piece.app).or_default().add(one);
                settled.record_bytes += piece.record_bytes as usize;
            }
        }
        Some(settled)
    }

    /// When a confirm is overdue.
    pub fn overdue_at(&self) -> Option<Duration> {
        self.in_flight.first_key_value().map(|(_, sent)| sent.waiting_since + self.options.confirm_timeout)
    }

    /// Whether a confirm is overdue. The connection is to be given up then, and less is sent at once over the next: it may be that the broker
    /// is there and cannot write as much in that time, and would never be done with what is sent to it again and again.
    pub fn take_overdue(&mut self, now: Duration) -> bool {
        let is_overdue = self.overdue_at().is_some_and(|at| at <= now);
        if is_overdue {
            self.halve_window();
        }
        is_overdue
    }

    /// The broker was not to be heard (it blocks publishers): waiting starts anew.
    pub fn restart_timeouts(&mut self, now: Duration) {
        for sent in self.in_flight.values_mut() {
            sent.waiting_since = now;
        }
    }

    /// When a pause ends.
    pub fn paused_until(&self) -> Option<Duration> {
        self.paused_until
    }

    fn take_ticket(&mut self) -> Ticket {
        let ticket = self.next;
        self.next = Ticket(ticket.0 + 1);
        ticket
    }

    /// In the order of the log, as far as a log is concerned.
    fn go_again(&mut self, messages: impl IntoIterator<Item = Message>) {
        self.again.extend(messages);
        self.again.make_contiguous().sort_by_key(|message| (message.id.first, message.id.log));
    }

    fn halve_window(&mut self) {
        self.window = (self.window / 2).max(1);
    }

    fn slow_down(&mut self, now: Duration) {
        if self.paused_until.is_some_and(|until| until > now) {
            return; // the same trouble
        }
        self.halve_window();
        self.paused_until = Some(now + self.pause.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::CoreId;
    use bytes::Bytes;

    const NOW: Duration = Duration::from_secs(100);

    fn tracker(window_max: usize) -> Tracker {
        Tracker::new(TrackerOptions { window_max, confirm_timeout: Duration::from_secs(30), jitter_seed: 1 })
    }

    /// Events `[first, end)` of core 0, ten bytes each.
    fn message(first: u64, end: u64) -> Message {
        let events = usize::try_from(end - first).expect("a few");
        let body = format!("[{}]", vec!["{}"; events].join(","));
        let pieces = (1..=events).map(|n| Piece {
            end: u32::try_from(n * 3).expect("small"),
            record_bytes: 10,
            app: Uuid::nil(),
        });
        Message {
            id: MessageId {
                log: LogId { core: CoreId(0), epoch: 1 },
                first: Offset(first),
                end: Offset(end),
            },
            lenient: false,
            received_us: 0,
            body: Bytes::from(body),
            pieces: pieces.collect(),
            strikes: 0,
        }
    }

    fn send(tracker: &mut Tracker, message: &Message) -> Ticket {
        tracker.handle_new(message);
        tracker.handle_sent(message.clone(), NOW)
    }

    fn resend(tracker: &mut Tracker) -> (MessageId, Ticket) {
        let message = tracker.poll_again().expect("something goes again");
        (message.id, tracker.handle_sent(message, NOW))
    }

    /// A fence goes out and is answered.
    fn fence(tracker: &mut Tracker) {
        let ticket = tracker.handle_fence_sent();
        tracker.handle_answered(ticket);
    }

    fn settled(tracker: &mut Tracker) -> Option<(u64, u64, usize)> {
        tracker.poll_settled().map(|s| {
            assert_eq!(s.apps[&Uuid::nil()], s.total);
            (s.end.0, s.total.parked, s.record_bytes)
        })
    }

    #[test]
    fn only_a_gapless_prefix_is_settled() {
        let mut tracker = tracker(8);
        let tickets: Vec<_> = (0..3).map(|n| send(&mut tracker, &message(n * 2, n * 2 + 2))).collect();
        tracker.handle_acked(tickets[1]);
        tracker.handle_acked(tickets[2]);
        fence(&mut tracker);
        assert_eq!(settled(&mut tracker), None, "the first one holds the others back");
        tracker.handle_acked(tickets[0]);
        fence(&mut tracker);
        assert_eq!(settled(&mut tracker), Some((6, 0, 60)));
        assert!(tracker.is_empty());
    }

    #[test]
    fn an_acknowledgement_is_believed_only_after_something_later_was_answered() {
        let mut tracker = tracker(8);
        let first = send(&mut tracker, &message(0, 1));
        let second = send(&mut tracker, &message(1, 2));
        tracker.handle_acked(first);
        tracker.handle_answered(first);
        tracker.handle_answered(second);
        assert_eq!(
            settled(&mut tracker),
            None,
            "the second was sent before the first one's acknowledgement was seen"
        );
        let third = send(&mut tracker, &message(2, 3));
        tracker.handle_acked(third);
        tracker.handle_answered(third);
        assert_eq!(settled(&mut tracker), Some((1, 0, 10)));
    }

    #[test]
    fn a_fence_spares_those_who_wait_the_next_confirm() {
        let mut tracker = tracker(8);
        let first = send(&mut tracker, &message(0, 1));
        let second = send(&mut tracker, &message(1, 2));
        tracker.handle_acked(first);
        assert!(!tracker.wants_fence(false), "what is on its way will do");
        assert!(tracker.wants_fence(true));
        let fence = tracker.handle_fence_sent();
        tracker.handle_acked(second);
        assert!(!tracker.wants_fence(true), "one at a time");
        tracker.handle_answered(fence);
        assert_eq!(settled(&mut tracker), Some((1, 0, 10)), "the second was acknowledged behind the fence");
        assert!(tracker.wants_fence(false), "nothing else is on its way");
    }

    #[test]
    fn a_return_that_came_with_anothers_confirm_is_not_taken_for_one() {
        let mut tracker = tracker(8);
        let returned = message(0, 1);
        let (first, second) = (send(&mut tracker, &returned), send(&mut tracker, &message(1, 2)));
        // One `ack(multiple)`: the first resolves without, the second with the return of the first.
        tracker.handle_acked(first);
        tracker.handle_acked(second);
        assert!(tracker.handle_returned(returned.id, NOW));
        assert!(tracker.wants_fence(false));
        fence(&mut tracker);
        assert_eq!(settled(&mut tracker), None);
        let (id, again) = resend(&mut tracker);
        assert_eq!(id, returned.id);
        tracker.handle_acked(again);
        fence(&mut tracker);
        assert_eq!(settled(&mut tracker), Some((2, 0, 20)));
    }

    #[test]
    fn a_refused_message_goes_again_after_a_pause_with_half_the_window() {
        let mut tracker = tracker(4);
        let tickets: Vec<_> = (0..4).map(|n| send(&mut tracker, &message(n, n + 1))).collect();
        assert!(!tracker.may_send(NOW), "the window is full");
        for ticket in &tickets {
            tracker.handle_refused(*ticket, NOW);
        }
        assert!(!tracker.may_send(NOW), "never in a hot loop");
        let later = tracker.paused_until().expect("paused");
        let mut sent = Vec::new();
        while tracker.may_send(later) {
            sent.push(resend(&mut tracker));
        }
        assert_eq!(
            sent.iter().map(|(id, _)| id.first.0).collect::<Vec<_>>(),
            [0, 1],
            "in order, half the window"
        );
        for (_, ticket) in sent {
            tracker.handle_acked(ticket);
        }
        fence(&mut tracker);
        assert!((0..4).all(|_| tracker.may_send(later)
            && tracker.poll_again().map(|m| tracker.handle_sent(m, later)).is_some_and(|_| true)
            || tracker.again.is_empty()));
    }

    #[test]
    fn a_broker_that_refuses_everything_for_long_is_worth_another_connection() {
        let mut tracker = tracker(4);
        let (mut now, step) = (NOW, Duration::from_secs(6));
        let refuse = |tracker: &mut Tracker, now| {
            let (_, ticket) = resend(tracker);
            tracker.handle_refused(ticket, now);
        };
        let ticket = send(&mut tracker, &message(0, 1));
        tracker.handle_refused(ticket, now);
        assert!(!tracker.take_refusal(now));
        now += step;
        refuse(&mut tracker, now);
        assert!(!tracker.take_refusal(now), "not long enough");
        // One that is taken in between: the broker does what it can.
        let taken = send(&mut tracker, &message(1, 2));
        tracker.handle_acked(taken);
        fence(&mut tracker);
        now += step;
        refuse(&mut tracker, now);
        assert!(!tracker.take_refusal(now));
        now += REFUSAL_MAX;
        refuse(&mut tracker, now);
        assert!(tracker.take_refusal(now));
        assert!(!tracker.take_refusal(now), "the next connection has as much time");
    }

    #[test]
    fn what_a_lost_connection_leaves_without_a_believed_confirm_goes_again_in_order() {
        let mut tracker = tracker(8);
        let tickets: Vec<_> = (0..4).map(|n| send(&mut tracker, &message(n, n + 1))).collect();
        tracker.handle_acked(tickets[2]);
        tracker.handle_acked(tickets[0]);
        fence(&mut tracker);
        tracker.handle_acked(tickets[1]);
        tracker.handle_lost();
        assert_eq!(settled(&mut tracker), Some((1, 0, 10)));
        let again: Vec<u64> = std::iter::from_fn(|| tracker.poll_again()).map(|m| m.id.first.0).collect();
        assert_eq!(again, [1, 3], "the second was acknowledged, but not believed yet");
    }

    #[test]
    fn a_poisonous_event_is_found_by_halving_and_everything_else_arrives() {
        let mut tracker = tracker(8);
        let poison = Offset(5);
        for first in [0, 4, 8] {
            send(&mut tracker, &message(first, first + 4));
        }
        // The broker closes the channel as soon as it sees the poison.
        let mut parked = tracker.handle_channel_closed();
        let mut steps = 0;
        while let Some(sent) = tracker.poll_again() {
            steps += 1;
            assert!(steps < 40, "it ends");
            let id = sent.id;
            let ticket = tracker.handle_sent(sent, NOW);
            assert!(!tracker.may_send(NOW), "suspects go one at a time");
            if id.first <= poison && poison < id.end {
                parked = tracker.handle_channel_closed();
                if let Some(message) = &parked {
                    assert_eq!((message.id.first, message.events()), (poison, 1));
                    tracker.handle_parked(message.id);
                }
            } else {
                tracker.handle_acked(ticket);
                fence(&mut tracker);
            }
        }
        assert!(parked.is_some());
        let mut end = (0, 0, 0);
        while let Some(more) = settled(&mut tracker) {
            end = (more.0, end.1 + more.1, end.2 + more.2);
        }
        assert_eq!(end, (12, 1, 120));
        assert!(tracker.is_empty() && tracker.may_send(NOW));
        assert_eq!(tracker.suspects, 0);
    }

    #[test]
    fn a_confirm_took_from_the_sending_to_the_belief_whatever_the_broker_did_meanwhile() {
        let mut tracker = tracker(8);
        let ms = Duration::from_millis;
        let [first, second] = [message(0, 1), message(1, 2)].map(|message| {
            tracker.handle_new(&message);
            tracker.handle_sent(message, NOW)
        });
        tracker.restart_timeouts(NOW + ms(5));
        tracker.handle_acked(first);
        assert_eq!(tracker.believable(second).count(), 0, "its return may still come");
        let fence = tracker.handle_fence_sent();
        tracker.handle_acked(second);
        assert_eq!(tracker.believable(fence).collect::<Vec<_>>(), [NOW]);
        tracker.handle_answered(fence);
        assert_eq!(tracker.believable(fence).count(), 0, "once each");
    }

    #[test]
    fn the_oldest_message_says_when_a_confirm_is_overdue() {
        let mut tracker = tracker(8);
        assert_eq!(tracker.overdue_at(), None);
        send(&mut tracker, &message(0, 1));
        assert_eq!(tracker.overdue_at(), Some(NOW + Duration::from_secs(30)));
        tracker.restart_timeouts(NOW + Duration::from_secs(20));
        assert_eq!(tracker.overdue_at(), Some(NOW + Duration::from_secs(50)));
    }

    #[test]
    fn a_broker_that_cannot_keep_up_gets_less_at_once_until_it_can() {
        let mut tracker = tracker(8);
        let messages: Vec<_> = (0..8).map(|index| message(index * 10, index * 10 + 1)).collect();
        for message in &messages {
            send(&mut tracker, message);
        }
        let late = NOW + Duration::from_secs(30);
        assert!(!tracker.take_overdue(NOW + Duration::from_secs(29)));
        let mut sent = Vec::new();
        for window in [4, 2, 1, 1] {
            assert!(tracker.take_overdue(late));
            tracker.handle_lost();
            sent.clear();
            while tracker.may_send(NOW) {
                let again = tracker.poll_again().expect("all of them go again");
                sent.push(tracker.handle_sent(again, NOW));
            }
            assert_eq!(sent.len(), window);
        }
        tracker.handle_acked(sent[0]);
        let fence = tracker.handle_fence_sent();
        tracker.handle_answered(fence);
        assert_eq!(tracker.window, 2, "it keeps up: more can be under way");
    }
}
