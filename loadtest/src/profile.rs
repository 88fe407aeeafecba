//! `profile`: a rate that changes over time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::curve::Curve;
use crate::measure::{Bench, Plan};
use crate::options::ProfileOptions;
use crate::parameters::Parameters;
use crate::run::carry_out;
use crate::{AnyError, Verdict};

/// Requests a second at the highest point of a named curve, if nothing else is said.
const PEAK: f64 = 1000.0;

/// Follows the curve and reports.
pub(crate) fn profile(options: &ProfileOptions) -> Result<Verdict, AnyError> {
    let mut curve = match named(&options.curve) {
        Some(curve) => curve.with_peak(PEAK),
        None => read(Path::new(&options.curve))?,
    };
    if let Some(peak) = options.peak {
        curve = curve.with_peak(peak);
    }
    if let Some(duration) = options.duration {
        if duration.is_zero() {
            return Err("--duration: a curve cannot be compressed to nothing".into());
        }
        curve = curve.with_duration(duration);
    }
    let mut bench = Bench::prepare(&options.workload)?;
    let plan = Plan {
        duration: curve.duration(),
        curve: Some(Arc::new(curve)),
        warm_up: Duration::ZERO,
        requests: None,
        keeps_ids: options.result.ids.is_some(),
    };
    carry_out(&mut bench, &plan, Parameters::of_profile(options, plan.duration), &options.result)
}

fn read(path: &Path) -> Result<Curve, AnyError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("{}: {error}; curves with a name are {}", path.display(), NAMES.join(", "))
    })?;
    Curve::parse(&text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Curves that need no file.
const NAMES: [&str; 4] = ["ramp", "spike", "business-day", "soak"];

/// A curve with a name, its peak being 1.
fn named(name: &str) -> Option<Curve> {
    match name {
        // From next to nothing up, and a while at the top.
        "ramp" => Some(Curve::of([(0.0, 0.01), (50.0, 1.0), (60.0, 1.0)])),
        // Thousands, and twice within a second a hundred times as many: the second time for longer.
        "spike" => Some(Curve::of([
            (0.0, 0.01),
            (20.0, 0.01),
            (21.0, 1.0),
            (26.0, 1.0),
            (27.0, 0.01),
            (50.0, 0.01),
            (51.0, 1.0),
            (71.0, 1.0),
            (72.0, 0.01),
            (90.0, 0.01),
        ])),
        // By the hour, from midnight to midnight: quiet until six, a peak before noon, a dip at noon, a slow evening.
        "business-day" => {
            const SHARES: [f64; 25] = [
                0.10, 0.07, 0.05, 0.05, 0.06, 0.10, 0.20, 0.42, 0.72, 0.92, 1.00, 0.97, 0.84, 0.90, 0.97,
                0.95, 0.88, 0.70, 0.52, 0.42, 0.36, 0.30, 0.22, 0.15, 0.10,
            ];
            Some(Curve::of((0_u32..).map(|hour| f64::from(hour) * 3600.0).zip(SHARES)))
        }
        // The same for an hour, after half a minute to get there.
        "soak" => Some(Curve::of([(0.0, 0.1), (30.0, 1.0), (3600.0, 1.0)])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_with_a_name_are_what_a_file_could_say_and_have_a_peak_of_one() {
        for name in NAMES {
            let curve = named(name).expect("a curve");
            assert!((curve.peak() - 1.0).abs() < 1e-12, "{name}");
            let lines = curve.points().iter().map(|point| format!("{} {}", point.seconds, point.rate));
            let text = lines.collect::<Vec<_>>().join("\n");
            assert_eq!(Curve::parse(&text), Ok(curve), "{name}");
        }
        assert_eq!(named("business-day").expect("a curve").duration().as_secs(), 86_400);
    }

    #[test]
    fn what_is_neither_file_nor_name_is_told_with_the_names() {
        let error = read(Path::new("no-such-curve")).expect_err("no file").to_string();
        assert!(error.contains("no-such-curve") && error.contains("business-day"), "{error}");
    }
}
