//! What the broker got.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::Value;
use serde_json::value::RawValue;

use super::DEADLINE;

/// A node's queue.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) url: String,
    pub(crate) name: String,
}

/// One event, with its message.
#[derive(Clone, Debug)]
pub(crate) struct Delivered {
    /// The envelope.
    pub(crate) event: Value,
    /// `data`, byte for byte.
    pub(crate) data: String,
    pub(crate) properties: BasicProperties,
    /// How many events its message held.
    pub(crate) together: usize,
}

impl Delivered {
    pub(crate) fn id(&self) -> &str {
        self.event["id"].as_str().expect("an id")
    }
}

impl Queue {
    /// Takes events until there are `count`; more than that are an error.
    pub(crate) fn take(&self, count: usize) -> Vec<Delivered> {
        let events = block_on(self.consume(count, DEADLINE));
        assert_eq!(events.len(), count, "events in {}", self.name);
        events
    }

    /// Takes what is there and comes until nothing came for a moment.
    pub(crate) fn take_all(&self) -> Vec<Delivered> {
        block_on(self.consume(usize::MAX, Duration::from_secs(1)))
    }

    async fn consume(&self, count: usize, patience: Duration) -> Vec<Delivered> {
        let connection =
            Connection::connect(&self.url, ConnectionProperties::default()).await.expect("a broker");
        let channel = connection.create_channel().await.expect("a channel");
        let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
        let name = self.name.as_str().into();
        let mut consumer =
            channel.basic_consume(name, "test".into(), options, table).await.expect("the queue");
        let mut events = Vec::new();
        while events.len() < count {
            let Ok(Some(delivery)) = tokio::time::timeout(patience, consumer.next()).await else { break };
            let delivery = delivery.expect("a delivery");
            let items: Vec<Box<RawValue>> = serde_json::from_slice(&delivery.data).expect("a JSON array");
            for item in &items {
                #[derive(serde::Deserialize)]
                struct Data<'a> {
                    #[serde(borrow)]
                    data: &'a RawValue,
                }
                let data = serde_json::from_str::<Data<'_>>(item.get()).expect("data").data.get().to_owned();
                // What a strict parser refuses is looked at as text alone.
                let event = serde_json::from_str(item.get()).unwrap_or_else(|_| {
                    let without = item.get().replace(&data, "null");
                    serde_json::from_str(&without).expect("an envelope")
                });
                let properties = delivery.properties.clone();
                events.push(Delivered { event, data, properties, together: items.len() });
            }
            delivery.ack(BasicAckOptions::default()).await.expect("an ack");
        }
        connection.close(200, "done".into()).await.expect("a close");
        events
    }

    /// Runs something on a channel.
    pub(crate) fn on_channel<F: Future<Output = ()>>(&self, act: impl FnOnce(lapin::Channel) -> F) {
        block_on(async {
            let connection =
                Connection::connect(&self.url, ConnectionProperties::default()).await.expect("a broker");
            let channel = connection.create_channel().await.expect("a channel");
            act(channel.clone()).await;
            connection.close(200, "done".into()).await.expect("a close");
        });
    }

    /// Removes the queue if there is nothing in it, which a classic queue judges and does in one step; whether it did.
    ///
    /// What it has given to a consumer is on its way there before the news that the queue is gone.
    pub(crate) fn delete_if_empty(&self) -> bool {
        let options = QueueDeleteOptions { if_empty: true, ..QueueDeleteOptions::default() };
        block_on(async {
            let connection =
                Connection::connect(&self.url, ConnectionProperties::default()).await.expect("a broker");
            let channel = connection.create_channel().await.expect("a channel");
            let deleted = channel.queue_delete(self.name.as_str().into(), options).await;
            connection.close(200, "done".into()).await.expect("a close");
            deleted.is_ok()
        })
    }

    /// Messages that wait for a consumer, as the queue counts them.
    pub(crate) fn ready_messages(&self) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        block_on(async {
            let connection =
                Connection::connect(&self.url, ConnectionProperties::default()).await.expect("a broker");
            let channel = connection.create_channel().await.expect("a channel");
            let queue =
                channel.queue_declare(self.name.as_str().into(), options, FieldTable::default()).await;
            connection.close(200, "done".into()).await.expect("a close");
            queue.expect("the queue").message_count()
        })
    }

    /// Removes the queue, and leaves the exchange.
    pub(crate) fn delete_alone(&self) {
        self.on_channel(async |channel| {
            let deleted =
                channel.queue_delete(self.name.as_str().into(), QueueDeleteOptions::default()).await;
            deleted.expect("the queue");
        });
    }

    /// Removes queue and exchange, if the broker is there.
    pub(crate) fn delete(&self) {
        let delete = async {
            let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            channel.queue_delete(self.name.as_str().into(), QueueDeleteOptions::default()).await?;
            channel.exchange_delete(self.name.as_str().into(), ExchangeDeleteOptions::default()).await?;
            connection.close(200, "done".into()).await
        };
        // A test may have left its broker in any state.
        let _ = block_on(async { tokio::time::timeout(Duration::from_secs(5), delete).await });
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}
