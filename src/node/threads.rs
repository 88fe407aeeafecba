//! The threads of a node, and what they are given.

use std::io;
use std::sync::mpsc::Sender;
use std::thread;

use rustix::io::Errno;
use tokio::sync::mpsc::UnboundedSender;
use uuid::Uuid;

use super::NodeError;
use crate::api::ServiceOptions;
use crate::config::{ConfigError, CpuList, ServeOptions};
use crate::forward::{
    DispatchOptions, Forwarder, ForwarderOptions, PublishOptions, SessionOptions, TrackerOptions,
};
use crate::journal::CoreId;
use crate::reactor::{Reactor, ReactorOptions, ReactorParts, Worker};
use crate::uring::{Ring, RingOptions, pin_thread};

/// What a thread says when it ends.
#[derive(Debug)]
pub(super) enum Ended {
    Reactor(CoreId, Result<(), Errno>),
    Forwarder(Result<(), io::Error>),
}

/// Starts a reactor, which says on `up` whether it has its CPU and its ring.
pub(super) fn spawn_reactor(
    core: CoreId,
    cpu: Option<usize>,
    parts: ReactorParts,
    options: ReactorOptions,
    up: Sender<Result<(), NodeError>>,
    ended: UnboundedSender<Ended>,
) -> Result<(), NodeError> {
    let run = move || {
        let pinned =
            cpu.map_or(Ok(()), |cpu| pin_thread(&[cpu]).map_err(|errno| cpu_error("cpus", cpu, errno)));
        let ring = match pinned.and_then(|()| Ok(Ring::new(RingOptions::default())?)) {
            Ok(ring) => ring,
            Err(error) => {
                // The start has ended already if nobody listens.
                let _ = up.send(Err(error));
                return;
            }
        };
        let _ = up.send(Ok(()));
        drop(up);
        let outcome = Reactor::new(ring, parts, options).run();
        let _ = ended.send(Ended::Reactor(core, outcome));
    };
    let spawned = thread::Builder::new().name(format!("reactor-{core}")).spawn(run);
    spawned.map(drop).map_err(|error| NodeError::System { what: "starting a reactor's thread", error })
}

/// Starts the threads that do what takes long; they end with the reactors.
pub(super) fn spawn_pool(worker: &Worker, threads: usize) -> Result<(), NodeError> {
    for number in 0..threads {
        let worker = worker.clone();
        let spawned = thread::Builder::new().name(format!("pool-{number}")).spawn(move || worker.run());
        spawned.map_err(|error| NodeError::System { what: "starting a thread of the pool", error })?;
    }
    Ok(())
}

/// Starts the forwarder; `make` is called on its thread.
pub(super) fn spawn_forwarder(
    cpus: Option<CpuList>,
    make: impl FnOnce() -> Forwarder + Send + 'static,
    ended: UnboundedSender<Ended>,
) -> Result<(), NodeError> {
    let run = move || {
        let pinned = cpus.map_or(Ok(()), |CpuList(cpus)| pin_thread(&cpus));
        let outcome = pinned.map_err(io::Error::from).map(|()| {
            tokio_uring::start(make().run());
        });
        let _ = ended.send(Ended::Forwarder(outcome));
    };
    let spawned = thread::Builder::new().name("forwarder".to_owned()).spawn(run);
    spawned.map(drop).map_err(|error| NodeError::System { what: "starting the forwarder's thread", error })
}

pub(super) fn service_options(
    options: &ServeOptions,
    record_bytes_max: usize,
    reactors: usize,
) -> ServiceOptions {
    ServiceOptions {
        reactors: reactors as u64,
        body_bytes_max: options.limits.max_body,
        batch_body_bytes_max: options.limits.max_batch_body,
        record_bytes_max,
        ack: options.ack,
        has_broker: !options.broker.amqp_url.is_empty(),
        token_lifetime: options.credentials.token_lifetime,
    }
}

pub(super) fn reactor_options(options: &ServeOptions, connections_max: usize) -> ReactorOptions {
    ReactorOptions {
        head_bytes_max: options.limits.max_head,
        head_timeout: options.limits.head_timeout,
        body_timeout: options.limits.body_timeout,
        idle_timeout: options.limits.idle_timeout,
        ack: options.ack,
        ack_timeout: options.ack_timeout,
        connections_max,
        connection_age: options.limits.max_connection_age,
    }
}

pub(super) fn forwarder_options(options: &ServeOptions, node: &str) -> ForwarderOptions {
    let broker = &options.broker;
    ForwarderOptions {
        session: SessionOptions {
            urls: broker.urls().expect("checked before"),
            heartbeat: broker.amqp_heartbeat,
            publish: PublishOptions {
                exchange: broker.exchange.clone(),
                queue: broker.queue.clone(),
                queue_type: broker.queue_type,
                routing_key: broker.routing_key.clone(),
                declare: !broker.no_declare,
                node: node.to_owned(),
            },
        },
        dispatch: DispatchOptions {
            tracker: TrackerOptions {
                window_max: broker.confirm_window,
                confirm_timeout: broker.confirm_timeout,
                jitter_seed: Uuid::new_v4().as_u64_pair().0,
            },
            message_bytes_target: broker.batch_bytes,
            linger: broker.batch_linger,
        },
    }
}

fn cpu_error(flag: &'static str, cpu: usize, errno: Errno) -> NodeError {
    ConfigError::Flag { flag, value: cpu.to_string(), problem: format!("cannot run there: {errno}") }.into()
}
