//! Everything that takes part: the node and its lives, its broker, the load, the collector, and the books that are kept on all of it.

use std::fmt;
use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::disk::SmallDisk;
use crate::support::{
    App, Broker, Collector, Exclusive, Loadtest, Node, Running, await_true, await_true_within,
};

/// How long the flow may take to come back once a fault is lifted, and how long all that waits may take to drain in the end.
const BACK_WITHIN: Duration = Duration::from_mins(2);
const DRAINED_WITHIN: Duration = Duration::from_mins(10);
/// From here on it is worth a look how long that took.
const SLOW: Duration = Duration::from_secs(5);
/// Longer than any run.
const LOAD_DURATION: &str = "1440m";

/// What a stage is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) queue_type: &'static str,
    /// Events a second.
    pub(crate) rate: &'static str,
    pub(crate) connections: &'static str,
    /// Whether the journal lies on a small disk of its own, and is small itself.
    pub(crate) has_small_disk: bool,
}

/// See the module. Fields are dropped in this order.
pub(crate) struct Stage {
    pub(crate) node: Node,
    load: Option<Running>,
    pub(crate) collector: Collector,
    pub(crate) disk: Option<SmallDisk>,
    exclusive: Exclusive,
    pub(crate) dice: Dice,
    pub(crate) plan: Plan,
    app: App,
    url: String,
    started: Instant,
    lives: u64,
    /// What the load tester was told, runs that are over.
    accepted_by_reports: u64,
    /// What the node has said that it took over.
    accepted_by_metrics: u64,
}

/// What a run came to, with nothing missing and nothing changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) lives: u64,
    accepted: u64,
    unknown: usize,
    repeated: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lives, accepted, unknown, repeated } = self;
        write!(
            f,
            "{lives} lives of the node, {accepted} accepted, 0 missing, 0 changed, {repeated} more than once, \
             {unknown} whose answer was lost"
        )
    }
}

impl Stage {
    /// Starts everything and awaits the flow.
    pub(crate) fn set(plan: Plan, seed: u64) -> Self {
        let exclusive = Broker::chaos();
        let url = exclusive.broker.url();
        let disk = if plan.has_small_disk { SmallDisk::mount() } else { None };
        let mut dice = Dice(seed);
        let node = Node::spawn_at_home(Some(&url), &as_strs(&flags(plan, disk.as_ref(), &mut dice)));
        let app = node.app("chaos");
        let collector = Collector::start(&node);
        let mut stage = Self {
            node,
            load: None,
            collector,
            disk,
            exclusive,
            dice,
            plan,
            app,
            url,
            started: Instant::now(),
            lives: 1,
            accepted_by_reports: 0,
            accepted_by_metrics: 0,
        };
        stage.renew_load();
        stage.await_flow();
        stage
    }

    pub(crate) fn broker(&self) -> Broker {
        self.exclusive.broker
    }

    /// Says what happens, and when.
    pub(crate) fn say(&self, what: impl fmt::Display) {
        eprintln!("{:7.2} s: {what}", self.started.elapsed().as_secs_f64());
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends the run of the load tester, if there is one, and begins another.
    pub(crate) fn renew_load(&mut self) {
        self.end_load();
        let Plan { rate, connections, .. } = self.plan;
        let args = ["--duration", LOAD_DURATION, "--connections", connections, "--rate", rate];
        let accepted = self.node.metric("forebay_events_accepted_total");
        self.load = Some(Loadtest { node: &self.node, app: &self.app }.start(&args));
        // Only a run that has its first token survives the node.
        await_true("the load", || self.node.metric("forebay_events_accepted_total") > accepted);
    }

    pub(crate) fn end_load(&mut self) {
        if let Some(load) = self.load.take() {
            let report = load.stop();
            self.accepted_by_reports += report["accepted"].as_u64().expect("a count");
        }
    }

    /// Kills the node as it is, under load, and starts it again on the same journal, often with other reactors and another level.
    pub(crate) fn kill_node(&mut self) {
        self.kill_node_and(|_| ());
    }

    /// As [`Stage::kill_node`], with something done while there is no node.
    pub(crate) fn kill_node_and(&mut self, act: impl FnOnce(&mut Self)) {
        self.check_ledger();
        self.node.kill();
        act(self);
        let flags = flags(self.plan, self.disk.as_ref(), &mut self.dice);
        let since = Instant::now();
        self.node.revive(Some(&self.url), &as_strs(&flags));
        self.lives += 1;
        let took = since.elapsed();
        self.check_ledger();
        let pending = self.node.metric("forebay_events_pending");
        self.say(format!("the node is back after {took:.2?} with {pending} events ({})", flags.join(" ")));
    }

    /// The books balance, on one page of metrics, and nothing that was counted once is forgotten.
    pub(crate) fn check_ledger(&mut self) {
        let page = self.node.metrics();
        let [received, accepted, confirmed, parked, pending] =
            ["received_total", "accepted_total", "confirmed_total", "parked_total", "pending"]
                .map(|name| page.value(&format!("forebay_events_{name}")));
        assert_eq!(received, accepted + page.sum("forebay_events_rejected_total"), "received: {page:?}");
        assert_eq!(accepted, confirmed + parked + pending, "accepted: {page:?}");
        assert!(
            accepted >= self.accepted_by_metrics,
            "accepted {} and now {accepted}",
            self.accepted_by_metrics
        );
        self.accepted_by_metrics = accepted;
    }

    /// Events arrive and are confirmed.
    pub(crate) fn await_flow(&self) {
        let since = Instant::now();
        for name in ["forebay_events_accepted_total", "forebay_events_confirmed_total"] {
            let count = self.node.metric(name);
            await_true_within(BACK_WITHIN, &format!("{name} grows"), || self.node.metric(name) > count);
        }
        if since.elapsed() > SLOW {
            let lines = self.node.everything();
            self.say(format!("the flow was back only after {:.1?}: {:#?}", since.elapsed(), lines));
        }
    }

    /// What is pending is what is on its way, and no backlog.
    pub(crate) fn await_caught_up(&self) {
        const ON_THEIR_WAY: u64 = 1000;
        let is_so = || self.node.metric("forebay_events_pending") < ON_THEIR_WAY;
        await_true_within(BACK_WITHIN, "the node has caught up", is_so);
    }

    /// Nothing is pending; without load, nothing is on its way to the broker.
    pub(crate) fn await_drained(&self) {
        let is_so = || self.node.metric("forebay_events_pending") == 0;
        await_true_within(DRAINED_WITHIN, "all is confirmed", is_so);
    }

    /// Drains the node once all faults are lifted, and compares what the load tester was promised with what came out of the queue.
    pub(crate) fn close(mut self) -> Outcome {
        self.end_load();
        self.say("the load has ended");
        self.await_drained();
        self.check_ledger();
        self.say("the node has drained");
        let Self { node, app, collector, accepted_by_reports, accepted_by_metrics, lives, .. } = self;
        let findings = Loadtest { node: &node, app: &app }.verify_with(Some(&collector.stop()));
        let count = |name: &str| findings[name].as_array().expect("a list").len();
        let shown = findings.to_string().chars().take(2000).collect::<String>();
        assert_eq!((count("missing"), count("changed")), (0, 0), "{shown}");
        assert_eq!(findings["accepted"].as_u64(), Some(accepted_by_reports), "each has an id of its own");
        // A 202 that got lost on its way makes an event unknown to the load tester, but not to the node.
        let delivered = accepted_by_reports + count("unknown") as u64;
        assert_eq!(
            accepted_by_metrics, delivered,
            "the node counts each event once, whatever it had to repeat"
        );
        assert_eq!(node.metric("forebay_events_parked_total"), 0, "the broker would take all of them");
        Outcome {
            lives,
            accepted: accepted_by_reports,
            unknown: count("unknown"),
            repeated: count("repeated"),
        }
    }
}

/// The flags of the node's next life.
fn flags(plan: Plan, disk: Option<&SmallDisk>, dice: &mut Dice) -> Vec<String> {
    // Faults show sooner.
    let mut flags =
        vec!["--amqp-heartbeat", "2s", "--confirm-timeout", "5s", "--queue-type", plan.queue_type];
    flags.extend(["--reactors", dice.pick(&["1", "2", "2", "3"])]);
    flags.extend(["--ack", dice.pick(&["written", "written", "synced"])]);
    let mut flags: Vec<String> = flags.into_iter().map(str::to_owned).collect();
    if let Some(disk) = disk {
        // Small enough to be full after some seconds without a broker.
        flags.extend(["--journal-max".to_owned(), "64MiB".to_owned()]);
        flags.extend(["--journal-dir".to_owned(), disk.path().join("journal").display().to_string()]);
    }
    flags
}

fn as_strs(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}
