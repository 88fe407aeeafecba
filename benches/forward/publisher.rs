//! The bare publisher: ready-made messages, confirms, a window, and nothing else. It is the benchmark's program once more, so that it can
//! have a CPU for itself.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde::{Deserialize, Serialize};

/// Messages sent and not yet confirmed: a node's default.
const WINDOW: usize = 64;
const PERSISTENT: u8 = 2;

/// What it took, connecting left out.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Taken {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
}

/// Publishes `messages` messages, whose bodies are in `folder`, and prints what it took.
pub(crate) fn publish(url: &str, exchange: &str, routing_key: &str, messages: usize, folder: &Path) {
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    while let Ok(body) = std::fs::read(folder.join(bodies.len().to_string())) {
        bodies.push(body);
    }
    assert!(!bodies.is_empty(), "{} holds bodies", folder.display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let taken = runtime.block_on(async {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("a broker");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        let (since, cpu_since) = (Instant::now(), cpu());
        let mut in_flight = FuturesUnordered::new();
        for body in bodies.iter().cycle().take(messages) {
            if in_flight.len() == WINDOW {
                in_flight.next().await.expect("the window is full");
            }
            in_flight.push(publish_one(&channel, exchange, routing_key, body));
        }
        while in_flight.next().await.is_some() {}
        let (seconds, cpu) = (since.elapsed().as_secs_f64(), cpu().saturating_sub(cpu_since));
        connection.close(200, "done".into()).await.expect("a close");
        Taken { seconds, cpu_seconds: cpu.as_secs_f64() }
    });
    println!("{}", serde_json::to_string(&taken).expect("two numbers"));
}

async fn publish_one(channel: &Channel, exchange: &str, routing_key: &str, body: &[u8]) {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let sent = channel.basic_publish(exchange.into(), routing_key.into(), options, body, properties).await;
    let answer = sent.expect("it was sent").await.expect("the broker answers");
    assert!(matches!(answer, Confirmation::Ack(None)), "a message came back: {answer:?}");
}

/// CPU time of the process.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("it does not run backwards")
}
