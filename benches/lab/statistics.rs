//! Medians, and how far they can be trusted.

use std::fmt;

/// Resamplings of the bootstrap.
const RESAMPLES: usize = 10_000;

/// A median with its 95 % interval, by the percentile bootstrap (Efron, 1979) with a fixed seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Interval {
    pub(crate) fn of_median(values: &[f64]) -> Self {
        let mut seed = 0x5eed_u64;
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let resample: Vec<f64> =
                    values.iter().map(|_| values[below(&mut seed, values.len())]).collect();
                median(&resample)
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        let at = |permille: usize| medians[(medians.len() - 1) * permille / 1000];
        Self { median: median(values), low: at(25), high: at(975) }
    }

    /// The same of what one has in each round as a multiple of the other: machines drift, and a ratio within a round does not.
    pub(crate) fn of_ratios(ones: &[f64], others: &[f64]) -> Self {
        assert_eq!(ones.len(), others.len(), "round by round");
        Self::of_median(&ones.iter().zip(others).map(|(one, other)| one / other).collect::<Vec<_>>())
    }
}

impl fmt::Display for Interval {
    /// With the precision that the format asks for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.low, self.high)
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// SplitMix64.
fn below(seed: &mut u64, bound: usize) -> usize {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((z ^ (z >> 31)) % bound as u64).expect("below a usize")
}
