//! Families of numbers: what a node shows of itself, before anybody has decided how it is written.
//!
//! A list of them is built once and given to each writer ([`render`](super::render), [`Dogstatsd`](super::Dogstatsd)), so that all say the same.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::Latencies;

/// What a family's numbers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only grow.
    Counter,
    /// They go up and down.
    Gauge,
    /// Durations, counted in buckets.
    Histogram,
}

impl Kind {
    /// As Prometheus calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Durations in the buckets of [`Latencies`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// The count of each bucket, alone.
    pub buckets: [u64; Latencies::BUCKETS],
    /// Those over the last bound.
    pub over: u64,
    /// All durations together.
    pub sum: Duration,
}

impl Spread {
    /// What several threads have recorded.
    pub fn of<'a>(all: impl IntoIterator<Item = &'a Latencies>) -> Self {
        let mut spread = Self::default();
        for latencies in all {
            let (buckets, over, sum_us) = latencies.values();
            for (sum, count) in spread.buckets.iter_mut().zip(buckets) {
                *sum += count;
            }
            spread.over += over;
            spread.sum += Duration::from_micros(sum_us);
        }
        spread
    }

    /// The upper bound of a bucket.
    pub fn bound(index: usize) -> Duration {
        Duration::from_micros(Latencies::bound_us(index))
    }
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole number.
    Count(u64),
    /// A time, exact to the nanosecond, written in seconds.
    Seconds(Duration),
    /// Any other number; finite.
    Real(f64),
}

impl fmt::Display for Number {
    /// As all writers write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Seconds(seconds) => Decimal(*seconds).fmt(f),
            Self::Real(real) => real.fmt(f),
        }
    }
}

/// What a sample says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One number.
    Number(Number),
    /// Many durations.
    Spread(Box<Spread>),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Number(Number::Count(count))
    }
}

impl From<Duration> for Value {
    fn from(seconds: Duration) -> Self {
        Self::Number(Number::Seconds(seconds))
    }
}

impl From<f64> for Value {
    fn from(real: f64) -> Self {
        Self::Number(Number::Real(real))
    }
}

impl From<Spread> for Value {
    fn from(spread: Spread) -> Self {
        Self::Spread(Box::new(spread))
    }
}

/// A time in seconds as a decimal number, exact, without an exponent and without zeros at its end.
#[derive(Clone, Copy, Debug)]
pub struct Decimal(pub Duration);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        if nanos == 0 {
            return write!(f, "{seconds}");
        }
        let digits = format!("{nanos:09}");
        write!(f, "{seconds}.{}", digits.trim_end_matches('0'))
    }
}

/// What tells a sample from the others of its family.
pub type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// One number of a family.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Names and values, no name twice.
    pub labels: Labels,
    /// What it says.
    pub value: Value,
}

/// Numbers of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// As Prometheus has it: `forebay_events_accepted_total`.
    pub name: &'static str,
    /// What the numbers do.
    pub kind: Kind,
    /// One sentence for people.
    pub help: &'static str,
    /// The numbers; none where there is nothing to count.
    pub readings: Vec<Reading>,
}

impl Family {
    /// The only number.
    pub fn single(&mut self, value: impl Into<Value>) {
        self.sample(Labels::new(), value);
    }

    /// The number of those whose `label` is `of`.
    pub fn per(&mut self, label: &'static str, of: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        self.sample(vec![(label, of.into())], value);
    }

    /// A number with its labels.
    pub fn sample(&mut self, labels: Labels, value: impl Into<Value>) {
        let value = value.into();
        let fits = match self.kind {
            // What is counted is exact.
            Kind::Counter => matches!(value, Value::Number(Number::Count(_) | Number::Seconds(_))),
            Kind::Gauge => matches!(value, Value::Number(_)),
            Kind::Histogram => matches!(value, Value::Spread(_)),
        };
        assert!(fits, "{} is a {}: {value:?}", self.name, self.kind.as_str());
        self.readings.push(Reading { labels, value });
    }
}

/// All that a node shows at one moment, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Families(Vec<Family>);

impl Families {
    /// Begins a family of numbers that only grow.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.begin(name, Kind::Counter, help)
    }

    /// Begins a family of numbers that go up and down.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.begin(name, Kind::Gauge, help)
    }

    /// Begins a family of durations.
    pub fn histogram(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.begin(name, Kind::Histogram, help)
    }

    fn begin(&mut self, name: &'static str, kind: Kind, help: &'static str) -> &mut Family {
        assert!(self.0.iter().all(|family| family.name != name), "{name} is there once");
        self.0.push(Family { name, kind, help, readings: Vec::new() });
        self.0.last_mut().expect("just pushed")
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Family> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_exactly() {
        for (nanos, text) in [
            (0, "0"),
            (1, "0.000000001"),
            (16_000, "0.000016"),
            (1_500_000_000, "1.5"),
            (86_400_000_000_000, "86400"),
            (u64::MAX, "18446744073.709551615"),
        ] {
            assert_eq!(Decimal(Duration::from_nanos(nanos)).to_string(), text);
        }
    }

    #[test]
    fn what_threads_recorded_adds_up() {
        let (one, other) = (Latencies::default(), Latencies::default());
        one.record(10, 2);
        other.record(10, 1);
        other.record(20_000_000, 1);
        let spread = Spread::of([&one, &other]);
        assert_eq!((spread.buckets[0], spread.over), (3, 1));
        assert_eq!(spread.sum, Duration::from_micros(20_000_030));
    }

    #[test]
    #[should_panic(expected = "is a counter")]
    fn a_number_that_may_fall_is_no_counter() {
        Families::default().counter("a_total", "A.").single(0.5);
    }

    #[test]
    #[should_panic(expected = "is there once")]
    fn a_family_is_not_begun_twice() {
        let mut families = Families::default();
        families.gauge("a", "A.").single(1);
        families.gauge("a", "A.").single(1);
    }
}
