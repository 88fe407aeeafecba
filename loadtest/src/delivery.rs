//! Messages as they come out of the queue.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, Consumer};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::AnyError;
use crate::bodies::hash;

/// Messages on their way to us that we have not acknowledged.
const PREFETCH: u16 = 64;
/// How long a step may take: a broker that dies in the midst of one can leave the client waiting.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// A `CloudEvents` item, as far as it matters here.
#[derive(Deserialize)]
struct Item<'a> {
    id: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// A queue that is consumed from.
pub(crate) struct Deliveries {
    connection: Connection,
    consumer: Consumer,
}

impl Deliveries {
    /// Connects and begins to consume.
    pub(crate) async fn begin(url: &AMQPUri, queue: &str) -> Result<Self, AnyError> {
        in_time("beginning to consume", async {
            let connection = Connection::connect_uri(url.clone(), ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
            let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
            let consumer =
                channel.basic_consume(queue.into(), "forebay-loadtest".into(), options, table).await?;
            Ok(Self { connection, consumer })
        })
        .await
    }

    /// The next message; none when the broker has ended the consumer.
    pub(crate) async fn next(&mut self) -> Option<Result<Delivery, lapin::Error>> {
        self.consumer.next().await
    }

    /// The message has been dealt with.
    pub(crate) async fn ack(&self, delivery: &Delivery) -> Result<(), AnyError> {
        // Of a connection that ends meanwhile it may never be heard.
        in_time("basic.ack", delivery.ack(BasicAckOptions::default())).await.map(drop)
    }

    /// Says goodbye.
    pub(crate) async fn end(self) -> Result<(), AnyError> {
        in_time("closing", self.connection.close(200, "done".into())).await
    }
}

/// A step of talking to a broker: one that does not answer must not hold us for ever.
async fn in_time<T>(what: &str, step: impl Future<Output = Result<T, lapin::Error>>) -> Result<T, AnyError> {
    let timed_out = |_| format!("{what}: no answer from the broker for {} s", STEP_TIMEOUT.as_secs());
    Ok(tokio::time::timeout(STEP_TIMEOUT, step).await.map_err(timed_out)??)
}

/// Reads the broker's address.
pub(crate) fn parse_url(url: &str) -> Result<AMQPUri, AnyError> {
    url.parse().map_err(|_| "--amqp-url is no URL like amqp://user:password@host:5672/%2f".into())
}

/// The id of each event in a message, and the hash of its data.
pub(crate) fn events(message: &[u8]) -> Result<impl Iterator<Item = (&str, String)>, AnyError> {
    let items: Vec<Item<'_>> = serde_json::from_slice(message)
        .map_err(|error| format!("a message is no CloudEvents batch: {error}"))?;
    Ok(items.into_iter().map(|item| (item.id, hash(item.data.get().as_bytes()))))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_broker_that_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let url = parse_url(&format!("amqp://guest:guest@{address}/%2f")).expect("a URL");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let begun = runtime.block_on(async {
            tokio::time::timeout(STEP_TIMEOUT * 6, Deliveries::begin(&url, "queue")).await
        });
        let error = begun.expect("given up").err().expect("no broker").to_string();
        assert!(error.contains("beginning to consume: no answer"), "{error}");
    }
}
