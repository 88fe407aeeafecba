//! A node without a kernel: a reactor, its journal on a simulated disk, the forwarder's logic on a simulated broker, and clients. It can die and
//! live again; disk and broker remain.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use forebay::api::{Code, Service, ServiceOptions};
use forebay::auth::{App, Credentials, KeyRing, Registry, SharedCredentials, mint};
use forebay::clock::ms;
use forebay::config::AckLevel;
use forebay::forward::{Dispatch, DispatchOptions, Source, TrackerOptions};
use forebay::handoff::{Bell, Doorbell, QueueLimits, queue};
use forebay::journal::{
    Appender, AppenderOptions, CoreId, CoreLog, Disk, Keeper, KeeperOptions, Ledger, Log, LogId, Offset,
    ReadRequest, Space, find_left, read_checkpoint, survey, trim_left,
};
use forebay::reactor::{MemoryCap, Pool, Reactor, ReactorOptions, ReactorParts, Sources, Turned};
use forebay::telemetry::{Books, CoreMetrics, Earlier, ForwarderMetrics, Health, Phase};
use forebay::uring::{Driver, Socket};
use uuid::Uuid;

use crate::broker::{BrokerFaults, SimBroker};
use crate::clients::Client;
use crate::disk::{Crash, DiskFaults, SimDisk};
use crate::driver::{Dice, Faults, LISTENER, SimDriver, Wire};

/// Turns within which everything must come to rest.
const TURNS_MAX: usize = 200_000;
/// Where the journal lies.
const JOURNAL: &str = "journal";

/// What a world is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) faults: Faults,
    pub(crate) disk: DiskFaults,
    pub(crate) broker: BrokerFaults,
    /// Clients of each life.
    pub(crate) clients: usize,
    /// All events have this size, so that batches lie at the same places in each use of a segment.
    pub(crate) uniform: Option<usize>,
    pub(crate) buffers: u16,
    pub(crate) buffer_bytes: usize,
    pub(crate) ack: AckLevel,
    pub(crate) queue_bytes: usize,
    pub(crate) segment_bytes: usize,
    /// Larger batches are written in pieces.
    pub(crate) write_bytes: usize,
    pub(crate) journal_bytes: u64,
    pub(crate) connections_max: usize,
    /// After this many turns the node is told to cut all connections.
    pub(crate) cut_after: Option<usize>,
    /// How often, in thousandths of turns, the forwarder, the broker and the keeper do something.
    pub(crate) forwarder: usize,
}

/// What a node finds when it starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) wall: Duration,
    pub(crate) now_ms: u64,
}

/// A node with one app on any driver and disk, and the other ends of it.
pub(crate) struct Parts<D> {
    pub(crate) reactor: ReactorParts,
    pub(crate) options: ReactorOptions,
    pub(crate) keeper: Keeper<D>,
    pub(crate) dispatch: Dispatch,
    pub(crate) log: Arc<Log>,
    pub(crate) books: Books,
    /// A token that is good for a day.
    pub(crate) token: String,
}

/// Makes them, going on with what lies in `folder`.
pub(crate) fn parts<D: Disk + Clone>(
    plan: &Plan,
    listener: Socket,
    clock: Clock,
    disk: &D,
    folder: &Path,
    mut dice: Dice,
) -> Parts<D> {
    let mut registry = Registry::default();
    let (app, _) = App::create("simulated");
    registry.insert(app.clone()).expect("the first app");
    let keys = KeyRing::parse(&KeyRing::generate()).expect("own text");
    let token = mint(&keys, &app, clock.wall, Duration::from_hours(24));
    let shared = Arc::new(SharedCredentials::new(Credentials { registry, keys }));

    let mut account = read_checkpoint(disk, folder).expect("own checkpoint");
    let mut left = find_left(disk, folder, &account, |_, _, _, _| {}).expect("a disk that reads");
    trim_left(disk, &mut left).expect("files that are there");
    account.logs.retain(|id, _| left.iter().any(|left| left.log.id() == *id));
    let pending: u64 = left.iter().map(|left| left.events).sum();
    let earlier = Earlier { accepted: account.total.events() + pending, ..Earlier::default() };
    let ledger = Arc::new(Ledger::new(account));

    let (metrics, marks) = (Arc::<CoreMetrics>::default(), Arc::<CoreLog>::default());
    let health = Arc::new(Health::new(vec![metrics.clone()], Arc::<ForwarderMetrics>::default(), false));
    let doorbell = Doorbell::new().expect("an eventfd");
    let mut draw = move || dice.below(usize::MAX) as u64;
    let id = LogId { core: CoreId(0), epoch: draw() };
    let log = Arc::new(Log::new(id, folder.join(id.to_string()), marks.clone(), Vec::new()));
    let options = KeeperOptions {
        journal_bytes_max: plan.journal_bytes,
        segment_bytes: plan.segment_bytes,
        space: Space::Reserved,
        cached_bytes: 0,
        takes_releases: false,
    };
    let mut keeper = Keeper::new(
        disk.clone(),
        folder.to_owned(),
        options,
        ledger.clone(),
        Box::new(Vec::new),
        Box::new(draw),
    );
    let mut sources = Vec::new();
    for left in &left {
        keeper.add_left(left.log.clone(), left.found.bytes(), left.damaged());
        if left.events > 0 {
            sources.push(Source::left(left.log.clone()));
        }
    }
    let spares = keeper.add_live(log.clone()).expect("a folder");
    keeper.step(clock.now_ms);
    let (wake, _) = crossbeam_channel::bounded(1);
    let appending = AppenderOptions {
        segment_bytes: plan.segment_bytes,
        unsynced_bytes_max: 4 * plan.segment_bytes,
        write_bytes: plan.write_bytes,
        sync_bytes: 16 << 10,
        sync_after_ms: 1000,
    };
    let appender = Appender::new(log.clone(), spares, wake, appending);

    let limits =
        QueueLimits { bytes_max: plan.queue_bytes, told_bytes_max: plan.queue_bytes / 4, batches_max: 64 };
    let (inlet, outlet) = queue(limits, marks, Bell::default(), doorbell.clone());
    sources.push(Source::live(log.clone(), outlet));
    let dispatching = DispatchOptions {
        tracker: TrackerOptions {
            window_max: 8,
            confirm_timeout: Duration::from_secs(30),
            jitter_seed: plan.seed,
        },
        message_bytes_target: 4096,
        linger: Duration::ZERO,
    };
    let service = ServiceOptions {
        reactors: 1,
        body_bytes_max: 64 << 10,
        batch_body_bytes_max: 128 << 10,
        record_bytes_max: appending.room_behind(forebay::journal::format::HEADER_BYTES),
        ack: plan.ack,
        has_broker: true,
        token_lifetime: Duration::from_mins(15),
    };
    let books = Books {
        cores: vec![metrics.clone()],
        ledger: ledger.clone(),
        earlier,
        rejection_codes: Code::ALL.iter().map(|code| code.as_str()).collect(),
    };
    let reactor = ReactorParts {
        listeners: vec![listener],
        are_listeners_shared: false,
        service: Service::new(
            service,
            shared,
            Arc::default(),
            Arc::default(),
            Arc::default(),
            health.clone(),
            metrics.clone(),
        ),
        appender,
        inlet,
        doorbell,
        health,
        metrics,
        connections: Arc::new(AtomicUsize::new(0)),
        sources: Arc::new(Sources::new(None)),
        balancers: Arc::default(),
        tls: None,
        pool: Pool::on_the_spot(),
        memory: MemoryCap { bytes_max: usize::MAX, cores: Arc::default() },
    };
    let options = ReactorOptions {
        head_bytes_max: 16 << 10,
        head_timeout: Duration::from_secs(5),
        body_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        ack: plan.ack,
        ack_timeout: Duration::from_secs(10),
        connections_max: plan.connections_max,
        connection_age: Duration::from_mins(10),
    };
    Parts {
        reactor,
        options,
        keeper,
        dispatch: Dispatch::new(dispatching, sources, ledger),
        log,
        books,
        token,
    }
}

/// What a 202 promised, and what has happened since.
#[derive(Clone, Copy, Debug)]
struct Promise {
    level: AckLevel,
    /// A crash has ended what the level promised.
    is_void: bool,
}

/// Everything under test and around it.
pub(crate) struct World {
    pub(crate) reactor: Reactor<SimDriver>,
    pub(crate) clients: Vec<Client>,
    health: Arc<Health>,
    pub(crate) metrics: Arc<CoreMetrics>,
    /// Open connections of the whole node.
    pub(crate) connections: Arc<AtomicUsize>,
    log: Arc<Log>,
    books: Books,
    keeper: Keeper<SimDisk>,
    dispatch: Dispatch,
    /// A token that is good for a day.
    pub(crate) token: String,
    doorbell: Doorbell,
    disk: SimDisk,
    broker: SimBroker,
    /// All 202s of all lives.
    promises: BTreeMap<Uuid, Promise>,
    /// Everything that clients were to send.
    asked: BTreeSet<Uuid>,
    lives: u64,
    dice: Dice,
    plan: Plan,
}

impl World {
    /// A node that serves.
    pub(crate) fn new(plan: Plan) -> Self {
        let world = Self::starting(plan);
        world.health.enter(Phase::Serving);
        world
    }

    /// A node whose other parts are still being started.
    pub(crate) fn starting(plan: Plan) -> Self {
        let disk = SimDisk::new(plan.seed);
        let mut broker = SimBroker::new(plan.seed);
        broker.faults = plan.broker;
        Self::live(plan, disk, broker, Dice(plan.seed ^ 0xf0_7eba), Duration::from_secs(1000))
    }

    /// One life of the node.
    fn live(plan: Plan, disk: SimDisk, broker: SimBroker, mut dice: Dice, now: Duration) -> Self {
        disk.set_faults(plan.disk);
        let clock = Clock { wall: SimDriver::wall_at(now), now_ms: ms(now) };
        let epochs = Dice(dice.below(usize::MAX) as u64);
        let parts = parts(&plan, LISTENER, clock, &disk, Path::new(JOURNAL), epochs);
        let Parts { reactor, options, keeper, dispatch, log, books, token } = parts;
        let (health, metrics) = (reactor.health.clone(), reactor.metrics.clone());
        let connections = reactor.connections.clone();
        let doorbell = reactor.doorbell.clone();
        let mut driver = SimDriver::new(
            dice.below(usize::MAX) as u64,
            plan.faults,
            plan.buffers,
            plan.buffer_bytes,
            doorbell.clone(),
            disk.clone(),
        );
        driver.now = now;
        Self {
            reactor: Reactor::new(driver, reactor, options),
            clients: Vec::new(),
            health,
            metrics,
            connections,
            log,
            books,
            keeper,
            dispatch,
            token,
            doorbell,
            disk,
            broker,
            promises: BTreeMap::new(),
            asked: BTreeSet::new(),
            lives: 0,
            dice,
            plan,
        }
    }

    /// Connects the clients at random moments, lets everything happen, stops the node, and checks.
    pub(crate) fn run(self) {
        self.run_counting();
    }

    /// As [`Self::run`]; returns how many operations it took.
    pub(crate) fn run_counting(mut self) -> usize {
        let cut_after = self.plan.cut_after;
        self.serve(cut_after);
        self.stop();
        self.check();
        self.reactor.driver_mut().operations
    }

    /// Serves clients until they are done, or for so many turns.
    pub(crate) fn serve(&mut self, turns_max: Option<usize>) {
        for _ in 0..self.plan.clients {
            let first = (self.lives * 1000 + self.clients.len() as u64) * 1000;
            let client = Client::new(first, &mut self.dice, &self.token, self.plan.ack, self.plan.uniform);
            self.asked.extend(client.requests.iter().flat_map(crate::clients::Request::ids));
            self.clients.push(client);
        }
        let mut to_connect: Vec<usize> = (0..self.clients.len()).rev().collect();
        let mut accepted_before = 0;
        let mut connected = Vec::new();
        for turn in 0.. {
            assert!(turn < TURNS_MAX, "it comes to rest");
            if self.dice.happens(100)
                && let Some(client) = to_connect.pop()
            {
                connected.push(client);
                let wire = Client::connect(&mut self.dice);
                self.reactor.driver_mut().backlog.push_back(wire);
            }
            self.turn();
            // Descriptors are given in the order of the backlog.
            let driver = self.reactor.driver_mut();
            let descriptors: Vec<_> = driver.wires.keys().copied().skip(accepted_before).collect();
            for descriptor in descriptors {
                self.clients[connected[accepted_before]].descriptor = Some(descriptor);
                accepted_before += 1;
            }
            for client in &mut self.clients {
                client.step(self.reactor.driver_mut());
            }
            let is_rest = to_connect.is_empty() && {
                let driver = self.reactor.driver_mut();
                self.clients.iter().all(|client| client.is_done(driver))
            };
            if is_rest || turns_max == Some(turn) {
                break;
            }
        }
    }

    /// A client connects; its descriptor.
    pub(crate) fn connect(&mut self) -> RawFd {
        let driver = self.reactor.driver_mut();
        driver.backlog.push_back(Wire::default());
        let before = driver.wires.len();
        while self.reactor.driver_mut().wires.len() == before {
            self.turn();
        }
        *self.reactor.driver_mut().wires.keys().last().expect("just accepted")
    }

    /// The client's side of a connection.
    pub(crate) fn wire(&mut self, descriptor: RawFd) -> &mut Wire {
        self.reactor.driver_mut().wires.get_mut(&descriptor).expect("it was accepted")
    }

    /// From now on, the disk fails so often.
    pub(crate) fn set_disk_faults(&mut self, faults: DiskFaults) {
        self.disk.set_faults(faults);
    }

    /// The node moves on to another phase of its life.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.health.enter(phase);
        self.doorbell.ring();
    }

    /// Turns until `duration` has passed.
    pub(crate) fn wait(&mut self, duration: Duration) {
        let until = self.reactor.driver_mut().now() + duration;
        while self.reactor.driver_mut().now() < until {
            self.turn();
        }
    }

    pub(crate) fn turn(&mut self) {
        // While clients have something to do, a sleep is short.
        self.reactor.driver_mut().sleep_max = Duration::from_millis(3);
        assert_eq!(self.reactor.turn(), Ok(Turned::Goes));
        self.others();
        assert_eq!(self.reactor.driver_mut().on_loan(), 0, "no buffer is on loan between turns");
    }

    /// What the other threads do between two turns of the reactor.
    fn others(&mut self) {
        let now = self.reactor.driver_mut().now();
        if self.dice.happens(self.plan.forwarder) {
            self.keeper.step(ms(now));
        }
        if self.dice.happens(self.plan.forwarder) {
            self.forward(now);
        }
        self.log.marks().check_invariants();
    }

    fn forward(&mut self, now: Duration) {
        let wanted: Vec<(LogId, ReadRequest)> =
            self.dispatch.wanted().map(|(log, request)| (log, request.clone())).collect();
        let mut bytes = Vec::new();
        for (log, ReadRequest { path, at, bytes: most }) in wanted {
            match self.disk.read(&path, at, most, &mut bytes) {
                Ok(()) => self.dispatch.handle_read(log, &bytes),
                // Its place was taken by another segment meanwhile.
                Err(_) => self.dispatch.handle_unread(log),
            }
        }
        self.broker.step(&mut self.dispatch, now);
    }

    /// The node stops; nothing is left behind.
    pub(crate) fn stop(&mut self) {
        let last = if self.plan.cut_after.is_some() { Phase::Cutting } else { Phase::Closing };
        for phase in [Phase::Draining, last] {
            self.enter(phase);
            for turn in 0.. {
                let turned = self.reactor.turn().expect("no fatal error");
                self.others();
                if turned == Turned::Finished || phase == Phase::Draining {
                    break;
                }
                assert!(turn < TURNS_MAX, "it stops");
            }
        }
        assert_eq!(self.reactor.open_connections(), 0);
        let driver = self.reactor.driver_mut();
        assert!(!driver.listens(), "the listener is closed");
        assert_eq!((driver.on_loan(), driver.in_flight()), (0, 0), "nothing is left behind");
        assert!(driver.wires.values().all(|wire| wire.closed), "every descriptor is closed");
        self.drain();
    }

    /// Whatever was accepted reaches the broker, once there are no more faults.
    fn drain(&mut self) {
        self.broker.faults = BrokerFaults { poison: self.plan.broker.poison, ..BrokerFaults::default() };
        self.disk.set_faults(DiskFaults::default());
        let mut now = self.reactor.driver_mut().now();
        let mut rounds = 0;
        while self.books.balance().pending > 0 {
            now += Duration::from_millis(100);
            self.forward(now);
            self.keeper.step(ms(now));
            rounds += 1;
            assert!(
                rounds < TURNS_MAX,
                "{:?} is never confirmed: {:#?}",
                self.books.balance(),
                self.dispatch
            );
        }
        self.keeper.finish(ms(now) + 10_000).expect("a disk without faults");
    }

    /// The life ends at this very step, and another begins on the same disk, with the same broker.
    pub(crate) fn crash(mut self, crash: Crash, plan: Plan) -> Self {
        self.harvest(true);
        for (id, promise) in &mut self.promises {
            promise.is_void |= match crash {
                Crash::Kill => promise.level < AckLevel::Written,
                Crash::PowerCut => promise.level < AckLevel::Synced,
            } && !self.broker.stored.contains_key(id);
        }
        let now = self.reactor.driver_mut().now() + Duration::from_secs(1);
        let Self { disk, mut broker, promises, asked, lives, dice, .. } = self;
        broker.hang_up();
        disk.crash(crash);
        find_nothing_stale(&disk);
        let world = Self::live(plan, disk, broker, dice, now);
        world.health.enter(Phase::Serving);
        Self { promises, asked, lives: lives + 1, ..world }
    }

    /// Notes the 202s that clients have got.
    fn harvest(&mut self, is_cut: bool) {
        let driver = self.reactor.driver_mut();
        for client in &self.clients {
            for (id, level) in client.check(driver, is_cut) {
                let before = self.promises.insert(id, Promise { level, is_void: false });
                assert!(before.is_none(), "the event {id} got two 202s");
                let is_there = self.broker.stored.contains_key(&id);
                assert!(level < AckLevel::Confirmed || is_there, "{id} was told to be confirmed, and is not");
            }
        }
    }

    fn check(&mut self) {
        self.harvest(self.plan.cut_after.is_some());
        let arrived = |id: &Uuid| self.broker.stored.contains_key(id) || self.broker.parked.contains(id);
        for (id, promise) in &self.promises {
            assert!(
                promise.is_void || arrived(id),
                "the event {id} got a 202 at {} and is lost",
                promise.level
            );
        }
        for id in self.broker.seen() {
            assert!(self.asked.contains(&id), "the event {id} was invented");
        }
        let balance = self.books.balance();
        assert_eq!(balance.accepted, balance.settled.events(), "at rest nothing is pending");
        assert_eq!(balance.received, balance.accepted + balance.rejected.iter().sum::<u64>());
        if self.lives == 0 {
            let events = self.broker.seen().len() as u64;
            assert_eq!(
                self.metrics.accepted.value(),
                events,
                "each accepted event has its offset, and no other has"
            );
            assert_eq!(balance.settled.parked, self.broker.parked.len() as u64);
        }
    }
}

/// What an earlier use of a segment left in it does not count: it lies below what this use began with, or below what came before it.
fn find_nothing_stale(disk: &SimDisk) {
    let mut firsts = BTreeMap::<PathBuf, Vec<Offset>>::new();
    let logs = survey(disk, Path::new(JOURNAL), |_, path, batch| {
        firsts.entry(path.to_owned()).or_default().push(batch.head.first);
    });
    for segment in logs.expect("a disk that reads").iter().flat_map(|log| &log.segments) {
        let (Some(firsts), Ok(content)) = (firsts.get(&segment.path), segment.content) else { continue };
        assert!(firsts[0] >= content.header.first, "{}: stale records count", segment.path.display());
        assert!(firsts.is_sorted(), "{}: stale records count", segment.path.display());
    }
}
