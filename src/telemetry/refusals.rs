//! The last refusals of a reactor, for those who ask why: a few of each app in each second, bounded in every dimension.
//!
//! Locked for a refusal that is kept, of which there are at most [`KEPT_A_SECOND_MAX`] a second, and to show them. What is not kept costs an addition.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use uuid::Uuid;

/// Refusals of an app that are kept of one second.
const KEPT_A_SECOND_EACH: u8 = 4;
/// Past so many of one second, only the first of each app is kept: who is refused much does not hide who is refused once.
const KEPT_A_SECOND_FREELY: u32 = 32;
/// Refusals of all apps that are kept of one second.
const KEPT_A_SECOND_MAX: u32 = 128;
/// Refusals that are kept of an app; the oldest goes first.
const KEPT_EACH: usize = 20;
/// The same for those whose app is not known.
const KEPT_OF_STRANGERS: usize = 200;
/// Refusals that are kept in all: below 1 MiB a reactor, for none takes more than a kilobyte.
const KEPT_MAX: usize = 1000;

/// What an app has used up of one second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quota {
    second: u64,
    taken: u8,
}

/// The same for all apps of a reactor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    second: u64,
    taken: u32,
}

impl Quota {
    /// Whether one more refusal in this second is kept.
    pub(super) fn take(&mut self, budget: &mut Budget, second: u64) -> bool {
        if self.second != second {
            *self = Self { second, taken: 0 };
        }
        if self.taken >= KEPT_A_SECOND_EACH {
            return false;
        }
        if budget.second != second {
            *budget = Budget { second, taken: 0 };
        }
        let most = if self.taken == 0 { KEPT_A_SECOND_MAX } else { KEPT_A_SECOND_FREELY };
        if budget.taken >= most {
            return false;
        }
        self.taken += 1;
        budget.taken += 1;
        true
    }
}

/// What a body looked like where it was wrong, without what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// Redacted; a few hundred bytes at most.
    pub text: Box<str>,
    /// Where the parser stopped, in bytes from the beginning of the body or item, if that is known.
    pub stopped_at: Option<usize>,
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRefusal {
    /// When, since the Unix epoch.
    pub at: Duration,
    /// Whose request it was, if that is known.
    pub app: Option<Uuid>,
    /// Why.
    pub code: &'static str,
    /// The status that was answered.
    pub status: u16,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The method, if a head was read.
    pub method: Option<Box<str>>,
    /// The path without the query, likewise.
    pub path: Option<Box<str>>,
    /// Which item of a batch it was, if not all of the request.
    pub item: Option<usize>,
    /// The request's id.
    pub request: Box<str>,
    /// What was wrong and what to do, as it was told.
    pub detail: &'static str,
    /// What was wrong with the body, if that was it.
    pub sample: Option<Excerpt>,
}

/// The last refusals of a reactor, oldest first.
#[derive(Debug, Default)]
pub struct RefusalLog(Mutex<VecDeque<Arc<KeptRefusal>>>);

impl RefusalLog {
    /// Keeps a refusal; the oldest of its app, or of all, goes if there are too many.
    pub fn keep(&self, refusal: KeptRefusal) {
        let app = refusal.app;
        let most = if app.is_some() { KEPT_EACH } else { KEPT_OF_STRANGERS };
        let mut kept = self.0.lock();
        if kept.iter().filter(|other| other.app == app).count() >= most {
            let oldest = kept.iter().position(|other| other.app == app);
            kept.remove(oldest.expect("there are some"));
        } else if kept.len() >= KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(Arc::new(refusal));
    }

    /// Those that are wanted, oldest first.
    pub fn find(&self, is_wanted: impl Fn(&KeptRefusal) -> bool) -> Vec<Arc<KeptRefusal>> {
        self.0.lock().iter().filter(|refusal| is_wanted(refusal)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(app: Option<u128>, number: u64) -> KeptRefusal {
        KeptRefusal {
            at: Duration::from_secs(number),
            app: app.map(Uuid::from_u128),
            code: "invalid_json",
            status: 400,
            address: None,
            method: None,
            path: None,
            item: None,
            request: "r".into(),
            detail: "",
            sample: None,
        }
    }

    fn seconds(log: &RefusalLog, app: Option<u128>) -> Vec<u64> {
        let app = app.map(Uuid::from_u128);
        log.find(|refusal| refusal.app == app).iter().map(|refusal| refusal.at.as_secs()).collect()
    }

    #[test]
    fn each_app_keeps_its_last_and_pushes_out_none_of_another() {
        let log = RefusalLog::default();
        log.keep(refusal(Some(1), 0));
        for number in 0..100 {
            log.keep(refusal(Some(2), number));
            log.keep(refusal(None, number));
        }
        assert_eq!(seconds(&log, Some(1)), [0]);
        assert_eq!(seconds(&log, Some(2)), (80..100).collect::<Vec<_>>());
        assert_eq!(seconds(&log, None), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn however_many_apps_there_are_the_memory_is_bounded() {
        let log = RefusalLog::default();
        for number in 0..10_000 {
            log.keep(refusal(Some(number), u64::try_from(number).expect("small")));
        }
        assert_eq!(log.find(|_| true).len(), KEPT_MAX);
        assert_eq!(seconds(&log, Some(9_999)), [9_999]);
        assert_eq!(seconds(&log, Some(0)), [0; 0]);
    }
}
