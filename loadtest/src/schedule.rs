//! The moments at which requests are due.

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;

use crate::curve::{Curve, Point, area};
use crate::dice::Dice;

/// How arrivals lie in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// As evenly as the rate allows.
    #[default]
    Constant,
    /// Independent of each other, as those of many clients are: gaps are exponential.
    Poisson,
}

/// One thread's part of a curve. Arrival `k` is due when the integral of the rate reaches `k` (with [`Arrivals::Poisson`]: a sum of `k`
/// random gaps of mean 1), and the threads take arrivals in turn.
#[derive(Debug)]
pub(crate) struct Schedule {
    curve: Arc<Curve>,
    threads: f64,
    dice: Option<Dice>,
    /// What the integral has to reach.
    target: f64,
    /// The piece of the curve in which that was last looked for, and the integral up to it.
    piece: usize,
    reached: f64,
    due: Option<Duration>,
}

impl Schedule {
    /// The part of thread `number` of `threads`.
    pub(crate) fn new(curve: Arc<Curve>, arrivals: Arrivals, threads: u32, number: u32, seed: u64) -> Self {
        let threads = f64::from(threads);
        let mut dice = match arrivals {
            Arrivals::Constant => None,
            Arrivals::Poisson => Some(Dice(seed)),
        };
        // Independent arrivals of all threads together are independent arrivals, too.
        let target = dice.as_mut().map_or(f64::from(number), |dice| dice.gap() * threads);
        let mut schedule = Self { curve, threads, dice, target, piece: 0, reached: 0.0, due: None };
        schedule.due = schedule.find();
        schedule
    }

    /// When the next request is due, since the start; none once the curve has ended.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Goes on to the one behind it.
    pub(crate) fn advance(&mut self) {
        self.target += self.threads * self.dice.as_mut().map_or(1.0, Dice::gap);
        self.due = self.find();
    }

    /// The moment at which the integral reaches the target.
    fn find(&mut self) -> Option<Duration> {
        while let Some(&[from, to]) = self.curve.points().get(self.piece..self.piece + 2) {
            let piece = area(from, to);
            if self.target < self.reached + piece {
                let seconds = from.seconds + time_for(self.target - self.reached, from, to);
                return Some(Duration::from_secs_f64(seconds));
            }
            self.reached += piece;
            self.piece += 1;
        }
        None
    }
}

/// Seconds from `from` on until the integral of the line to `to` is `wanted`: the root of `rate·x + slope/2·x² = wanted`, in the
/// form that stays exact for a slope near 0.
fn time_for(wanted: f64, from: Point, to: Point) -> f64 {
    if wanted <= 0.0 {
        return 0.0;
    }
    let slope = (to.rate - from.rate) / (to.seconds - from.seconds);
    let root = (from.rate * from.rate + 2.0 * slope * wanted).max(0.0).sqrt();
    2.0 * wanted / (from.rate + root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(curve: &Arc<Curve>, arrivals: Arrivals, threads: u32) -> Vec<f64> {
        let mut moments = Vec::new();
        for number in 0..threads {
            let mut schedule = Schedule::new(curve.clone(), arrivals, threads, number, 7 + u64::from(number));
            while let Some(due) = schedule.due() {
                moments.push(due.as_secs_f64());
                schedule.advance();
            }
        }
        moments.sort_by(f64::total_cmp);
        moments
    }

    #[test]
    fn a_constant_rate_is_even_over_all_threads() {
        let curve = Arc::new(Curve::constant(1000.0, Duration::from_secs(100)));
        for threads in [1, 3] {
            let moments = all(&curve, Arrivals::Constant, threads);
            assert_eq!(moments.len(), 100_000);
            for (number, moment) in (0_u32..).zip(&moments) {
                assert!(
                    (moment - f64::from(number) / 1000.0).abs() < 1e-8,
                    "{threads}: {number} at {moment}"
                );
            }
        }
    }

    #[test]
    fn a_curve_is_integrated_exactly() {
        // Up from 0 to 100 in 10 s (the integral is 5 t²), nothing for 5 s, a step to 40, down to 20.
        let points = [(0.0, 0.0), (10.0, 100.0), (10.0, 0.0), (15.0, 0.0), (15.0, 40.0), (25.0, 20.0)];
        let curve = Arc::new(Curve::of(points));
        let moments = all(&curve, Arrivals::Constant, 1);
        assert_eq!(moments.len(), 500 + 300);
        for (number, moment) in (0_u32..).zip(&moments) {
            let integral = if *moment <= 10.0 {
                5.0 * moment * moment
            } else {
                let x = moment - 15.0;
                assert!(x >= 0.0, "nothing is due while the rate is 0: {moment}");
                500.0 + 40.0 * x - x * x
            };
            assert!((integral - f64::from(number)).abs() < 1e-4, "{number} at {moment}");
        }
    }

    #[test]
    fn independent_arrivals_follow_the_curve_in_numbers_but_not_evenly() {
        let curve = Arc::new(Curve::of([(0.0, 0.0), (10.0, 2000.0), (20.0, 0.0)]));
        let moments = all(&curve, Arrivals::Poisson, 2);
        // 20,000 are expected, with a deviation of their root.
        assert!((19_300..20_700).contains(&moments.len()), "{}", moments.len());
        let middle = moments.iter().filter(|moment| (5.0..15.0).contains(*moment)).count();
        assert!((14_500..15_500).contains(&middle), "{middle}");
        // Around the peak a gap is 0.5 ms in the mean; of exponential ones e^-2 are longer than twice that, of even ones none.
        let gaps: Vec<f64> = moments
            .windows(2)
            .filter(|pair| (9.5..10.5).contains(&pair[0]))
            .map(|pair| pair[1] - pair[0])
            .collect();
        let long = gaps.iter().filter(|gap| **gap > 0.001).count() * 1000 / gaps.len();
        assert!((100..180).contains(&long), "{long} of 1,000 gaps");
        assert_eq!(moments, all(&curve, Arrivals::Poisson, 2), "the same seed, the same moments");
    }
}
