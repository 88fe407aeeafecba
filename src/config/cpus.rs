//! Lists of CPUs as `taskset` and the kernel write them: `0-3,6`.

/// CPU numbers in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

/// More CPUs than Linux can be built for.
const CPU_MAX: usize = 8192;

/// Parses `0-3,6`.
pub fn parse_cpus(text: &str) -> Result<CpuList, String> {
    let bad = |part: &str| format!("`{part}` is no CPU or range of CPUs: write for example 0-3,6");
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.parse().map_err(|_| bad(part))?;
        let last: usize = last.parse().map_err(|_| bad(part))?;
        if first > last || last >= CPU_MAX {
            return Err(bad(part));
        }
        cpus.extend(first..=last);
    }
    Ok(CpuList(cpus))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_cpus_mix() {
        assert_eq!(parse_cpus("0-3,6"), Ok(CpuList(vec![0, 1, 2, 3, 6])));
        assert_eq!(parse_cpus("5"), Ok(CpuList(vec![5])));
    }

    #[test]
    fn nonsense_is_named() {
        for text in ["", "a", "3-1", "1,,2", "0-99999999"] {
            assert!(parse_cpus(text).is_err(), "{text} was taken");
        }
    }
}
