//! `run`: starts the threads, shows progress, adds up.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use forebay::config::CpuList;
use indicatif::{ProgressBar, ProgressStyle};

use crate::credentials::{Fetcher, Tokens, address};
use crate::generator::{self, Outcome, Share};
use crate::options::RunOptions;
use crate::payload;
use crate::report::Report;
use crate::request::Payloads;
use crate::tally::Progress;
use crate::{AnyError, Verdict};

/// How often the progress bar moves and tokens are looked at.
const TICK: Duration = Duration::from_millis(200);
/// Wait before a token that was not given is asked for again.
const TOKEN_RETRY: Duration = Duration::from_secs(1);

/// Runs the load and reports.
pub(crate) fn run(options: &RunOptions) -> Result<Verdict, AnyError> {
    // Each connection is a descriptor.
    forebay::uring::raise_descriptor_limit()?;
    let targets = options.target.iter().map(|target| address(target)).collect::<Result<Vec<_>, _>>()?;
    let payloads = Arc::new(Payloads::new(match &options.payload {
        Some(path) => payload::read(path)?,
        None => payload::make(options.seed),
    }));
    let tokens = Arc::new(Tokens::fixed(options.token.as_deref()));
    let fetcher = options.api_key.clone().zip(options.secret.clone()).map(|(api_key, secret)| Fetcher {
        address: targets[0].clone(),
        api_key,
        secret,
    });
    // First of all: whoever ends the run wants its report.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let mut refresh_at = fetcher.as_ref().map(|fetcher| fetcher.fetch(&tokens)).transpose()?;

    let progress = start_bar(options);
    let shares = shares(options, &targets, &payloads, &tokens, &stop);
    let shown: Vec<_> = shares.iter().map(|(share, _)| share.progress.clone()).collect();
    let threads: Vec<_> = shares
        .into_iter()
        .map(|(share, cpu)| thread::Builder::new().spawn(move || generator::run(share, cpu)))
        .collect::<Result<_, _>>()?;

    let started = Instant::now();
    while threads.iter().any(|thread| !thread.is_finished()) {
        thread::park_timeout(TICK);
        show(&progress, &shown, started, options);
        if let (Some(fetcher), Some(at)) = (&fetcher, refresh_at)
            && Instant::now() >= at
        {
            // The old one is still good for a while.
            refresh_at = Some(fetcher.fetch(&tokens).unwrap_or_else(|_| Instant::now() + TOKEN_RETRY));
        }
    }
    progress.finish_and_clear();

    let mut whole = Outcome::new(options.duration);
    for thread in threads {
        whole.add(thread.join().map_err(|_| "a thread of the generator failed")??);
    }
    if let Some(path) = &options.ids {
        let mut file = BufWriter::new(OpenOptions::new().create(true).append(true).open(path)?);
        for (id, payload) in &whole.ids {
            writeln!(file, "{id} {}", payloads.hashes[*payload as usize])?;
        }
        file.flush()?;
    }
    let report = Report::new(&whole.tally, whole.taken);
    print!("{report}");
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    if report.bad_accepted > 0 {
        return Ok(Verdict::Bad);
    }
    Ok(if report.breaks(options) { Verdict::Breach } else { Verdict::Good })
}

/// Cuts the work into equal parts, one a CPU.
fn shares(
    options: &RunOptions,
    targets: &[String],
    payloads: &Arc<Payloads>,
    tokens: &Arc<Tokens>,
    stop: &Arc<AtomicBool>,
) -> Vec<(Share, Option<usize>)> {
    let cpus: Vec<Option<usize>> = match &options.cpus {
        Some(CpuList(cpus)) => cpus.iter().copied().map(Some).collect(),
        None => vec![None],
    };
    let threads = cpus.len().min(options.connections.max(1));
    let part = |whole: u64, number: usize| {
        let (threads, number) = (threads as u64, number as u64);
        whole / threads + u64::from(number < whole % threads)
    };
    let share = |number: usize| Share {
        options: options.clone(),
        addresses: {
            let connections = part(options.connections.max(1) as u64, number);
            targets
                .iter()
                .cycle()
                .skip(number)
                .take(usize::try_from(connections).expect("a count"))
                .cloned()
                .collect()
        },
        #[allow(clippy::cast_precision_loss, reason = "a handful of threads")]
        rate: options.rate.map(|rate| rate / threads as f64),
        requests_max: options.requests.map_or(u64::MAX, |requests| part(requests, number)),
        payloads: payloads.clone(),
        tokens: tokens.clone(),
        stop: stop.clone(),
        progress: Arc::new(Progress::default()),
        number: number as u64,
    };
    (0..threads).map(|number| (share(number), cpus[number])).collect()
}

fn start_bar(options: &RunOptions) -> ProgressBar {
    if options.quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(options.duration.as_secs().max(1));
    let style = ProgressStyle::with_template("{elapsed:>4} {wide_bar} {msg}").expect("a constant template");
    bar.set_style(style);
    bar
}

fn show(bar: &ProgressBar, shown: &[Arc<Progress>], started: Instant, options: &RunOptions) {
    let sum = |of: fn(&Progress) -> u64| shown.iter().map(|progress| of(progress)).sum::<u64>();
    let answered = sum(|progress| progress.answered.load(Ordering::Relaxed));
    let refused = sum(|progress| progress.refused.load(Ordering::Relaxed));
    let elapsed = started.elapsed();
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let rate = answered as f64 / elapsed.as_secs_f64().max(1e-3);
    bar.set_position(elapsed.as_secs().min(options.duration.as_secs()));
    bar.set_message(format!("{answered} answers, {rate:.0}/s, {refused} refused or lost"));
}
