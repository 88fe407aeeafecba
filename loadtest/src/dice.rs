//! Chance that comes again: the same seed makes the same run.

/// SplitMix64 (Steele, Lea, Flood, 2014): a few lines, and the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A number from 0 to 1, without 1.
    pub(crate) fn unit(&mut self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "53 bits fill a double exactly")]
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        unit
    }

    /// A gap between independent arrivals (exponential) whose mean is 1.
    pub(crate) fn gap(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// One of several.
    pub(crate) fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[usize::try_from(self.below(choices.len() as u64)).expect("small")]
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_exponential() {
        const GAPS: u32 = 100_000;
        let mut dice = Dice(3);
        let gaps: Vec<f64> = (0..GAPS).map(|_| dice.gap()).collect();
        let mean = gaps.iter().sum::<f64>() / f64::from(GAPS);
        // Of an exponential distribution, e^-1 lies above the mean, and e^-3 above three times the mean.
        let above = |bound: f64| {
            let count = gaps.iter().filter(|gap| **gap > bound).count();
            f64::from(u32::try_from(count).expect("few")) / f64::from(GAPS)
        };
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        assert!((above(1.0) - (-1.0_f64).exp()).abs() < 0.005, "{}", above(1.0));
        assert!((above(3.0) - (-3.0_f64).exp()).abs() < 0.003, "{}", above(3.0));
    }
}
