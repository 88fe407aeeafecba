//! What answers mean for what was sent.

use std::time::Duration;

use crate::connection::{Connection, Sent};
use crate::request::{Kind, Requests};
use crate::response::{self, BatchAnswer, Reader, Response};
use crate::tally::{Answered, Meaning, Tally};

/// Takes the answers of one thread.
#[derive(Debug)]
pub(crate) struct Answers {
    reader: Reader,
    /// When the run began to count.
    begin: Duration,
    /// Ids are kept; else nobody looks for them.
    keeps_ids: bool,
    /// Good requests are batches.
    is_batch: bool,
    pub(crate) tally: Tally,
    /// Accepted events: id and number of the payload.
    pub(crate) ids: Vec<(String, u32)>,
}

impl Answers {
    pub(crate) fn new(duration: Duration, keeps_ids: bool, is_batch: bool) -> Self {
        let (begin, tally) = (Duration::ZERO, Tally::new(duration));
        Self { reader: Reader::default(), begin, keeps_ids, is_batch, tally, ids: Vec::new() }
    }

    /// From this moment on it counts.
    pub(crate) fn begin_at(&mut self, begin: Duration) {
        self.begin = begin;
    }

    /// Takes all complete answers; returns whether the connection has ended.
    pub(crate) fn take(
        &mut self,
        connection: &mut Connection,
        bytes: &[u8],
        now: Duration,
        requests: &Requests,
    ) -> bool {
        let mut kept = std::mem::take(&mut connection.partial);
        let input = if kept.is_empty() {
            bytes
        } else {
            kept.extend_from_slice(bytes);
            &kept
        };
        let mut used = 0;
        let mut has_ended = false;
        while used < input.len() && !has_ended {
            match self.reader.read(&input[used..]) {
                Ok(Some((answer, length))) => {
                    used += length;
                    if answer.status == 100 {
                        continue;
                    }
                    has_ended = answer.close;
                    let Some(sent) = connection.waiting.pop_front() else { return true };
                    self.count(&answer, sent, now, requests);
                }
                Ok(None) => break,
                Err(_) => return true,
            }
        }
        if used < input.len() {
            connection.partial = input[used..].to_vec();
        }
        has_ended
    }

    fn count(&mut self, answer: &Response<'_>, sent: Sent, now: Duration, requests: &Requests) {
        let is_accepted = (200..300).contains(&answer.status);
        if answer.status == 401 && matches!(sent.kind, Kind::Good(_)) {
            requests.doubt(sent.app);
        }
        if let Kind::Good(body) = sent.kind
            && is_accepted
        {
            self.accept(answer, requests.events(body), sent.counts);
        }
        if !sent.counts {
            return;
        }
        // The many: nothing is looked for in them.
        let code = if is_accepted { "" } else { response::member(answer.body, "code").unwrap_or_default() };
        if !is_accepted {
            self.tally.count(answer.status, code);
        }
        match sent.kind {
            Kind::Good(_) => self.tally.answer(Answered {
                at: now.saturating_sub(self.begin),
                meaning: Meaning::of(answer.status, code),
                response: now.saturating_sub(sent.due),
                service: now.saturating_sub(sent.left),
            }),
            Kind::Bad(bad) => self.tally.answer_bad(bad, is_accepted),
        }
    }

    /// Counts the events of an accepted request, and keeps their ids: also of the warm-up, for `verify` asks for all.
    fn accept(&mut self, answer: &Response<'_>, events: &[u32], counts: bool) {
        let batch = match (self.is_batch, self.keeps_ids) {
            (false, false) => None,
            (false, true) => {
                let id = response::member(answer.body, "id").unwrap_or_default().to_owned();
                self.ids.push((id, events[0]));
                None
            }
            // Nearly always nothing was refused, and that is told at the end.
            (true, false) if answer.body.ends_with(b"\"rejected\":[]}") => None,
            (true, _) => BatchAnswer::parse(answer.body, events.len()),
        };
        let accepted = match &batch {
            None => events.len(),
            Some(batch) => batch.ids.len(),
        } as u64;
        if counts {
            self.tally.events += accepted;
            self.tally.items_refused += events.len() as u64 - accepted;
        }
        if let Some(batch) = batch.filter(|_| self.keeps_ids) {
            let numbers: Vec<_> = batch.accepted_items().map(|item| events[item]).collect();
            self.ids.extend(batch.ids.into_iter().zip(numbers));
        }
    }
}
