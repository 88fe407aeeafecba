//! A reactor, its clients, and a forwarder that is as moody as a broker.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use forebay::api::{Service, ServiceOptions};
use forebay::auth::{App, Credentials, KeyRing, Registry, SharedCredentials, mint};
use forebay::config::AckLevel;
use forebay::event::Records;
use forebay::handoff::{Batch, Bell, CoreId, CoreLog, Doorbell, Offset, Outlet, QueueLimits, queue};
use forebay::reactor::{Reactor, ReactorOptions, ReactorParts, Turned};
use forebay::telemetry::{CoreMetrics, ForwarderMetrics, Health, Phase};
use forebay::uring::{Driver, Socket};
use uuid::Uuid;

use crate::clients::Client;
use crate::driver::{Dice, Faults, LISTENER, SimDriver, Wire};

/// Turns within which everything must come to rest.
const TURNS_MAX: usize = 200_000;

/// What a world is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) faults: Faults,
    pub(crate) clients: usize,
    pub(crate) buffers: u16,
    pub(crate) buffer_bytes: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) connections_max: usize,
    /// After this many turns the node is told to cut all connections.
    pub(crate) cut_after: Option<usize>,
    /// How often, in thousandths of turns, the forwarder takes and settles.
    pub(crate) forwarder: usize,
}

/// Everything under test and around it.
pub(crate) struct World {
    pub(crate) reactor: Reactor<SimDriver>,
    pub(crate) clients: Vec<Client>,
    health: Arc<Health>,
    pub(crate) metrics: Arc<CoreMetrics>,
    /// Open connections of the whole node.
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) log: Arc<CoreLog>,
    /// A token that is good for a day.
    pub(crate) token: String,
    doorbell: Doorbell,
    outlet: Outlet,
    taken: Vec<Batch>,
    /// Events that were handed over, by id, with their offsets.
    handed_over: BTreeMap<Uuid, Offset>,
    parked: BTreeSet<Offset>,
    dice: Dice,
    plan: Plan,
}

/// What a reactor works with on any driver, and the other ends of it.
pub(crate) struct Parts {
    pub(crate) reactor: ReactorParts,
    pub(crate) options: ReactorOptions,
    log: Arc<CoreLog>,
    /// A token that is good for a day.
    pub(crate) token: String,
    pub(crate) outlet: Outlet,
}

/// Makes them for a node with one app; `wall` is the time that its driver will show.
pub(crate) fn parts(plan: &Plan, listener: Socket, wall: Duration) -> Parts {
    let mut registry = Registry::default();
    let (app, _) = App::create("simulated");
    registry.insert(app.clone()).expect("the first app");
    let keys = KeyRing::parse(&KeyRing::generate()).expect("own text");
    let token = mint(&keys, &app, wall, Duration::from_hours(24));
    let shared = Arc::new(SharedCredentials::new(Credentials { registry, keys }));

    let (metrics, log) = (Arc::<CoreMetrics>::default(), Arc::<CoreLog>::default());
    let health = Arc::new(Health::new(vec![metrics.clone()], Arc::<ForwarderMetrics>::default()));
    let doorbell = Doorbell::new().expect("an eventfd");
    let limits = QueueLimits { bytes_max: plan.queue_bytes, batches_max: 64 };
    let (inlet, outlet) = queue(CoreId(0), limits, log.clone(), Bell::default(), doorbell.clone());
    let service = ServiceOptions {
        body_bytes_max: 64 << 10,
        batch_body_bytes_max: 128 << 10,
        record_bytes_max: plan.queue_bytes,
        ack: AckLevel::Queued,
        token_lifetime: Duration::from_mins(15),
    };
    let reactor = ReactorParts {
        listeners: vec![listener],
        service: Service::new(service, shared, health.clone(), metrics.clone()),
        inlet,
        doorbell,
        health,
        metrics,
        connections: Arc::new(AtomicUsize::new(0)),
    };
    let options = ReactorOptions {
        head_bytes_max: 16 << 10,
        head_timeout: Duration::from_secs(5),
        body_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        ack_timeout: Duration::from_secs(10),
        connections_max: plan.connections_max,
    };
    Parts { reactor, options, log, token, outlet }
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
        let Parts { reactor, options, log, token, outlet } = parts(&plan, LISTENER, SimDriver::wall_start());
        let (health, metrics) = (reactor.health.clone(), reactor.metrics.clone());
        let connections = reactor.connections.clone();
        let doorbell = reactor.doorbell.clone();
        let driver =
            SimDriver::new(plan.seed, plan.faults, plan.buffers, plan.buffer_bytes, doorbell.clone());
        let mut dice = Dice(plan.seed ^ 0xf0_7eba);
        let clients =
            (0..plan.clients).map(|client| Client::new(client as u64 * 1000, &mut dice, &token)).collect();
        Self {
            reactor: Reactor::new(driver, reactor, options),
            clients,
            health,
            metrics,
            connections,
            log,
            token,
            doorbell,
            outlet,
            taken: Vec::new(),
            handed_over: BTreeMap::new(),
            parked: BTreeSet::new(),
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
            if is_rest || self.plan.cut_after == Some(turn) {
                break;
            }
        }
        self.stop();
        self.check();
        self.reactor.driver_mut().operations
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
        self.reactor.driver_mut().sleep_max = Duration::from_millis(10);
        assert_eq!(self.reactor.turn(), Ok(Turned::Goes));
        self.forward();
        self.log.check_invariants();
        assert_eq!(self.reactor.driver_mut().on_loan(), 0, "no buffer is on loan between turns");
    }

    /// The forwarder's side: takes, and settles in order, now and then parking an event.
    fn forward(&mut self) {
        if !self.dice.happens(self.plan.forwarder) {
            return;
        }
        while let Some(batch) = self.outlet.pop() {
            for (offset, record) in (batch.first.0..).zip(Records::new(&batch.records)) {
                let id = record.expect("own records").id;
                let before = self.handed_over.insert(id, Offset(offset));
                assert!(before.is_none(), "the event {id} was handed over twice");
            }
            self.outlet.log().set_published(batch.end());
            self.taken.push(batch);
        }
        let settled = self.dice.below(self.taken.len() + 1);
        for batch in self.taken.drain(..settled) {
            let mut parked = 0;
            for offset in batch.first.0..batch.end().0 {
                if self.dice.happens(20) && self.outlet.park(Offset(offset)) {
                    self.parked.insert(Offset(offset));
                    parked += 1;
                }
            }
            self.outlet.settle(batch.end(), parked, batch.records.len());
        }
    }

    fn stop(&mut self) {
        let last = if self.plan.cut_after.is_some() { Phase::Cutting } else { Phase::Closing };
        for phase in [Phase::Draining, last] {
            self.enter(phase);
            for turn in 0.. {
                let turned = self.reactor.turn().expect("no fatal error");
                self.forward();
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
        self.plan.forwarder = 1000;
        while self.log.pending() > 0 {
            self.forward();
        }
    }

    fn check(&mut self) {
        let driver = self.reactor.driver_mut();
        let mut told = BTreeSet::new();
        for client in self.clients.iter().filter(|client| client.descriptor.is_some()) {
            for (id, confirmed) in client.check(driver, self.plan.cut_after.is_some()) {
                let offset = self.handed_over.get(&id);
                assert!(offset.is_some(), "the event {id} got a 202 and was never handed over");
                let is_parked = self.parked.contains(offset.expect("just looked"));
                assert!(!(confirmed && is_parked), "the event {id} was parked, and told to be confirmed");
                assert!(told.insert(id), "the event {id} got two 202s");
            }
        }
        let metrics = &self.metrics;
        let rejected: u64 = (0..forebay::api::Code::ALL.len()).map(|code| metrics.rejected(code)).sum();
        assert_eq!(metrics.received.value(), metrics.accepted.value() + rejected, "the ledger balances");
        assert_eq!(metrics.accepted.value(), self.handed_over.len() as u64, "none is invented");
        assert_eq!(self.log.settled().0, metrics.accepted.value());
        assert_eq!(self.log.parked(), self.parked.len() as u64);
    }
}
