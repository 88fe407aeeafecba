//! Lives that end at any step: what a 202 promised is kept, whatever the disk and the broker do.

use forebay::config::AckLevel;

use crate::broker::BrokerFaults;
use crate::disk::{Crash, DiskFaults};
use crate::driver::{Dice, Faults};
use crate::scenarios::{CALM, each_seed};
use crate::world::{Plan, World};

/// A few lives, each of which ends at some step, and a last one that ends in peace; returns how many operations that one took.
fn run_lives(seed: u64, crash: impl Fn(&mut Dice) -> Crash, plan: impl Fn(&mut Dice) -> Plan) -> usize {
    run_long_lives(seed, 400, crash, plan)
}

fn run_long_lives(
    seed: u64,
    turns_max: usize,
    crash: impl Fn(&mut Dice) -> Crash,
    plan: impl Fn(&mut Dice) -> Plan,
) -> usize {
    let mut dice = Dice(seed ^ 0xdead);
    let mut world = World::new(Plan { seed, ..plan(&mut dice) });
    for _ in 0..=dice.below(3) {
        let turns = dice.below(turns_max);
        world.serve(Some(turns));
        let next = Plan { seed, ..plan(&mut dice) };
        world = world.crash(crash(&mut dice), next);
    }
    world.run_counting()
}

/// Small, so that segments are short and soon used again.
fn small(dice: &mut Dice) -> Plan {
    Plan {
        clients: 1 + dice.below(4),
        ack: AckLevel::ALL[dice.below(3)],
        queue_bytes: 200 << dice.below(12),
        segment_bytes: 160 << 10,
        write_bytes: (2 << 10) << dice.below(8),
        journal_bytes: (160 << 10) * (2 + dice.below(8) as u64),
        forwarder: 50 + dice.below(900),
        ..CALM
    }
}

fn moody(dice: &mut Dice) -> BrokerFaults {
    let mut permille = |most: usize| if dice.happens(500) { dice.below(most) } else { 0 };
    BrokerFaults {
        nack: permille(200),
        returned: permille(200),
        lost: permille(100),
        silent: permille(50),
        poison: 10,
    }
}

#[test]
fn what_was_written_survives_the_end_of_the_process() {
    each_seed(3000, |seed| {
        run_lives(seed, |_| Crash::Kill, small);
    });
}

#[test]
fn what_was_synced_survives_a_power_cut() {
    each_seed(3000, |seed| {
        run_lives(seed, |_| Crash::PowerCut, small);
    });
}

#[test]
fn what_an_earlier_use_of_a_segment_left_never_comes_back() {
    const SEGMENT: usize = 48 << 10;
    each_seed(1000, |seed| {
        run_long_lives(
            seed,
            1000,
            |_| Crash::PowerCut,
            |dice| Plan {
                clients: 4 + dice.below(12),
                ack: AckLevel::Written,
                uniform: Some(500 + dice.below(2000)),
                segment_bytes: SEGMENT,
                write_bytes: (2 << 10) << dice.below(8),
                journal_bytes: 4 * SEGMENT as u64,
                forwarder: 900,
                ..CALM
            },
        );
    });
}

/// Lives with every fault there is.
fn run_hard_lives(seed: u64) -> usize {
    let crash = |dice: &mut Dice| if dice.happens(500) { Crash::Kill } else { Crash::PowerCut };
    run_lives(seed, crash, |dice| {
        let mut permille = |most: usize| if dice.happens(500) { dice.below(most) } else { 0 };
        let disk = DiskFaults { write: permille(100), sync: permille(300), make: permille(300) };
        let faults = Faults {
            late: permille(300),
            short_send: permille(300),
            split_read: permille(300),
            reset: permille(10),
            slow_disk: permille(500),
            ..Faults::default()
        };
        Plan { disk, faults, broker: moody(dice), ..small(dice) }
    })
}

#[test]
fn everything_at_once() {
    each_seed(3000, |seed| {
        run_hard_lives(seed);
    });
}

/// What a failure's seed is told for.
#[test]
fn the_same_seed_is_the_same_lives() {
    each_seed(300, |seed| assert_eq!(run_hard_lives(seed), run_hard_lives(seed)));
}
