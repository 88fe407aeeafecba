//! A rate over time: straight lines between points, so that it can be integrated exactly.

use std::time::Duration;

/// Highest rate, requests a second.
const RATE_MAX: f64 = 1e9;
/// Longest curve: a month.
const SECONDS_MAX: f64 = 31.0 * 86_400.0;

/// Why a text is no curve.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum CurveError {
    #[error("line {line}: `{text}` is not `SECONDS RATE`")]
    NotTwoNumbers { line: usize, text: String },
    #[error("line {line}: {value} is no {what}: write a number from 0 to {max}")]
    OutOfRange { line: usize, what: &'static str, value: f64, max: f64 },
    #[error("line {line}: {seconds} s lies before the line above")]
    Backwards { line: usize, seconds: f64 },
    #[error("line {line}: the first moment has to be 0")]
    LateStart { line: usize },
    #[error("a curve needs two moments, the last one after 0")]
    TooShort,
    #[error("the rate is 0 all the time")]
    Idle,
}

/// Requests a second at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) seconds: f64,
    pub(crate) rate: f64,
}

/// A rate over time: at least two points, the first at 0, the moments never going back. Two points at one moment are a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Curve(Vec<Point>);

impl Curve {
    /// The same rate all the time.
    pub(crate) fn constant(rate: f64, duration: Duration) -> Self {
        Self(vec![Point { seconds: 0.0, rate }, Point { seconds: duration.as_secs_f64(), rate }])
    }

    /// A curve of known points.
    pub(crate) fn of(points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self(points.into_iter().map(|(seconds, rate)| Point { seconds, rate }).collect())
    }

    /// Reads lines `SECONDS RATE`; `#` begins a comment.
    pub(crate) fn parse(text: &str) -> Result<Self, CurveError> {
        let mut points: Vec<Point> = Vec::new();
        for (line, whole) in (1..).zip(text.lines()) {
            let content = whole.split('#').next().unwrap_or_default().trim();
            if content.is_empty() {
                continue;
            }
            let numbers: Option<Vec<f64>> =
                content.split_whitespace().map(|number| number.parse().ok()).collect();
            let Some(&[seconds, rate]) = numbers.as_deref() else {
                return Err(CurveError::NotTwoNumbers { line, text: content.to_owned() });
            };
            for (what, value, max) in [("moment", seconds, SECONDS_MAX), ("rate", rate, RATE_MAX)] {
                if !(0.0..=max).contains(&value) {
                    return Err(CurveError::OutOfRange { line, what, value, max });
                }
            }
            match points.last() {
                None if seconds > 0.0 => return Err(CurveError::LateStart { line }),
                Some(last) if seconds < last.seconds => return Err(CurveError::Backwards { line, seconds }),
                _ => points.push(Point { seconds, rate }),
            }
        }
        let curve = Self(points);
        if curve.0.len() < 2 || curve.duration().is_zero() {
            return Err(CurveError::TooShort);
        }
        if curve.arrivals() <= 0.0 {
            return Err(CurveError::Idle);
        }
        Ok(curve)
    }

    pub(crate) fn points(&self) -> &[Point] {
        &self.0
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.0.last().map_or(0.0, |point| point.seconds))
    }

    /// The highest rate.
    pub(crate) fn peak(&self) -> f64 {
        self.0.iter().map(|point| point.rate).fold(0.0, f64::max)
    }

    /// Requests a second at a moment; behind the end, nothing.
    pub(crate) fn rate_at(&self, at: Duration) -> f64 {
        let at = at.as_secs_f64();
        let piece = self.0.windows(2).find(|pair| (pair[0].seconds..pair[1].seconds).contains(&at));
        piece.map_or(0.0, |pair| {
            let part = (at - pair[0].seconds) / (pair[1].seconds - pair[0].seconds);
            pair[0].rate + part * (pair[1].rate - pair[0].rate)
        })
    }

    /// How many requests it asks for.
    pub(crate) fn arrivals(&self) -> f64 {
        self.0.windows(2).map(|pair| area(pair[0], pair[1])).sum()
    }

    /// The same shape with another peak.
    pub(crate) fn with_peak(mut self, peak: f64) -> Self {
        let factor = peak / self.peak();
        for point in &mut self.0 {
            point.rate *= factor;
        }
        self
    }

    /// The same shape in another time.
    pub(crate) fn with_duration(mut self, duration: Duration) -> Self {
        let factor = duration.as_secs_f64() / self.duration().as_secs_f64();
        for point in &mut self.0 {
            point.seconds *= factor;
        }
        self
    }
}

/// Requests between two points.
pub(crate) fn area(from: Point, to: Point) -> f64 {
    f64::midpoint(from.rate, to.rate) * (to.seconds - from.seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_between_points_lies_between_theirs() {
        let curve = Curve::of([(0.0, 100.0), (10.0, 200.0), (10.0, 50.0), (20.0, 50.0)]);
        let rates = [0, 5, 10, 19, 20].map(|at| curve.rate_at(Duration::from_secs(at)));
        let expected = [100.0, 150.0, 50.0, 50.0, 0.0];
        assert!(
            rates.iter().zip(expected).all(|(rate, expected)| (rate - expected).abs() < 1e-9),
            "{rates:?}"
        );
    }

    #[test]
    fn a_file_is_read_with_comments_and_steps() {
        let text = "# a step\n0 100\n\n10 100 # until here\n10 500\n 20\t500\n";
        let curve = Curve::parse(text).expect("a curve");
        assert_eq!(curve, Curve::of([(0.0, 100.0), (10.0, 100.0), (10.0, 500.0), (20.0, 500.0)]));
        assert_eq!((curve.arrivals(), curve.peak()), (6000.0, 500.0));
        let other = curve.with_peak(1000.0).with_duration(Duration::from_secs(10));
        assert_eq!((other.arrivals(), other.duration()), (6000.0, Duration::from_secs(10)));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, error) in [
            ("0 1\n# two\n5", CurveError::NotTwoNumbers { line: 3, text: "5".to_owned() }),
            ("0 1\n5 many", CurveError::NotTwoNumbers { line: 2, text: "5 many".to_owned() }),
            ("0 1\n5 1 1", CurveError::NotTwoNumbers { line: 2, text: "5 1 1".to_owned() }),
            ("0 -1", CurveError::OutOfRange { line: 1, what: "rate", value: -1.0, max: RATE_MAX }),
            (
                "0 1\n\n1e99 1",
                CurveError::OutOfRange { line: 3, what: "moment", value: 1e99, max: SECONDS_MAX },
            ),
            ("0 1\n5 1\n4 1", CurveError::Backwards { line: 3, seconds: 4.0 }),
            ("\n1 1\n5 1", CurveError::LateStart { line: 2 }),
            ("", CurveError::TooShort),
            ("0 1", CurveError::TooShort),
            ("0 1\n0 2", CurveError::TooShort),
            ("0 0\n9 0", CurveError::Idle),
        ] {
            assert_eq!(Curve::parse(text), Err(error), "{text}");
        }
        assert!(matches!(Curve::parse("0 NaN\n1 1"), Err(CurveError::OutOfRange { line: 1, .. })));
    }
}
