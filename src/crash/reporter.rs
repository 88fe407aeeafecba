//! Makes the report, whatever has happened.

use std::backtrace::Backtrace;
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use super::files;
use super::report::{Flags, Kind, Report, constant, put_together};
use crate::clock;
use crate::telemetry::Books;

/// How long a report may take to be written: a disk that hangs must not keep the process from ending.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Leaves reports in a folder.
#[derive(Debug)]
pub struct Reporter {
    folder: PathBuf,
    flags: Flags,
    /// On the monotonic clock.
    started: Duration,
    books: OnceLock<Arc<Books>>,
    /// A report is being made.
    is_busy: AtomicBool,
}

impl Reporter {
    /// Reports of a process that is starting, which was given these flags.
    pub fn new(folder: &Path, flags: Flags) -> Arc<Self> {
        Arc::new(Self {
            folder: folder.to_owned(),
            flags,
            started: clock::monotonic(),
            books: OnceLock::new(),
            is_busy: AtomicBool::new(false),
        })
    }

    /// From now on reports say what has been counted.
    pub fn watch(&self, books: Arc<Books>) {
        // Once in a process: the first stay.
        let _ = self.books.set(books);
    }

    /// A panic, in whatever thread, leaves a report and ends the process: a service manager starts it again, and half a node would only look alive. What
    /// is said of a panic on standard error is said as before, and first.
    pub fn install(self: Arc<Self>) {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            tell(panic);
            self.report_panic(panic);
            std::process::abort();
        }));
    }

    fn report_panic(&self, panic: &PanicHookInfo<'_>) {
        let payload = panic.payload();
        let message = match (payload.downcast_ref::<&'static str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => constant(text),
            (None, Some(text)) => put_together(text),
            (None, None) => String::new(),
        };
        let location = panic.location().map(ToString::to_string);
        let name = thread::current().name().unwrap_or_default().to_owned();
        let backtrace = Some(Backtrace::force_capture());
        self.leave(self.report(Kind::Panic, name, message, location, backtrace));
    }

    /// A thread of the node has ended of an error, and the node stops for it. `message` is known to hold nothing of a client's.
    pub fn fatal(&self, thread: &str, message: String) {
        self.leave(self.report(Kind::Fatal, thread.to_owned(), message, None, None));
    }

    fn report(
        &self,
        kind: Kind,
        thread: String,
        message: String,
        location: Option<String>,
        backtrace: Option<Backtrace>,
    ) -> Report {
        Report {
            kind,
            at: clock::wall(),
            uptime: clock::monotonic().saturating_sub(self.started),
            thread,
            message,
            location,
            backtrace,
            totals: self.books.get().map(|books| books.totals()),
            flags: self.flags.clone(),
        }
    }

    /// Writes the report, or says why not.
    fn leave(&self, report: Report) {
        if self.is_busy.swap(true, Ordering::AcqRel) {
            // Another thread is at it, and what comes next may end the process: it gets its time.
            return thread::park_timeout(WRITE_TIMEOUT);
        }
        let (done, outcome) = mpsc::channel();
        let folder = self.folder.clone();
        let write = move || {
            let written = files::write(&folder, &report.time_in_name(), &report.to_json());
            // Nobody listens any more if it took too long.
            let _ = done.send(written);
        };
        let written = match thread::Builder::new().name("crash-report".to_owned()).spawn(write) {
            Ok(_) => outcome.recv_timeout(WRITE_TIMEOUT).unwrap_or(Err(io::ErrorKind::TimedOut.into())),
            Err(error) => Err(error),
        };
        // What goes wrong from here on is nobody's concern.
        let _ = match written {
            Ok(path) => writeln!(io::stderr(), "forebay: left a crash report: {}", path.display()),
            Err(error) => {
                writeln!(
                    io::stderr(),
                    "forebay: cannot leave a crash report in {}: {error}",
                    self.folder.display()
                )
            }
        };
        self.is_busy.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{CoreId, Ledger, LogId, Offset, SettledEvents};
    use crate::telemetry::{CoreMetrics, Earlier};
    use serde_json::Value;
    use std::fs;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Output};
    use uuid::Uuid;

    /// Tells a process of this test that it is the one to crash, and how; and where its reports go.
    const HOW: &str = "CRASH_HOW";
    const WHERE: &str = "CRASH_WHERE";
    const SECRET: &str = "swordfish-0123456789";

    /// Runs `crashes` in a process of its own.
    fn crash(how: &str, folder: &Path) -> Output {
        Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "crash::reporter::tests::crashes", "--nocapture"])
            .env(HOW, how)
            .env(WHERE, folder)
            .output()
            .expect("it runs")
    }

    /// The process that crashes; nothing but that, and only if it was told how.
    #[test]
    fn crashes() {
        let (Ok(how), Some(folder)) = (std::env::var(HOW), std::env::var_os(WHERE)) else { return };
        let flags = [("--ack".to_owned(), vec!["synced".to_owned()])].into();
        let reporter = Reporter::new(Path::new(&folder), flags);
        let core = Arc::<CoreMetrics>::default();
        core.accepted.add(7);
        core.connections.set(3);
        let ledger = Arc::<Ledger>::default();
        let settled = [(Uuid::nil(), SettledEvents { confirmed: 5, parked: 1 })];
        ledger.settle(LogId { core: CoreId(0), epoch: 1 }, Offset(6), settled);
        let books = Books {
            cores: vec![core],
            ledger: ledger.clone(),
            earlier: Earlier::default(),
            rejection_codes: vec!["a"],
        };
        reporter.watch(Arc::new(books));
        reporter.install();
        let panics: Box<dyn FnOnce() + Send> = match &*how {
            "constant" => Box::new(|| panic!("the constant text of an invariant")),
            "payload" => Box::new(|| panic!("no place for {SECRET:?}")),
            "value" => Box::new(|| panic::panic_any(42)),
            "two threads" => Box::new(|| {
                let another = thread::spawn(|| panic!("one of two"));
                let _ = another.join();
                panic!("the other of two");
            }),
            "within a lock" => Box::new(move || {
                let panics = std::iter::from_fn(|| panic!("with a lock in hand"));
                ledger.settle(LogId { core: CoreId(0), epoch: 1 }, Offset(7), panics);
            }),
            other => panic!("no such way: {other}"),
        };
        let thread = thread::Builder::new().name("reactor-7".to_owned()).spawn(panics).expect("a thread");
        let _ = thread.join();
        unreachable!("a panic ends the process");
    }

    fn reports(folder: &Path) -> Vec<Value> {
        let paths = files::unsent(folder).unwrap_or_default();
        paths
            .iter()
            .map(|path| serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON"))
            .collect()
    }

    #[test]
    fn a_panic_in_any_thread_leaves_one_report_and_ends_the_process() {
        for (how, message) in [
            ("constant", "the constant text of an invariant"),
            ("payload", "no place for …"),
            ("value", ""),
            ("two threads", "one of two"),
            ("within a lock", "with a lock in hand"),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let output = crash(how, folder.path());
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.signal(), Some(6), "{how}: SIGABRT, not {:?}: {said}", output.status);
            assert!(said.contains("panicked at src/crash/reporter.rs"), "{how}: {said}");
            let reports = reports(folder.path());
            let [report] = &reports[..] else { panic!("{how}: {reports:?} {said}") };
            assert_eq!((&report["kind"], &report["message"]), (&"panic".into(), &message.into()), "{how}");
            assert!(
                report["location"].as_str().is_some_and(|at| at.starts_with("src/crash/reporter.rs:")),
                "{how}"
            );
            if how != "two threads" {
                assert_eq!(report["thread"], "reactor-7");
            }
            assert_eq!(
                (&report["counters"]["accepted"], &report["counters"]["connections"]),
                (&7.into(), &3.into())
            );
            // What somebody is writing cannot be read: who panics may be the one that writes.
            let confirmed = if how == "within a lock" { Value::Null } else { 5.into() };
            assert_eq!(report["counters"]["confirmed"], confirmed);
            assert_eq!(report["flags"]["--ack"][0], "synced");
            assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
            let backtrace = report["backtrace"].as_str().expect("text");
            assert!(backtrace.contains("crash::reporter::tests::crashes"), "{how}: {backtrace}");
            assert!(!report.to_string().contains("swordfish"), "{report}");
        }
    }

    #[test]
    fn a_process_that_cannot_leave_a_report_ends_all_the_same_and_says_so() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let output = crash("constant", file.path());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.signal(), Some(6), "{said}");
        assert!(
            said.contains("the constant text") && said.contains("cannot leave a crash report in"),
            "{said}"
        );
    }

    #[test]
    fn a_fatal_error_leaves_a_report_and_the_process_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let reporter = Reporter::new(folder.path(), Flags::default());
        reporter.fatal("reactor-1", "an error that cannot be explained: EINVAL".to_owned());
        let reports = reports(folder.path());
        let [report] = &reports[..] else { panic!("{reports:?}") };
        assert_eq!((&report["kind"], &report["thread"]), (&"fatal".into(), &"reactor-1".into()));
        assert_eq!((&report["backtrace"], &report["counters"]), (&Value::Null, &Value::Null));
    }
}
