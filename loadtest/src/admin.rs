//! `--admin-url`: looks at the node once a second while it is under load, by its page for Prometheus.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::AnyError;
use crate::credentials::address;
use crate::exchange::exchange;

/// How often the node is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// A node at one moment; what its page does not have is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// Since the start of the run.
    pub(crate) seconds: f64,
    /// How much of its time each reactor thread is at work, by core, 0 to 1.
    pub(crate) busy_ratio: Vec<f64>,
    /// Events that are accepted and not confirmed.
    pub(crate) events_pending: Option<f64>,
    /// Batches between the reactors and the forwarder.
    pub(crate) queue_batches: Option<f64>,
    pub(crate) connections: Option<f64>,
}

/// A node over time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeCourse {
    pub(crate) url: String,
    pub(crate) samples: Vec<Sample>,
    /// How often it did not answer.
    pub(crate) failed: u64,
}

impl NodeCourse {
    /// The same as seen from a later start: what was before it is left out.
    pub(crate) fn since(mut self, start: Duration) -> Self {
        for sample in &mut self.samples {
            sample.seconds -= start.as_secs_f64();
        }
        self.samples.retain(|sample| sample.seconds >= 0.0);
        self
    }
}

/// A thread that samples until it is told to stop.
pub(crate) struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<NodeCourse>,
}

impl Sampler {
    /// Begins now. Fails if the first look does.
    pub(crate) fn start(url: &str) -> Result<Self, AnyError> {
        let failed = |error: &dyn std::fmt::Display| format!("--admin-url {url}: {error}");
        let address = address(url).map_err(|error| failed(&error))?;
        let start = Instant::now();
        let first = sample(&address, Duration::ZERO).map_err(|error| failed(&error))?;
        let course = NodeCourse { url: url.to_owned(), samples: vec![first], failed: 0 };
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || watch(&address, start, course, &stopped))?;
        Ok(Self { stop, thread })
    }

    /// Ends it; what it saw.
    pub(crate) fn finish(self) -> Result<NodeCourse, AnyError> {
        drop(self.stop);
        self.thread.join().map_err(|_| "the thread that looks at the node failed".into())
    }
}

fn watch(address: &str, start: Instant, mut course: NodeCourse, stopped: &Receiver<()>) -> NodeCourse {
    let mut due = start + PERIOD;
    while stopped.recv_timeout(due.saturating_duration_since(Instant::now()))
        == Err(RecvTimeoutError::Timeout)
    {
        match sample(address, start.elapsed()) {
            Ok(sample) => course.samples.push(sample),
            // A node that is being restarted, or too busy: that is what one wants to see.
            Err(_) => course.failed += 1,
        }
        while due <= Instant::now() {
            due += PERIOD;
        }
    }
    course
}

fn sample(address: &str, at: Duration) -> std::io::Result<Sample> {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    match exchange(address, &request)? {
        (200, page) => Ok(read(&page, at)),
        (status, _) => Err(std::io::Error::other(format!("/metrics has status {status}"))),
    }
}

/// Reads a page in Prometheus' text format.
fn read(page: &str, at: Duration) -> Sample {
    let sum = |name: &str| {
        let values = values(page, name);
        (!values.is_empty()).then(|| values.iter().sum())
    };
    Sample {
        seconds: at.as_secs_f64(),
        busy_ratio: values(page, "forebay_reactor_busy_ratio"),
        events_pending: sum("forebay_events_pending"),
        queue_batches: sum("forebay_queue_batches"),
        connections: sum("forebay_connections"),
    }
}

/// The values of a metric, one for each set of labels.
fn values(page: &str, name: &str) -> Vec<f64> {
    let rests = page.lines().filter_map(|line| line.strip_prefix(name));
    let values = rests.filter_map(|rest| {
        // Behind labels, in which there may be spaces, or behind the name.
        let value = rest
            .strip_prefix('{')
            .map_or(rest.strip_prefix(' '), |rest| rest.rsplit_once("} ").map(|(_, v)| v));
        value?.split(' ').next()?.parse().ok()
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    const PAGE: &str = "# TYPE forebay_connections gauge\nforebay_connections 64\nforebay_connections_other 3\n\
        forebay_events_pending 1200\nforebay_reactor_busy_ratio{core=\"0\"} 0.25\nforebay_reactor_busy_ratio{core=\"a } b\"} 0.75 17\n";

    #[test]
    fn metrics_are_read_with_and_without_labels() {
        let sample = read(PAGE, Duration::from_secs(3));
        let expected = Sample {
            seconds: 3.0,
            busy_ratio: vec![0.25, 0.75],
            events_pending: Some(1200.0),
            queue_batches: None,
            connections: Some(64.0),
        };
        assert_eq!(sample, expected);
    }

    #[test]
    fn a_node_that_goes_away_is_counted_and_one_that_is_not_there_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let served = std::thread::spawn(move || {
            let answers =
                [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{PAGE}", PAGE.len()), String::new()];
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut request = [0; 1024];
                let length = stream.read(&mut request).expect("a request");
                assert!(request[..length].starts_with(b"GET /metrics HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).expect("a client that reads");
            }
        });
        let sampler = Sampler::start(&url).expect("a node");
        served.join().expect("two looks");
        let course = sampler.finish().expect("a thread that ends");
        assert_eq!((course.samples.len(), course.failed), (1, 1));
        assert_eq!(course.since(Duration::from_secs(1)).samples, [], "it was before the start");
        let error = Sampler::start(&url).err().expect("nobody listens").to_string();
        assert!(error.starts_with(&format!("--admin-url {url}: ")), "{error}");
    }
}
