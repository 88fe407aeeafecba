//! What a reactor counts of each app, and how little that takes: an app that sends nothing has no counters, and one that is refused has a counter for
//! each code that has happened to it, not for each there is.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use uuid::Uuid;

use super::counters::{CoreMetrics, Counter, Gauge};
use super::refusals::{Budget, Quota};

/// What one reactor counts of one app. About 64 bytes, and 40 for each code.
#[derive(Debug, Default)]
pub struct AppCounters {
    /// Events taken over.
    pub accepted: Counter,
    /// Bytes of their records, as they lie in the journal.
    pub bytes: Counter,
    /// When an event of it was last taken over or refused, seconds since the Unix epoch; 0 if never.
    pub seen_s: Gauge,
    /// Refusals that nothing was kept of, because there were many.
    pub unkept: Counter,
    rejected: Chain,
}

/// Events refused by code: links are added at the end and never taken out, so that readers need no lock.
#[derive(Debug, Default)]
struct Chain(OnceLock<Box<Link>>);

#[derive(Debug)]
struct Link {
    code: usize,
    events: Counter,
    next: Chain,
}

impl AppCounters {
    /// Counts events refused; `code` is the index of an `api::Code`. Only the one writer may call it.
    pub fn reject(&self, code: usize, events: u64) {
        let mut chain = &self.rejected;
        loop {
            let new = || Box::new(Link { code, events: Counter::default(), next: Chain::default() });
            let link = chain.0.get_or_init(new);
            if link.code == code {
                return link.events.add(events);
            }
            chain = &link.next;
        }
    }

    /// Events refused so far, by the codes that have happened.
    pub fn rejected(&self) -> impl Iterator<Item = (usize, u64)> {
        let links = std::iter::successors(self.rejected.0.get(), |link| link.next.0.get());
        links.map(|link| (link.code, link.events.value()))
    }
}

/// What one reactor counts, by app. Locked when an app is met for the first time, and to show it all.
#[derive(Debug, Default)]
pub struct Apps(Mutex<HashMap<Uuid, Arc<AppCounters>>>);

impl Apps {
    /// The counters of an app; keep them, to count without a lock.
    pub fn of(&self, app: Uuid) -> Arc<AppCounters> {
        self.0.lock().entry(app).or_default().clone()
    }

    /// The counters of an app that was met.
    pub fn find(&self, app: Uuid) -> Option<Arc<AppCounters>> {
        self.0.lock().get(&app).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<(Uuid, Arc<AppCounters>)> {
        self.0.lock().iter().map(|(app, counters)| (*app, counters.clone())).collect()
    }
}

/// Events refused together.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// Whose, if that is known.
    pub app: Option<Uuid>,
    /// The index of an `api::Code`; none for what is no event, such as a request for a token.
    pub code: Option<usize>,
    /// How many.
    pub events: u64,
}

impl Refused {
    fn code(self) -> Option<usize> {
        self.code.filter(|_| self.events > 0)
    }

    fn count_all(self, metrics: &CoreMetrics) {
        if let Some(code) = self.code() {
            metrics.count_rejected(code, self.events);
        }
    }

    fn count_in(self, counters: &AppCounters, wall: Duration) {
        if let Some(code) = self.code() {
            counters.reject(code, self.events);
            counters.seen_s.set(wall.as_secs());
        }
    }
}

/// A reactor's way to the counters of its apps, without a lock once an app is known.
#[derive(Debug)]
pub struct AppTally {
    metrics: Arc<CoreMetrics>,
    known: foldhash::HashMap<Uuid, Known>,
    /// Of refusals whose app is not known.
    strangers: Quota,
    budget: Budget,
}

#[derive(Debug)]
struct Known {
    counters: Arc<AppCounters>,
    quota: Quota,
}

impl AppTally {
    /// Counts in `metrics`.
    pub fn new(metrics: Arc<CoreMetrics>) -> Self {
        Self {
            metrics,
            known: foldhash::HashMap::default(),
            strangers: Quota::default(),
            budget: Budget::default(),
        }
    }

    fn of(&mut self, app: Uuid) -> &mut Known {
        let new = || Known { counters: self.metrics.apps.of(app), quota: Quota::default() };
        self.known.entry(app).or_insert_with(new)
    }

    /// Counts events taken over at `wall` (since the Unix epoch), with the bytes of their records.
    pub fn accept(&mut self, app: Uuid, events: u64, bytes: u64, wall: Duration) {
        self.metrics.accepted.add(events);
        self.metrics.accepted_bytes.add(bytes);
        let counters = &self.of(app).counters;
        counters.accepted.add(events);
        counters.bytes.add(bytes);
        counters.seen_s.set(wall.as_secs());
    }

    /// Counts events refused at `wall`.
    pub fn reject(&mut self, refused: Refused, wall: Duration) {
        refused.count_all(&self.metrics);
        if let Some(app) = refused.app {
            refused.count_in(&self.of(app).counters, wall);
        }
    }

    /// The same, and says whether what was refused is to be kept: a few of an app in each second of `now` (monotonic).
    pub fn refuse(&mut self, refused: Refused, now: Duration, wall: Duration) -> bool {
        refused.count_all(&self.metrics);
        let (mut budget, second) = (self.budget, now.as_secs());
        let is_kept = if let Some(app) = refused.app {
            let Known { counters, quota } = self.of(app);
            refused.count_in(counters, wall);
            let is_kept = quota.take(&mut budget, second);
            counters.unkept.add(u64::from(!is_kept));
            is_kept
        } else {
            let is_kept = self.strangers.take(&mut budget, second);
            self.metrics.unkept_refusals.add(u64::from(!is_kept));
            is_kept
        };
        self.budget = budget;
        is_kept
    }

    /// Whether another refusal of `app` would be kept now.
    pub fn would_keep(&mut self, app: Option<Uuid>, now: Duration) -> bool {
        let (mut budget, second) = (self.budget, now.as_secs());
        let mut quota = app.map_or(self.strangers, |app| self.of(app).quota);
        quota.take(&mut budget, second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Duration = Duration::from_secs(1_790_000_000);

    #[test]
    fn only_codes_that_have_happened_are_counted_and_each_for_itself() {
        let counters = AppCounters::default();
        assert_eq!(counters.rejected().count(), 0);
        for (code, events) in [(9, 2), (1, 3), (9, 5), (33, 1)] {
            counters.reject(code, events);
        }
        assert_eq!(counters.rejected().collect::<Vec<_>>(), [(9, 7), (1, 3), (33, 1)]);
        assert!(size_of::<AppCounters>() <= 48 && size_of::<Link>() <= 40, "as the comment says");
    }

    #[test]
    fn a_readers_sum_is_never_more_than_what_was_written() {
        let counters = Arc::<AppCounters>::default();
        let read = counters.clone();
        let writer = std::thread::spawn(move || {
            for round in 0..10_000 {
                counters.reject(round % 34, 1);
            }
        });
        let mut before = 0;
        while before < 10_000 {
            let sum = read.rejected().map(|(_, events)| events).sum();
            assert!((before..=10_000).contains(&sum), "{before} {sum}");
            before = sum;
        }
        writer.join().expect("no panic");
    }

    #[test]
    fn what_is_taken_over_and_refused_is_counted_for_the_reactor_and_the_app() {
        let metrics = Arc::<CoreMetrics>::default();
        let mut tally = AppTally::new(metrics.clone());
        let app = Uuid::from_u128(7);
        tally.accept(app, 3, 600, WALL);
        tally.reject(Refused { app: Some(app), code: Some(2), events: 4 }, WALL + Duration::from_secs(1));
        tally.reject(Refused { app: None, code: Some(2), events: 1 }, WALL);
        let counters = metrics.apps.find(app).expect("met");
        assert_eq!((counters.accepted.value(), counters.bytes.value()), (3, 600));
        assert_eq!(counters.rejected().collect::<Vec<_>>(), [(2, 4)]);
        assert_eq!(counters.seen_s.value(), WALL.as_secs() + 1);
        assert_eq!((metrics.accepted.value(), metrics.accepted_bytes.value()), (3, 600));
        assert_eq!(metrics.rejected(2), 5);
        assert_eq!(metrics.apps.all().len(), 1, "nobody else has counters");
    }

    #[test]
    fn a_few_refusals_of_an_app_are_kept_each_second_and_the_rest_is_counted() {
        let metrics = Arc::<CoreMetrics>::default();
        let mut tally = AppTally::new(metrics.clone());
        let app = Some(Uuid::from_u128(7));
        let mut kept = |app, second, times| {
            let refused = Refused { app, code: Some(1), events: 1 };
            (0..times).filter(|_| tally.refuse(refused, Duration::from_secs(second), WALL)).count()
        };
        assert_eq!((kept(app, 5, 1000), kept(app, 6, 1000)), (4, 4));
        assert_eq!(kept(None, 6, 1000), 4);
        assert_eq!(kept(app, 7, 1), 1);
        let counters = metrics.apps.find(Uuid::from_u128(7)).expect("met");
        assert_eq!((counters.unkept.value(), metrics.unkept_refusals.value()), (2000 - 8, 1000 - 4));
        assert_eq!(metrics.rejected(1), 3001, "all are counted");
    }

    #[test]
    fn many_apps_that_are_refused_much_do_not_hide_one_that_is_refused_once() {
        let mut tally = AppTally::new(Arc::default());
        let now = Duration::from_secs(5);
        let mut refuse = |app| {
            tally.refuse(Refused { app: Some(Uuid::from_u128(app)), code: Some(1), events: 1 }, now, WALL)
        };
        let loud: usize = (0..100).flat_map(|_| 0..50).filter(|app| refuse(*app)).count();
        assert!((50..=100).contains(&loud), "{loud}");
        assert!(refuse(99));
        let all = (100..10_000).filter(|app| refuse(*app)).count();
        assert!(all < 128, "{all}");
    }

    #[test]
    fn a_look_ahead_takes_nothing() {
        let mut tally = AppTally::new(Arc::default());
        let (app, now) = (Some(Uuid::from_u128(7)), Duration::from_secs(5));
        for _ in 0..100 {
            assert!(tally.would_keep(app, now));
        }
        while tally.refuse(Refused { app, code: Some(1), events: 1 }, now, WALL) {}
        assert!(!tally.would_keep(app, now) && tally.would_keep(None, now));
    }
}
