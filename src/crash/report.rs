//! What a report says, bounded, and without anything of a client's.

use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use crate::telemetry::Totals;

/// Flags with their values, as they were given.
pub type Flags = BTreeMap<String, Vec<String>>;

/// Longest message and backtrace.
const MESSAGE_BYTES_MAX: usize = 1024;
const BACKTRACE_BYTES_MAX: usize = 64 << 10;
/// Longest word of a message that was put together.
const WORD_BYTES_MAX: usize = 24;
/// Most words of it, and most digits of a number.
const WORDS_MAX: usize = 64;
const DIGITS_MAX: usize = 6;
/// What stands for all that is left out.
const LEFT_OUT: &str = "…";

/// What has happened.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// A thread has panicked.
    Panic,
    /// A thread has ended that should not have, and the node with it.
    Fatal,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) kind: Kind,
    /// Since the Unix epoch.
    pub(super) at: Duration,
    pub(super) uptime: Duration,
    pub(super) thread: String,
    pub(super) message: String,
    pub(super) location: Option<String>,
    pub(super) backtrace: Option<Backtrace>,
    /// If the node had begun to count.
    pub(super) totals: Option<Totals>,
    pub(super) flags: Flags,
}

#[derive(Serialize)]
struct Shown<'a> {
    kind: Kind,
    time: String,
    version: &'static str,
    pid: u32,
    uptime_seconds: f64,
    thread: &'a str,
    message: &'a str,
    location: Option<&'a str>,
    counters: Option<Counters>,
    flags: &'a Flags,
    backtrace: Option<String>,
}

/// The ledger's sums and the load.
#[derive(Serialize)]
struct Counters {
    accepted: u64,
    rejected: u64,
    confirmed: Option<u64>,
    parked: Option<u64>,
    connections: u64,
}

impl Report {
    /// The file's content. Finding the names for the backtrace takes up to a second.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let counters = self.totals.map(|totals| Counters {
            accepted: totals.accepted,
            rejected: totals.rejected,
            confirmed: totals.settled.map(|settled| settled.confirmed),
            parked: totals.settled.map(|settled| settled.parked),
            connections: totals.connections,
        });
        let shown = Shown {
            kind: self.kind,
            time: humantime::format_rfc3339_millis(UNIX_EPOCH + self.at).to_string(),
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime_seconds: self.uptime.as_secs_f64(),
            thread: &self.thread,
            message: &self.message,
            location: self.location.as_deref(),
            counters,
            flags: &self.flags,
            backtrace: self.backtrace.as_ref().map(|backtrace| bounded(backtrace, BACKTRACE_BYTES_MAX)),
        };
        serde_json::to_vec_pretty(&shown).expect("text and numbers always serialise")
    }

    /// The time in a name that sorts by it.
    pub(super) fn time_in_name(&self) -> String {
        let time = humantime::format_rfc3339_millis(UNIX_EPOCH + self.at).to_string();
        time.replace(['-', ':'], "")
    }
}

/// What a panic with a constant text says: it was written by us.
pub(super) fn constant(message: &'static str) -> String {
    bounded(&message, MESSAGE_BYTES_MAX)
}

/// What a panic says whose text was put together, and so may hold anything: its words and short numbers up to the first quote or bracket, which is how
/// `Debug` begins to show values.
pub(super) fn put_together(message: &str) -> String {
    let end = message.find(['"', '\'', '`', '{', '[', '(', '<', '\n']);
    let words = message[..end.unwrap_or(message.len())].split_ascii_whitespace().take(WORDS_MAX);
    let mut words: Vec<&str> = words.map(|word| if is_harmless(word) { word } else { LEFT_OUT }).collect();
    if end.is_some() && words.last() != Some(&LEFT_OUT) {
        words.push(LEFT_OUT);
    }
    words.join(" ")
}

/// A word or a short number.
fn is_harmless(word: &str) -> bool {
    let core = word.trim_end_matches([':', ',', '.', ';']);
    let is_number = core.len() <= DIGITS_MAX && core.bytes().all(|byte| byte.is_ascii_digit());
    let is_word = core.bytes().all(|byte| byte.is_ascii_alphabetic() || b"-_".contains(&byte));
    word.len() <= WORD_BYTES_MAX && (is_number || is_word)
}

fn bounded(text: &impl fmt::Display, bytes_max: usize) -> String {
    struct Bounded(String, usize);
    impl Write for Bounded {
        fn write_str(&mut self, more: &str) -> fmt::Result {
            let room = self.1.saturating_sub(self.0.len());
            if more.len() > room {
                self.0.push_str(&more[..more.floor_char_boundary(room)]);
                return Err(fmt::Error);
            }
            self.0.push_str(more);
            Ok(())
        }
    }
    let mut bounded = Bounded(String::new(), bytes_max);
    // An error says that there was more.
    let _ = write!(bounded, "{text}");
    bounded.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_panic_says_is_kept_as_far_as_it_can_hold_nothing_of_a_clients() {
        for (message, expected) in [
            (
                "index out of bounds: the len is 3 but the index is 5",
                "index out of bounds: the len is 3 but the index is 5",
            ),
            ("a waiter's answer was Response([123, 34])", "a waiter …"),
            ("looked at before: Kind(\"swordfish\")", "looked at before: Kind …"),
            (
                "byte index 5 is not a char boundary; it is inside 'é' of `bob@example.org`",
                "byte index 5 is not a char boundary; it is inside …",
            ),
            ("assertion `left == right` failed\n  left: 1\n right: 2", "assertion …"),
            ("no app bob@example.org at 192.0.2.1 with eyJhbGciOiJIUzI1NiJ9", "no app … at … with …"),
            ("\"swordfish\"", "…"),
        ] {
            assert_eq!(put_together(message), expected);
        }
        assert_eq!(constant("every answer has its (only) place"), "every answer has its (only) place");
    }

    #[test]
    fn however_long_a_text_is_the_report_is_not() {
        assert_eq!(bounded(&"é".repeat(10), 5), "éé");
        assert!(put_together(&"word ".repeat(10_000)).len() < 5 * WORDS_MAX);
    }

    proptest! {
        #[test]
        fn no_credential_comes_through_in_a_message(secret in "[A-Za-z0-9_~+/.=@-]{25,80}|[a-z]{4}[0-9]{4}", quoted in any::<bool>()) {
            let message = if quoted { format!("cannot read: {secret:?}") } else { format!("cannot read {secret}: never") };
            prop_assert!(!put_together(&message).contains(&secret[..8]));
        }
    }
}
