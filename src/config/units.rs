//! Sizes and durations as people write them: `64KiB`, `250ms`, `15m`.

use std::time::Duration;

/// Parses a size: a whole number of bytes, or of `KiB`, `MiB` or `GiB`.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text);
    let factor: usize = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("unknown unit `{unit}` in the size `{text}`: use B, KiB, MiB or GiB")),
    };
    let number: usize =
        number.parse().map_err(|_| format!("`{text}` is no size: write for example 64KiB"))?;
    number.checked_mul(factor).ok_or_else(|| format!("the size `{text}` is too large"))
}

/// Parses a duration: a whole number of `ms`, `s` or `m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let number: u64 =
        number.parse().map_err(|_| format!("`{text}` is no duration: write for example 10s"))?;
    let ms = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        _ => return Err(format!("`{text}` needs a unit: ms, s or m")),
    };
    ms.map(Duration::from_millis).ok_or_else(|| format!("the duration `{text}` is too long"))
}

fn split(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_take_their_units() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("2MiB"), Ok(2_097_152));
        assert_eq!(parse_size("8GiB"), Ok(8_589_934_592));
        assert_eq!(parse_duration("0ms"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("15m"), Ok(Duration::from_mins(15)));
    }

    #[test]
    fn a_missing_or_wrong_unit_says_which_to_use() {
        assert!(parse_size("64KB").is_err_and(|e| e.contains("KiB")));
        assert!(parse_size("").is_err());
        assert!(parse_size("99999999999GiB").is_err_and(|e| e.contains("too large")));
        assert!(parse_duration("10").is_err_and(|e| e.contains("needs a unit")));
        assert!(parse_duration("-1s").is_err());
    }
}
