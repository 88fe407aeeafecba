//! `collect`: consumes all the time, whatever happens to the broker, so that what a queue confirmed is known even if the queue is deleted.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::time::Duration;

use lapin::uri::AMQPUri;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::delivery::{Deliveries, events, parse_url};
use crate::options::CollectOptions;
use crate::{AnyError, Verdict};

/// Wait before a broker or queue that was away is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Where events are written down, and how many.
struct Book {
    file: File,
    messages: u64,
    events: u64,
}

/// Consumes until a signal comes.
pub(crate) fn collect(options: &CollectOptions) -> Result<Verdict, AnyError> {
    let url = parse_url(&options.amqp_url)?;
    let file = OpenOptions::new().create(true).append(true).open(&options.out)?;
    let mut book = Book { file, messages: 0, events: 0 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        while !is_over(&mut interrupt, &mut terminate, consume(&url, &options.queue, &mut book)).await? {
            if is_over(&mut interrupt, &mut terminate, async {
                tokio::time::sleep(RETRY).await;
                Ok(())
            })
            .await?
            {
                break;
            }
        }
        Ok::<_, AnyError>(())
    })?;
    println!("collected {} events in {} messages", book.events, book.messages);
    Ok(Verdict::Good)
}

/// Does something until it is done or a signal comes; whether one came.
async fn is_over(
    interrupt: &mut Signal,
    terminate: &mut Signal,
    act: impl Future<Output = Result<(), AnyError>>,
) -> Result<bool, AnyError> {
    tokio::select! {
        _ = interrupt.recv() => Ok(true),
        _ = terminate.recv() => Ok(true),
        done = act => done.map(|()| false),
    }
}

/// Consumes until broker or queue is away. Fails only if what came cannot be read or written down.
async fn consume(url: &AMQPUri, queue: &str, book: &mut Book) -> Result<(), AnyError> {
    let Ok(mut deliveries) = Deliveries::begin(url, queue).await else { return Ok(()) };
    while let Some(Ok(delivery)) = deliveries.next().await {
        // All or nothing, and no await between: a signal finds no half of it.
        let mut lines = String::new();
        for (id, hash) in events(&delivery.data)? {
            let _ = writeln!(lines, "{id} {hash}");
            book.events += 1;
        }
        book.file.write_all(lines.as_bytes())?;
        book.messages += 1;
        if deliveries.ack(&delivery).await.is_err() {
            break; // it comes again
        }
    }
    Ok(())
}
