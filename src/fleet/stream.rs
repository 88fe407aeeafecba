//! One connection to the stream, through lapin. Any doubt about it ends it; nothing is recovered in place.
//!
//! A queue of the type `stream` is a log: reading takes nothing away, and every reader says where it begins. Over AMQP 0-9-1 that needs acknowledgements
//! (they are the reader's credit) and a prefetch, and no plugin.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};

use crate::amqp::in_time;

/// Longest time for connecting, and for each step behind it.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// Entries on their way to us. Snapshots may be large, so they are few.
const PREFETCH: u16 = 16;
/// AMQP 0-9-1: the message survives a restart of the broker. A stream is durable anyway; the message says so too.
const PERSISTENT: u8 = 2;

/// How the stream is reached.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// Brokers, tried in order.
    pub urls: Vec<AMQPUri>,
    /// A silent broker is given up after twice this time.
    pub heartbeat: Duration,
    /// The stream's name.
    pub stream: String,
    /// Whether it is declared; else it is made by others.
    pub declare: bool,
    /// What is older than so many bytes may go, in whole segments.
    pub stream_bytes_max: u32,
    /// Bytes of a segment.
    pub segment_bytes_max: u32,
    /// The node's name.
    pub node: String,
}

impl StreamOptions {
    /// A retention that is many times what lies between two snapshots.
    pub const STREAM_BYTES_MAX: u32 = 256 << 20;
    /// Small beside it: a broker lets go of whole segments alone.
    pub const SEGMENT_BYTES_MAX: u32 = 16 << 20;
}

/// What stands in the stream.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) offset: u64,
    delivery: Delivery,
}

impl Delivered {
    /// The entry's bytes.
    pub(super) fn body(&self) -> &[u8] {
        &self.delivery.data
    }
}

/// Whether an entry was confirmed.
pub(super) type Published = Pin<Box<dyn Future<Output = Result<(), lapin::Error>> + Send>>;

/// A consumer of the stream, and a channel to write to it.
#[derive(Debug)]
pub(super) struct Session {
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
    stream: ShortString,
}

impl Session {
    /// Connects to the first broker that takes us and begins to read at an offset, or at the first entry that there is.
    pub(super) async fn open(options: &StreamOptions, from: Option<u64>) -> Result<Self, lapin::Error> {
        let mut failure = broken("no broker is known");
        for url in &options.urls {
            match Self::open_at(url, options, from).await {
                Ok(session) => return Ok(session),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn open_at(
        url: &AMQPUri,
        options: &StreamOptions,
        from: Option<u64>,
    ) -> Result<Self, lapin::Error> {
        let mut url = url.clone();
        url.query.heartbeat = Some(u16::try_from(options.heartbeat.as_secs()).unwrap_or(u16::MAX).max(1));
        let name = format!("forebay {} fleet", options.node);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connection =
            in_time(STEP_TIMEOUT, "connecting", Connection::connect_uri(url, properties)).await?;
        let channel = in_time(STEP_TIMEOUT, "opening a channel", connection.create_channel()).await?;
        in_time(STEP_TIMEOUT, "confirm.select", channel.confirm_select(ConfirmSelectOptions::default()))
            .await?;
        let stream: ShortString = options.stream.as_str().into();
        if options.declare {
            let mut arguments = FieldTable::default();
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
            for (name, bytes) in [
                ("x-max-length-bytes", options.stream_bytes_max),
                ("x-stream-max-segment-size-bytes", options.segment_bytes_max),
            ] {
                arguments.insert(name.into(), AMQPValue::LongLongInt(bytes.into()));
            }
            let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            in_time(
                STEP_TIMEOUT,
                "declaring the stream",
                channel.queue_declare(stream.clone(), durable, arguments),
            )
            .await?;
        }
        in_time(STEP_TIMEOUT, "basic.qos", channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
        let offset = match from {
            Some(offset) => AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(i64::MAX)),
            None => AMQPValue::LongString("first".into()),
        };
        let mut arguments = FieldTable::default();
        arguments.insert("x-stream-offset".into(), offset);
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(stream.clone(), "fleet".into(), options, arguments);
        let consumer = in_time(STEP_TIMEOUT, "basic.consume", consumer).await?;
        Ok(Self { connection, channel, consumer, stream })
    }

    /// The next entry.
    pub(super) async fn next(&mut self) -> Result<Delivered, lapin::Error> {
        delivered(self.consumer.next().await)
    }

    /// The next entry, if it is here already.
    pub(super) fn ready(&mut self) -> Option<Result<Delivered, lapin::Error>> {
        self.consumer.next().now_or_never().map(delivered)
    }

    /// Everything up to this entry has been handled.
    pub(super) async fn ack(&self, delivered: &Delivered) -> Result<(), lapin::Error> {
        let ack = delivered.delivery.ack(BasicAckOptions { multiple: true });
        // Of a connection that ends meanwhile it may never be heard.
        in_time(STEP_TIMEOUT, "basic.ack", ack).await.map(drop)
    }

    /// The future that writes an entry and waits for its confirm.
    pub(super) fn publish(&self, body: Vec<u8>) -> Published {
        let (channel, stream) = (self.channel.clone(), self.stream.clone());
        Box::pin(async move {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let properties = BasicProperties::default()
                .with_content_type("application/vnd.forebay.fleet-entry".into())
                .with_delivery_mode(PERSISTENT)
                .with_app_id("forebay".into());
            // The default exchange: the routing key is the queue's name.
            let confirm = channel.basic_publish("".into(), stream, options, &body, properties).await?;
            match confirm.await? {
                Confirmation::Ack(None) => Ok(()),
                Confirmation::Ack(Some(_)) => Err(broken("the stream is gone")),
                Confirmation::Nack(_) => Err(broken("the broker would not take an entry")),
                Confirmation::NotRequested => unreachable!("the channel is in confirm mode"),
            }
        })
    }

    /// Says goodbye; a broker that does not answer is left alone.
    pub(super) async fn close(self) {
        let _ = in_time(STEP_TIMEOUT, "closing", self.connection.close(200, "done".into())).await;
    }
}

fn delivered(delivery: Option<Result<Delivery, lapin::Error>>) -> Result<Delivered, lapin::Error> {
    let delivery =
        delivery.unwrap_or_else(|| Err(broken("the broker has ended the reading: the stream is gone")))?;
    let headers = delivery.properties.headers().as_ref();
    let offset = match headers.and_then(|headers| headers.inner().get("x-stream-offset")) {
        Some(AMQPValue::LongLongInt(offset)) => u64::try_from(*offset).ok(),
        Some(AMQPValue::LongUInt(offset)) => Some(u64::from(*offset)),
        _ => None,
    };
    let offset = offset.ok_or_else(|| broken("an entry without an offset: the queue is no stream"))?;
    Ok(Delivered { offset, delivery })
}

fn broken(problem: &str) -> lapin::Error {
    io::Error::other(problem).into()
}
