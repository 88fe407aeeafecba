//! The level at which a 202 is given.

use std::fmt;
use std::str::FromStr;

/// Which watermark releases a 202, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AckLevel {
    /// The node has taken the event over, in memory: nothing survives a crash.
    Queued,
    /// The write to the journal returned: survives a crash or kill of the process.
    Written,
    /// `fdatasync` returned: survives a power cut.
    Synced,
    /// The broker confirmed it: survives the loss of the node.
    Confirmed,
}

impl AckLevel {
    /// All levels, weakest first.
    pub const ALL: [Self; 4] = [Self::Queued, Self::Written, Self::Synced, Self::Confirmed];

    /// The level's name, as in `--ack` and `Forebay-Ack`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Written => "written",
            Self::Synced => "synced",
            Self::Confirmed => "confirmed",
        }
    }

    /// The level's index in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for AckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AckLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| format!("unknown level `{text}`: use queued, written, synced or confirmed"))
    }
}
