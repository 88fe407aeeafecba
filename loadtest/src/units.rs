//! Numbers as people read them.

/// A latency with a unit that keeps three digits in sight.
#[allow(clippy::cast_precision_loss, reason = "latencies stay far below 2^53 µs")]
pub(crate) fn shown_us(us: u64) -> String {
    shown_us_exact(us as f64)
}

/// As [`shown_us`], of a mean.
pub(crate) fn shown_us_exact(us: f64) -> String {
    let (value, unit) = match us {
        ..1e3 => (us, "µs"),
        ..1e6 => (us / 1e3, "ms"),
        _ => (us / 1e6, "s"),
    };
    match value {
        ..10.0 if unit != "µs" => format!("{value:.2} {unit}"),
        ..100.0 if unit != "µs" => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// A count in groups of three digits, with spaces that no line is broken at.
pub(crate) fn shown_count(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push('\u{202f}');
        }
        shown.push(digit);
    }
    shown
}

/// A rate in whole requests, or with one digit more where there are few.
pub(crate) fn shown_rate(rate: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float to integer cast saturates, and a rate is not negative"
    )]
    let whole = rate.round() as u64;
    if rate < 10.0 { format!("{rate:.1}/s") } else { format!("{}/s", shown_count(whole)) }
}

/// A ratio as a percentage; small ones keep their first digits.
pub(crate) fn shown_percent(ratio: f64) -> String {
    match ratio * 100.0 {
        percent @ (0.0 | 100.0) => format!("{percent:.0} %"),
        // Rounding must not make all of nearly all.
        percent @ 99.99.. => format!("{:.2} %", percent.min(99.99)),
        percent @ ..0.01 => format!("{percent:.4} %"),
        percent => format!("{percent:.2} %"),
    }
}

/// The quotient of two counts; nothing of nothing is nothing.
#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_what_matters_of_them() {
        let latencies = [7, 999, 1_000, 12_345, 123_456, 1_234_567, 61_000_000].map(shown_us);
        assert_eq!(latencies, ["7 µs", "999 µs", "1.00 ms", "12.3 ms", "123 ms", "1.23 s", "61.0 s"]);
        let counts = [0, 999, 1_000, 1_234_567].map(shown_count);
        assert_eq!(counts, ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
        assert_eq!([0.25, 9_999.6].map(shown_rate), ["0.2/s", "10\u{202f}000/s"]);
        let ratios = [0.0, 0.000_001, 0.012_34, 0.999_999, 1.0].map(shown_percent);
        assert_eq!(ratios, ["0 %", "0.0001 %", "1.23 %", "99.99 %", "100 %"]);
    }
}
