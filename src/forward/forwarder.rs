//! The loop that runs it all, on one thread.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tracing::{error, info, warn};

use super::assembler::Assembler;
use super::backoff::Backoff;
use super::message::Message;
use super::parking::Parking;
use super::session::{Answer, Answered, Events, Session, SessionOptions, is_about_content};
use super::tracker::{Ticket, Tracker, TrackerOptions};
use crate::clock;
use crate::handoff::{Bell, Outlet};
use crate::telemetry::ForwarderMetrics;

/// Waits between rounds over all brokers. The cap keeps the way back short once one is ready.
const RECONNECT_FIRST: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// A message that is not full waits while this many are in flight: under load messages grow by themselves, and when there is
/// little to do nothing waits.
const PARTIAL_IN_FLIGHT_MAX: usize = 4;
/// How often parking is tried again while the disk refuses it.
const PARKING_RETRY: Duration = Duration::from_secs(1);

/// Everything a forwarder is configured with.
#[derive(Clone, Debug)]
pub struct ForwarderOptions {
    /// How to reach the brokers.
    pub session: SessionOptions,
    /// Bounds of what is under way.
    pub tracker: TrackerOptions,
    /// Target size of a message.
    pub message_bytes_target: usize,
    /// Extra wait for more events before a smaller message is sent.
    pub linger: Duration,
}

/// Why a session ended.
#[derive(Debug)]
enum End {
    /// All reactors are gone and everything is settled.
    Finished,
    /// The broker closed the channel over a message.
    ChannelClosed(lapin::Error),
    /// Anything else.
    Lost(String),
}

/// Publishes what the reactors hand over until they are gone and everything is settled.
#[derive(Debug)]
pub struct Forwarder {
    options: ForwarderOptions,
    assemblers: Vec<Assembler>,
    /// Whose turn it is, so that no core waits behind a busier one.
    turn: usize,
    tracker: Tracker,
    parking: Parking,
    bell: Bell,
    metrics: Arc<ForwarderMetrics>,
}

impl Forwarder {
    /// A forwarder that takes from `outlets` (in the order of their cores) and is woken through `bell`.
    pub fn new(
        options: ForwarderOptions,
        outlets: Vec<Outlet>,
        parking: Parking,
        bell: Bell,
        metrics: Arc<ForwarderMetrics>,
    ) -> Self {
        let tracker = Tracker::new(options.tracker, outlets.len());
        let assembler = |outlet| Assembler::new(outlet, options.message_bytes_target, options.linger);
        let assemblers = outlets.into_iter().map(assembler).collect();
        Self { options, assemblers, turn: 0, tracker, parking, bell, metrics }
    }

    /// Runs until everything is done. Call it inside of a runtime with a local executor.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MAX);
        while let Some((session, events)) = self.connect(&mut backoff).await {
            let end = self.serve(&session, events, &mut backoff).await;
            self.set_broker_up(false);
            match end {
                End::Finished => {
                    session.close().await;
                    return;
                }
                End::ChannelClosed(error) => {
                    warn!(%error, unconfirmed = self.tracker.unconfirmed(), "the broker closed the channel over a message");
                    if let Some(message) = self.tracker.handle_channel_closed() {
                        self.park(&message, &error).await;
                    }
                }
                End::Lost(reason) => {
                    warn!(
                        reason,
                        unconfirmed = self.tracker.unconfirmed(),
                        "the broker is lost: publishing again what it did not confirm"
                    );
                    self.tracker.handle_lost();
                }
            }
            self.metrics.unconfirmed_messages.set(self.tracker.unconfirmed() as u64);
            // A session that ends at once must not begin again at once.
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// Tries the brokers in order, round after round; `None` when there is nothing left to do.
    async fn connect(&mut self, backoff: &mut Backoff) -> Option<(Session, Events)> {
        let mut was_told = false;
        while !self.is_finished() {
            for url in &self.options.session.urls {
                let (host, port) = (&url.authority.host, url.authority.port);
                match Session::open(url, &self.options.session).await {
                    Ok(session) => {
                        info!(host, port, "connected to the broker");
                        self.metrics.connects.add(1);
                        self.set_broker_up(true);
                        return Some(session);
                    }
                    // Once an outage, not once a try.
                    Err(error) if !was_told => warn!(host, port, %error, "cannot use the broker"),
                    Err(_) => {}
                }
            }
            was_told = true;
            let wait = tokio::time::sleep(backoff.wait());
            tokio::pin!(wait);
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    // The last reactor may have gone.
                    () = self.bell.rung() => if self.is_finished() { break },
                }
            }
        }
        None
    }

    async fn serve(&mut self, session: &Session, mut events: Events, backoff: &mut Backoff) -> End {
        let mut answers = FuturesUnordered::new();
        let mut is_blocked = false;
        let mut wants_declare = false;
        loop {
            if wants_declare && !is_blocked && self.tracker.may_send(clock::monotonic()) {
                // Something came back: perhaps what we had declared is gone.
                if let Err(error) = session.declare().await {
                    return End::Lost(error.to_string());
                }
                wants_declare = false;
            }
            if !is_blocked {
                self.publish(session, &mut answers);
            }
            if self.is_finished() {
                return End::Finished;
            }
            let wake_at = self.wake_at(is_blocked);
            let wants_more = !is_blocked && self.wants_more(clock::monotonic());
            tokio::select! {
                biased;
                Some(answered) = answers.next() => {
                    backoff.reset();
                    if let Some(end) = self.take_answers(answered, &mut answers, &mut wants_declare) {
                        return end;
                    }
                }
                event = events.next() => match event {
                    Some(lapin::Event::ConnectionBlocked(reason)) => {
                        warn!(reason, "the broker blocks publishers");
                        is_blocked = true;
                        self.set_broker_up(false);
                    }
                    Some(lapin::Event::ConnectionUnblocked) => {
                        info!("the broker takes messages again");
                        is_blocked = false;
                        self.tracker.restart_timeouts(clock::monotonic());
                        self.set_broker_up(true);
                    }
                    Some(lapin::Event::Error(error)) if is_about_content(&error) => return End::ChannelClosed(error),
                    Some(lapin::Event::Error(error)) => return End::Lost(error.to_string()),
                    Some(_) => {}
                    None => return End::Lost("the connection ended".to_owned()),
                },
                // A blocked forwarder has to see the last reactor go.
                () = self.bell.rung(), if wants_more || is_blocked => {}
                () = sleep_until(wake_at) => {
                    let now = clock::monotonic();
                    if !is_blocked && self.tracker.overdue_at().is_some_and(|at| at <= now) {
                        return End::Lost("a confirm is overdue".to_owned());
                    }
                }
            }
        }
    }

    /// Sends as much as the window takes.
    fn publish(&mut self, session: &Session, answers: &mut FuturesUnordered<Answer>) {
        let now = clock::monotonic();
        while self.tracker.may_send(now) {
            let message = match self.tracker.poll_again() {
                Some(message) => {
                    self.metrics.republished_messages.add(1);
                    message
                }
                None => match self.next_new(now) {
                    Some(message) => message,
                    None => break,
                },
            };
            let ticket = self.tracker.handle_sent(message.clone(), now);
            self.metrics.published_messages.add(1);
            start(session.publish(ticket, &message), answers);
        }
        if self.tracker.wants_fence() && answers.is_empty() {
            start(session.fence(self.tracker.handle_fence_sent()), answers);
        }
        self.metrics.unconfirmed_messages.set(self.tracker.unconfirmed() as u64);
    }

    /// The next message that was never sent, from each core in turn.
    fn next_new(&mut self, now: Duration) -> Option<Message> {
        let partial = self.wants_more(now);
        let cores = self.assemblers.len();
        for step in 0..cores {
            let core = (self.turn + step) % cores;
            let assembler = &mut self.assemblers[core];
            if let Some(message) = assembler.next(partial, now) {
                self.turn = (core + 1) % cores;
                self.tracker.handle_new(&message);
                assembler.outlet().log().set_published(message.id.end);
                return Some(message);
            }
        }
        None
    }

    /// Takes an answer and all others that are there: only then is the highest of them a fence for what was said before.
    fn take_answers(
        &mut self,
        first: (Ticket, Answered),
        answers: &mut FuturesUnordered<Answer>,
        wants_declare: &mut bool,
    ) -> Option<End> {
        let now = clock::monotonic();
        let mut next = Some(first);
        let mut highest = None;
        while let Some((ticket, answered)) = next {
            let returned = match answered {
                Answered::Acked { returned } => {
                    self.tracker.handle_acked(ticket);
                    returned
                }
                Answered::Nacked { returned } => {
                    self.metrics.nacked_messages.add(1);
                    self.tracker.handle_refused(ticket, now);
                    *wants_declare = true;
                    returned
                }
                Answered::Fence => None,
                Answered::Failed(error) if is_about_content(&error) => {
                    return Some(End::ChannelClosed(error));
                }
                Answered::Failed(error) => return Some(End::Lost(error.to_string())),
            };
            if let Some(id) = returned {
                self.metrics.returned_messages.add(1);
                self.tracker.handle_returned(id, now);
                *wants_declare = true;
            }
            highest = highest.max(Some(ticket));
            next = answers.next().now_or_never().flatten();
        }
        if let Some(highest) = highest {
            self.tracker.handle_answered(highest);
            self.settle();
        }
        None
    }

    /// Tells the reactors how far their logs are settled.
    fn settle(&mut self) {
        while let Some(settled) = self.tracker.poll_settled() {
            let outlet = self.assemblers[settled.core.index()].outlet();
            outlet.settle(settled.end, settled.parked, settled.record_bytes);
        }
    }

    /// Sets a message's one event aside; until that has worked, nothing else is done.
    async fn park(&mut self, message: &Message, reason: &lapin::Error) {
        loop {
            let (parking, parked) = (self.parking.clone(), message.clone());
            match tokio::task::spawn_blocking(move || parking.park(&parked))
                .await
                .expect("parking does not panic")
            {
                Ok(()) => break,
                Err(error) => {
                    error!(%error, "cannot park an event that the broker refuses: trying again");
                    tokio::time::sleep(PARKING_RETRY).await;
                }
            }
        }
        error!(
            id = %message.id,
            file = %self.parking.path().display(),
            %reason,
            "parked an event that the broker refuses"
        );
        let outlet = self.assemblers[message.id.core.index()].outlet();
        while !outlet.park(message.id.first) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.tracker.handle_parked(message.id);
        self.settle();
    }

    /// When to look again without being told.
    fn wake_at(&self, is_blocked: bool) -> Option<Duration> {
        if is_blocked {
            return None;
        }
        let now = clock::monotonic();
        let lingers = self.wants_more(now).then(|| self.assemblers.iter().filter_map(Assembler::due).min());
        // A pause that is over wakes nobody.
        let pause = self.tracker.paused_until().filter(|until| *until > now);
        [self.tracker.overdue_at(), lingers.flatten(), pause].into_iter().flatten().min()
    }

    /// Whether any event that comes now could be sent now. If not, the next answer is soon enough to look: it spares a system call a turn
    /// on both sides.
    fn wants_more(&self, now: Duration) -> bool {
        self.tracker.in_flight() < PARTIAL_IN_FLIGHT_MAX && self.tracker.may_send(now)
    }

    /// Whether all reactors are gone and everything they handed over is settled.
    fn is_finished(&self) -> bool {
        self.tracker.is_empty()
            // Closed first: nothing comes behind that.
            && self.assemblers.iter().all(|assembler| assembler.outlet().is_closed() && assembler.is_empty())
    }

    fn set_broker_up(&self, is_up: bool) {
        if self.metrics.broker_up.value() != u64::from(is_up) {
            self.metrics.broker_changed_ms.set(clock::ms(clock::monotonic()));
            self.metrics.broker_up.set(is_up.into());
        }
    }
}

/// Queues a message's frames now, so that messages leave in order, and keeps the rest of its way for later.
fn start(mut answer: Answer, answers: &mut FuturesUnordered<Answer>) {
    match (&mut answer).now_or_never() {
        Some(done) => answers.push(Box::pin(std::future::ready(done))),
        None => answers.push(answer),
    }
}

async fn sleep_until(at: Option<Duration>) {
    match at {
        Some(at) => tokio::time::sleep(at.saturating_sub(clock::monotonic())).await,
        None => std::future::pending().await,
    }
}
