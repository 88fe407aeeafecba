//! One measurement: starts the threads, keeps tokens fresh meanwhile, adds up.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use forebay::config::CpuList;

use crate::apps::{self, Credentials, Shares};
use crate::bodies::Bodies;
use crate::credentials::{Fetcher, Tokens, address};
use crate::curve::Curve;
use crate::generator::{self, Outcome, Share};
use crate::live::Live;
use crate::options::Workload;
use crate::progress::Progress;
use crate::refresh::Refresher;
use crate::request::Requests;
use crate::schedule::Schedule;
use crate::{AnyError, payload};

/// How often the view on the run moves.
const TICK: Duration = Duration::from_millis(200);

/// When to send, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The rate over time, the warm-up included; none: as fast as answers come.
    pub(crate) curve: Option<Arc<Curve>>,
    /// How long to send without counting.
    pub(crate) warm_up: Duration,
    /// How long to send in all.
    pub(crate) duration: Duration,
    pub(crate) requests: Option<u64>,
    pub(crate) keeps_ids: bool,
}

/// All that measurements need, made once.
#[derive(Debug)]
pub(crate) struct Bench {
    workload: Workload,
    /// `host:port` of the first target.
    host: String,
    addresses: Vec<SocketAddr>,
    bodies: Arc<Bodies>,
    shares: Arc<Shares>,
    tokens: Arc<Tokens>,
    refresher: Refresher,
    stop: Arc<AtomicBool>,
}

impl Bench {
    /// Makes bodies, looks whether the targets are there, fetches tokens.
    pub(crate) fn prepare(workload: &Workload) -> Result<Self, AnyError> {
        // Each connection is a descriptor.
        forebay::uring::raise_descriptor_limit()?;
        let targets = workload.target.iter().map(|target| address(target)).collect::<Result<Vec<_>, _>>()?;
        let events = match &workload.payload {
            Some(path) => payload::read(path)?,
            None => payload::make(workload.seed),
        };
        let bodies = Bodies::make(&events, workload.form())?;
        // First of all: whoever ends the run wants its report.
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, stop.clone())?;
        }
        let addresses = targets.iter().map(|target| reach(target)).collect::<Result<_, _>>()?;
        let (credentials, file) = credentials(workload)?;
        let fetchers: Vec<_> = credentials
            .into_iter()
            .map(|credentials| Fetcher { address: targets[0].clone(), credentials })
            .collect();
        let tokens = Arc::new(if fetchers.is_empty() {
            Tokens::fixed(workload.token.as_deref())
        } else {
            Tokens::of(fetchers.len())
        });
        let shares = Shares::zipf(tokens.apps(), workload.zipf);
        Ok(Self {
            workload: workload.clone(),
            host: targets[0].clone(),
            addresses,
            bodies: Arc::new(bodies),
            shares: Arc::new(shares),
            refresher: Refresher::start(fetchers, tokens.clone(), file)?,
            tokens,
            stop,
        })
    }

    /// What `verify` compares, by number of the payload.
    pub(crate) fn hashes(&self) -> &[String] {
        &self.bodies.hashes
    }

    /// A signal has asked for the end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sends according to the plan.
    pub(crate) fn measure(&mut self, plan: &Plan) -> Result<Outcome, AnyError> {
        let shares = self.cut(plan);
        let shown = shares.iter().map(|(share, _)| share.progress.clone()).collect();
        let mut live = Live::new(self.workload.quiet, plan.warm_up, plan.duration, shown);
        let threads: Vec<_> = shares
            .into_iter()
            .map(|(share, cpu)| thread::Builder::new().spawn(move || generator::run(share, cpu)))
            .collect::<Result<_, _>>()?;
        let started = Instant::now();
        let mut show_at = started;
        while threads.iter().any(|thread| !thread.is_finished()) {
            let now = Instant::now();
            if now >= show_at {
                show_at = now + TICK;
                let at = now.saturating_duration_since(started);
                live.show(at, plan.curve.as_ref().map(|curve| curve.rate_at(at)));
            }
            let refresh_at = self.refresher.refresh();
            let next = refresh_at.map_or(show_at, |at| at.min(show_at));
            // A token that is refused ends the wait.
            thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
        live.end();
        let mut whole = Outcome::new(plan.duration.saturating_sub(plan.warm_up));
        for thread in threads {
            whole.add(thread.join().map_err(|_| "a thread of the generator failed")??);
        }
        Ok(whole)
    }

    /// Cuts the work into equal parts, one a CPU.
    fn cut(&self, plan: &Plan) -> Vec<(Share, Option<usize>)> {
        let workload = &self.workload;
        let cpus: Vec<Option<usize>> = match &workload.cpus {
            Some(CpuList(cpus)) => cpus.iter().copied().map(Some).collect(),
            None => vec![None],
        };
        let connections = workload.connections.max(1);
        let threads = cpus.len().min(connections);
        let part = |whole: u64, number: usize| {
            let (threads, number) = (threads as u64, number as u64);
            whole / threads + u64::from(number < whole % threads)
        };
        let schedule = |curve: &Arc<Curve>, number: usize, seed: u64| {
            let count = |count: usize| u32::try_from(count).expect("a handful of threads");
            Schedule::new(curve.clone(), workload.arrivals, count(threads), count(number), seed)
        };
        let share = |number: usize| {
            let seed = workload.seed.wrapping_add(number as u64);
            Share {
                addresses: {
                    let connections = part(connections as u64, number);
                    let count = usize::try_from(connections).expect("a count");
                    self.addresses.iter().cycle().skip(number).take(count).copied().collect()
                },
                schedule: plan.curve.as_ref().map(|curve| schedule(curve, number, seed)),
                warm_up: plan.warm_up,
                duration: plan.duration,
                requests_max: plan.requests.map_or(u64::MAX, |requests| part(requests, number)),
                pipeline: workload.pipeline,
                requests_per_connection: workload.requests_per_connection.unwrap_or(u64::MAX),
                keeps_ids: plan.keeps_ids,
                is_batch: workload.batch.is_some(),
                requests: Requests::new(
                    workload,
                    &self.host,
                    self.bodies.clone(),
                    self.shares.clone(),
                    self.tokens.clone(),
                    seed,
                ),
                stop: self.stop.clone(),
                progress: Arc::new(Progress::default()),
            }
        };
        (0..threads).map(|number| (share(number), cpus[number])).collect()
    }
}

/// Whose tokens are to be fetched, and the file that has their secrets.
fn credentials(workload: &Workload) -> Result<(Vec<Credentials>, Option<PathBuf>), AnyError> {
    let single = workload.api_key.clone().zip(workload.secret.clone());
    Ok(match (&workload.apps, single) {
        (Some(file), _) => (apps::read(file)?, Some(file.clone())),
        (None, Some((api_key, secret))) => (vec![Credentials { api_key, secret }], None),
        (None, None) => (Vec::new(), None),
    })
}

/// The address of a host that answers, of those that it has.
fn reach(target: &str) -> Result<SocketAddr, AnyError> {
    let address = TcpStream::connect(target).and_then(|stream| stream.peer_addr());
    address.map_err(|error| format!("{target}: {error}").into())
}
