//! The DogStatsD protocol, version 1.1, written: what a node counted since it last said so, in datagrams. No socket, no clock.
//!
//! `name:value|type|@rate|#tag:value,…`, a line for each number, several lines in a datagram.
//!
//! - A **counter** is sent as what it grew by (`|c`). What was not handed to the socket goes with the next push, so that all pushes together are
//!   the counter itself. One that is gone from the list, or has fallen, is sent as a negative count, so that
//!   nothing is counted twice.
//! - A **gauge** is sent as it is (`|g`), each time.
//! - A **histogram** is sent as a distribution (`|d`): each duration as the upper bound of its bucket, those over the last bound as twice that. The `n`
//!   durations that came to a bucket are sent as the powers of two that `n` is made of: the value stands, with a sample rate of 2⁻ᵏ, in the
//!   line of each `k` for which `n` has a bit, beside the values of all other buckets that have it. Powers of two are exact however they are written, so
//!   whoever counts a value as 1/rate, rounded or cut, has the count of every bucket exactly. The sum, which bounds cannot give, is a counter of
//!   its own (`….sum`).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Latencies;
use super::family::{Decimal, Families, Kind, Labels, Number, Spread, Value};

/// Lowest sample rate: 2⁻¹⁹. There are receivers that do not take rates below a millionth.
const RATE_SHIFT_MAX: u32 = 19;
/// Bytes of a tag, its name included; receivers cut or drop longer ones.
const TAG_BYTES_MAX: usize = 200;
/// Values in a line.
const VALUES_MAX: usize = 32;
/// Bytes that a line has at most: of a name, of so many values, of three tags.
const LINE_BYTES_MAX: usize = 1200;
const NANOS: i128 = 1_000_000_000;

/// How a counted number is sent, and in what it is counted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    /// A counter, by one.
    Count,
    /// A counter of seconds, by the nanosecond.
    Nanos,
    /// A distribution: each bucket by one, those over the last bound behind them.
    Buckets,
}

/// What counts together: a name with its tags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Series {
    name: String,
    tags: String,
    form: Form,
}

/// Part of what a datagram says: a number has grown by so much.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Growth {
    series: Series,
    index: usize,
    by: i128,
}

/// A line, and what it says of what is counted.
struct Line {
    text: String,
    growths: Vec<Growth>,
}

/// One datagram, ready to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datagram {
    text: String,
    growths: Vec<Growth>,
}

impl Datagram {
    /// Its lines.
    pub fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// The encoder, and its memory of what was said.
#[derive(Debug)]
pub struct Dogstatsd {
    node: String,
    datagram_bytes_max: usize,
    said: HashMap<Series, Vec<i128>>,
}

impl Dogstatsd {
    /// An encoder for the node of this name that has said nothing yet. Every line has to fit a datagram: 1200 bytes are the least.
    pub fn new(node: &str, datagram_bytes_max: usize) -> Self {
        assert!(datagram_bytes_max >= LINE_BYTES_MAX, "a line fits a datagram");
        Self { node: tag("node", node), datagram_bytes_max, said: HashMap::new() }
    }

    /// Takes what is counted for said: earlier lives of the node have counted it.
    pub fn pass_over(&mut self, families: &Families) {
        for datagram in self.push(families) {
            self.handle_sent(datagram);
        }
    }

    /// What is to be said now. Tell [`Self::handle_sent`] of each datagram that the socket has taken: what the others count is said again.
    pub fn push(&self, families: &Families) -> Vec<Datagram> {
        let mut lines = Vec::new();
        let mut counted = BTreeMap::new();
        for family in families.iter() {
            let name = family.name.replace('_', ".");
            for sample in &family.readings {
                let tags = self.tags(&sample.labels);
                match &sample.value {
                    Value::Spread(spread) => count_spread(&mut counted, &name, tags, spread),
                    Value::Number(number) if family.kind == Kind::Gauge => {
                        let text = format!("{name}:{number}|g|#{tags}");
                        lines.push(Line { text, growths: Vec::new() });
                    }
                    Value::Number(Number::Count(count)) => {
                        add(&mut counted, &name, tags, Form::Count, &[i128::from(*count)]);
                    }
                    Value::Number(Number::Seconds(seconds)) => {
                        add(&mut counted, &name, tags, Form::Nanos, &[nanos(*seconds)]);
                    }
                    Value::Number(Number::Real(_)) => unreachable!("a family takes no such counter"),
                }
            }
        }
        for (series, said) in &self.said {
            counted.entry(series.clone()).or_insert_with(|| vec![0; said.len()]);
        }
        for (series, counts) in counted {
            self.lines_of(&series, &counts, &mut lines);
        }
        self.pack(lines)
    }

    /// The socket has taken it.
    pub fn handle_sent(&mut self, datagram: Datagram) {
        for Growth { series, index, by } in datagram.growths {
            let said = self.said.entry(series.clone()).or_default();
            said.resize(said.len().max(index + 1), 0);
            said[index] += by;
            // What is gone for good is not remembered for ever.
            if said.iter().all(|count| *count == 0) {
                self.said.remove(&series);
            }
        }
    }

    fn tags(&self, labels: &Labels) -> String {
        let mut tags = self.node.clone();
        for (label, of) in labels {
            tags.push(',');
            tags.push_str(&tag(label, of));
        }
        tags
    }

    /// The lines that say by how much a number has grown; none if it has not.
    fn lines_of(&self, series: &Series, counts: &[i128], lines: &mut Vec<Line>) {
        let said = self.said.get(series).map_or(&[][..], Vec::as_slice);
        let grown = |index: usize| counts[index] - said.get(index).copied().unwrap_or(0);
        let Series { name, tags, form } = series;
        match form {
            Form::Buckets => {
                let grown: Vec<_> = (0..counts.len()).map(grown).collect();
                distribution(series, &grown, lines);
            }
            Form::Count | Form::Nanos => {
                let by = grown(0);
                if by != 0 {
                    let value = if *form == Form::Count { by.to_string() } else { decimal(by) };
                    let growths = vec![Growth { series: series.clone(), index: 0, by }];
                    lines.push(Line { text: format!("{name}:{value}|c|#{tags}"), growths });
                }
            }
        }
    }

    /// Puts lines together into datagrams, each as full as it can be.
    fn pack(&self, lines: Vec<Line>) -> Vec<Datagram> {
        let mut datagrams: Vec<Datagram> = Vec::new();
        for Line { text, growths } in lines {
            assert!(text.len() <= LINE_BYTES_MAX, "a line has its bounds: {text}");
            let room = self.datagram_bytes_max - text.len();
            let last = match datagrams.pop_if(|last| last.text.len() < room) {
                Some(mut last) => {
                    last.text.push('\n');
                    last
                }
                None => Datagram::default(),
            };
            datagrams.push(last);
            let last = datagrams.last_mut().expect("just pushed");
            last.text.push_str(&text);
            last.growths.extend(growths);
        }
        datagrams
    }
}

/// Adds to what is counted. Labels that differ may become the same tags.
fn add(counted: &mut BTreeMap<Series, Vec<i128>>, name: &str, tags: String, form: Form, counts: &[i128]) {
    let sums = counted.entry(Series { name: name.to_owned(), tags, form }).or_default();
    sums.resize(counts.len(), 0);
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count;
    }
}

fn count_spread(counted: &mut BTreeMap<Series, Vec<i128>>, name: &str, tags: String, spread: &Spread) {
    let counts: Vec<_> =
        spread.buckets.iter().chain([&spread.over]).map(|count| i128::from(*count)).collect();
    add(counted, name, tags.clone(), Form::Buckets, &counts);
    add(counted, &format!("{name}.sum"), tags, Form::Nanos, &[nanos(spread.sum)]);
}

/// The lines of a distribution; see the module. A bucket never falls.
fn distribution(series: &Series, grown: &[i128], lines: &mut Vec<Line>) {
    for shift in 0..=RATE_SHIFT_MAX {
        let copies = |count: i128| if shift < RATE_SHIFT_MAX { count >> shift & 1 } else { count >> shift };
        let indices: Vec<usize> = grown
            .iter()
            .enumerate()
            .flat_map(|(index, count)| (0..copies(*count)).map(move |_| index))
            .collect();
        for indices in indices.chunks(VALUES_MAX) {
            let values: Vec<_> = indices.iter().map(|index| Decimal(value_of(*index)).to_string()).collect();
            let rate =
                if shift == 0 { String::new() } else { format!("|@{}", f64::from(1u32 << shift).recip()) };
            let text = format!("{}:{}|d{rate}|#{}", series.name, values.join(":"), series.tags);
            let growth = |index: &usize| Growth { series: series.clone(), index: *index, by: 1 << shift };
            lines.push(Line { text, growths: indices.iter().map(growth).collect() });
        }
    }
}

/// The duration that stands for all of a bucket.
fn value_of(index: usize) -> Duration {
    if index < Latencies::BUCKETS { Spread::bound(index) } else { Spread::bound(Latencies::BUCKETS - 1) * 2 }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).expect("less than 2^94")
}

fn decimal(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let magnitude = nanos.unsigned_abs();
    let seconds = u64::try_from(magnitude / NANOS.unsigned_abs()).expect("it came from durations");
    let nanos = u32::try_from(magnitude % NANOS.unsigned_abs()).expect("less than a second");
    format!("{sign}{}", Decimal(Duration::new(seconds, nanos)))
}

/// A tag, of the characters that receivers leave alone.
fn tag(name: &str, value: &str) -> String {
    let mut tag = format!("{name}:");
    let is_kept = |c: char| c.is_ascii_alphanumeric() || "_-:./".contains(c);
    tag.extend(value.chars().map(|c| if is_kept(c) { c } else { '_' }));
    if value.is_empty() {
        tag.push('_');
    }
    // All of it is ASCII by now.
    tag.truncate(TAG_BYTES_MAX);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(datagrams: &[Datagram]) -> Vec<&str> {
        datagrams.iter().flat_map(|datagram| datagram.text.lines()).collect()
    }

    fn list(accepted: u64, apps: &[(&'static str, u64)]) -> Families {
        let mut families = Families::default();
        families.counter("events_total", "E.").single(accepted);
        let by_app = families.counter("app_events_total", "A.");
        for (app, count) in apps {
            by_app.per("app", *app, *count);
        }
        families.gauge("busy_ratio", "B.").per("thread", "pool 0,x", 0.25);
        families
    }

    fn send(encoder: &mut Dogstatsd, families: &Families) -> Vec<String> {
        let datagrams = encoder.push(families);
        let lines = text(&datagrams).into_iter().map(str::to_owned).collect();
        for datagram in datagrams {
            encoder.handle_sent(datagram);
        }
        lines
    }

    #[test]
    fn a_counter_is_what_it_grew_by_and_a_gauge_what_it_is() {
        let mut encoder = Dogstatsd::new("n-1", 1432);
        encoder.pass_over(&list(100, &[]));
        let gauge = "busy.ratio:0.25|g|#node:n-1,thread:pool_0_x";
        assert_eq!(send(&mut encoder, &list(100, &[])), [gauge]);
        assert_eq!(send(&mut encoder, &list(107, &[])), [gauge, "events.total:7|c|#node:n-1"]);
        // Not taken: it is said again, together with what came since.
        assert_eq!(text(&encoder.push(&list(110, &[]))), [gauge, "events.total:3|c|#node:n-1"]);
        assert_eq!(send(&mut encoder, &list(112, &[])), [gauge, "events.total:5|c|#node:n-1"]);
    }

    #[test]
    fn what_is_gone_from_the_list_is_taken_back_and_forgotten() {
        let mut encoder = Dogstatsd::new("n", 1432);
        send(&mut encoder, &list(0, &[("a", 5), ("other", 1)]));
        let lines = send(&mut encoder, &list(0, &[("other", 8)]));
        let events = ["app.events.total:-5|c|#node:n,app:a", "app.events.total:7|c|#node:n,app:other"];
        assert_eq!(lines[1..], events);
        assert_eq!(encoder.said.len(), 1, "the memory is not larger than the list");
        let back = send(&mut encoder, &list(0, &[("a", 6), ("other", 2)]));
        let events = ["app.events.total:6|c|#node:n,app:a", "app.events.total:-6|c|#node:n,app:other"];
        assert_eq!(back[1..], events);
    }

    fn spread(counts: &[(usize, u64)], sum: Duration) -> Families {
        let mut spread = Spread { sum, ..Spread::default() };
        for (index, count) in counts {
            *spread.buckets.get_mut(*index).unwrap_or(&mut spread.over) = *count;
        }
        let mut families = Families::default();
        families.histogram("request_seconds", "R.").single(spread);
        families
    }

    #[test]
    fn a_bucket_is_sent_as_powers_of_two_and_those_with_the_same_share_a_line() {
        let mut encoder = Dogstatsd::new("n", 1432);
        let us = Duration::from_micros;
        let lines = send(&mut encoder, &spread(&[(0, 5), (1, 1), (Latencies::BUCKETS, 4)], us(1_000_001)));
        let expected = [
            "request.seconds:0.000016:0.000032|d|#node:n",
            "request.seconds:0.000016:16.777216|d|@0.25|#node:n",
            "request.seconds.sum:1.000001|c|#node:n",
        ];
        assert_eq!(lines, expected);
        let more = spread(&[(0, 5 + (3 << 19)), (1, 3), (Latencies::BUCKETS, 4)], us(1_500_001));
        let expected = [
            "request.seconds:0.000032|d|@0.5|#node:n",
            "request.seconds:0.000016:0.000016:0.000016|d|@0.0000019073486328125|#node:n",
            "request.seconds.sum:0.5|c|#node:n",
        ];
        assert_eq!(send(&mut encoder, &more), expected);
        assert_eq!(send(&mut encoder, &more), [""; 0]);
    }

    #[test]
    fn datagrams_are_as_full_as_they_can_be_and_lines_whole() {
        let names: Vec<String> = (0..200).map(|number| format!("app-{number}")).collect();
        let mut families = Families::default();
        let apps = families.counter("app_events_total", "A.");
        for name in names {
            apps.per("app", name, 1);
        }
        for datagram_bytes_max in [1432, 8192] {
            let datagrams = Dogstatsd::new("n", datagram_bytes_max).push(&families);
            let (last, full) = datagrams.split_last().expect("some");
            let line = "app.events.total:1|c|#node:n,app:app-000".len() + 1;
            let bounds = datagram_bytes_max - line..=datagram_bytes_max;
            assert!(full.iter().all(|datagram| bounds.contains(&datagram.bytes().len())));
            assert!(last.bytes().len() <= datagram_bytes_max);
            assert_eq!(text(&datagrams).len(), 200);
        }
    }

    #[test]
    fn a_tag_has_the_characters_and_the_length_that_receivers_take() {
        assert_eq!(tag("app", "a|b,c#d\ne ä/1.0:x-y_z"), "app:a_b_c_d_e__/1.0:x-y_z");
        assert_eq!(tag("app", ""), "app:_");
        assert_eq!(tag("app", &"x".repeat(500)).len(), TAG_BYTES_MAX);
    }
}
