//! Where a log's events come from: out of the queue while it has room, out of the journal otherwise, without a gap and none twice.

use std::sync::Arc;

use bytes::Bytes;
use tracing::error;

use crate::handoff::{Batch, Outlet};
use crate::journal::{Log, Offset, ReadRequest, ReadStep, Reader};

/// What there is to do.
#[derive(Debug)]
pub(super) enum Supply {
    /// The next records.
    Records {
        /// Offset of the first.
        first: Offset,
        /// Back to back.
        records: Bytes,
        /// Those below this offset were settled in an earlier life.
        from: Offset,
        /// Whether they came through the queue, whose room they still take.
        is_queued: bool,
    },
    /// Read this, and give it to [`Source::handle_read`].
    Read(ReadRequest),
    /// Nothing now.
    Empty,
}

/// One log's supply.
#[derive(Debug)]
pub struct Source {
    log: Arc<Log>,
    /// The queue from its reactor; none if an earlier life of the node left the log.
    outlet: Option<Outlet>,
    reader: Reader,
    /// A batch out of the queue that others come before.
    waiting: Option<Batch>,
    /// Everything below was supplied.
    next: Offset,
}

impl Source {
    /// A log with a reactor, which sends through the other end of `outlet`.
    pub fn live(log: Arc<Log>, outlet: Outlet) -> Self {
        Self { outlet: Some(outlet), ..Self::left(log) }
    }

    /// A log that an earlier life of the node left.
    pub fn left(log: Arc<Log>) -> Self {
        Self { next: log.marks().read(), reader: Reader::new(log.clone()), log, outlet: None, waiting: None }
    }

    /// The log.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The queue.
    pub fn outlet(&self) -> Option<&Outlet> {
        self.outlet.as_ref()
    }

    /// Whether nothing more will come than what is there.
    pub fn is_closed(&self) -> bool {
        self.outlet.as_ref().is_none_or(Outlet::is_closed)
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        let is_told = self.log.marks().untold() <= self.next;
        is_told && self.waiting.is_none() && self.outlet.as_ref().is_none_or(Outlet::is_empty)
    }

    /// The next records, or what it takes to get them.
    pub(super) fn poll(&mut self) -> Supply {
        loop {
            // Before the look into the queue: what came there ahead of the untold is then seen.
            let untold = self.log.marks().untold();
            if self.waiting.is_none() {
                self.waiting = self.outlet.as_mut().and_then(Outlet::pop);
            }
            let to = match self.waiting.take() {
                Some(batch) if batch.end() <= self.next => {
                    // It was read back before it came.
                    self.outlet.as_ref().expect("it came from there").skip(&batch);
                    continue;
                }
                Some(batch) if batch.first <= self.next => {
                    let from = self.next;
                    self.advance(batch.end());
                    return Supply::Records {
                        first: batch.first,
                        records: batch.records,
                        from,
                        is_queued: true,
                    };
                }
                Some(batch) => self.waiting.insert(batch).first,
                None => untold,
            };
            if to <= self.next {
                return Supply::Empty;
            }
            match self.reader.step(self.next, to) {
                ReadStep::Read(request) => return Supply::Read(request),
                ReadStep::Batch(batch) => {
                    let from = self.next;
                    self.advance(batch.first.plus(u64::from(batch.events)));
                    return Supply::Records {
                        first: batch.first,
                        records: batch.records,
                        from,
                        is_queued: false,
                    };
                }
                ReadStep::Nothing(end) => {
                    self.miss(end);
                    self.advance(end);
                }
            }
        }
    }

    /// Takes bytes that were asked for.
    pub(super) fn handle_read(&mut self, request: &ReadRequest, bytes: &[u8]) {
        self.reader.handle_read(request, bytes);
    }

    fn advance(&mut self, end: Offset) {
        self.next = end;
        self.log.marks().set_read(end);
    }

    /// What should lie below `end` is not there. In a log that was left that is known since the start, and told.
    fn miss(&self, end: Offset) {
        if self.outlet.is_some() {
            let events = end.since(self.next);
            error!(log = %self.log.id(), first = %self.next, events, "events cannot be read back from the journal: the disk has lost them");
        }
    }
}
