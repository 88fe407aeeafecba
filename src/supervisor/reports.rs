//! What the manager is told of a node as time goes by: when the start is over, and how the node does.

use std::time::Duration;

use super::notify::News;

/// How much longer a start may take at a time. A node that lives and is not ready waits for something outside (its broker): another start would
/// not bring it.
const START_EXTENSION: Duration = Duration::from_secs(30);
/// How often that is said.
const START_EXTENSION_INTERVAL: Duration = Duration::from_secs(10);

/// What was told last.
#[derive(Debug, Default)]
pub struct Reports {
    is_ready: bool,
    status: Option<String>,
    extend_next: Duration,
}

impl Reports {
    /// A look at the node at `now` (monotonic): whether it lives, and whether it is ready or why not. Returns what to tell, which is nothing
    /// while nothing changes.
    pub fn look(&mut self, now: Duration, is_live: bool, ready: Result<(), &str>) -> Vec<News> {
        let mut news = Vec::new();
        if !self.is_ready && ready.is_ok() {
            self.is_ready = true;
            news.push(News::Ready { pid: std::process::id() });
        }
        let status = ready.map_or_else(|reason| format!("not ready: {reason}"), |()| "ready".to_owned());
        if self.status.as_ref() != Some(&status) {
            self.status = Some(status.clone());
            news.push(News::Status(status));
        }
        if !self.is_ready && is_live && now >= self.extend_next {
            self.extend_next = now + START_EXTENSION_INTERVAL;
            news.push(News::Extend(START_EXTENSION));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn status(text: &str) -> News {
        News::Status(text.to_owned())
    }

    #[test]
    fn ready_is_said_once_and_the_status_whenever_it_changes() {
        let mut reports = Reports::default();
        let ready = News::Ready { pid: std::process::id() };
        assert_eq!(reports.look(at(100), true, Ok(())), [ready, status("ready")]);
        assert_eq!(reports.look(at(101), true, Ok(())), []);
        assert_eq!(reports.look(at(102), true, Err("overloaded")), [status("not ready: overloaded")]);
        assert_eq!(reports.look(at(103), true, Err("overloaded")), []);
        assert_eq!(reports.look(at(104), true, Ok(())), [status("ready")]);
    }

    #[test]
    fn a_start_that_waits_gets_more_time_as_long_as_the_node_lives() {
        let mut reports = Reports::default();
        let more = News::Extend(START_EXTENSION);
        assert_eq!(
            reports.look(at(100), true, Err("starting")),
            [status("not ready: starting"), more.clone()]
        );
        assert_eq!(reports.look(at(109), true, Err("starting")), []);
        assert_eq!(reports.look(at(110), true, Err("starting")), [more]);
        assert_eq!(reports.look(at(120), false, Err("reactor_stuck")), [status("not ready: reactor_stuck")]);
        assert_eq!(reports.look(at(130), false, Err("reactor_stuck")), []);
    }
}
