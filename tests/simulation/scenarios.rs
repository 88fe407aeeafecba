//! What is simulated.

use forebay::config::AckLevel;
use forebay::uring::Operation;
use rustix::io::Errno;

use crate::broker::BrokerFaults;
use crate::disk::DiskFaults;
use crate::driver::{Dice, Faults};
use crate::world::{Plan, World};

pub(crate) const CALM: Plan = Plan {
    seed: 1,
    faults: Faults {
        split_read: 0,
        short_send: 0,
        no_buffers: 0,
        ends_early: 0,
        reset: 0,
        no_descriptor: 0,
        late: 0,
        slow_disk: 0,
    },
    disk: DiskFaults { write: 0, sync: 0, make: 0 },
    broker: BrokerFaults { nack: 0, returned: 0, lost: 0, silent: 0, poison: 20 },
    clients: 6,
    uniform: None,
    buffers: 8,
    buffer_bytes: 4096,
    ack: AckLevel::Queued,
    queue_bytes: 1 << 20,
    segment_bytes: 200 << 10,
    write_bytes: 1 << 20,
    journal_bytes: 4 << 20,
    connections_max: 100,
    cut_after: None,
    forwarder: 500,
};

/// Seeds of a run; `SIMULATION_SEED` names a single one, `SIMULATION_SEEDS` how many.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let read = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    match (read("SIMULATION_SEED"), read("SIMULATION_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, seeds) => 0..seeds.unwrap_or(usual),
    }
}

/// Runs `plan` for each seed; the seed of a failure is told.
pub(crate) fn simulate(usual: u64, plan: impl Fn(u64) -> Plan) {
    each_seed(usual, |seed| World::new(plan(seed)).run());
}

/// Runs something for each seed; the seed of a failure is told.
pub(crate) fn each_seed(usual: u64, run: impl Fn(u64)) {
    for seed in seeds(usual) {
        let tell = TellSeed(seed);
        run(seed);
        std::mem::forget(tell);
    }
}

struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        eprintln!("failed with seed {0}: run it again with SIMULATION_SEED={0}", self.0);
    }
}

#[test]
fn without_faults_every_client_gets_all_its_answers() {
    simulate(100, |seed| Plan { seed, ..CALM });
}

#[test]
fn any_cut_of_reads_and_sends_changes_nothing() {
    let faults = Faults { split_read: 900, short_send: 900, ..Faults::default() };
    simulate(150, |seed| Plan { seed, faults, ..CALM });
}

#[test]
fn late_completions_meet_memory_that_is_still_theirs() {
    let faults = Faults { late: 400, short_send: 300, split_read: 300, ..Faults::default() };
    simulate(150, |seed| Plan { seed, faults, ..CALM });
}

#[test]
fn buffers_that_run_out_and_operations_that_end_early_are_armed_again() {
    let faults = Faults { no_buffers: 300, ends_early: 300, split_read: 200, ..Faults::default() };
    simulate(150, |seed| Plan { seed, faults, buffers: 2, buffer_bytes: 512, ..CALM });
}

#[test]
fn resets_lose_connections_and_no_event() {
    let faults = Faults { reset: 10, late: 200, split_read: 300, short_send: 300, ..Faults::default() };
    simulate(200, |seed| Plan { seed, faults, ..CALM });
}

#[test]
fn descriptors_that_run_out_pause_the_accept() {
    let faults = Faults { no_descriptor: 700, ends_early: 100, ..Faults::default() };
    simulate(100, |seed| Plan { seed, faults, clients: 10, ..CALM });
}

#[test]
fn a_full_queue_refuses_and_drops_nothing() {
    simulate(150, |seed| Plan {
        seed,
        queue_bytes: 150 << 10,
        journal_bytes: 400 << 10,
        forwarder: 20,
        clients: 12,
        ..CALM
    });
}

#[test]
fn a_cut_waits_for_what_is_in_flight() {
    let faults = Faults { late: 700, short_send: 300, ..Faults::default() };
    simulate(200, |seed| Plan { seed, faults, cut_after: Some(Dice(seed).below(200)), ..CALM });
}

#[test]
fn everything_at_once() {
    simulate(400, |seed| {
        let mut dice = Dice(seed ^ 0xa11);
        let mut permille = |most: usize| if dice.happens(500) { dice.below(most) } else { 0 };
        let faults = Faults {
            split_read: permille(900),
            short_send: permille(900),
            no_buffers: permille(300),
            ends_early: permille(300),
            reset: permille(20),
            no_descriptor: permille(500),
            late: permille(500),
            slow_disk: permille(500),
        };
        let clients = 1 + dice.below(15);
        let buffers = 1 << dice.below(4);
        let buffer_bytes = 64 + dice.below(8000);
        Plan { seed, faults, clients, buffers, buffer_bytes, forwarder: 10 + dice.below(990), ..CALM }
    });
}

/// The same short scenario, with each operation in turn failing.
fn fail_each_operation(with: crate::driver::FailWith) {
    let plan = Plan { clients: 3, ..CALM };
    let mut operations = 0;
    for number in 0.. {
        let mut world = World::new(plan);
        world.reactor.driver_mut().fail = Some((number, with));
        let counted = world.run_counting();
        operations = operations.max(counted);
        if number >= counted {
            break;
        }
    }
    assert!(operations > 20, "the scenario has operations");
}

#[test]
fn any_operation_may_fail_for_good() {
    fail_each_operation(|operation| match operation {
        Operation::Accept(_) => Some(Errno::MFILE),
        Operation::Receive(_) => Some(Errno::CONNRESET),
        Operation::Send { .. } => Some(Errno::PIPE),
        _ => None,
    });
}

#[test]
fn any_operation_may_fail_for_a_moment() {
    fail_each_operation(|operation| match operation {
        Operation::Accept(_) => Some(Errno::CONNABORTED),
        Operation::Receive(_) => Some(Errno::NOBUFS),
        Operation::Send { .. } => Some(Errno::AGAIN),
        _ => None,
    });
}
