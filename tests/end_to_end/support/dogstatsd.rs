//! A strict reader of the DogStatsD protocol, version 1.1: what its documentation does not allow is an error, whatever other readers would make of it.

use std::collections::BTreeMap;

/// What a line is about: its name and its tags, as they are written.
pub(crate) type Series = (String, String);

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) series: Series,
    pub(crate) values: Vec<Decimal>,
    pub(crate) kind: Kind,
    /// A value counts for so many.
    pub(crate) weight: u64,
}

/// What a line does to its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Count,
    Gauge,
    Distribution,
}

/// A decimal number, exact: in units of 10⁻²⁰.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Decimal(pub(crate) i128);

impl Decimal {
    const PLACES: u32 = 20;

    /// An optional sign, digits, and perhaps a point with digits behind it.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is no number");
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        if [whole, fraction].iter().any(|part| part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit())) {
            return Err(error());
        }
        let missing = Self::PLACES.checked_sub(u32::try_from(fraction.len()).expect("short"));
        let read = || {
            let whole: i128 = whole.parse().ok()?;
            let fraction = fraction.parse::<i128>().ok()?.checked_mul(10i128.pow(missing?))?;
            whole.checked_mul(10i128.pow(Self::PLACES))?.checked_add(fraction)
        };
        read().map(|magnitude| Self(sign * magnitude)).ok_or_else(error)
    }

    /// As a whole number, which it must be.
    pub(crate) fn whole(self) -> i128 {
        let unit = 10i128.pow(Self::PLACES);
        assert_eq!(self.0 % unit, 0, "a whole number: {self:?}");
        self.0 / unit
    }
}

/// All lines of a datagram.
pub(crate) fn read(datagram: &[u8]) -> Result<Vec<Line>, String> {
    let text = std::str::from_utf8(datagram).map_err(|error| error.to_string())?;
    text.split('\n').map(|line| read_line(line).map_err(|error| format!("{error}, in {line:?}"))).collect()
}

fn read_line(line: &str) -> Result<Line, String> {
    let mut fields = line.split('|');
    let (name, values) = fields.next().and_then(|field| field.split_once(':')).ok_or("no value")?;
    let is_name = name.len() <= 200
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    if !is_name {
        return Err(format!("{name:?} is no name"));
    }
    let values: Vec<_> = values.split(':').map(Decimal::read).collect::<Result<_, _>>()?;
    let kind = match fields.next().ok_or("no type")? {
        "c" => Kind::Count,
        "g" => Kind::Gauge,
        "d" => Kind::Distribution,
        other => return Err(format!("{other:?} is no type that a node sends")),
    };
    if kind == Kind::Gauge && values.len() > 1 {
        return Err("a gauge of several values".to_owned());
    }
    let mut next = fields.next();
    let mut weight = 1;
    if let Some(rate) = next.and_then(|field| field.strip_prefix('@')) {
        if kind == Kind::Gauge {
            return Err("a gauge is not sampled".to_owned());
        }
        weight = read_rate(rate)?;
        next = fields.next();
    }
    let tags = next.and_then(|field| field.strip_prefix('#')).ok_or("no tags")?;
    check_tags(tags)?;
    if fields.next().is_some() {
        return Err("something behind the tags".to_owned());
    }
    Ok(Line { series: (name.to_owned(), tags.to_owned()), values, kind, weight })
}

/// How many a value counts for: 1/rate, exactly, so that it is the same to those who round and to those who cut.
fn read_rate(text: &str) -> Result<u64, String> {
    Decimal::read(text)?;
    let rate: f64 = text.parse().map_err(|_| format!("{text:?} is no rate"))?;
    // There are receivers that do not take lower ones.
    if !(1e-6..=1.0).contains(&rate) {
        return Err(format!("the rate {text} is not between a millionth and 1"));
    }
    let weight = rate.recip();
    if weight.fract() != 0.0 {
        return Err(format!("1/{text} is no whole number"));
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, and at most a million"
    )]
    Ok(weight as u64)
}

/// Names and values; no name twice, nothing that receivers would change.
fn check_tags(tags: &str) -> Result<(), String> {
    let mut names = Vec::new();
    for tag in tags.split(',') {
        let (name, value) = tag.split_once(':').ok_or_else(|| format!("the tag {tag:?} has no value"))?;
        let is_plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-:./".contains(&b))
        };
        if tag.len() > 200 || !is_plain(name) || !is_plain(value) {
            return Err(format!("{tag:?} is no tag"));
        }
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || names.contains(&name) {
            return Err(format!("the name of the tag {tag:?}"));
        }
        names.push(name);
    }
    Ok(())
}

/// What a receiver has by now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) datagrams: u64,
    pub(crate) counts: BTreeMap<Series, Decimal>,
    pub(crate) gauges: BTreeMap<Series, Decimal>,
    /// How often each value was there.
    pub(crate) distributions: BTreeMap<Series, BTreeMap<Decimal, u64>>,
}

impl Received {
    /// Takes a datagram.
    pub(crate) fn take(&mut self, datagram: &[u8]) -> Result<(), String> {
        self.datagrams += 1;
        for Line { series, values, kind, weight } in read(datagram)? {
            for value in values {
                match kind {
                    Kind::Count => {
                        self.counts.entry(series.clone()).or_default().0 += value.0 * i128::from(weight);
                    }
                    Kind::Gauge => {
                        self.gauges.insert(series.clone(), value);
                    }
                    Kind::Distribution => {
                        let values = self.distributions.entry(series.clone()).or_default();
                        *values.entry(value).or_default() += weight;
                    }
                }
            }
        }
        Ok(())
    }
}

#[test]
fn what_the_protocol_allows_is_read_and_nothing_else() {
    let line = read_line("a.b_c:1:-2.5|c|@0.25|#node:n-1,app:x/y:z").expect("all of it is good");
    let unit = 10i128.pow(Decimal::PLACES);
    assert_eq!(line.values, [Decimal(unit), Decimal(-5 * unit / 2)]);
    assert_eq!((line.kind, line.weight), (Kind::Count, 4));
    for bad in [
        "",
        "a",
        "a:|c|#n:1",
        "a:1",
        "a:1|c",
        "a:1|x|#n:1",
        "1a:1|c|#n:1",
        "a-b:1|c|#n:1",
        "a:1e3|c|#n:1",
        "a:.5|c|#n:1",
        "a:+1|c|#n:1",
        "a:1:|c|#n:1",
        "a:1|c|#",
        "a:1|c|#n",
        "a:1|c|#n:",
        "a:1|c|#n:1,n:2",
        "a:1|c|#n:1|@0.5",
        "a:1|c|@0|#n:1",
        "a:1|c|@1.5|#n:1",
        "a:1|c|@0.3|#n:1",
        "a:1|c|@0.00000095367431640625|#n:1",
        "a:1|g|@0.5|#n:1",
        "a:1:2|g|#n:1",
        "a:1|c|#n:a b",
        "a:1|c|#N:a",
        "a:1|c|#n:1|x",
    ] {
        assert!(read_line(bad).is_err(), "{bad}");
    }
    assert!(read(b"a:1|c|#n:1\n").is_err(), "a line's end belongs between lines");
}
