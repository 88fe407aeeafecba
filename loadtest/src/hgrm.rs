//! `--hdr`: the percentile distribution as `HdrHistogram`'s own tools write and plot it.

use std::fmt::Write;

use hdrhistogram::Histogram;

/// Lines for each halving of the distance to 100 %, as `HdrHistogram` has it by default.
const TICKS: u32 = 5;
/// Histograms hold microseconds, the format has milliseconds.
const US_PER_MS: f64 = 1e3;

/// The text of a `.hgrm` file. Values are the highest that the histogram cannot tell from those recorded.
pub(crate) fn hgrm(histogram: &Histogram<u64>) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    #[allow(clippy::cast_precision_loss, reason = "latencies stay far below 2^53 µs")]
    let ms = |us: u64| us as f64 / US_PER_MS;
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS) {
        total += step.count_since_last_iteration();
        let value = ms(histogram.highest_equivalent(step.value_iterated_to()));
        let quantile = step.quantile_iterated_to();
        let _ = write!(text, "{value:12.3} {quantile:2.12} {total:10}");
        // The last line has no place on the axis.
        let _ =
            if quantile < 1.0 { writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile)) } else { writeln!(text) };
    }
    let (mean, deviation) = (histogram.mean() / US_PER_MS, histogram.stdev() / US_PER_MS);
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ =
        writeln!(text, "#[Max     = {:12.3}, Total count    = {:12}]", ms(histogram.max()), histogram.len());
    // Two for each of the values that significant digits tell apart, in powers of two.
    let sub_buckets = (2 * 10_u64.pow(histogram.sigfig().into())).next_power_of_two();
    let _ = writeln!(text, "#[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]", histogram.buckets());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is read back are counts and microseconds"
    )]
    fn lines_are_the_percentiles_of_the_histogram_in_milliseconds() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3).expect("good bounds");
        // A long tail, as latencies have it.
        for number in 1..=10_000_u64 {
            histogram.record(200 + number * number / 1_000).expect("in bounds");
        }
        let text = hgrm(&histogram);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("       Value     Percentile TotalCount 1/(1-Percentile)"));
        assert_eq!(lines.next(), Some(""));
        let (mut seen, mut total) = (0, 0);
        for line in lines.by_ref().take_while(|line| !line.starts_with('#')) {
            let columns: Vec<f64> =
                line.split_whitespace().map(|word| word.parse().expect("a number")).collect();
            let (value, quantile) = (columns[0], columns[1]);
            let (value_us, expected) = ((value * 1e3).round() as u64, histogram.value_at_quantile(quantile));
            // Of two neighbours, rounding may choose either.
            assert!(value_us.abs_diff(expected) <= expected / 500 + 1, "{line}, {expected}");
            assert_eq!(columns[2] as u64, histogram.count_between(0, value_us), "{line}");
            assert_eq!(columns.len(), if quantile < 1.0 { 4 } else { 3 }, "{line}");
            if let Some(place) = columns.get(3) {
                assert!((place * (1.0 - quantile) - 1.0).abs() < 0.01, "{line}");
            }
            total = columns[2] as u64;
            seen += 1;
        }
        assert!(seen > 40, "{text}");
        assert_eq!(total, 10_000);
        assert!(text.contains("#[Max     =      100.223, Total count    =        10000]"), "{text}");
        assert!(text.ends_with("#[Buckets =           20, SubBuckets     =         2048]\n"), "{text}");
    }
}
