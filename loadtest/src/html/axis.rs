//! Axes: where a value lies between 0 and 1, and which values are named.

/// One axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    scale: Scale,
    /// Values that are named, and their names.
    pub(super) ticks: Vec<(f64, String)>,
    /// What it shows, and its unit.
    pub(super) label: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Scale {
    /// From zero.
    Linear { max: f64 },
    /// Equal factors are equal distances.
    Logarithmic { min: f64, max: f64 },
}

impl Axis {
    /// From zero to a round number at or above `max`, with about `count` steps.
    pub(super) fn linear(max: f64, count: f64, label: &'static str, name: impl Fn(f64) -> String) -> Self {
        let step = round_up(max.max(f64::MIN_POSITIVE) / count, &[1.0, 2.0, 2.5, 5.0]);
        let steps = (max / step).ceil().max(1.0);
        Self { scale: Scale::Linear { max: steps * step }, ticks: steps_of(step, steps * step, name), label }
    }

    /// From the start of a run to its end, in seconds: the end is where the data ends.
    pub(super) fn time(end: f64) -> Self {
        const STEPS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
        let step = STEPS.into_iter().find(|step| end / step <= 8.0).unwrap_or_else(|| (end / 8.0).ceil());
        let name = |at: f64| {
            if step >= 60.0 { format!("{:.0} min", at / 60.0) } else { format!("{at:.0} s") }
        };
        let max = end.max(f64::MIN_POSITIVE);
        Self { scale: Scale::Linear { max }, ticks: steps_of(step, end, name), label: "since the start" }
    }

    /// Between round numbers around `min` and `max`, both above zero.
    pub(super) fn logarithmic(min: f64, max: f64, label: &'static str, name: impl Fn(f64) -> String) -> Self {
        const ROUND: [f64; 3] = [1.0, 2.0, 5.0];
        let max = round_up(max, &ROUND);
        let min = round_down(min, &ROUND).min(max / 10.0);
        // All round numbers where there is room for them, powers of ten where there is not.
        let mantissas: &[f64] = if max / min <= 1e3 { &ROUND } else { &[1.0] };
        let mut ticks = Vec::new();
        let mut decade = power_of_ten(min);
        while decade <= max {
            let values = mantissas.iter().map(|mantissa| mantissa * decade);
            ticks.extend(
                values.filter(|at| (min * 0.999..=max * 1.001).contains(at)).map(|at| (at, name(at))),
            );
            decade *= 10.0;
        }
        Self { scale: Scale::Logarithmic { min, max }, ticks, label }
    }

    /// Percentiles, so that each further nine takes the same room, as plots of `HdrHistogram` have them: the value is 1 / (1 - quantile).
    pub(super) fn percentiles(max: f64) -> Self {
        let max = max.max(10.0);
        let mut ticks = vec![(1.0, "0 %".to_owned()), (2.0, "50 %".to_owned())];
        let (mut nines, mut at) = (1_usize, 10.0);
        while at <= max * 1.001 {
            let digits = nines.saturating_sub(2);
            ticks.push((at, format!("{:.digits$} %", 100.0 - 100.0 / at)));
            (nines, at) = (nines + 1, at * 10.0);
        }
        Self { scale: Scale::Logarithmic { min: 1.0, max }, ticks, label: "percentile" }
    }

    /// Where a value lies, 0 to 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear { max } => value / max,
            Scale::Logarithmic { min, max } => (value.max(min) / min).ln() / (max / min).ln(),
        };
        place.clamp(0.0, 1.0)
    }
}

fn steps_of(step: f64, max: f64, name: impl Fn(f64) -> String) -> Vec<(f64, String)> {
    let steps = std::iter::successors(Some(0.0), |number| Some(number + 1.0)).map(|number| number * step);
    steps.take_while(|at| *at <= max * 1.001).map(|at| (at, name(at))).collect()
}

fn power_of_ten(below: f64) -> f64 {
    10_f64.powf(below.log10().floor())
}

/// The smallest of the round numbers that is not below, but for what floating point loses.
fn round_up(value: f64, mantissas: &[f64]) -> f64 {
    let power = power_of_ten(value);
    mantissas
        .iter()
        .map(|mantissa| mantissa * power)
        .find(|at| *at >= value * 0.999_999)
        .unwrap_or(power * 10.0)
}

fn round_down(value: f64, mantissas: &[f64]) -> f64 {
    let power = power_of_ten(value);
    mantissas
        .iter()
        .rev()
        .map(|mantissa| mantissa * power)
        .find(|at| *at <= value * 1.000_001)
        .unwrap_or(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, name)| name.as_str()).collect()
    }

    #[test]
    fn axes_have_round_numbers_and_put_values_between_them() {
        let whole = |at: f64| format!("{at:.0}");
        let linear = Axis::linear(1_930.0, 4.0, "", whole);
        assert_eq!(names(&linear), ["0", "500", "1000", "1500", "2000"]);
        assert!((linear.place(500.0) - 0.25).abs() < 1e-9);
        let logarithmic = Axis::logarithmic(130.0, 4_800.0, "", whole);
        assert_eq!(names(&logarithmic), ["100", "200", "500", "1000", "2000", "5000"]);
        let places = [1.0, 100.0, 9e9].map(|value| logarithmic.place(value));
        assert!(places.iter().zip([0.0, 0.0, 1.0]).all(|(place, expected)| (place - expected).abs() < 1e-9));
        assert_eq!(
            names(&Axis::logarithmic(1.0, 90_000.0, "", whole)),
            ["1", "10", "100", "1000", "10000", "100000"]
        );
        assert_eq!(names(&Axis::time(30.2)), ["0 s", "5 s", "10 s", "15 s", "20 s", "25 s", "30 s"]);
        assert_eq!(names(&Axis::time(300.0)), ["0 min", "1 min", "2 min", "3 min", "4 min", "5 min"]);
        let percentiles = Axis::percentiles(25_000.0);
        assert_eq!(names(&percentiles), ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert!(percentiles.place(1.0).abs() < 1e-9 && percentiles.place(5.0) < percentiles.place(10.0));
    }

    #[test]
    fn nothing_and_a_single_value_have_an_axis_too() {
        for axis in [
            Axis::linear(0.0, 4.0, "", |at| at.to_string()),
            Axis::logarithmic(100.0, 100.0, "", |at| at.to_string()),
            Axis::time(0.0),
        ] {
            assert!(!axis.ticks.is_empty() && axis.place(100.0).is_finite(), "{axis:?}");
        }
    }
}
