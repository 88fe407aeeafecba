//! Whether two rows of samples differ: Welch's interval (Welch, 1947), which does not ask both to scatter alike.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// What an interval covers of the cases in which the true value is asked for.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// An estimate with the interval that holds the true value with [`CONFIDENCE`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Estimate {
    pub(crate) fn covers(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// The difference of the means, `b - a`; none if a side has fewer than two samples.
pub(crate) fn difference(a: &[f64], b: &[f64]) -> Option<Estimate> {
    let (a, b) = (Sample::of(a)?, Sample::of(b)?);
    let value = b.mean - a.mean;
    let squared = a.squared_error + b.squared_error;
    if squared <= 0.0 {
        return Some(Estimate { value, low: value, high: value }); // nothing scatters
    }
    // Welch and Satterthwaite's degrees of freedom.
    let freedom =
        squared.powi(2) / (a.squared_error.powi(2) / a.freedom + b.squared_error.powi(2) / b.freedom);
    let margin = student_quantile(f64::midpoint(1.0, CONFIDENCE), freedom) * squared.sqrt();
    Some(Estimate { value, low: value - margin, high: value + margin })
}

/// The ratio of the geometric means, `b / a`; none if a side has fewer than two samples, or one that is not above zero.
///
/// Latencies and rates differ by factors, and their logarithms scatter more evenly than they do.
pub(crate) fn ratio(a: &[f64], b: &[f64]) -> Option<Estimate> {
    let logarithms =
        |samples: &[f64]| samples.iter().map(|x| (*x > 0.0).then(|| x.ln())).collect::<Option<Vec<_>>>();
    let Estimate { value, low, high } = difference(&logarithms(a)?, &logarithms(b)?)?;
    Some(Estimate { value: value.exp(), low: low.exp(), high: high.exp() })
}

/// The mean of samples that differ by factors; none if one is not above zero, or if there is none.
pub(crate) fn geometric_mean(samples: &[f64]) -> Option<f64> {
    let is_good = !samples.is_empty() && samples.iter().all(|x| *x > 0.0);
    is_good.then(|| (samples.iter().map(|x| x.ln()).sum::<f64>() / count(samples)).exp())
}

/// The mean; none of nothing.
pub(crate) fn mean(samples: &[f64]) -> Option<f64> {
    (!samples.is_empty()).then(|| samples.iter().sum::<f64>() / count(samples))
}

struct Sample {
    mean: f64,
    /// The squared standard error of the mean.
    squared_error: f64,
    freedom: f64,
}

impl Sample {
    fn of(samples: &[f64]) -> Option<Self> {
        if samples.len() < 2 {
            return None;
        }
        let (mean, freedom) = (mean(samples)?, count(samples) - 1.0);
        let squares: f64 = samples.iter().map(|x| (x - mean).powi(2)).sum();
        Some(Self { mean, squared_error: squares / freedom / count(samples), freedom })
    }
}

#[allow(clippy::cast_precision_loss, reason = "a handful")]
fn count(samples: &[f64]) -> f64 {
    samples.len() as f64
}

/// The value that Student's t stays below with this probability.
fn student_quantile(probability: f64, freedom: f64) -> f64 {
    let student = StudentsT::new(0.0, 1.0, freedom).expect("two samples a side give a degree of freedom");
    student.inverse_cdf(probability)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn close(value: f64, expected: f64, tolerance: f64) {
        assert!((value - expected).abs() <= tolerance, "{value} is not {expected}");
    }

    #[test]
    fn quantiles_of_students_t_are_those_of_the_tables() {
        for (freedom, quantile) in [
            (1.0, 12.706_205),
            (2.0, 4.302_653),
            (4.0, 2.776_445),
            (10.0, 2.228_139),
            (30.0, 2.042_272),
            (1000.0, 1.962_339),
        ] {
            close(student_quantile(0.975, freedom), quantile, 1e-6);
        }
    }

    #[test]
    fn welchs_interval_is_that_of_a_worked_example() {
        // Means of 13 and 17.4, variances of 20/3 and 5.8: 6.3296 degrees of freedom, by numerical integration of the density t = 2.416353.
        let (a, b) = ([10.0, 12.0, 14.0, 16.0], [14.0, 16.0, 18.0, 19.0, 20.0]);
        let Estimate { value, low, high } = difference(&a, &b).expect("samples enough");
        close(value, 4.4, 1e-12);
        close(low, 0.337_459_6, 1e-6);
        close(high, 8.462_540_4, 1e-6);
    }

    #[test]
    fn the_interval_holds_the_truth_as_often_as_it_says() {
        let mut dice = Dice(7);
        #[allow(clippy::cast_precision_loss, reason = "below 2^53")]
        let mut uniform = || (dice.below(1 << 52) as f64 + 0.5) / (1_u64 << 52) as f64;
        // Normal values, two at a time (Box and Muller, 1958).
        let mut normal = || (-2.0 * uniform().ln()).sqrt() * (2.0 * std::f64::consts::PI * uniform()).cos();
        let (rounds, mut held, mut told) = (4_000, 0, 0);
        for _ in 0..rounds {
            // Three and five runs, of which one side scatters three times as much; the true factor is 1.2.
            let a: Vec<f64> = (0..3).map(|_| (5.0 + 0.02 * normal()).exp()).collect();
            let b: Vec<f64> = (0..5).map(|_| (5.0 + 1.2_f64.ln() + 0.06 * normal()).exp()).collect();
            let estimate = ratio(&a, &b).expect("samples enough");
            held += u32::from(estimate.covers(1.2));
            told += u32::from(!estimate.covers(1.0));
        }
        let held = f64::from(held) / f64::from(rounds);
        assert!((0.94..0.965).contains(&held), "{held}");
        assert!(told > rounds * 9 / 10, "a fifth more is seen in nearly all of them: {told}");
    }

    #[test]
    fn what_cannot_be_told_is_none() {
        assert_eq!((ratio(&[1.0], &[1.0, 2.0]), difference(&[], &[1.0, 2.0])), (None, None));
        assert_eq!(ratio(&[0.0, 1.0], &[1.0, 2.0]), None, "zero has no logarithm");
        assert_eq!(difference(&[2.0, 2.0], &[3.0, 3.0]), Some(Estimate { value: 1.0, low: 1.0, high: 1.0 }));
        assert_eq!((geometric_mean(&[]), mean(&[])), (None, None));
        close(geometric_mean(&[1.0, 100.0]).expect("both above zero"), 10.0, 1e-12);
    }
}
