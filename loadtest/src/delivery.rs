//! Messages as they come out of the queue.

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, Consumer};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::AnyError;
use crate::bodies::hash;

/// Messages on their way to us that we have not acknowledged.
const PREFETCH: u16 = 64;

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
        let connection = Connection::connect_uri(url.clone(), ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = channel.basic_consume(queue.into(), "forebay-loadtest".into(), options, table).await?;
        Ok(Self { connection, consumer })
    }

    /// The next message; none when the broker has ended the consumer.
    pub(crate) async fn next(&mut self) -> Option<Result<Delivery, lapin::Error>> {
        self.consumer.next().await
    }

    /// Says goodbye.
    pub(crate) async fn end(self) -> Result<(), AnyError> {
        Ok(self.connection.close(200, "done".into()).await?)
    }
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
