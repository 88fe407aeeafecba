//! One fault after the other, drawn from a seed, while the load goes on.

use std::time::Duration;

use crate::dice::{Dice, any_seed};
use crate::faults::{Fault, pause};
use crate::number;
use crate::stage::{Plan, Stage};

/// Faults of the short form, and whether the node is killed meanwhile.
const SHORT: [(Fault, bool); 8] = [
    (Fault::NodeKilled, false),
    (Fault::BrokerKilled, true),
    (Fault::BrokerSilent, false),
    (Fault::BrokerBlocks, true),
    (Fault::QueueFull, false),
    (Fault::QueueDeleted, false),
    (Fault::DiskFull, true),
    (Fault::NodeKilled, false),
];

#[test]
fn whatever_breaks_nothing_that_got_its_202_is_lost() {
    let minutes = number("CHAOS_MINUTES", 0);
    let seed = number("CHAOS_SEED", if minutes == 0 { 1 } else { any_seed() });
    eprintln!("CHAOS_SEED={seed}");
    let mut dice = Dice(seed);
    let queue_type = if minutes == 0 { "classic" } else { dice.pick(&["classic", "quorum"]) };
    let plan = Plan { queue_type, rate: "1500", connections: "16", has_small_disk: true };
    eprintln!("a {queue_type} queue");
    let mut stage = Stage::set(plan, dice.below(u64::MAX));
    let mut faults = 0;
    let mut strike = |stage: &mut Stage, fault: Fault, hold: Duration, has_kill: bool| {
        stage.strike(fault, hold, has_kill);
        stage.await_flow();
        stage.check_ledger();
        faults += 1;
    };
    for (fault, has_kill) in SHORT.into_iter().filter(|_| minutes == 0) {
        strike(&mut stage, fault, dice.between_ms(200, 1000), has_kill);
    }
    while stage.elapsed() < Duration::from_secs(60 * minutes) {
        if dice.below(5) == 0 {
            stage.renew_load();
        }
        let fault = dice.pick(&Fault::ALL);
        // Beyond twice the heartbeat now and then.
        let hold = dice.between_ms(100, 6000);
        strike(&mut stage, fault, hold, dice.below(3) == 0);
        pause(dice.between_ms(0, 2000));
    }
    let outcome = stage.close();
    eprintln!("CHAOS_SEED={seed}: {faults} faults, {outcome}");
}
