//! The turn.

mod arrivals;
mod departures;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use ipnet::IpNet;
use rustix::io::Errno;

use super::answers::{Pen, SpareRings};
use super::awaiting::AwaitingBatch;
use super::connection::{Connection, Desk, Life, Phase, Timeouts};
use super::listeners::Listeners;
use super::memory::{Memory, MemoryCap};
use super::pool::{Errands, Pool};
use super::sources::Sources;
use super::table::Table;
use super::timers::{Entry, Wheel};
use super::waiters::Waiters;
use crate::api::{Moment, Service};
use crate::clock::{ms, us};
use crate::config::AckLevel;
use crate::event::TurnBatch;
use crate::handoff::{Doorbell, Inlet};
use crate::http::{HeadLimits, KnownHead};
use crate::journal::Appender;
use crate::telemetry::{self, CoreMetrics, Health};
use crate::uring::{Completion, Driver, How, Operation, Socket, Token, Usage};
use crate::wire::Tls;

/// Longest sleep: the heartbeat by which others see that this reactor lives.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// While the node closes, how long a connection may idle that was accepted at the last moment.
const CLOSING_IDLE: Duration = Duration::from_millis(500);
/// While connections are cut, how long the last answers may take.
const CUTTING_SEND: Duration = Duration::from_millis(500);
/// Connections beyond the cap that are told so; past these they are closed without a word.
const REFUSED_AT_ONCE_MAX: usize = 64;
/// Send buffers that are kept for the next answers.
const SPARE_BUFFERS_MAX: usize = 256;
/// A send buffer that grew beyond this is not kept.
const SPARE_BUFFER_BYTES_MAX: usize = 64 << 10;
/// The token of a close that nobody waits for.
const NOBODY: Token = Token { slot: u32::MAX, generation: 0 };

/// Bounds of a reactor.
#[derive(Clone, Copy, Debug)]
pub struct ReactorOptions {
    /// Largest head of a request.
    pub head_bytes_max: usize,
    /// From the first byte of a head to its last.
    pub head_timeout: Duration,
    /// From the end of a head to the last byte of its body.
    pub body_timeout: Duration,
    /// Without a request, or without progress of an answer.
    pub idle_timeout: Duration,
    /// The level that releases a 202, if the request asks for no stronger one.
    pub ack: AckLevel,
    /// How long a 202 may wait for its level.
    pub ack_timeout: Duration,
    /// Open connections of the node.
    pub connections_max: usize,
    /// How old a connection may be, a tenth more or less, when it gets its last answer.
    pub connection_age: Duration,
}

/// What a reactor works with.
#[derive(Debug)]
pub struct ReactorParts {
    /// Listening sockets, which it closes.
    pub listeners: Vec<Socket>,
    /// Whether other reactors accept on the same sockets, by descriptors of their own.
    pub are_listeners_shared: bool,
    /// Judges requests.
    pub service: Service,
    /// Its journal.
    pub appender: Appender,
    /// Its end of the queue.
    pub inlet: Inlet,
    /// Wakes it.
    pub doorbell: Doorbell,
    /// The node's phase.
    pub health: Arc<Health>,
    /// What it counts.
    pub metrics: Arc<CoreMetrics>,
    /// Open connections of the node; written when one comes or goes.
    pub connections: Arc<AtomicUsize>,
    /// The same, by address.
    pub sources: Arc<Sources>,
    /// From where a PROXY header is required, and believed.
    pub balancers: Arc<[IpNet]>,
    /// Certificate and key, if TLS is spoken.
    pub tls: Option<Arc<Tls>>,
    /// Does what takes long.
    pub pool: Pool,
    /// What clients may make the node hold.
    pub memory: MemoryCap,
}

/// Whether there will be another turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Go on.
    Goes,
    /// The node stops, and everything here is done.
    Finished,
}

/// The loop of one core.
#[derive(Debug)]
pub struct Reactor<D> {
    driver: D,
    desk: Desk,
    table: Table,
    listeners: Listeners,
    wheel: Wheel,
    waiters: Waiters,
    /// The 202s of the batch that is on its way to the journal.
    committing: AwaitingBatch,
    appender: Appender,
    inlet: Inlet,
    doorbell: Doorbell,
    health: Arc<Health>,
    metrics: Arc<CoreMetrics>,
    connections: Arc<AtomicUsize>,
    balancers: Arc<[IpNet]>,
    tls: Option<Arc<Tls>>,
    options: ReactorOptions,
    pen: Pen,
    completions: Vec<Completion>,
    /// Connections to advance at the end of the turn.
    touched: Vec<u32>,
    /// Connections with bytes that stalled and may go on.
    resumable: Vec<u32>,
    buffers: Vec<Vec<u8>>,
    phase: telemetry::Phase,
    is_watching: bool,
    busy_since: (Duration, Duration),
    /// Whether this turn has sent answers.
    has_answered: bool,
    /// How many have.
    answering_turns: u64,
}

impl<D: Driver> Reactor<D> {
    /// A reactor that has not turned yet.
    pub fn new(driver: D, parts: ReactorParts, options: ReactorOptions) -> Self {
        let moment = Moment { now: driver.now(), wall: driver.wall() };
        let timeouts =
            Timeouts { head: options.head_timeout, body: options.body_timeout, idle: options.idle_timeout };
        Self {
            desk: Desk {
                service: parts.service,
                batch: TurnBatch::default(),
                awaiting: AwaitingBatch::default(),
                spares: SpareRings::default(),
                moment,
                limits: HeadLimits { head_bytes_max: options.head_bytes_max },
                known_heads: Box::new(std::array::from_fn(|_| KnownHead::default())),
                timeouts,
                sources: parts.sources,
                errands: Errands::new(parts.pool, parts.doorbell.clone()),
                memory: Memory::new(parts.memory, parts.metrics.clone()),
                plain: Vec::new(),
                is_draining: false,
            },
            table: Table::new(options.connections_max + REFUSED_AT_ONCE_MAX),
            listeners: Listeners::new(parts.listeners, parts.are_listeners_shared),
            wheel: Wheel::new(ms(moment.now)),
            waiters: Waiters::default(),
            committing: AwaitingBatch::default(),
            appender: parts.appender,
            inlet: parts.inlet,
            doorbell: parts.doorbell,
            health: parts.health,
            metrics: parts.metrics,
            connections: parts.connections,
            balancers: parts.balancers,
            tls: parts.tls,
            pen: Pen::new(moment.wall.as_secs()),
            completions: Vec::new(),
            touched: Vec::new(),
            resumable: Vec::new(),
            buffers: Vec::new(),
            phase: telemetry::Phase::Starting,
            is_watching: false,
            busy_since: (moment.now, driver.usage().cpu),
            has_answered: false,
            answering_turns: 0,
            driver,
            options,
        }
    }

    /// Turns until the node has stopped.
    ///
    /// # Errors
    /// What the table of faults calls fatal: a state that this program cannot explain.
    pub fn run(&mut self) -> Result<(), Errno> {
        while self.turn()? == Turned::Goes {}
        Ok(())
    }

    /// The driver, for tests.
    pub fn driver_mut(&mut self) -> &mut D {
        &mut self.driver
    }

    /// Open connections, those being freed included.
    pub fn open_connections(&self) -> usize {
        self.table.open()
    }

    /// One turn.
    pub fn turn(&mut self) -> Result<Turned, Errno> {
        if !self.is_watching {
            self.driver.submit(NOBODY, Operation::Watch(self.doorbell.descriptor()));
            self.is_watching = true;
        }
        let wait = self.sleep();
        let mut completions = std::mem::take(&mut self.completions);
        self.driver.turn(wait, &mut completions)?;

        self.desk.moment = Moment { now: self.driver.now(), wall: self.driver.wall() };
        self.pen.advance(self.desk.moment.wall.as_secs());
        self.desk.service.refresh();
        self.desk.memory.begin_turn();
        self.desk.service.set_journal_failing(self.appender.is_failing());
        self.desk.batch.begin(self.room(), self.crowd_room());

        let mut resumable = std::mem::take(&mut self.resumable);
        for slot in resumable.drain(..) {
            let connection = self.table.at(slot);
            if connection.life == Life::Open {
                connection.resume(&mut self.desk);
                touch(&mut self.touched, connection);
            }
        }
        self.resumable = resumable;
        for completion in completions.drain(..) {
            self.handle(completion)?;
        }
        self.completions = completions;
        while let Some((token, work)) = self.desk.errands.next() {
            self.handle_done(token, work);
        }
        // Only now: a request that came in this very turn is no silence, and the doorbell was answered.
        self.enter_phase();
        self.expire();
        self.commit();
        self.release();
        self.sync();
        let mut touched = std::mem::take(&mut self.touched);
        for slot in touched.drain(..) {
            self.advance(slot);
        }
        self.touched = touched;
        // What is accepted before the whole node has started would be lost if it does not.
        if self.phase != telemetry::Phase::Starting {
            self.listeners.advance(&mut self.driver, self.desk.moment.now);
        }
        self.observe();
        let is_kept = self.appender.is_synced() || self.phase == telemetry::Phase::Cutting;
        let is_finished = self.has_no_clients() && is_kept;
        Ok(if is_finished { Turned::Finished } else { Turned::Goes })
    }

    /// Whether there are no connections, and will be none.
    fn has_no_clients(&self) -> bool {
        self.phase >= telemetry::Phase::Closing && self.listeners.is_closed() && self.table.open() == 0
    }

    /// How long a client may take to read an answer.
    fn send_timeout(&self) -> Duration {
        if self.phase == telemetry::Phase::Cutting { CUTTING_SEND } else { self.options.idle_timeout }
    }

    /// Whether `address` is a balancer's, who has to say whose connection it passes on.
    fn is_balancer(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| {
            self.balancers.iter().any(|network| network.contains(&address.to_canonical()))
        })
    }

    /// How many bytes of records the batch in the making may have.
    fn room(&self) -> usize {
        // At `queued`, the queue is enough.
        let queue = if self.options.ack == AckLevel::Queued { self.inlet.room() } else { 0 };
        self.appender.room().max(queue)
    }

    /// The same for apps that have to make room for others.
    fn crowd_room(&self) -> usize {
        self.appender.room_beside_reserve()
    }

    /// How long the next turn may wait for a completion.
    fn sleep(&self) -> Duration {
        if !self.resumable.is_empty() || self.listeners.is_closing() {
            return Duration::ZERO;
        }
        let sources = [
            &self.wheel.next_ms(),
            &self.waiters.next_ms(),
            &self.awaiting_next_ms(),
            &self.listeners.next_ms(),
            &self.appender.next_ms(),
        ];
        let next_ms = *sources.into_iter().min().expect("five of them");
        let now_ms = ms(self.desk.moment.now);
        SLEEP_MAX.min(Duration::from_millis(next_ms.saturating_sub(now_ms)))
    }

    fn enter_phase(&mut self) {
        let phase = self.health.phase();
        if phase == self.phase {
            return;
        }
        let before = std::mem::replace(&mut self.phase, phase);
        self.desk.is_draining = phase >= telemetry::Phase::Draining;
        if phase >= telemetry::Phase::Closing && before < telemetry::Phase::Closing {
            self.listeners.stop();
            self.desk.timeouts.idle = CLOSING_IDLE;
            let closing_ms = ms(self.desk.moment.now + CLOSING_IDLE);
            for connection in self.table.iter_mut().filter(|connection| connection.is_quiet()) {
                if connection.is_receiving {
                    connection.life = Life::Flushing;
                } else {
                    // Accepted in this very turn: nobody has looked yet whether its request is there.
                    connection.deadline_ms = connection.deadline_ms.min(closing_ms);
                }
                touch(&mut self.touched, connection);
            }
        }
        if phase == telemetry::Phase::Cutting {
            self.listeners.cut();
            for connection in self.table.iter_mut() {
                if !connection.handle_cut(&mut self.desk) {
                    stop(&mut self.driver, connection);
                }
                touch(&mut self.touched, connection);
            }
        }
    }

    /// Ends what took too long.
    fn expire(&mut self) {
        let now_ms = ms(self.desk.moment.now);
        self.wheel.expire(now_ms, |wheel, entry| {
            let token = Token { slot: entry.slot, generation: entry.generation };
            let Some(connection) = self.table.find(token) else { return };
            if connection.scheduled_ms != entry.due_ms {
                return; // a nearer deadline has its own entry
            }
            connection.scheduled_ms = u64::MAX;
            if connection.next_ms() > now_ms {
                schedule(wheel, connection);
                return;
            }
            // An answer waits for its level (which `ack_timeout` bounds) or for its client (whom `send_deadline_ms` does).
            let has_answers = !connection.answers.is_empty() || connection.is_sending;
            match connection.life {
                Life::Open | Life::Flushing if connection.send_deadline_ms <= now_ms => {
                    stop(&mut self.driver, connection);
                }
                // Not its fault: it is not being read.
                Life::Open
                    if connection.is_examined()
                        || connection.phase() != Phase::Idle && !connection.wants_bytes() =>
                {
                    connection.deadline_ms = ms(self.desk.moment.now + self.desk.timeouts.body);
                }
                Life::Open if connection.phase() != Phase::Idle && connection.stalled.is_empty() => {
                    connection.handle_timeout(&mut self.desk);
                }
                Life::Open | Life::Flushing if has_answers => {
                    connection.deadline_ms = ms(self.desk.moment.now + self.desk.timeouts.idle);
                }
                Life::Open => connection.life = Life::Flushing,
                Life::Flushing | Life::Lingering => stop(&mut self.driver, connection),
                Life::Free | Life::Joining | Life::Closing => {}
            }
            touch(&mut self.touched, connection);
        });
    }

    fn observe(&mut self) {
        let moment = self.desk.moment;
        let now_ms = ms(moment.now);
        self.metrics.turned_ms.set(now_ms);
        self.metrics.connections.set(self.table.open() as u64);
        self.metrics.journal_failing.set(self.appender.is_failing().into());
        self.metrics.queue_batches.set(self.inlet.batches() as u64);
        if self.desk.service.has_room(self.room().saturating_sub(self.desk.batch.bytes())) {
            self.metrics.refusing_since_ms.set(0);
        } else {
            self.metrics.refused_last_ms.set(now_ms);
            if self.metrics.refusing_since_ms.value() == 0 {
                self.metrics.refusing_since_ms.set(now_ms);
            }
        }
        self.answering_turns += u64::from(std::mem::take(&mut self.has_answered));
        let (since, cpu_since) = self.busy_since;
        let elapsed = moment.now.saturating_sub(since);
        if elapsed >= SLEEP_MAX {
            let Usage { cpu, waits } = self.driver.usage();
            let permille = (cpu.saturating_sub(cpu_since)).as_micros() * 1000 / elapsed.as_micros();
            self.metrics.busy_permille.set(u64::try_from(permille.min(1000)).expect("at most 1000"));
            self.busy_since = (moment.now, cpu);
            self.metrics.looked_us.set(us(moment.now));
            self.metrics.cpu_us.set(us(cpu));
            self.metrics.waits.set(waits);
            self.metrics.answers.set(self.metrics.answered());
            self.metrics.answering_turns.set(self.answering_turns);
            self.metrics.bytes.set(self.metrics.accepted_bytes.value());
        }
    }
}

fn touch(touched: &mut Vec<u32>, connection: &mut Connection) {
    if !connection.is_listed {
        connection.is_listed = true;
        touched.push(connection.slot);
    }
}

/// Keeps a buffer for the next answers.
fn keep_buffer(spares: &mut Vec<Vec<u8>>, mut buffer: Vec<u8>) {
    if buffer.capacity() <= SPARE_BUFFER_BYTES_MAX && spares.len() < SPARE_BUFFERS_MAX {
        buffer.clear();
        spares.push(buffer);
    }
}

/// First step of freeing a slot: both sides are shut, so that what is in flight comes back soon.
fn stop(driver: &mut impl Driver, connection: &mut Connection) {
    if !matches!(connection.life, Life::Joining | Life::Closing) {
        driver.shutdown(connection.socket, How::Both);
        connection.life = Life::Joining;
    }
}

fn schedule(wheel: &mut Wheel, connection: &mut Connection) {
    let Connection { slot, generation, scheduled_ms, .. } = *connection;
    let due_ms = connection.next_ms();
    if due_ms < scheduled_ms {
        connection.scheduled_ms = due_ms;
        wheel.insert(Entry { due_ms, slot, generation });
    }
}
