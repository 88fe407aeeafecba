//! Work that would hold a reactor up: a few threads do it for all of them.

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::api::{Examination, Examiner};
use crate::handoff::Doorbell;
use crate::uring::Token;
use crate::wire::Session;

/// What takes long.
#[derive(Debug)]
pub(super) enum Work {
    /// Shake hands: public-key operations.
    Shake {
        session: Box<Session>,
        /// What the last bytes of the handshake brought of HTTP.
        plain: Vec<u8>,
    },
    /// Decode and check a large body.
    Examine(Box<Examination>),
}

impl Work {
    fn run(&mut self, examiner: &mut Examiner) {
        match self {
            Self::Shake { session, plain } => session.shake(plain),
            Self::Examine(examination) => examination.run(examiner),
        }
    }
}

/// One piece of work, whose it is, and where it goes when it is done.
#[derive(Debug)]
struct Job {
    token: Token,
    work: Work,
    home: Sender<(Token, Work)>,
    doorbell: Doorbell,
}

/// Takes work. What is out is bounded by those who send it: a connection has one piece out at most.
#[derive(Clone, Debug, Default)]
pub struct Pool(Option<Sender<Job>>);

/// One thread of a pool; all its clones share the work.
#[derive(Clone, Debug)]
pub struct Worker(Receiver<Job>);

impl Pool {
    /// A pool, and what its threads are to run.
    pub fn new() -> (Self, Worker) {
        let (jobs, worker) = unbounded();
        (Self(Some(jobs)), Worker(worker))
    }

    /// A pool without threads: work is done at once by whoever brings it, so that what comes of it can be repeated.
    pub fn on_the_spot() -> Self {
        Self(None)
    }
}

impl Worker {
    /// Works until nobody brings work any more.
    pub fn run(&self) {
        let mut examiner = Examiner::default();
        for Job { token, mut work, home, doorbell } in &self.0 {
            work.run(&mut examiner);
            // A reactor that has ended needs it no more.
            if home.send((token, work)).is_ok() {
                doorbell.ring();
            }
        }
    }
}

/// One reactor's work that is out.
#[derive(Debug)]
pub(super) struct Errands {
    pool: Pool,
    home: Sender<(Token, Work)>,
    done: Receiver<(Token, Work)>,
    doorbell: Doorbell,
    out: usize,
}

impl Errands {
    pub(super) fn new(pool: Pool, doorbell: Doorbell) -> Self {
        let (home, done) = unbounded();
        Self { pool, home, done, doorbell, out: 0 }
    }

    pub(super) fn send(&mut self, token: Token, mut work: Work) {
        self.out += 1;
        let home = self.home.clone();
        if let Some(jobs) = &self.pool.0 {
            let job = Job { token, work, home, doorbell: self.doorbell.clone() };
            jobs.send(job).expect("the pool ends after its reactors");
        } else {
            work.run(&mut Examiner::default());
            home.send((token, work)).expect("this end is held");
        }
    }

    /// Something that is done.
    pub(super) fn next(&mut self) -> Option<(Token, Work)> {
        if self.out == 0 {
            return None;
        }
        let done = self.done.try_recv().ok()?;
        self.out -= 1;
        Some(done)
    }
}
