//! `kill -9` again and again, at any moment, under load.

use crate::dice::any_seed;
use crate::faults::pause;
use crate::number;
use crate::stage::{Plan, Stage};

#[test]
fn kills_at_any_moment_lose_nothing_that_was_written() {
    let kills = number("KILLS", 5);
    let seed = number("CHAOS_SEED", any_seed());
    eprintln!("CHAOS_SEED={seed}");
    let plan = Plan { queue_type: "quorum", rate: "500", connections: "16", has_small_disk: false };
    let mut stage = Stage::set(plan, seed);
    for kill in 1..=kills {
        pause(stage.dice.between_ms(0, 700));
        stage.kill_node();
        // Lives of half a second leave more behind than they forward, and reading that is what the next one begins with.
        if kill % 5 == 0 {
            stage.await_caught_up();
        }
        if kill % 20 == 10 {
            stage.renew_load();
        }
    }
    let outcome = stage.close();
    assert_eq!(outcome.lives, kills + 1);
    eprintln!("{kills} kills: {outcome}");
}
