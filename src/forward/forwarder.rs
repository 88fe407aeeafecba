//! The loop that runs it all, on one thread.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tracing::{error, info, warn};

use super::dispatch::{Dispatch, DispatchOptions, Word};
use super::message::Message;
use super::parking::Parking;
use super::read_back::{Finished, ReadBack};
use super::session::{Answer, Answered, Events, Session, SessionOptions, is_about_content};
use super::source::Source;
use super::tracker::Ticket;
use crate::backoff::Backoff;
use crate::clock;
use crate::handoff::Bell;
use crate::journal::Ledger;
use crate::telemetry::ForwarderMetrics;

/// Waits between rounds over all brokers. The cap keeps the way back short once one is ready.
const RECONNECT_FIRST: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// How often parking is tried again while the disk refuses it.
const PARKING_RETRY: Duration = Duration::from_secs(1);

/// Everything a forwarder is configured with.
#[derive(Clone, Debug)]
pub struct ForwarderOptions {
    /// How to reach the brokers.
    pub session: SessionOptions,
    /// Which messages are made and how many are under way.
    pub dispatch: DispatchOptions,
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
    dispatch: Dispatch,
    read_back: ReadBack,
    parking: Parking,
    bell: Bell,
    metrics: Arc<ForwarderMetrics>,
}

impl Forwarder {
    /// A forwarder that takes from `sources`, is woken through `bell`, and keeps account in `ledger`.
    pub fn new(
        options: ForwarderOptions,
        sources: Vec<Source>,
        parking: Parking,
        bell: Bell,
        ledger: Arc<Ledger>,
        metrics: Arc<ForwarderMetrics>,
    ) -> Self {
        let dispatch = Dispatch::new(options.dispatch, sources, ledger);
        Self { options, dispatch, read_back: ReadBack::default(), parking, bell, metrics }
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
                    warn!(%error, unconfirmed = self.unconfirmed(), "the broker closed the channel over a message");
                    if let Some(message) = self.dispatch.handle_channel_closed() {
                        self.park(&message, &error).await;
                    }
                }
                End::Lost(reason) => {
                    warn!(
                        reason,
                        unconfirmed = self.unconfirmed(),
                        "the broker is lost: publishing again what it did not confirm"
                    );
                    self.dispatch.handle_lost();
                }
            }
            self.metrics.unconfirmed_messages.set(self.unconfirmed());
            // A session that ends at once must not begin again at once.
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// Tries the brokers in order, round after round; `None` when there is nothing left to do, or to lose.
    async fn connect(&mut self, backoff: &mut Backoff) -> Option<(Session, Events)> {
        let mut was_told = false;
        while !self.dispatch.may_leave() {
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
                    () = self.bell.rung() => if self.dispatch.may_leave() { break },
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
            if wants_declare && !is_blocked && self.dispatch.tracker().may_send(clock::monotonic()) {
                // Something came back: perhaps what we had declared is gone.
                if let Err(error) = session.declare().await {
                    return End::Lost(error.to_string());
                }
                wants_declare = false;
            }
            if !is_blocked {
                self.publish(session, &mut answers);
            }
            if self.dispatch.is_finished() || is_blocked && self.dispatch.may_leave() {
                return End::Finished;
            }
            let wake_at = self.wake_at(is_blocked);
            let wants_more = !is_blocked && self.dispatch.wants_more(clock::monotonic());
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
                        self.dispatch.restart_timeouts(clock::monotonic());
                        self.set_broker_up(true);
                    }
                    Some(lapin::Event::Error(error)) if is_about_content(&error) => return End::ChannelClosed(error),
                    Some(lapin::Event::Error(error)) => return End::Lost(error.to_string()),
                    Some(_) => {}
                    None => return End::Lost("the connection ended".to_owned()),
                },
                finished = self.read_back.next() => self.take_read(finished),
                // A blocked forwarder has to see the last reactor go.
                () = self.bell.rung(), if wants_more || is_blocked => {}
                () = sleep_until(wake_at) => {
                    let now = clock::monotonic();
                    if !is_blocked && self.dispatch.take_overdue(now) {
                        return End::Lost("a confirm is overdue".to_owned());
                    }
                }
            }
        }
    }

    /// Sends as much as the window takes, and begins to read what is to be sent next.
    fn publish(&mut self, session: &Session, answers: &mut FuturesUnordered<Answer>) {
        let now = clock::monotonic();
        while let Some((ticket, message, is_again)) = self.dispatch.next(now) {
            if is_again {
                self.metrics.republished_messages.add(1);
            }
            self.metrics.published_messages.add(1);
            start(session.publish(ticket, &message), answers);
        }
        for (log, request) in self.dispatch.wanted() {
            self.read_back.start(log, request);
        }
        if let Some(ticket) = self.dispatch.next_fence() {
            start(session.fence(ticket), answers);
        }
        self.metrics.unconfirmed_messages.set(self.unconfirmed());
    }

    fn take_read(&mut self, Finished { log, result }: Finished) {
        match result {
            Ok(bytes) => self.dispatch.handle_read(log, &bytes),
            Err(error) => {
                error!(%log, %error, "cannot read the journal back: trying again");
                self.dispatch.handle_unread(log);
            }
        }
    }

    fn unconfirmed(&self) -> u64 {
        self.dispatch.tracker().unconfirmed() as u64
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
            let (word, returned) = match answered {
                Answered::Acked { returned } => (Word::Acked, returned),
                Answered::Nacked { returned } => {
                    self.metrics.nacked_messages.add(1);
                    (Word::Nacked, returned)
                }
                Answered::Fence => (Word::Fence, None),
                Answered::Failed(error) if is_about_content(&error) => {
                    return Some(End::ChannelClosed(error));
                }
                Answered::Failed(error) => return Some(End::Lost(error.to_string())),
            };
            self.metrics.returned_messages.add(returned.is_some().into());
            *wants_declare |= word == Word::Nacked || returned.is_some();
            self.dispatch.handle_word(ticket, word, returned, now);
            highest = highest.max(Some(ticket));
            next = answers.next().now_or_never().flatten();
        }
        if let Some(highest) = highest {
            for sent_at in self.dispatch.tracker().believable(highest) {
                self.metrics.confirm_seconds.record(clock::us(now.saturating_sub(sent_at)), 1);
            }
            self.dispatch.handle_answered(highest);
            self.read_back.retain(|log| self.dispatch.has(log));
        }
        self.dispatch.take_refusal(now).then(|| End::Lost("it refuses every message".to_owned()))
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
        while !self.dispatch.handle_parked(message.id) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// When to look again without being told.
    fn wake_at(&self, is_blocked: bool) -> Option<Duration> {
        if is_blocked {
            return None;
        }
        let now = clock::monotonic();
        let tracker = self.dispatch.tracker();
        let lingers = self.dispatch.wants_more(now).then(|| self.dispatch.due());
        // A pause that is over wakes nobody.
        let pause = tracker.paused_until().filter(|until| *until > now);
        [tracker.overdue_at(), lingers.flatten(), pause].into_iter().flatten().min()
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
