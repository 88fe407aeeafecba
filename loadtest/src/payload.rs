//! What is sent: files, or crash reports made up as SDKs make them.

use std::fmt::Write;
use std::path::Path;

use crate::dice::Dice;

/// How many different crash reports are made.
const REPORTS: usize = 512;
/// Sizes of made-up reports: most crashes have short traces, a few very long ones.
const REPORT_BYTES_MIN: usize = 600;
const REPORT_BYTES_MAX: usize = 16 << 10;

/// Why there is nothing to send.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PayloadError {
    #[error("--payload {path}: {error}")]
    Io { path: String, error: std::io::Error },
    #[error("--payload {0}: there is no file in it")]
    Empty(String),
}

/// Reads a file, or all files of a folder.
pub(crate) fn read(path: &Path) -> Result<Vec<Vec<u8>>, PayloadError> {
    let shown = || path.display().to_string();
    let io = |error| PayloadError::Io { path: shown(), error };
    if path.is_file() {
        return Ok(vec![std::fs::read(path).map_err(io)?]);
    }
    let mut files: Vec<_> =
        std::fs::read_dir(path).map_err(io)?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    if files.is_empty() {
        return Err(PayloadError::Empty(shown()));
    }
    files.iter().map(|file| std::fs::read(file).map_err(io)).collect()
}

/// Makes crash reports; the same seed makes the same ones.
pub(crate) fn make(seed: u64) -> Vec<Vec<u8>> {
    let mut dice = Dice(seed);
    (0..REPORTS)
        .map(|number| {
            // Log-uniform between the bounds.
            let spread = (REPORT_BYTES_MAX / REPORT_BYTES_MIN).ilog2();
            let bytes = REPORT_BYTES_MIN << dice.below(u64::from(spread) + 1);
            let bytes = bytes + usize::try_from(dice.below(bytes as u64 / 2)).expect("small");
            report(number, bytes.min(REPORT_BYTES_MAX - 700), &mut dice)
        })
        .collect()
}

/// One report of about `bytes`.
fn report(number: usize, bytes: usize, dice: &mut Dice) -> Vec<u8> {
    let class = dice.pick(&[
        "NullReferenceException",
        "TypeError",
        "java.lang.IllegalStateException",
        "panic",
        "OutOfMemoryError",
    ]);
    let message = dice.pick(&[
        "Object reference not set to an instance of an object.",
        "Cannot read properties of undefined (reading 'größe')",
        "キューがいっぱいです: \"checkout\" 🚧",
        "index out of bounds: the len is 3 but the index is 7",
    ]);
    let mut text = format!(
        r#"{{"occurredOn":"2026-11-24T12:{:02}:{:02}.{:03}Z","details":{{"machineName":"web-{}","version":"4.{}.{}","client":{{"name":"forebay-loadtest","version":"{}"}},"#,
        dice.below(60),
        dice.below(60),
        dice.below(1000),
        dice.below(200),
        dice.below(20),
        dice.below(10),
        env!("CARGO_PKG_VERSION"),
    );
    let _ = write!(
        text,
        r#""environment":{{"processorCount":{},"osVersion":"Linux 6.1","availablePhysicalMemory":{}.5,"locale":"{}"}},"user":{{"identifier":"u-{number}","isAnonymous":{}}},"tags":["prod","eu-{}"],"#,
        1 << dice.below(6),
        dice.below(32_000),
        dice.pick(&["en-GB", "de-DE", "ja-JP"]),
        dice.below(2) == 0,
        dice.below(4),
    );
    let _ = write!(
        text,
        r#""error":{{"className":"{class}","message":{},"stackTrace":["#,
        serde_json::to_string(message).expect("a string")
    );
    let mut is_first = true;
    while is_first || text.len() < bytes {
        let frame = format!(
            r#"{}{{"lineNumber":{},"className":"app.{}.{}","fileName":"src/{}/{}.rs","methodName":"{}\u003c{}\u003e","columnNumber":{}}}"#,
            if is_first { "" } else { "," },
            dice.below(3000),
            dice.pick(&["billing", "checkout", "search", "ingest"]),
            dice.pick(&["Service", "Handler", "Worker"]),
            dice.pick(&["core", "api", "db"]),
            dice.pick(&["mod", "lib", "queue", "session"]),
            dice.pick(&["run", "poll", "commit", "render"]),
            dice.pick(&["T", "String", "Vec"]),
            dice.below(120),
        );
        text.push_str(&frame);
        is_first = false;
    }
    text.push_str(r#"],"innerError":null}}}"#);
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_json_of_the_sizes_that_crash_reports_have_and_repeatable() {
        let reports = make(7);
        for report in &reports {
            serde_json::from_slice::<serde_json::Value>(report).expect("JSON");
            assert!((REPORT_BYTES_MIN..=REPORT_BYTES_MAX).contains(&report.len()), "{}", report.len());
        }
        let median = {
            let mut sizes: Vec<_> = reports.iter().map(Vec::len).collect();
            sizes.sort_unstable();
            sizes[sizes.len() / 2]
        };
        assert!((1_000..8_000).contains(&median), "{median}");
        assert_eq!(reports, make(7));
        assert_ne!(reports, make(8));
    }
}
