//! What is plotted of a run.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::axis::Axis;
use super::plot::{Column, Layer, Plot, Shape, Spot};
use crate::admin::{NodeCourse, Sample};
use crate::report::{Latency, Report, Stretch};
use crate::tally::{Meaning, Tally};
use crate::units::{shown_count, shown_percent, shown_rate, shown_us};

/// How many steps the value axis has.
const STEPS: f64 = 4.0;
/// Points for each halving of the distance to 100 %.
const SPECTRUM_TICKS: u32 = 10;
/// A last stretch that is shorter than this part of the others says little, and looks like a drop.
const LAST_STRETCH_MIN: f64 = 0.5;

/// The colours of answers by code, from the most frequent on.
const CODE_CLASSES: [&str; 6] = ["overloaded", "refused", "limited", "failed", "p50", "other"];

/// A stretch with its place on the time axis.
struct Placed<'a> {
    from: f64,
    to: f64,
    stretch: &'a Stretch,
}

impl Placed<'_> {
    fn middle(&self) -> f64 {
        f64::midpoint(self.from, self.to)
    }

    /// Of a count in it, a second.
    fn rate(&self, count: u64) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let count = count as f64;
        count / (self.to - self.from)
    }

    fn span(&self) -> String {
        format!("{:.0} to {:.0} s", self.from, self.to)
    }
}

fn placed(report: &Report) -> Vec<Placed<'_>> {
    let interval = report.series.interval_seconds;
    let starts = std::iter::successors(Some(0.0), |from| Some(from + interval));
    let all = starts.zip(&report.series.intervals).map(|(from, stretch)| Placed {
        from,
        to: (from + interval).min(report.seconds),
        stretch,
    });
    // The first one stays, however short the run was.
    all.filter(|placed| placed.from == 0.0 || placed.to - placed.from >= interval * LAST_STRETCH_MIN)
        .collect()
}

fn end(placed: &[Placed<'_>]) -> f64 {
    placed.last().map_or(1.0, |last| last.to)
}

/// Latency over time; none if nothing was accepted.
pub(super) fn latency(report: &Report) -> Option<Plot> {
    type Curve = (&'static str, &'static str, fn(&Latency) -> u64);
    let curves: [Curve; 4] = [
        ("p50", "p50", |latency| latency.p50),
        ("p99", "p99", |latency| latency.p99),
        ("p99.9", "p999", |latency| latency.p999),
        ("max", "max", |latency| latency.max),
    ];
    let placed = placed(report);
    let of = |curve: fn(&Latency) -> u64| {
        placed.iter().filter_map(move |p| p.stretch.latency_us.as_ref().map(curve))
    };
    let (min, max) = (of(|latency| latency.p50).min()?, of(|latency| latency.max).max()?);
    let mut layers: Vec<_> = threshold(report).into_iter().collect();
    layers.extend(curves.iter().rev().map(|(name, class, curve)| {
        let point =
            |p: &Placed<'_>| p.stretch.latency_us.as_ref().map(|latency| (p.middle(), exact(curve(latency))));
        let shape = Shape::Line(placed.iter().map(point).collect());
        Layer { name: (*name).to_owned(), class, shape }
    }));
    let spots = placed.iter().map(|p| {
        let title = p.stretch.latency_us.as_ref().map_or("nothing was accepted".to_owned(), |latency| {
            let lines = curves.map(|(name, _, curve)| format!("{name} {}", shown_us(curve(latency))));
            lines.join("\n")
        });
        Spot { from: p.from, to: p.to, title: format!("{}\n{title}", p.span()) }
    });
    Some(Plot {
        title: "Latency over time",
        note: "Response time of what was accepted, in each interval, from the moment a request should have left. Logarithmic.",
        x: Axis::time(end(&placed)),
        y: latency_axis(report, min, max, "response time"),
        layers,
        spots: spots.collect(),
    })
}

/// Latency by percentile; none if nothing was accepted.
pub(super) fn spectrum(report: &Report, tally: &Tally) -> Option<Plot> {
    let histograms =
        [("response time", "response", &tally.response_us), ("service time", "service", &tally.service_us)];
    if tally.response_us.is_empty() {
        return None;
    }
    // As far as there are values: the last one of n stands at 1 / n.
    let count = exact(tally.response_us.len());
    let curves = histograms.map(|(_, _, histogram)| curve(histogram, count));
    let min = histograms.iter().map(|(_, _, histogram)| histogram.min()).min()?;
    let max = histograms.iter().map(|(_, _, histogram)| histogram.max()).max()?;
    let x = Axis::percentiles(count);
    let spots = x.ticks.windows(2).map(|ticks| {
        let ((from, name), (to, _)) = (&ticks[0], &ticks[1]);
        let at = |histogram: &Histogram<u64>| shown_us(histogram.value_at_quantile(1.0 - 1.0 / from));
        let [response, service] = histograms.map(|(_, _, histogram)| at(histogram));
        Spot { from: *from, to: *to, title: format!("{name}\nresponse {response}\nservice {service}") }
    });
    let spots = spots.collect();
    let mut layers: Vec<_> = threshold(report).into_iter().collect();
    layers.extend(histograms.iter().zip(curves).rev().map(|((name, class, _), points)| Layer {
        name: (*name).to_owned(),
        class,
        shape: Shape::Line(points),
    }));
    Some(Plot {
        title: "Latency by percentile",
        note: "Each further nine takes the same room. Service time counts from the moment a request left: where response time is above it, requests waited for their turn.",
        x,
        y: latency_axis(report, min, max, "latency"),
        layers,
        spots,
    })
}

fn curve(histogram: &Histogram<u64>, count: f64) -> Vec<Option<(f64, f64)>> {
    let steps = histogram.iter_quantiles(SPECTRUM_TICKS);
    let place = |quantile: f64| if quantile < 1.0 { (1.0 / (1.0 - quantile)).min(count) } else { count };
    steps.map(|step| Some((place(step.quantile_iterated_to()), exact(step.value_iterated_to())))).collect()
}

/// From the lowest to the highest, with room for what they must not pass.
fn latency_axis(report: &Report, min: u64, max: u64, label: &'static str) -> Axis {
    let threshold = report.options.max_p99_us.unwrap_or(max);
    Axis::logarithmic(exact(min.min(threshold).max(1)), exact(max.max(threshold)), label, round_us)
}

fn threshold(report: &Report) -> Option<Layer> {
    let us = report.options.max_p99_us?;
    Some(Layer {
        name: format!("--max-p99 {}", shown_us(us)),
        class: "threshold",
        shape: Shape::Level(exact(us)),
    })
}

/// What was sent and answered over time.
pub(super) fn answers(report: &Report) -> Plot {
    let placed = placed(report);
    let mut bases = vec![0.0; placed.len()];
    let mut layers = Vec::new();
    for meaning in Meaning::ALL {
        let rate = |p: &Placed<'_>| p.rate(p.stretch.meanings[meaning.as_str()]);
        let shape = Shape::Columns(stacked(&placed, &mut bases, rate));
        // What never happened needs no place in the legend.
        if report.meanings[meaning.as_str()] > 0 {
            layers.push(Layer { name: meaning.as_str().to_owned(), class: meaning.as_str(), shape });
        }
    }
    let sent: Vec<_> = placed.iter().map(|p| Some((p.middle(), p.rate(p.stretch.sent)))).collect();
    let highest = sent.iter().flatten().map(|(_, rate)| *rate).chain(bases).fold(0.0, f64::max);
    layers.push(Layer { name: "sent".to_owned(), class: "sent", shape: Shape::Line(sent) });
    let spots = placed.iter().map(|p| {
        let mut title = format!("{}\nsent {}", p.span(), shown_rate(p.rate(p.stretch.sent)));
        for meaning in Meaning::ALL.map(Meaning::as_str) {
            if report.meanings[meaning] > 0 {
                let _ = write!(title, "\n{meaning} {}", shown_rate(p.rate(p.stretch.meanings[meaning])));
            }
        }
        Spot { from: p.from, to: p.to, title }
    });
    Plot {
        title: "Answers by meaning",
        note: "Good requests a second: what was sent, and what the answers that came meant.",
        x: Axis::time(end(&placed)),
        y: Axis::linear(highest.max(1.0), STEPS, "requests a second", short),
        layers,
        spots: spots.collect(),
    }
}

/// Answers other than 2xx over time, by code; none if there were none.
pub(super) fn codes(report: &Report) -> Option<Plot> {
    let mut names: Vec<&str> = report.refusals.keys().map(String::as_str).collect();
    names.sort_by_key(|name| std::cmp::Reverse(report.refusals[*name]));
    // The largest have a colour each; what is left shares the last one.
    let rest = names.split_off(names.len().min(CODE_CLASSES.len() - 1));
    let mut bands: Vec<(&str, Vec<&str>)> = names.into_iter().map(|name| (name, vec![name])).collect();
    bands.extend((!rest.is_empty()).then_some(("other", rest)));
    let placed = placed(report);
    let rate = |p: &Placed<'_>, names: &[&str]| {
        p.rate(names.iter().filter_map(|name| p.stretch.refusals.get(*name)).sum())
    };
    let mut bases = vec![0.0; placed.len()];
    let layers: Vec<_> = bands
        .iter()
        .zip(CODE_CLASSES)
        .map(|((name, names), class)| {
            let shape = Shape::Columns(stacked(&placed, &mut bases, |p| rate(p, names)));
            Layer { name: (*name).to_owned(), class, shape }
        })
        .collect();
    let highest = bases.iter().copied().fold(0.0, f64::max);
    let spots = placed.iter().map(|p| {
        let mut title = p.span();
        for (name, rate) in bands.iter().map(|(name, names)| (name, rate(p, names))) {
            if rate > 0.0 {
                let _ = write!(title, "\n{name} {}", shown_rate(rate));
            }
        }
        Spot { from: p.from, to: p.to, title }
    });
    let spots = spots.collect();
    (!layers.is_empty()).then(|| Plot {
        title: "Answers other than 2xx",
        note: "By status and code, to good requests and to bad ones.",
        x: Axis::time(end(&placed)),
        y: Axis::linear(highest.max(1.0), STEPS, "answers a second", short),
        layers,
        spots,
    })
}

/// Columns on top of what stands there already.
fn stacked(placed: &[Placed<'_>], bases: &mut [f64], rate: impl Fn(&Placed<'_>) -> f64) -> Vec<Column> {
    let columns = placed.iter().zip(bases).map(|(p, base)| {
        let low = *base;
        *base += rate(p);
        Column { from: p.from, to: p.to, low, high: *base }
    });
    columns.collect()
}

/// What the node said of itself.
pub(super) fn node(node: &NodeCourse) -> Vec<Plot> {
    let mean = |sample: &Sample| {
        let cores = sample.busy_ratio.len();
        (cores > 0).then(|| sample.busy_ratio.iter().sum::<f64>() / exact(cores as u64))
    };
    let busiest = |sample: &Sample| sample.busy_ratio.iter().copied().reduce(f64::max);
    let has_cores = node.samples.iter().any(|sample| sample.busy_ratio.len() > 1);
    let mut busy: Vec<Curve<'_>> = vec![("reactors, mean", "response", &mean)];
    if has_cores {
        busy.push(("the busiest", "max", &busiest));
    }
    let percent = |ratio: f64| format!("{:.0} %", ratio * 100.0);
    [
        gauge(
            node,
            "CPU of the node",
            "How much of its time a reactor thread is at work.",
            &busy,
            Some(1.0),
            ("of a CPU", percent, |ratio| shown_percent(ratio)),
        ),
        gauge(
            node,
            "Events pending",
            "Accepted and not yet confirmed by a broker; without one, all that were accepted.",
            &[("events", "p99", &|sample| sample.events_pending)],
            None,
            ("events", short, whole),
        ),
        gauge(
            node,
            "Queue to the forwarder",
            "Batches between the reactors and the forwarder.",
            &[("batches", "service", &|sample| sample.queue_batches)],
            None,
            ("batches", short, whole),
        ),
        gauge(
            node,
            "Open connections",
            "Of all clients.",
            &[("connections", "p50", &|sample| sample.connections)],
            None,
            ("connections", short, whole),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

type Curve<'a> = (&'static str, &'static str, &'a dyn Fn(&Sample) -> Option<f64>);
/// What an axis shows; how it names values, and how hovering does.
type Unit = (&'static str, fn(f64) -> String, fn(f64) -> String);

/// Samples over time; none if the node does not have them.
fn gauge(
    node: &NodeCourse,
    title: &'static str,
    note: &'static str,
    curves: &[Curve<'_>],
    max: Option<f64>,
    (label, name, exactly): Unit,
) -> Option<Plot> {
    let highest = node.samples.iter().flat_map(|sample| curves.iter().filter_map(|(_, _, of)| of(sample)));
    let highest = highest.reduce(f64::max)?;
    let layers = curves.iter().map(|(name, class, of)| {
        let points = node.samples.iter().map(|sample| of(sample).map(|value| (sample.seconds, value)));
        Layer { name: (*name).to_owned(), class, shape: Shape::Line(points.collect()) }
    });
    let end = node.samples.last().map_or(1.0, |sample| sample.seconds);
    let spots = node.samples.iter().enumerate().map(|(index, sample)| {
        let neighbour = |index: Option<usize>| {
            index
                .and_then(|index| node.samples.get(index))
                .map(|other| f64::midpoint(other.seconds, sample.seconds))
        };
        let mut title = format!("{:.0} s", sample.seconds);
        for (name, _, of) in curves {
            title += &of(sample).map_or(String::new(), |value| format!("\n{name} {}", exactly(value)));
        }
        Spot {
            from: neighbour(index.checked_sub(1)).unwrap_or(0.0),
            to: neighbour(Some(index + 1)).unwrap_or(end),
            title,
        }
    });
    Some(Plot {
        title,
        note,
        x: Axis::time(end),
        y: Axis::linear(max.unwrap_or(highest.max(1.0)), STEPS, label, name),
        layers: layers.collect(),
        spots: spots.collect(),
    })
}

/// A latency as axes show it: `20 ms`.
fn round_us(us: f64) -> String {
    match us {
        1e6.. => format!("{} s", us / 1e6),
        1e3.. => format!("{} ms", us / 1e3),
        _ => format!("{us} µs"),
    }
}

/// A count as axes show it: `20k`.
fn short(count: f64) -> String {
    match count {
        1e6.. => format!("{}M", count / 1e6),
        1e3.. => format!("{}k", count / 1e3),
        _ => format!("{count}"),
    }
}

fn whole(count: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float to integer cast saturates, and a count is not negative"
    )]
    let count = count.round() as u64;
    shown_count(count)
}

#[allow(clippy::cast_precision_loss, reason = "latencies and counts stay far below 2^53")]
fn exact(number: u64) -> f64 {
    number as f64
}
