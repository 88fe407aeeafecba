//! How old the oldest event is that has not left the node.
//!
//! Nobody keeps a time for each event in memory. Instead each log is looked at now and then, and it is kept how long it was when: the event that is to
//! leave next is at least as old as the first look at which it was there. That needs one load for each log and look, whatever becomes of the events, with
//! a broker and without one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::watermarks::{CoreLog, Offset};

/// Looks that are nearer to each other than this count as one.
const RESOLUTION: Duration = Duration::from_secs(1);
/// Most looks that are kept of a log. If events wait for longer, looks lie further apart.
const LOOKS_MAX: usize = 1024;

/// How long a log was when.
#[derive(Clone, Debug)]
pub struct Course {
    /// Everything below the offset was there at that time; both only grow.
    looks: VecDeque<(Offset, Duration)>,
    resolution: Duration,
}

impl Default for Course {
    fn default() -> Self {
        Self { looks: VecDeque::new(), resolution: RESOLUTION }
    }
}

impl Course {
    /// Everything below `end` was there `at` that time, since the Unix epoch.
    pub fn note(&mut self, end: Offset, at: Duration) {
        let mut newest = self.looks.iter().rev();
        let (last, before) = (newest.next().copied(), newest.next().copied());
        if last.is_some_and(|(last, _)| end <= last) {
            return;
        }
        // A clock that steps back makes nothing older than it is.
        let at = last.map_or(at, |(_, last)| at.max(last));
        if before.is_some_and(|(_, before)| at < before + self.resolution) {
            self.looks.pop_back();
        } else if self.looks.len() == LOOKS_MAX {
            self.thin();
        }
        self.looks.push_back((end, at));
    }

    /// Leaves out every other look, and never the last: it is the end of what is known.
    fn thin(&mut self) {
        self.resolution *= 2;
        let last = self.looks.len() - 1;
        let mut index = 0..;
        self.looks.retain(|_| index.next().expect("endless") % 2 == last % 2);
    }

    /// When the event at `settled` was there, as far as it is known; none if it came after the last look.
    pub fn there_at(&mut self, settled: Offset) -> Option<Duration> {
        while self.looks.front().is_some_and(|(end, _)| *end <= settled) {
            self.looks.pop_front();
        }
        if self.looks.is_empty() {
            self.resolution = RESOLUTION;
        }
        self.looks.front().map(|(_, at)| *at)
    }
}

/// The logs of a node, those of earlier lives too.
#[derive(Debug, Default)]
pub struct Backlog(Vec<(Arc<CoreLog>, Course)>);

impl Backlog {
    /// A log, and what is known of its course so far.
    pub fn add(&mut self, log: Arc<CoreLog>, course: Course) {
        self.0.push((log, course));
    }

    /// Looks at all logs at `now`, since the Unix epoch; the age of the oldest event that is neither confirmed nor parked, at least, or 0 if there is none.
    /// It is older by what lies between two looks at most, or by 0.4 % of the longest that anything has waited.
    pub fn look(&mut self, now: Duration) -> Duration {
        let age = |(log, course): &mut (Arc<CoreLog>, Course)| {
            // Settled first: what comes later is younger.
            let settled = log.settled();
            course.note(log.appended(), now);
            let at = course.there_at(settled)?;
            Some(now.saturating_sub(at))
        };
        self.0.iter_mut().filter_map(age).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_hours(500_000);

    fn at(seconds: u64) -> Duration {
        START + Duration::from_secs(seconds)
    }

    fn settle(log: &CoreLog, end: u64) {
        log.set_read(Offset(end));
        log.set_published(Offset(end));
        log.set_settled(Offset(end), 0, 0);
    }

    #[test]
    fn the_oldest_pending_event_is_as_old_as_the_look_that_found_it() {
        let (busy, idle) = (Arc::<CoreLog>::default(), Arc::<CoreLog>::default());
        let mut backlog = Backlog::default();
        backlog.add(busy.clone(), Course::default());
        backlog.add(idle.clone(), Course::default());
        assert_eq!(backlog.look(at(0)), Duration::ZERO);
        for second in 1..=10 {
            busy.set_appended(Offset(second * 100));
            assert_eq!(backlog.look(at(second)), Duration::from_secs(second - 1));
        }
        settle(&busy, 99);
        assert_eq!(backlog.look(at(11)), Duration::from_secs(10));
        settle(&busy, 100);
        assert_eq!(backlog.look(at(12)), Duration::from_secs(10), "the next came a second later");
        idle.set_appended(Offset(1));
        settle(&busy, 1000);
        assert_eq!(backlog.look(at(13)), Duration::ZERO, "seen for the first time");
        assert_eq!(backlog.look(at(15)), Duration::from_secs(2));
        settle(&idle, 1);
        assert_eq!(backlog.look(at(16)), Duration::ZERO);
    }

    #[test]
    fn what_an_earlier_life_left_is_as_old_as_it_was_received() {
        let log = Arc::new(CoreLog::recovered(Offset(0), Offset(4), 4));
        let mut course = Course::default();
        for (end, second) in [(1, 0), (2, 100), (3, 50), (4, 200)] {
            course.note(Offset(end), at(second));
        }
        let mut backlog = Backlog::default();
        backlog.add(log.clone(), course);
        assert_eq!(backlog.look(at(1000)), Duration::from_secs(1000));
        settle(&log, 2);
        assert_eq!(backlog.look(at(1001)), Duration::from_secs(901), "the clock had stepped back");
        settle(&log, 3);
        assert_eq!(backlog.look(at(1001)), Duration::from_secs(801));
        settle(&log, 4);
        assert_eq!(backlog.look(at(1001)), Duration::ZERO);
    }

    #[test]
    fn however_long_events_wait_little_is_kept_and_the_age_is_right() {
        let mut course = Course::default();
        let seconds = 1_000_000;
        for second in 1..=seconds {
            course.note(Offset(second), at(second));
        }
        assert!(course.looks.len() <= LOOKS_MAX);
        for settled in [0, 1, 1000, seconds / 2, seconds - 1] {
            let there_at = course.there_at(Offset(settled)).expect("it is there");
            // The event was there a second later than it was the end.
            let late = there_at.checked_sub(at(settled + 1)).expect("not before it came").as_secs();
            assert!(late * 256 <= seconds, "{settled}: {late} s");
        }
        assert_eq!(course.there_at(Offset(seconds)), None);
    }

    #[test]
    fn looks_in_a_row_count_as_one_and_the_last_is_kept() {
        let mut course = Course::default();
        for ms in 0..10_000 {
            course.note(Offset(ms + 1), START + Duration::from_millis(ms));
        }
        assert!(course.looks.len() <= 12, "{}", course.looks.len());
        let there_at = course.there_at(Offset(9_999)).expect("it is there");
        assert_eq!(there_at, START + Duration::from_millis(9_999));
        assert_eq!(course.clone().there_at(Offset(10_000)), None);
    }
}
