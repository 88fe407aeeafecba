//! Those who send: their credentials, and how much each of them sends.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use crate::dice::Dice;

/// Why there are no apps.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppsError {
    #[error("--apps {path}: {error}")]
    Io { path: String, error: std::io::Error },
    #[error(
        "--apps {path}, line {line}: {error}; a line is what `forebay app create --json` prints, with `api_key` and `secret`"
    )]
    Line { path: String, line: usize, error: serde_json::Error },
    #[error("--apps {0}: there is no app in it")]
    Empty(String),
}

/// An app's API key and secret.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) api_key: String,
    pub(crate) secret: String,
}

/// Reads apps, a JSON object a line. The last line of an API key counts, so that what `forebay app regenerate --json` prints may be appended.
pub(crate) fn read(path: &Path) -> Result<Vec<Credentials>, AppsError> {
    let shown = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| AppsError::Io { path: shown(), error })?;
    let mut apps: Vec<Credentials> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (line, content) in (1..).zip(text.lines()) {
        if content.trim().is_empty() {
            continue;
        }
        let app: Credentials =
            serde_json::from_str(content).map_err(|error| AppsError::Line { path: shown(), line, error })?;
        let place = *places.entry(app.api_key.clone()).or_insert(apps.len());
        if place == apps.len() {
            apps.push(app);
        } else {
            apps[place] = app;
        }
    }
    if apps.is_empty() { Err(AppsError::Empty(shown())) } else { Ok(apps) }
}

/// How often each app has its turn.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    /// The shares of all apps up to each, in sum 1.
    sums: Vec<f64>,
}

impl Shares {
    /// By Zipf's law the app of rank `k` sends in proportion to `1/k^exponent`; 0 is the same for all.
    pub(crate) fn zipf(apps: usize, exponent: f64) -> Self {
        let weights = (1..=apps.max(1)).map(|rank| {
            #[allow(clippy::cast_precision_loss, reason = "far fewer apps than 2^53")]
            let rank = rank as f64;
            rank.powf(-exponent)
        });
        let mut sums: Vec<f64> = weights
            .scan(0.0, |sum, weight| {
                *sum += weight;
                Some(*sum)
            })
            .collect();
        let whole = sums.last().copied().unwrap_or(1.0);
        for sum in &mut sums {
            *sum /= whole;
        }
        Self { sums }
    }

    /// The app whose turn it is. Of one app, no dice are cast.
    pub(crate) fn pick(&self, dice: &mut Dice) -> usize {
        if self.sums.len() == 1 {
            return 0;
        }
        let at = dice.unit();
        self.sums.partition_point(|sum| *sum <= at).min(self.sums.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_line_of_an_app_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("apps");
        let text = "{\"api_key\":\"a\",\"secret\":\"1\",\"name\":\"x\"}\n\n{\"api_key\":\"b\",\"secret\":\"2\"}\n{\"api_key\":\"a\",\"secret\":\"3\"}\n";
        std::fs::write(&path, text).expect("a file");
        let of = |api_key: &str, secret: &str| Credentials {
            api_key: api_key.to_owned(),
            secret: secret.to_owned(),
        };
        assert_eq!(read(&path).expect("apps"), [of("a", "3"), of("b", "2")]);
        std::fs::write(&path, "{\"api_key\":\"a\",\"secret\":\"1\"}\n{\"api_key\":\"b\"}\n").expect("a file");
        assert!(matches!(read(&path), Err(AppsError::Line { line: 2, .. })));
        std::fs::write(&path, "\n").expect("a file");
        assert!(matches!(read(&path), Err(AppsError::Empty(_))));
    }

    #[test]
    fn shares_follow_zipfs_law() {
        const TURNS: u32 = 100_000;
        for exponent in [0.0, 1.0, 1.5] {
            let shares = Shares::zipf(50, exponent);
            let mut dice = Dice(11);
            let mut turns = [0_u32; 50];
            for _ in 0..TURNS {
                turns[shares.pick(&mut dice)] += 1;
            }
            let whole: f64 = (1..=50).map(|rank| f64::from(rank).powf(-exponent)).sum();
            for (rank, turns) in (1_u32..).zip(turns) {
                let expected = f64::from(rank).powf(-exponent) / whole * f64::from(TURNS);
                // Five deviations.
                let bound = 5.0 * expected.sqrt();
                assert!((f64::from(turns) - expected).abs() < bound, "{exponent}, rank {rank}: {turns}");
            }
        }
        assert_eq!(Shares::zipf(1, 1.0).pick(&mut Dice(0)), 0);
    }
}
