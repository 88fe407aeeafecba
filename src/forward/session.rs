//! One connection to a broker, through lapin. Any doubt about it ends it; nothing is recovered in place.

use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ErrorKind, ExchangeKind,
};

use super::message::{Message, MessageId};
use super::tracker::Ticket;
use crate::amqp::in_time;
use crate::config::QueueType;

/// Longest time for connecting, and for each step of declaring.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// AMQP 0-9-1: the message survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// Where messages go.
#[derive(Clone, Debug)]
pub struct PublishOptions {
    /// The exchange.
    pub exchange: String,
    /// The queue that is declared and bound.
    pub queue: String,
    /// Its type.
    pub queue_type: QueueType,
    /// The routing key of every message.
    pub routing_key: String,
    /// Whether exchange, queue and binding are declared.
    pub declare: bool,
    /// The node's name.
    pub node: String,
}

/// How a session is opened.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Brokers, tried in order.
    pub urls: Vec<AMQPUri>,
    /// A silent broker is given up after twice this time.
    pub heartbeat: Duration,
    /// Where messages go.
    pub publish: PublishOptions,
}

/// What became of a message or a fence.
#[derive(Debug)]
pub(super) enum Answered {
    /// Acknowledged; `returned` is a message that came back, this one or another (see [`Tracker`](super::Tracker)).
    Acked { returned: Option<MessageId> },
    /// Refused, likewise.
    Nacked { returned: Option<MessageId> },
    /// An empty request was answered.
    Fence,
    /// The session is of no more use.
    Failed(lapin::Error),
}

/// The answer to come. Boxed: one a message, not one an event.
pub(super) type Answer = Pin<Box<dyn Future<Output = (Ticket, Answered)>>>;

/// Events of the connection.
pub(super) type Events = Pin<Box<dyn Stream<Item = lapin::Event>>>;

/// An open channel in confirm mode, with the topology declared.
pub(super) struct Session {
    connection: Connection,
    channel: Channel,
    options: PublishOptions,
    exchange: ShortString,
    routing_key: ShortString,
}

impl Session {
    /// Connects to one broker and declares the topology.
    pub(super) async fn open(
        url: &AMQPUri,
        options: &SessionOptions,
    ) -> Result<(Self, Events), lapin::Error> {
        let mut url = url.clone();
        let heartbeat = u16::try_from(options.heartbeat.as_secs()).unwrap_or(u16::MAX).max(1);
        url.query.heartbeat = Some(heartbeat);
        let name = format!("forebay {}", options.publish.node);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connection =
            in_time(STEP_TIMEOUT, "connecting", Connection::connect_uri(url, properties)).await?;
        let events = Box::pin(connection.events_listener());
        let channel = in_time(STEP_TIMEOUT, "opening a channel", connection.create_channel()).await?;
        in_time(STEP_TIMEOUT, "confirm.select", channel.confirm_select(ConfirmSelectOptions::default()))
            .await?;
        let session = Self {
            exchange: options.publish.exchange.as_str().into(),
            routing_key: options.publish.routing_key.as_str().into(),
            connection,
            channel,
            options: options.publish.clone(),
        };
        session.declare().await?;
        Ok((session, events))
    }

    /// Declares exchange, queue and binding, durable; what exists already with the same properties is left alone.
    pub(super) async fn declare(&self) -> Result<(), lapin::Error> {
        if !self.options.declare {
            return Ok(());
        }
        let (channel, options) = (&self.channel, &self.options);
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let exchange = channel.exchange_declare(
            self.exchange.clone(),
            ExchangeKind::Topic,
            durable,
            FieldTable::default(),
        );
        in_time(STEP_TIMEOUT, "declaring the exchange", exchange).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(options.queue_type.as_str().into()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let queue: ShortString = options.queue.as_str().into();
        in_time(
            STEP_TIMEOUT,
            "declaring the queue",
            channel.queue_declare(queue.clone(), durable, arguments),
        )
        .await?;
        let binding = channel.queue_bind(
            queue,
            self.exchange.clone(),
            self.routing_key.clone(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        in_time(STEP_TIMEOUT, "binding the queue", binding).await
    }

    /// The future that sends a message and waits for its confirm. Its frames are queued when it is first polled.
    pub(super) fn publish(&self, ticket: Ticket, message: &Message) -> Answer {
        let node = &self.options.node;
        let mut headers = FieldTable::default();
        headers.insert("forebay-node".into(), AMQPValue::LongString(node.as_str().into()));
        headers.insert("forebay-events".into(), AMQPValue::LongLongInt(message.events().cast_signed()));
        if message.lenient {
            headers.insert("forebay-lenient".into(), AMQPValue::Boolean(true));
        }
        let properties = BasicProperties::default()
            .with_content_type("application/cloudevents-batch+json".into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(format!("{node}-{}", message.id).into())
            .with_timestamp(message.received_us / 1_000_000)
            .with_app_id("forebay".into())
            .with_headers(headers);
        let (channel, body) = (self.channel.clone(), message.body.clone());
        let (exchange, routing_key) = (self.exchange.clone(), self.routing_key.clone());
        Box::pin(async move {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let published = channel.basic_publish(exchange, routing_key, options, &body, properties).await;
            let confirmed = match published {
                Ok(confirm) => confirm.await,
                Err(error) => Err(error),
            };
            let returned = |message: Option<lapin::message::BasicReturnMessage>| {
                message.and_then(|message| message.properties.message_id().as_ref()?.as_str().parse().ok())
            };
            let answered = match confirmed {
                Ok(Confirmation::Ack(message)) => Answered::Acked { returned: returned(message) },
                Ok(Confirmation::Nack(message)) => Answered::Nacked { returned: returned(message) },
                Ok(Confirmation::NotRequested) => unreachable!("the channel is in confirm mode"),
                Err(error) => Answered::Failed(error),
            };
            (ticket, answered)
        })
    }

    /// An empty request, whose answer comes after everything that the broker said before. `confirm.select` again changes nothing.
    pub(super) fn fence(&self, ticket: Ticket) -> Answer {
        let channel = self.channel.clone();
        Box::pin(async move {
            let answered = match channel.confirm_select(ConfirmSelectOptions::default()).await {
                Ok(()) => Answered::Fence,
                Err(error) => Answered::Failed(error),
            };
            (ticket, answered)
        })
    }

    /// Says goodbye; a broker that does not answer is left alone.
    pub(super) async fn close(self) {
        let _ = in_time(STEP_TIMEOUT, "closing", self.connection.close(200, "stopping".into())).await;
    }
}

/// Whether the broker closed the channel over the content of a message: too large for it, most of the time.
pub(super) fn is_about_content(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(
        error.kind(),
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED | AMQPSoftError::CONTENTTOOLARGE)
    )
}
