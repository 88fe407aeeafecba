//! What goes wrong, each with a sign that it really did.

use std::thread;
use std::time::Duration;

use crate::stage::Stage;
use crate::support::await_true;

/// A fault, and the way back from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9` of the node.
    NodeKilled,
    /// The broker is stopped in peace, and started.
    BrokerStopped,
    /// `kill -9` of the broker.
    BrokerKilled,
    /// SIGSTOP of the broker: connections stay, and nothing is said.
    BrokerSilent,
    /// The broker has no memory to spare, and blocks publishers.
    BrokerBlocks,
    /// The broker closes all connections.
    ConnectionsClosed,
    /// Somebody deletes the queue. The node makes it again.
    QueueDeleted,
    /// The queue is at its limit and refuses.
    QueueFull,
    /// The journal's disk is full, and the broker gives no room back.
    DiskFull,
}

impl Fault {
    pub(crate) const ALL: [Self; 9] = [
        Self::NodeKilled,
        Self::BrokerStopped,
        Self::BrokerKilled,
        Self::BrokerSilent,
        Self::BrokerBlocks,
        Self::ConnectionsClosed,
        Self::QueueDeleted,
        Self::QueueFull,
        Self::DiskFull,
    ];
}

impl Stage {
    /// Lets a fault happen, last, and be over. With `has_kill`, the node is killed and started in the midst of it.
    pub(crate) fn strike(&mut self, fault: Fault, hold: Duration, has_kill: bool) {
        let meanwhile =
            if has_kill && fault != Fault::NodeKilled { ", and the node is killed meanwhile" } else { "" };
        self.say(format!("{fault:?} for {hold:.1?}{meanwhile}"));
        let broker = self.broker();
        match fault {
            Fault::NodeKilled => self.kill_node_and(|_| pause(hold / 8)),
            Fault::BrokerStopped => {
                broker.stop();
                self.hold(hold, has_kill);
                broker.start();
            }
            Fault::BrokerKilled => {
                broker.kill();
                self.hold(hold, has_kill);
                broker.start();
            }
            Fault::BrokerSilent => {
                broker.pause();
                self.hold(hold, has_kill);
                broker.resume();
            }
            Fault::BrokerBlocks => {
                let told = self.times_said("the broker blocks publishers");
                broker.ctl(&["set_vm_memory_high_watermark", "0.00001"]);
                await_true("the broker blocks", || self.times_said("the broker blocks publishers") > told);
                self.hold(hold, has_kill);
                broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1GiB"]);
            }
            Fault::ConnectionsClosed => {
                let connects = self.node.metric("forebay_broker_connects_total");
                broker.ctl(&["close_all_connections", "chaos"]);
                let again = || self.node.metric("forebay_broker_connects_total") > connects;
                await_true("a new connection", again);
                self.hold(hold, has_kill);
            }
            Fault::QueueDeleted => self.delete_queue(has_kill),
            Fault::QueueFull => {
                let nacked = self.node.metric("forebay_broker_nacked_messages_total");
                self.collector.pause();
                let pattern = format!("^{}$", self.node.queue.name);
                // In two steps: RabbitMQ applies a new length before it looks at what to do beyond it, which is to drop what it has confirmed.
                for most in [1_000_000, 1] {
                    let limit = format!(r#"{{"max-length":{most},"overflow":"reject-publish"}}"#);
                    broker.ctl(&["set_policy", "full", &pattern, &limit, "--apply-to", "queues"]);
                }
                let grows = || self.node.metric("forebay_broker_nacked_messages_total") > nacked;
                await_true("the broker nacks", grows);
                self.hold(hold, has_kill);
                broker.ctl(&["clear_policy", "full"]);
                self.collector.resume();
            }
            Fault::DiskFull => {
                let Some(disk) = &self.disk else { return };
                disk.fill();
                // Segments that the broker has confirmed serve again, so a full disk alone hurts nobody.
                broker.pause();
                let refused = self.node.metric_sum("forebay_events_rejected_total");
                let refuses = || self.node.metric_sum("forebay_events_rejected_total") > refused;
                await_true("the node refuses", refuses);
                self.hold(hold, has_kill);
                self.disk.as_ref().expect("as above").free();
                broker.resume();
            }
        }
    }

    /// Deletes the queue when that loses nothing: what it has confirmed is the broker's to keep, and a deleted queue is no fault of the node.
    ///
    /// An empty queue is not enough. What is on its way to the queue when it goes is lost, and RabbitMQ confirms it all the same. So it goes while
    /// the node is dead, or has nothing to publish, and when the collector has been given everything, which it writes down before it acknowledges.
    fn delete_queue(&mut self, has_kill: bool) {
        let delete = |stage: &mut Self| {
            await_true("the queue is empty", || stage.node.queue.ready_messages() == 0);
            stage.node.queue.delete_alone();
        };
        if has_kill {
            self.kill_node_and(delete);
        } else {
            self.end_load();
            self.await_drained();
            let returned = self.node.metric("forebay_broker_returned_messages_total");
            delete(self);
            self.renew_load();
            self.await_flow();
            let now = self.node.metric("forebay_broker_returned_messages_total");
            assert!(now > returned, "the node has met a queue that is gone");
        }
    }

    fn hold(&mut self, hold: Duration, has_kill: bool) {
        if has_kill {
            pause(hold / 2);
            self.kill_node();
            pause(hold / 2);
        } else {
            pause(hold);
        }
    }

    fn times_said(&self, text: &str) -> usize {
        self.node.everything().iter().filter(|line| line.contains(text)).count()
    }
}

/// A fault's duration, or the time between two.
pub(crate) fn pause(duration: Duration) {
    thread::park_timeout(duration);
}
